// SPDX-License-Identifier: GPL-2.0

//! Repeats of a measurement, and how they are shown.

use kernel::{
    fmt,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How often each thing is measured. Odd: the median is one of them.
pub(crate) const REPEATS: usize = 11;

/// What one thing costs, in picoseconds for each operation, once for each repeat.
pub(crate) struct Figure {
    name: &'static str,
    picoseconds: [u64; REPEATS],
    lost: u64,
}

impl Figure {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            picoseconds: [0; REPEATS],
            lost: 0,
        }
    }

    /// Notes that `operations` took `nanoseconds` in one repeat.
    pub(crate) fn note(&mut self, repeat: usize, nanoseconds: u64, operations: u64) {
        if let Some(slot) = self.picoseconds.get_mut(repeat) {
            *slot = nanoseconds.saturating_mul(1000) / operations.max(1);
        }
    }

    /// Notes operations that came to nothing.
    pub(crate) fn note_lost(&mut self, lost: u64) {
        self.lost += lost;
    }

    /// A line: the name, then `name=value` for each value.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.picoseconds;
        sorted.sort_unstable();
        let (min, median) = (sorted[0], sorted[REPEATS / 2]);
        f.write_fmt(fmt!(
            "{} min_ns={}.{:03} median_ns={}.{:03} repeats={} lost={}\n",
            self.name,
            min / 1000,
            min % 1000,
            median / 1000,
            median % 1000,
            REPEATS,
            self.lost
        ))
    }
}

/// The repeats, 0 twice: the first round warms up, and is overwritten.
pub(crate) fn rounds() -> impl Iterator<Item = usize> {
    (0..=REPEATS).map(|round| round.saturating_sub(1))
}

/// How many nanoseconds `work` takes, and what it gives.
#[inline]
pub(crate) fn time<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let start: Instant<Monotonic> = Instant::now();
    let result = work();
    (start.elapsed().as_nanos() as u64, result)
}
