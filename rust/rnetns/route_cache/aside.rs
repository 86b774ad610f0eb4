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

/// How many packets make a judgement where there were not so many misses.
const PACKETS: u64 = 64;

/// The share of hits, in percent, below which the cache loses: an entry that is put in costs about
/// three times what a hit saves.
const LEAVE_BELOW: u64 = 70;

/// The share from which it is worth its cost again.
const RETURN_FROM: u64 = 80;

/// The sample: 1 in 2^5 keys.
const SAMPLE: u8 = 5;

/// Packets that were looked up.
#[derive(Clone, Copy)]
struct Packets {
    hits: u64,
    all: u64,
}

impl Packets {
    const NONE: Self = Self { hits: 0, all: 0 };

    fn so_far(counters: &Counters) -> Self {
        let hits = counters.sum(Stat::Hits);
        let others = counters.sum(Stat::Misses) + counters.sum(Stat::Left);
        Self {
            hits,
            all: hits + others,
        }
    }

    fn hit_share_is_below(self, percent: u64) -> bool {
        self.hits * 100 < self.all * percent
    }
}

/// Whether the cache steps aside, and what that is judged by.
pub(super) struct Aside {
    aside: bool,
    misses: u32,
    judged: Packets,
}

impl Aside {
    /// The cache is used, and is judged by what comes after `counters`, if there are some already.
    pub(super) fn new(counters: Option<&Counters>) -> Self {
        Self {
            aside: false,
            misses: 0,
            judged: counters.map_or(Packets::NONE, Packets::so_far),
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

    /// Notes a miss. Says whether that made a difference.
    pub(super) fn missed(&mut self, counters: &Counters) -> bool {
        if self.aside {
            return false;
        }
        self.misses += 1;
        self.misses >= MISSES && self.judge(counters)
    }

    /// Judges by what came since the last time, if that was enough. Says whether that made a
    /// difference.
    pub(super) fn judge(&mut self, counters: &Counters) -> bool {
        let so_far = Packets::so_far(counters);
        let since = Packets {
            hits: so_far.hits.saturating_sub(self.judged.hits),
            all: so_far.all.saturating_sub(self.judged.all),
        };
        if since.all < PACKETS {
            return false;
        }
        self.misses = 0;
        self.judged = so_far;
        let before = self.aside;
        self.aside = since.hit_share_is_below(if before { RETURN_FROM } else { LEAVE_BELOW });
        self.aside != before
    }
}
