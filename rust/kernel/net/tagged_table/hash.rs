// SPDX-License-Identifier: GPL-2.0

//! The hash of keys: seeded at random, so that who does not know the seed cannot choose keys that
//! meet in one place.

use kernel::{
    ffi::c_void,
    prelude::*, //
};

use super::Tag;
use crate::bindings;

/// The longest key in words, with the tag, rounded up to pairs.
const MAX_WORDS: usize = 12;

/// The seed.
///
/// The hash is the sum of the products of pairs of words, to each of which a secret number is
/// added, modulo 2^64. The upper half of it is strongly universal for words of 32 bits (Lemire and
/// Kaser, "Strongly universal string hashing is fast"): any two keys meet with the probability
/// that chance has, for whoever chooses keys without the seed. It is a few multiplications that
/// do not wait for each other.
pub(super) struct Secrets([u64; MAX_WORDS + 1]);

impl Secrets {
    /// Takes a new seed from the kernel's random numbers. May sleep until there are some.
    pub(super) fn new() -> Self {
        let mut secrets = [0u64; MAX_WORDS + 1];
        // SAFETY: The array is valid for writes of its size.
        unsafe {
            bindings::wait_for_random_bytes();
            bindings::get_random_bytes(
                secrets.as_mut_ptr().cast::<c_void>(),
                size_of_val(&secrets),
            );
        }
        Self(secrets)
    }

    /// The hash of a tag and a key.
    #[inline(always)]
    pub(super) fn hash<const N: usize>(&self, tag: Tag, key: &[u32; N]) -> Hash {
        const { assert!(N < MAX_WORDS) };
        let s = &self.0;
        let word = |i: usize| match i {
            0 => tag.get().into(),
            i if i <= N => u64::from(key[i - 1]),
            _ => 0,
        };
        let mut sum = s[MAX_WORDS];
        let mut i = 0;
        while i <= N {
            let first = word(i).wrapping_add(s[i]);
            let second = word(i + 1).wrapping_add(s[i + 1]);
            sum = sum.wrapping_add(first.wrapping_mul(second));
            i += 2;
        }
        Hash(sum)
    }
}

/// A hash, of which only the upper half is used.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    /// The index of the line where a key is looked for first.
    #[inline(always)]
    pub(super) fn line(self, mask: u32) -> u32 {
        (self.0 >> 32) as u32 & mask
    }

    /// Whether the key is one of those, 1 in 2^`shift`, that a sample is made of. Bits that
    /// [`line`](Self::line) does not use: a sample is spread over the whole table.
    #[inline(always)]
    pub(super) fn in_sample(self, shift: u32) -> bool {
        self.0.leading_zeros() >= shift
    }
}
