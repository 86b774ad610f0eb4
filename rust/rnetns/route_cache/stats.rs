// SPDX-License-Identifier: GPL-2.0

//! What a namespace's cache counts.

use kernel::{
    alloc::AllocError,
    net::pcpu_counters::PcpuCounters, //
};

use super::aside::Seen;

/// Something that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Stat {
    /// Packets that were routed by an entry.
    Hits,
    /// Packets that could have been, but there was none.
    Misses,
    /// Entries that were put in.
    Inserts,
    /// Entries that had to go for others of the same namespace.
    Evictions,
    /// Entries that were not used for the timeout.
    Expiries,
    /// Entries whose route had changed when they were to be used.
    Invalidations,
    /// Entries that were flushed, or whose device went.
    Flushed,
    /// Entries that found no room, or came too late for a flush.
    Refusals,
    /// Packets whose route depends on more than the key.
    Uncacheable,
    /// Packets that were let pass while the cache steps aside, or while it has no tag because it
    /// was flushed too often.
    Bypassed,
    /// Packets for this machine that were left to the sockets, which may know the way.
    Left,
}

/// How many of them there are.
pub(crate) const STATS: usize = Stat::Left as usize + 1;

/// Their names, in that order.
pub(crate) const NAMES: [&core::ffi::CStr; STATS] = [
    c"hits",
    c"misses",
    c"inserts",
    c"evictions",
    c"expiries",
    c"invalidations",
    c"flushed",
    c"refusals",
    c"uncacheable",
    c"bypassed",
    c"left",
];

/// So many packets of one kind, on one CPU, are counted at once for the judgement whether most
/// looks are in vain.
pub(super) const PART: u32 = 64;

/// Behind them, what nobody is shown: hits of the sample in the lower half of the word, and misses
/// in the upper one.
const SAMPLED: usize = STATS;

/// The counters of a namespace: each CPU has its own.
pub(crate) struct Counters(PcpuCounters<{ STATS + 1 }>);

impl Counters {
    pub(crate) fn new() -> Result<Self, AllocError> {
        Ok(Self(PcpuCounters::new()?))
    }

    /// Counts one more.
    #[inline(always)]
    pub(crate) fn count(&self, stat: Stat) {
        self.add(stat, 1);
    }

    /// Counts one more. Says whether there are [`PART`] more on this CPU since it last said so.
    #[inline(always)]
    pub(super) fn count_parts(&self, stat: Stat) -> bool {
        self.0.add_return(stat as usize, 1) % u64::from(PART) == 0
    }

    /// Counts several more.
    #[inline(always)]
    pub(crate) fn add(&self, stat: Stat, value: u64) {
        self.0.add(stat as usize, value);
    }

    /// Counts a packet of the sample that found its route.
    #[inline(always)]
    pub(super) fn count_sampled_hit(&self) {
        self.0.add(SAMPLED, 1);
    }

    /// Counts one that did not, or gained nothing by that.
    pub(super) fn count_sampled_miss(&self) {
        self.0.add(SAMPLED, 1 << 32);
    }

    /// What happened to the packets of the sample.
    pub(super) fn sampled(&self) -> Seen {
        let word = self.0.sum(SAMPLED);
        Seen {
            hits: word as u32,
            misses: (word >> 32) as u32,
        }
    }

    /// What happened to all packets that were looked up. Those that were left to sockets are
    /// neither: they gain nothing, and cost much less than a miss.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            hits: self.hits(),
            misses: self.0.sum(Stat::Misses as usize) as u32,
        }
    }

    /// How many packets found their route.
    pub(super) fn hits(&self) -> u32 {
        self.0.sum(Stat::Hits as usize) as u32
    }

    /// All of them.
    pub(crate) fn sums(&self) -> [u64; STATS] {
        core::array::from_fn(|i| self.0.sum(i))
    }
}
