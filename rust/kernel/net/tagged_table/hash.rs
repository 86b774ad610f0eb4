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

/// 2^32 divided by the golden ratio, as `GOLDEN_RATIO_32` of `linux/hash.h`, and odd.
const GOLDEN: u32 = 0x9e37_79b1;

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
    /// The index of the line where a key is looked for first, for a table of 2^(32 - `shift`) lines.
    ///
    /// As a word of the keys grows, as addresses in a row do, the hash grows by the same step each
    /// time, and with some seeds these steps fill a few regions of the table alone. Multiplying
    /// again, after the upper bits were added to the lower ones, scatters them; it is one to one, so
    /// that any two keys still meet by chance only.
    #[inline(always)]
    pub(super) fn line(self, shift: u32) -> u32 {
        let upper = (self.0 >> 32) as u32;
        let mixed = (upper ^ upper >> 16).wrapping_mul(GOLDEN);
        (u64::from(mixed) >> shift) as u32
    }

    /// Whether the key is one of those, 1 in 2^`shift`, that a sample is made of. The
    /// sample is spread over the whole table.
    #[inline(always)]
    pub(super) fn in_sample(self, shift: u32) -> bool {
        self.0.leading_zeros() >= shift
    }
}
