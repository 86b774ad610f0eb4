// SPDX-License-Identifier: GPL-2.0

//! Stepping aside where the cache cannot help.
//!
//! A packet whose route is not in the cache pays for a look-up that finds nothing, and for an
//! entry. Where that happens too often (flows that never come back, spoofed sources), the cache of
//! the namespace looks up a sample of all keys only. What happens to the sample is what would
//! happen to all: so it tells when the cache is worth its cost again.

use super::stats::{
    Counters,
    Stat, //
};

/// How many misses make a judgement.
const MISSES: u32 = 512;

/// How many packets of a sample make a judgement.
const SAMPLED: u64 = 64;

/// The share of hits, in percent, below which the cache loses: an entry that is put in costs about
/// three times what a hit saves.
const LEAVE_BELOW: u64 = 70;

/// The share from which it is worth its cost again.
const RETURN_FROM: u64 = 80;

/// The sample: 1 in 2^5 keys.
const SAMPLE: u8 = 5;

/// Whether the cache steps aside, and what that is judged by.
pub(super) struct Aside {
    aside: bool,
    misses: u32,
    /// Hits and misses up to the last judgement.
    judged: (u64, u64),
}

impl Aside {
    pub(super) fn new() -> Self {
        Self {
            aside: false,
            misses: 0,
            judged: (0, 0),
        }
    }

    /// Whether the cache steps aside.
    pub(super) fn is_aside(&self) -> bool {
        self.aside
    }

    /// Which keys are looked up: 1 in 2^*sample*.
    pub(super) fn sample(&self) -> u8 {
        if self.aside {
            SAMPLE
        } else {
            0
        }
    }

    /// Notes a miss. Says whether that changed anything.
    pub(super) fn missed(&mut self, counters: &Counters) -> bool {
        if self.aside {
            return false;
        }
        self.misses += 1;
        if self.misses < MISSES {
            return false;
        }
        self.misses = 0;
        let (hits, all) = self.since(counters);
        self.aside = hits * 100 < all * LEAVE_BELOW;
        self.aside
    }

    /// Looks whether an aside cache should come back.
    pub(super) fn look(&mut self, counters: &Counters) {
        if !self.aside {
            return;
        }
        let now = sums(counters);
        if now.0 + now.1 - self.judged.0 - self.judged.1 < SAMPLED {
            return;
        }
        let (hits, all) = self.since(counters);
        self.aside = hits * 100 < all * RETURN_FROM;
    }

    /// Hits, and hits and misses together, since the last judgement, which is now.
    fn since(&mut self, counters: &Counters) -> (u64, u64) {
        let now = sums(counters);
        let hits = now.0.saturating_sub(self.judged.0);
        let misses = now.1.saturating_sub(self.judged.1);
        self.judged = now;
        (hits, hits + misses)
    }
}

fn sums(counters: &Counters) -> (u64, u64) {
    (counters.sum(Stat::Hits), counters.sum(Stat::Misses))
}
