// SPDX-License-Identifier: GPL-2.0

//! The hash of keys: seeded at random, so that nobody can choose keys that collide.

use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::Tag;

/// The longest key in words, with the tag, rounded up to pairs.
const MAX_WORDS: usize = 12;

/// The longest pair of addresses, in words.
const MAX_ENDS: usize = 8;

/// 2^32 divided by the golden ratio, as `GOLDEN_RATIO_32` of `linux/hash.h`, and odd.
const GOLDEN: u32 = 0x9e37_79b1;

/// The same for 2^64.
const GOLDEN64: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seed.
///
/// A secret number is added to each word; the hash is the sum of the products of pairs of these,
/// modulo 2^64. Its upper half is strongly universal for words of 32 bits (Lemire and Kaser,
/// "Strongly universal string hashing is fast"): two keys that were chosen without the seed collide
/// no more often than random ones. It takes a few multiplications that do not wait for each other.
pub(super) struct Secrets {
    keys: [u64; MAX_WORDS + 1],
    sample: [u64; MAX_ENDS],
}

impl Secrets {
    /// Takes a new seed from the kernel's random numbers. May sleep until there are some;
    /// `ERESTARTSYS` if a signal comes first.
    #[inline]
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            keys: random()?,
            sample: random()?,
        })
    }

    /// The hash of a tag and a key.
    #[inline(always)]
    pub(super) fn hash<const N: usize>(&self, tag: Tag, key: &[u32; N]) -> Hash {
        const { assert!(N < MAX_WORDS) };
        let s = &self.keys;
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

    /// Whether the ends of a flow, an even number of words, belong to a sample, 1 in 2^`shift`, of
    /// all.
    #[inline(always)]
    pub(super) fn in_sample<const M: usize>(&self, shift: u32, ends: &[u32; M]) -> bool {
        const { assert!(M <= MAX_ENDS && M.is_multiple_of(2)) };
        let word = |i: usize| u64::from(ends[i]).wrapping_add(self.sample[i]);
        let mut sum = 0u64;
        let mut i = 0;
        while i < M {
            sum = sum.wrapping_add(word(i).wrapping_mul(word(i + 1)));
            i += 2;
        }
        // Words in a row make sums in a row: the second multiplication scatters them.
        let mixed = (sum ^ sum >> 32).wrapping_mul(GOLDEN64);
        mixed.leading_zeros() >= shift
    }
}

/// Random words, which nobody can guess. May sleep until there are some.
fn random<const N: usize>() -> Result<[u64; N]> {
    let mut words = [0u64; N];
    // SAFETY: The function has no requirement but to be called where one may sleep.
    to_result(unsafe { bindings::wait_for_random_bytes() })?;
    // SAFETY: The array is valid for writes of its size.
    unsafe {
        bindings::get_random_bytes(words.as_mut_ptr().cast::<c_void>(), size_of_val(&words));
    }
    Ok(words)
}

/// A hash. Only its upper half is used.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    /// The index of the line where a key is looked for first, for a table of 2^(32 - `shift`)
    /// lines.
    ///
    /// As a word of the keys grows, as addresses in a row do, the hash grows by the same step each
    /// time, and with some seeds these steps fill a few regions of the table alone. Multiplying
    /// again, after the upper bits were added to the lower ones, scatters them; it is one to one,
    /// so that any two keys still meet by chance only.
    #[inline(always)]
    pub(super) fn line(self, shift: u32) -> u32 {
        let upper = (self.0 >> 32) as u32;
        let mixed = (upper ^ upper >> 16).wrapping_mul(GOLDEN);
        (u64::from(mixed) >> shift) as u32
    }
}
