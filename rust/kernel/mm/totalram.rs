// SPDX-License-Identifier: GPL-2.0

//! How much memory the machine has: tables are sized by it.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::bindings;

/// Returns the number of pages of memory that the machine has.
///
/// # Examples
///
/// ```
/// # use kernel::mm::totalram_pages;
/// assert!(totalram_pages() > 0);
/// ```
#[inline]
pub fn totalram_pages() -> usize {
    // SAFETY: The function reads a counter.
    unsafe { bindings::totalram_pages() }
}
