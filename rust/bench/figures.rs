// SPDX-License-Identifier: GPL-2.0

//! Repeats of a measurement, and how they are shown.

use kernel::{
    fmt,
    prelude::*,
    str::CString,
    time::{
        Instant,
        Monotonic, //
    },
};

/// How often each thing is measured, at most. Odd: the median is one of them.
pub(crate) const REPEATS: usize = 11;

/// What one thing costs, in picoseconds for each operation, once for each repeat.
pub(crate) struct Figure {
    name: CString,
    picoseconds: [u64; REPEATS],
    repeats: usize,
    lost: u64,
}

impl Figure {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Ok(Self::named(CString::try_from_fmt(fmt!("{}", name))?))
    }

    pub(crate) fn named(name: CString) -> Self {
        Self {
            name,
            picoseconds: [0; REPEATS],
            repeats: 0,
            lost: 0,
        }
    }

    /// Notes that `operations` took `nanoseconds` in one repeat.
    pub(crate) fn note(&mut self, repeat: usize, nanoseconds: u64, operations: u64) {
        if let Some(slot) = self.picoseconds.get_mut(repeat) {
            *slot = nanoseconds.saturating_mul(1000) / operations.max(1);
            self.repeats = self.repeats.max(repeat + 1);
        }
    }

    /// Notes operations that failed.
    pub(crate) fn note_lost(&mut self, lost: u64) {
        self.lost += lost;
    }

    /// A line: the name, what was lost, and the nanoseconds of each repeat.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!("{} lost={} ns=", &*self.name, self.lost))?;
        for (i, one) in self.picoseconds.iter().take(self.repeats).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            f.write_fmt(fmt!("{}{}.{:03}", comma, one / 1000, one % 1000))?;
        }
        f.write_fmt(fmt!("\n"))
    }
}

/// The repeats, 0 twice: the first round warms up, and is overwritten.
pub(crate) fn rounds() -> impl Iterator<Item = usize> {
    (0..=REPEATS).map(|round| round.saturating_sub(1))
}

/// How many nanoseconds `work` takes, and its result.
#[inline]
pub(crate) fn time<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let start: Instant<Monotonic> = Instant::now();
    let result = work();
    (start.elapsed().as_nanos() as u64, result)
}
