// SPDX-License-Identifier: GPL-2.0

//! Stepping aside where the cache cannot help.
//!
//! A packet whose route is not in the cache pays for a look-up that finds nothing, and for an
//! entry. Where that happens too often (flows that never come back, spoofed sources, more flows
//! than the quota), the cache of the namespace steps aside: only packets of a *sample* of all
//! pairs of addresses are looked up, and the sample has that share of the quota alone. What happens
//! to the sample is then what would happen to all, on a smaller scale: so it tells when the cache is
//! worth its cost again. Of a few flows, none may be in the sample: where it stays empty, the cache
//! comes back too.
//!
//! It is the sample that is judged by at any time. Were it all packets, a cache that comes back
//! would have to step aside again because of the many that it has not seen for a while.

use kernel::time::{
    Instant,
    Monotonic, //
};

use super::stats::Counters;

/// The sample: 1 in 2^7 pairs of addresses. A packet of it that is not found costs as much as thirty
/// that pass by.
pub(super) const SAMPLE: u32 = 7;

/// A judgement needs so many packets of the sample.
const PACKETS: u32 = 64;

/// When no judgement was made for so many milliseconds there is not much traffic, or none of it is
/// in the sample.
const QUIET_MS: i64 = 5000;

/// How many misses of the sample make a judgement; else it is made now and then.
const MISSES: u32 = 64;

/// The share of hits, in percent, below which the cache loses: an entry that is put in costs about
/// three times what a hit saves.
const LEAVE_BELOW: u64 = 70;

/// The share from which it is worth its cost again.
const RETURN_FROM: u64 = 80;

/// What happened to packets of the sample. Both numbers wrap around.
#[derive(Clone, Copy)]
pub(super) struct Sampled {
    /// Those that found their route.
    pub(super) hits: u32,
    /// Those that did not.
    pub(super) misses: u32,
}

/// Whether the cache steps aside, and what that is judged by.
pub(super) struct Aside {
    aside: bool,
    /// Misses since the last judgement, and what there had been by then.
    misses: u32,
    judged: Sampled,
    /// When that was.
    since: Instant<Monotonic>,
}

impl Aside {
    /// The cache is used, and is judged by what comes from now on.
    pub(super) fn new(counters: &Counters) -> Self {
        Self {
            aside: false,
            misses: 0,
            judged: counters.sampled(),
            since: Instant::now(),
        }
    }

    /// Whether the cache steps aside.
    pub(super) fn is_aside(&self) -> bool {
        self.aside
    }

    /// How many entries there may be.
    pub(super) fn limit(&self, quota: u32) -> u32 {
        if self.aside {
            // As few as make no judgement would say nothing.
            (quota >> SAMPLE).max(quota.min(PACKETS))
        } else {
            quota
        }
    }

    /// A packet of the sample had no entry. Says whether that made a difference.
    pub(super) fn missed(&mut self, counters: &Counters) -> bool {
        self.misses += 1;
        !self.aside && self.misses >= MISSES && self.judge(counters)
    }

    /// Judges now and then, while the cache steps aside.
    pub(super) fn check(&mut self, counters: &Counters) {
        if !self.judge(counters) && self.aside && self.since.elapsed().as_millis() >= QUIET_MS {
            *self = Self::new(counters);
        }
    }

    /// Judges by what came since the last time, if that was enough. Says whether that made a
    /// difference.
    fn judge(&mut self, counters: &Counters) -> bool {
        let so_far = counters.sampled();
        let hits = so_far.hits.wrapping_sub(self.judged.hits);
        let misses = so_far.misses.wrapping_sub(self.judged.misses);
        if hits.saturating_add(misses) < PACKETS {
            return false;
        }
        self.misses = 0;
        self.since = Instant::now();
        self.judged = so_far;
        let all = u64::from(hits) + u64::from(misses);
        let enough = if self.aside { RETURN_FROM } else { LEAVE_BELOW };
        let before = core::mem::replace(&mut self.aside, u64::from(hits) * 100 < all * enough);
        self.aside != before
    }
}
