// SPDX-License-Identifier: GPL-2.0

//! Jiffies as other units.
//!
//! C header: [`include/linux/jiffies.h`](srctree/include/linux/jiffies.h)

use crate::bindings;

/// Converts jiffies to milliseconds.
///
/// # Examples
///
/// ```
/// # use kernel::time::jiffies64_to_msecs;
/// # use kernel::time::msecs_to_jiffies;
/// assert_eq!(jiffies64_to_msecs(msecs_to_jiffies(1000) as u64), 1000);
/// ```
#[inline]
pub fn jiffies64_to_msecs(jiffies: u64) -> u64 {
    // SAFETY: The function is always safe to call.
    unsafe { bindings::jiffies64_to_msecs(jiffies) }
}
