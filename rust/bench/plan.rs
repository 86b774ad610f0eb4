// SPDX-License-Identifier: GPL-2.0

//! Which keys are looked up, and in which order: the same as in `plan.h`.

/// Words of a key, without the tag: as IPv4 has them.
pub(crate) const KEY_WORDS: usize = 4;

/// Keys have indices, `(random & mask) * step + offset`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// The state of a generator of pseudo-random numbers.
    pub(crate) state: u64,
    /// The value of every entry.
    pub(crate) value: u64,
    /// The tags of the namespaces: this number, and those that follow it.
    pub(crate) tag: u32,
    pub(crate) namespaces: u32,
    pub(crate) mask: u32,
    pub(crate) step: u32,
    pub(crate) offset: u32,
}

impl Plan {
    /// All `entries`, a power of two, spread over the namespaces.
    pub(crate) fn all(entries: u32, namespaces: u32, value: u64) -> Self {
        Self {
            state: 1,
            value,
            tag: 1,
            namespaces,
            mask: entries - 1,
            step: 1,
            offset: 0,
        }
    }

    /// The same number of keys that no entry has.
    pub(crate) fn missing(self) -> Self {
        Self {
            offset: self.mask + 1,
            ..self
        }
    }

    /// `hot` of them, a power of two, spread over all.
    pub(crate) fn hot(self, hot: u32) -> Self {
        Self {
            mask: hot - 1,
            step: (self.mask + 1) / hot,
            ..self
        }
    }

    /// Others of one namespace, whose tag no entry of the rest has; a power of two.
    pub(crate) fn of_another(self, number: u32, entries: u32) -> Self {
        Self {
            tag: self.tag + self.namespaces + number,
            namespaces: 1,
            mask: entries - 1,
            ..self
        }
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> u32 {
        self.mask + 1
    }

    /// The index of the key that comes next.
    #[inline(always)]
    pub(crate) fn next(&self, state: &mut u64) -> u32 {
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((*state >> 33) as u32 & self.mask)
            .wrapping_mul(self.step)
            .wrapping_add(self.offset)
    }

    /// The index of the key that is inserted as the n-th: an order that has nothing to do with
    /// that of the indices.
    #[inline(always)]
    pub(crate) fn nth(&self, n: u32) -> u32 {
        (n.wrapping_mul(0x2c1b3c6d) & self.mask)
            .wrapping_mul(self.step)
            .wrapping_add(self.offset)
    }

    /// Tag and key of an index. What a longer key has more is like the rest.
    #[inline(always)]
    pub(crate) fn key<const N: usize>(&self, i: u32) -> (u32, [u32; N]) {
        let mixed = i.wrapping_mul(0x9e3779b1);
        let tag = self.tag + ((u64::from(mixed) * u64::from(self.namespaces)) >> 32) as u32;
        let key = core::array::from_fn(|word| match word {
            0 => mixed,
            1 => i ^ 0x0a000000,
            2 => 2 + (i & 3),
            3 => 0,
            _ => mixed.rotate_left(word as u32),
        });
        (tag, key)
    }
}
