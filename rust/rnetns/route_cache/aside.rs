// SPDX-License-Identifier: GPL-2.0

//! Stepping aside where the cache cannot help.
//!
//! A packet whose route is not in the cache pays for a look-up that finds nothing, and for an
//! entry. Where that happens too often (flows that never come back, spoofed sources, more flows
//! than the quota), the cache of the namespace steps aside: only packets of a *sample* of all
//! pairs of addresses are looked up, and the sample has that share of the quota alone. What happens
//! to the sample is then what would happen to all, on a smaller scale: so it tells when the cache is
//! worth its cost again.
//!
//! While the cache is used, all packets are what it is judged by. The sample only says when: where
//! it has few misses, the cache may still be filling. A cache that was called back by its sample
//! misses many routes at first, none of which are in the sample.
//!
//! A sample misleads where few flows make most of the traffic. If none of them is in it, it stays
//! empty or has misses alone; so the cache comes back now and then without being told. If one is, the
//! sample has hits alone, where all together have few: then it is not asked before that time.

use kernel::time::{
    Instant,
    Monotonic, //
};

use super::stats::Counters;

/// The sample: 1 in 2^10 pairs of addresses. A packet of it that is not found costs as much as thirty
/// that pass by.
pub(super) const SAMPLE: u32 = 10;

/// So many misses of the sample call for a judgement on the cache that is used.
const MISSES: u32 = 16;

/// So many packets of the sample judge the cache that steps aside.
const PACKETS: u32 = 64;

/// When those did not come in so many milliseconds there is not much traffic, or none of it is in the
/// sample.
const QUIET_MS: i64 = 5000;

/// After so many milliseconds the cache comes back whatever the sample says. If that was wrong, it
/// costs some thousand entries that are put in for nothing.
const TRIAL_MS: i64 = 30_000;

/// The share of hits, in percent, below which the cache loses: an entry that is put in costs about
/// three times what a hit saves.
const LEAVE_BELOW: u64 = 70;

/// The share from which it is worth its cost again.
const RETURN_FROM: u64 = 80;

/// What happened to packets. Both numbers wrap around.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Those that found their route.
    pub(super) hits: u32,
    /// Those that did not.
    pub(super) misses: u32,
}

impl Seen {
    fn since(self, earlier: Self) -> Self {
        Self {
            hits: self.hits.wrapping_sub(earlier.hits),
            misses: self.misses.wrapping_sub(earlier.misses),
        }
    }

    fn packets(self) -> u64 {
        u64::from(self.hits) + u64::from(self.misses)
    }

    /// Whether the share of hits is at least `percent`.
    fn has_hits(self, percent: u64) -> bool {
        u64::from(self.hits) * 100 >= self.packets() * percent
    }
}

/// Whether the cache steps aside, and what that is judged by.
pub(super) struct Aside {
    aside: bool,
    /// Whether the sample can call back the cache.
    is_sample_trusted: bool,
    /// Misses of the sample since the last judgement.
    misses: u32,
    /// What had been seen of all packets and of the sample by then, and when that was.
    all: Seen,
    sampled: Seen,
    judged: Instant<Monotonic>,
    /// Since when the cache steps aside.
    since: Instant<Monotonic>,
}

impl Aside {
    /// The cache is used, and is judged by what comes from now on.
    pub(super) fn new(counters: &Counters) -> Self {
        let now = Instant::now();
        Self {
            aside: false,
            is_sample_trusted: true,
            misses: 0,
            all: counters.seen(),
            sampled: counters.sampled(),
            judged: now,
            since: now,
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

    /// A packet of the sample had no entry. Says whether the cache steps aside because of that.
    pub(super) fn missed(&mut self, counters: &Counters) -> bool {
        if self.aside {
            return false;
        }
        self.misses += 1;
        if self.misses < MISSES {
            return false;
        }
        let now = Self::new(counters);
        let all = now.all.since(self.all);
        let sampled = now.sampled.since(self.sampled);
        *self = Self {
            aside: !all.has_hits(LEAVE_BELOW),
            is_sample_trusted: !sampled.has_hits(RETURN_FROM),
            ..now
        };
        self.aside
    }

    /// Lets the cache come back when it is time. Is called now and then.
    pub(super) fn check(&mut self, counters: &Counters) {
        if !self.aside {
            return;
        }
        let now = Self::new(counters);
        let sampled = now.sampled.since(self.sampled);
        let is_judged = sampled.packets() >= PACKETS.into();
        if (is_judged && self.is_sample_trusted && sampled.has_hits(RETURN_FROM))
            || (!is_judged && self.judged.elapsed().as_millis() >= QUIET_MS)
            || self.since.elapsed().as_millis() >= TRIAL_MS
        {
            *self = now;
        } else if is_judged {
            self.sampled = now.sampled;
            self.judged = now.judged;
        }
    }
}
