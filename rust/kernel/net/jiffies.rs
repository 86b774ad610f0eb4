// SPDX-License-Identifier: GPL-2.0

//! Jiffies, as user space counts time. Upstream, this belongs to `kernel::time`.
//!
//! C header: [`include/linux/jiffies.h`](srctree/include/linux/jiffies.h)

use crate::bindings;

/// Milliseconds for a number of jiffies. Wraps `jiffies64_to_msecs()`.
#[inline]
pub fn jiffies_to_msecs(jiffies: u64) -> u64 {
    // SAFETY: The function has no requirement.
    unsafe { bindings::jiffies64_to_msecs(jiffies) }
}
