// SPDX-License-Identifier: GPL-2.0

//! The base kernel's prelude, and what its crate knows of its own types and others do not.

use theirs::alloc::Flags;
pub use theirs::prelude::*;

/// Flags for allocations as C knows them: `Flags::as_raw()` in a kernel tree.
pub trait RawFlags: Copy {
    /// Returns the number.
    fn as_raw(self) -> u32;
}

impl RawFlags for Flags {
    #[inline]
    fn as_raw(self) -> u32 {
        // SAFETY: The type is one number (`gfp_t`), which any bits are valid for. The compiler
        // refuses this if the sizes differ.
        unsafe { core::mem::transmute::<Flags, u32>(self) }
    }
}
