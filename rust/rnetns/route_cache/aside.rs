// SPDX-License-Identifier: GPL-2.0

//! Stepping aside where the cache cannot help.
//!
//! A packet whose route is not in the cache pays for a look-up that finds nothing, and for an
//! entry. If that happens too often (flows that never come back, spoofed sources, more flows than
//! the quota), the cache of the namespace steps aside: it looks up only a *sample* of all pairs of
//! addresses. The sample has the same share of the quota, so it shows on a small scale what would
//! happen to all packets, and tells when the cache is worth its cost again.
//!
//! A packet for this machine gains nothing by its entry: it is left to the sockets. Where nearly
//! all looks are *in vain*, because there is no entry or it is of no use, the cache steps aside at
//! once: a machine that only talks for itself has no use for it.
//!
//! While the cache is in use, it is judged by all packets. The sample only says when: if it has few
//! misses, the cache may still be filling. After its sample has called it back, a cache misses many
//! routes at first, because only those of the sample are in it.
//!
//! Even the sample costs something, and so does each packet that is let pass: a call, and a look at
//! whether there is a cache. So where nobody else has hooks, the cache takes its own out of the
//! packets' way while it steps aside. Then it sees nothing, and comes back after some seconds to
//! look: later each time that this was for nothing.
//!
//! A sample misleads if few flows make most of the traffic. If none of them is in the sample, it
//! stays empty or only misses; so the cache comes back now and then without being told. If one of
//! them is in the sample, it only hits although all packets together rarely do; then it has no say
//! before that time.

use kernel::time::{
    Instant,
    Monotonic, //
};

use super::stats::{
    Counters,
    PART, //
};

/// The sample: 1 in 2^10 pairs of addresses. A miss in it costs as much as thirty packets that are
/// let pass.
pub(super) const SAMPLE: u32 = 10;

/// After this many misses in the sample, a cache in use is judged.
const MISSES: u32 = 16;

/// After this many packets in the sample, a cache that steps aside is judged.
const PACKETS: u32 = 64;

/// If they did not come in this many milliseconds, there is little traffic, or none of it is in the
/// sample.
const QUIET_MS: i64 = 5000;

/// After this many milliseconds the cache comes back whatever the sample says. If that was wrong,
/// it costs some thousand entries that are inserted for nothing.
const TRIAL_MS: i64 = 30_000;

/// How often the time that a cache is out of the way is doubled, if it was in use only for moments
/// before: from [`QUIET_MS`] up to eight times that.
const MAX_DOUBLED: u32 = 3;

/// The cache costs more than it saves below this share of hits, in percent: an insertion costs
/// about three times what a hit saves.
const LEAVE_BELOW: u64 = 70;

/// After this many looks in vain, it is judged whether most are. Twice that, and what no CPU has
/// told yet, are at most 4,096 packets without a hit on up to eight CPUs.
const IN_VAIN: u32 = 1536;

/// Most looks are in vain if there are this many times as many as hits, at least. Flows that have
/// only begun have more hits than that, unless each sends one packet in turn.
const VAIN_PER_HIT: u32 = 15;

/// From this share on it is worth its cost again.
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

/// Whether the cache steps aside, and the figures for the next judgement.
pub(super) struct Aside {
    aside: bool,
    /// Whether the sample can call back the cache.
    is_sample_trusted: bool,
    /// Misses of the sample since the last judgement.
    misses: u32,
    /// The figures of all packets and of the sample at the last judgement, and its time.
    all: Seen,
    sampled: Seen,
    /// Looks in vain since it was judged whether most are, the hits at that time, and the sample's.
    vain: u32,
    hits: u32,
    sampled_then: Seen,
    /// Whether the sample has called back the cache, which is still filling then.
    is_called_back: bool,
    judged: Instant<Monotonic>,
    /// Since when it is in use, or was before it stepped aside, and how often in a row that was
    /// short.
    in_use: Instant<Monotonic>,
    short: u32,
    /// Since when the cache steps aside.
    since: Instant<Monotonic>,
}

impl Aside {
    /// The cache is in use, and will be judged by the packets from now on.
    pub(super) fn new(counters: &Counters) -> Self {
        let now = Instant::now();
        let (all, sampled) = (counters.seen(), counters.sampled());
        Self {
            aside: false,
            is_sample_trusted: true,
            misses: 0,
            all,
            sampled,
            vain: 0,
            hits: all.hits,
            sampled_then: sampled,
            is_called_back: false,
            judged: now,
            in_use: now,
            short: 0,
            since: now,
        }
    }

    /// Steps aside, or goes on.
    fn judged(&self, aside: bool, is_sample_trusted: bool, counters: &Counters) -> Self {
        let is_short = self.in_use.elapsed().as_millis() < 2 * QUIET_MS;
        let short = match (aside, is_short) {
            (true, true) => (self.short + 1).min(MAX_DOUBLED),
            (true, false) => 0,
            (false, _) => self.short,
        };
        Self {
            aside,
            is_sample_trusted,
            in_use: self.in_use,
            short,
            ..Self::new(counters)
        }
    }

    /// Is in use again.
    pub(super) fn come_back(&mut self, counters: &Counters, is_called_back: bool) {
        *self = Self {
            is_called_back,
            short: self.short,
            ..Self::new(counters)
        };
    }

    /// Whether it is time to come back, for a cache that is out of the packets' way.
    pub(super) fn is_time(&self) -> bool {
        self.aside && self.since.elapsed().as_millis() >= QUIET_MS << self.short
    }

    /// Whether the cache steps aside.
    pub(super) fn is_aside(&self) -> bool {
        self.aside
    }

    /// How many entries there may be.
    pub(super) fn limit(&self, quota: u32) -> u32 {
        if self.aside {
            // With too few for a judgement, the sample would never say anything.
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
        let aside = !all.has_hits(LEAVE_BELOW);
        *self = self.judged(aside, !sampled.has_hits(RETURN_FROM), counters);
        self.aside
    }

    /// A CPU has looked in vain [`PART`] times more. Says whether the cache steps aside because of
    /// that.
    pub(super) fn in_vain(&mut self, counters: &Counters) -> bool {
        if self.aside {
            return false;
        }
        self.vain += PART;
        if self.vain < IN_VAIN {
            return false;
        }
        let (hits, sampled) = (counters.hits(), counters.sampled());
        let most = hits.wrapping_sub(self.hits) < self.vain / VAIN_PER_HIT;
        let seen = sampled.since(self.sampled_then);
        (self.vain, self.hits, self.sampled_then) = (0, hits, sampled);
        if !most {
            self.is_called_back = false;
        } else if !self.is_called_back {
            let is_sample_trusted = seen.packets() == 0 || !seen.has_hits(RETURN_FROM);
            *self = self.judged(true, is_sample_trusted, counters);
        }
        self.aside
    }

    /// Lets the cache come back when it is time. Called now and then.
    pub(super) fn check(&mut self, counters: &Counters) {
        if !self.aside {
            return;
        }
        let now = Self::new(counters);
        let sampled = now.sampled.since(self.sampled);
        let is_judged = sampled.packets() >= PACKETS.into();
        let is_called_back = is_judged && self.is_sample_trusted && sampled.has_hits(RETURN_FROM);
        if is_called_back
            || (!is_judged && self.judged.elapsed().as_millis() >= QUIET_MS)
            || self.since.elapsed().as_millis() >= TRIAL_MS
        {
            self.come_back(counters, is_called_back);
        } else if is_judged {
            self.sampled = now.sampled;
            self.judged = now.judged;
        }
    }
}
