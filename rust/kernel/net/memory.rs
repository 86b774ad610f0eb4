// SPDX-License-Identifier: GPL-2.0

//! How much memory the machine has: tables are sized by it.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::bindings;

/// The machine's memory in bytes. Wraps `totalram_pages()`.
#[inline]
pub fn total_bytes() -> usize {
    // SAFETY: The function reads a counter.
    let pages = unsafe { bindings::totalram_pages() };
    pages.saturating_mul(crate::page::PAGE_SIZE)
}
