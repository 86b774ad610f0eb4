// SPDX-License-Identifier: GPL-2.0

//! All measurements of one way.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

use crate::memory;
use crate::results::{CacheUse, Measurement};
use crate::tracing::Tracing;
use crate::traffic::{Flow, Listener, Listening, Protocol, TRAFFIC, Traffic};
use crate::world::{Direction, Way, World};

/// Messages before anything is counted: routes, neighbours and congestion windows are found.
const WARM_UP: usize = 16;
/// Messages whose copies are counted.
const COUNTED: usize = 64;
/// Messages whose memory is followed.
const CHECKED: usize = 32;
/// Messages whose instructions are counted, in each round.
const TIMED: usize = 16;
const ROUNDS: usize = 5;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub direction: Direction,
    pub traffic: Traffic,
    pub listening: Listening,
}

/// What is measured of a way.
pub fn cases(world: &World, quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for direction in world.way.directions() {
        for traffic in TRAFFIC {
            let can = world.way.has_v6() || !traffic.v6;
            let cuts = world.way.cuts(direction) || !traffic.segments;
            if !can || !cuts || !world.way.takes(&traffic) || (quick && !traffic.quick) {
                continue;
            }
            for listening in listeners(&traffic, quick) {
                cases.push(Case { direction, traffic, listening: *listening });
            }
        }
    }
    cases
}

fn listeners(traffic: &Traffic, quick: bool) -> &'static [Listening] {
    match (traffic.name, quick) {
        (_, true) => &[Listening::Nobody],
        ("udp-small" | "tcp-segments", false) => {
            &[Listening::Nobody, Listening::Socket, Listening::Tcpdump]
        }
        ("tcp-gro" | "tcp6-segments", false) => &[Listening::Nobody, Listening::Socket],
        _ => &[Listening::Nobody],
    }
}

impl Case {
    pub fn name(&self) -> String {
        format!("{} {} {}", self.direction.name(), self.traffic.name, self.listening.name())
    }

    /// Measures it.
    pub fn measure(&self, world: &World, tracing: &Tracing) -> Result<Measurement> {
        let Case { direction, traffic, listening } = *self;
        let path = world.path(direction, traffic.v6)?;
        if traffic.protocol == Protocol::Tcp {
            world.offloads(direction, traffic.segments, traffic.gro)?;
        }
        let listener = world.middle().run(|| Listener::start(listening))?;
        let mut flow = Flow::open(&path, &traffic).context("open sockets")?;
        flow.send(WARM_UP).context("warm up")?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let start = instructions()?;
            flow.send(TIMED)?;
            rounds.push((instructions()? - start) as f64 / TIMED as f64);
        }
        let before = world.cache()?;
        let ((), counts) = tracing.count(|| flow.send(COUNTED))?;
        let after = world.cache()?;
        let send = || flow.send(CHECKED);
        let ((), check) = memory::check(tracing, path.endpoints(), send)?;
        drop(listener);
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        Ok(Measurement {
            way: world.way.name(),
            direction: direction.name().to_owned(),
            traffic: traffic.name.to_owned(),
            listener: listening.name().to_owned(),
            packets: counts.sent.get(path.sends).copied().unwrap_or(0),
            // What the host sends itself is not looked up.
            cache: before.zip(after).filter(|_| direction != Direction::Local).map(asked),
            copies: counts.copies,
            clones: counts.clones,
            pulls: counts.pulls,
            splits: counts.splits,
            check,
            instructions: sorted[ROUNDS / 2],
            instruction_rounds: rounds,
        })
    }
}

/// Whether a measurement's numbers agree.
pub fn verify(measurement: &Measurement, way: Way) -> Result<()> {
    // What XDP copies to is from a pool, and not allocated for each packet.
    measurement.verify(COUNTED as u64, CHECKED as u64, way != Way::XdpRedirect)
}

/// What the cache was asked between two moments.
fn asked((before, after): (CacheUse, CacheUse)) -> CacheUse {
    CacheUse { hits: after.hits - before.hits, misses: after.misses - before.misses }
}

/// The clock of a counting processor.
pub(crate) fn instructions() -> Result<i64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("read the clock")?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}
