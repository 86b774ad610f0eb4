// SPDX-License-Identifier: GPL-2.0
// expect: E0515
// expect: returns a value referencing data owned by the current function

//! What was checked is valid until the RCU critical section is over.

include!("../preamble.rs");

/// Lets the destination out of the critical section.
pub fn escape(dst: &Dst) -> Option<&ValidDst> {
    let guard = rcu::read_lock();
    dst.check_now(&guard)
}
