// SPDX-License-Identifier: GPL-2.0

//! An owner's tag, where look-ups find it.

use core::cell::UnsafeCell;

use super::Tag;

/// How many bits the tag has of the word.
const TAG_BITS: u32 = 24;

/// No tag, because it is off: a sample of nothing.
const OFF: u32 = 1 << TAG_BITS;

/// The tag to look up with, and whether only a sample is looked up: one word, so that a look-up
/// reads both at once.
pub struct Published(UnsafeCell<u32>);

// SAFETY: The word is read and written whole.
unsafe impl Sync for Published {}

impl Published {
    /// Nothing is looked up.
    #[inline]
    pub fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// The tag, and whether only a sample is looked up.
    #[inline(always)]
    pub fn get(&self) -> Option<(Tag, bool)> {
        // SAFETY: The word is valid, and written whole. `READ_ONCE()`.
        let word = unsafe { self.0.get().read_volatile() };
        let tag = Tag::from_number(word & ((1 << TAG_BITS) - 1))?;
        Some((tag, word >> TAG_BITS != 0))
    }

    /// Whether there is no tag because [`set_off`](Self::set_off) said so.
    #[inline]
    pub fn is_off(&self) -> bool {
        // SAFETY: The word is valid, and written whole. `READ_ONCE()`.
        unsafe { self.0.get().read_volatile() == OFF }
    }

    /// Nothing is looked up, and that is meant.
    #[inline]
    pub fn set_off(&self) {
        // SAFETY: The word is valid, and read whole by others. `WRITE_ONCE()`.
        unsafe { self.0.get().write_volatile(OFF) };
    }

    /// Changes both. Look-ups that have begun may still use what was before.
    pub fn set(&self, tag: Option<Tag>, sample: bool) {
        let word = tag.map_or(0, |tag| tag.get() | u32::from(sample) << TAG_BITS);
        // SAFETY: The word is valid, and read whole by others. `WRITE_ONCE()`.
        unsafe { self.0.get().write_volatile(word) };
    }
}

impl Default for Published {
    fn default() -> Self {
        Self::new()
    }
}
