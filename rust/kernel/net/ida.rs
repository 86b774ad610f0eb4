// SPDX-License-Identifier: GPL-2.0

//! Numbers that are handed out and taken back.
//!
//! C header: [`include/linux/idr.h`](srctree/include/linux/idr.h)

use crate::{
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
/// # use kernel::net::ida::Ida;
/// fn numbers() -> Result {
///     let ida = KBox::pin_init(Ida::new(), GFP_KERNEL)?;
///     let id = ida.alloc(1, 99)?;
///     ida.free(id);
///     Ok(())
/// }
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
    /// `ENOSPC` if there is none, `ENOMEM`. May sleep. Wraps `ida_alloc_range()`.
    #[inline]
    pub fn alloc(&self, min: u32, max: u32) -> Result<u32> {
        self.alloc_with(min, max, bindings::GFP_KERNEL)
    }

    /// The same for any context, with memory that is there at once.
    #[inline]
    pub fn alloc_atomic(&self, min: u32, max: u32) -> Result<u32> {
        self.alloc_with(min, max, bindings::GFP_ATOMIC)
    }

    #[inline]
    fn alloc_with(&self, min: u32, max: u32, flags: bindings::gfp_t) -> Result<u32> {
        // SAFETY: By the type invariant the allocator is initialised.
        let id = unsafe { bindings::ida_alloc_range(self.ida.get(), min, max, flags) };
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
