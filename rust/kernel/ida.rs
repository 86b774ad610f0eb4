// SPDX-License-Identifier: GPL-2.0

//! Numbers that are handed out and taken back.
//!
//! C header: [`include/linux/idr.h`](srctree/include/linux/idr.h)

use crate::{
    alloc::Flags,
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// An allocator of small numbers: the lowest that is free is given out next.
///
/// # Invariants
///
/// `ida` is initialised.
///
/// # Examples
///
/// ```
/// # use kernel::ida::Ida;
/// let ida = KBox::pin_init(Ida::new(), GFP_KERNEL)?;
/// assert_eq!(ida.alloc(1, 2, GFP_KERNEL)?, 1);
/// assert_eq!(ida.alloc(1, 2, GFP_KERNEL)?, 2);
/// assert_eq!(ida.alloc(1, 2, GFP_KERNEL), Err(ENOSPC));
/// ida.free(1);
/// assert_eq!(ida.alloc(1, 2, GFP_KERNEL)?, 1);
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Ida {
    #[pin]
    ida: Opaque<bindings::ida>,
}

// SAFETY: An allocator belongs to no thread.
unsafe impl Send for Ida {}

// SAFETY: `ida_alloc_range()` and `ida_free()` take the allocator's own lock.
unsafe impl Sync for Ida {}

impl Ida {
    /// Makes an allocator that has given out nothing. Wraps `ida_init()`.
    #[inline]
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: `ida_init()` initialises it.
        pin_init!(Self {
            // SAFETY: The memory is valid for writes, and pinned.
            ida <- Opaque::ffi_init(|ida: *mut bindings::ida| unsafe { bindings::ida_init(ida) }),
        })
    }

    /// Gives out the lowest free number from `min` to `max`.
    ///
    /// `ENOSPC` if there is none, `ENOMEM`. May sleep if `flags` allow it. Wraps
    /// `ida_alloc_range()`.
    #[inline]
    pub fn alloc(&self, min: u32, max: u32, flags: Flags) -> Result<u32> {
        // SAFETY: By the type invariant the allocator is initialised.
        let id = unsafe { bindings::ida_alloc_range(self.ida.get(), min, max, flags.as_raw()) };
        to_result(id)?;
        Ok(id as u32)
    }

    /// Takes a number back. One that was not given out is reported in the kernel log.
    ///
    /// Any context. Wraps `ida_free()`.
    #[inline]
    pub fn free(&self, id: u32) {
        // SAFETY: By the type invariant the allocator is initialised; it checks the number.
        unsafe { bindings::ida_free(self.ida.get(), id) };
    }
}

#[pinned_drop]
impl PinnedDrop for Ida {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the allocator is initialised, and nobody uses it any more.
        unsafe { bindings::ida_destroy(self.ida.get()) };
    }
}
