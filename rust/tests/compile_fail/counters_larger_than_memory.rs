// SPDX-License-Identifier: GPL-2.0
// expect: are too big for the target architecture

//! So many counters that their size, computed in 64 bits, is that of one.

include!("../preamble.rs");

/// Counts far beyond what was allocated.
pub fn count() -> Result {
    PcpuCounters::<{ (1 << 61) + 1 }>::new()?.add(1 << 40, 1);
    Ok(())
}
