// SPDX-License-Identifier: GPL-2.0

//! A differential fuzzer of the route cache: the same small network twice, once with the cache and
//! once without. The same packets go in, and the same changes happen. Then the same must come out.
//!
//! | module | holds |
//! |---|---|
//! | [`scene`] | what happens, from a seed |
//! | [`change`], [`packet`] | changes and packets, as bytes and for people |
//! | [`world`] | the namespaces, and what is seen in them |
//! | [`shrink`] | a scene with a difference, cut down |
//! | [`rtnetlink`], [`random`] | what these stand on |

pub mod change;
pub mod packet;
pub mod random;
pub mod rtnetlink;
pub mod scene;
pub mod shrink;
pub mod world;

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use self::scene::Step;
use self::world::{Arrival, Where, World, packets_are_settled};
use crate::genl::{self, DONE, Message, uapi};
use crate::module::Figures;
use crate::netns::{Netns, in_thread};

/// Two worlds that differ in what the cache has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// The other one has no cache.
    WithoutCache,
    /// Neither has a cache, and the other one does not mark packets: that must be noticed.
    WithoutMarks,
}

/// A difference between both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The step at which it showed: a number of steps.
    pub after: usize,
    pub text: String,
}

/// What a scene was like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub packets: u64,
    pub changes: u64,
    pub refused: u64,
    pub arrivals: u64,
    pub hits: u64,
    pub misses: u64,
    pub stale: u64,
}

impl Tally {
    /// Adds the figures of another scene.
    pub fn add(&mut self, other: Tally) {
        self.packets += other.packets;
        self.changes += other.changes;
        self.refused += other.refused;
        self.arrivals += other.arrivals;
        self.hits += other.hits;
        self.misses += other.misses;
        self.stale += other.stale;
    }
}

/// Runs a scene in two new worlds. It has all its packets on one processor.
pub fn run(steps: &[Step], second: Second) -> Result<(Tally, Option<Difference>)> {
    in_thread(|| {
        stay_here()?;
        run_here(steps, second)
    })
}

fn stay_here() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu().context("which processor this is")?)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("stay on a processor")
}

fn run_here(steps: &[Step], second: Second) -> Result<(Tally, Option<Difference>)> {
    let (mut with, mut without) = (World::new()?, World::new()?);
    switch(&with, second == Second::WithoutCache)?;
    switch(&without, false)?;
    without.ignores_marks = second == Second::WithoutMarks;
    let mut tally = Tally::default();
    let mut difference = None;
    let mut rest = steps;
    while difference.is_none() && !rest.is_empty() {
        let done = steps.len() - rest.len();
        if let Step::Change(change) = &rest[0] {
            let (one, other) = (with.change(change)?, without.change(change)?);
            tally.changes += 1;
            tally.refused += u64::from(one != 0);
            if one != other {
                let text = format!("{}: error {one} with, {other} without", change.command());
                difference = Some(Difference { after: done + 1, text });
            }
            rest = &rest[1..];
            continue;
        }
        let is_packet = |step: &&Step| matches!(step, Step::Send(..));
        let length = rest.iter().take_while(is_packet).count();
        let (burst, later) = rest.split_at(length);
        let (one, other) = (sent(&with, burst)?, sent(&without, burst)?);
        tally.packets += length as u64;
        tally.arrivals += one.len() as u64;
        rest = later;
        if one != other {
            let after = done + length;
            difference = Some(Difference { after, text: arrivals_differ(&one, &other) });
        }
    }
    if difference.is_none()
        && let Some(text) = counters_differ(&with, &without)?
    {
        difference = Some(Difference { after: steps.len(), text });
    }
    let figures = Figures::of_route_cache(with.router().inum())?;
    tally.hits = figures.get("hits")?;
    tally.misses = figures.get("misses")?;
    tally.stale = figures.get("invalidations")?;
    Ok((tally, difference))
}

/// Switches the caches of a world on or off.
fn switch(world: &World, on: bool) -> Result<()> {
    world.nets().try_for_each(|net| switch_one(net, on))
}

fn switch_one(net: &Netns, on: bool) -> Result<()> {
    net.enter()?;
    let mut socket = genl::Socket::open()?;
    let set = Message::new(uapi::CMD_CACHE_SET).u32(uapi::A_ENABLED, on.into());
    match socket.ask(&set)?.verdict()?.error {
        DONE => Ok(()),
        error => bail!("switch a cache: {error}"),
    }
}

/// Sends packets, and returns what arrived because of them.
fn sent(world: &World, burst: &[Step]) -> Result<Vec<Arrival>> {
    for step in burst {
        if let Step::Send(place, packet) = step {
            world.send(*place, packet)?;
            packets_are_settled()?;
        }
    }
    world.arrivals()
}

fn arrivals_differ(with: &[Arrival], without: &[Arrival]) -> String {
    let mut text = String::new();
    let mut side = |name: &str, these: &[Arrival], those: &[Arrival]| {
        let mut those = those.to_vec();
        for arrival in these {
            match those.iter().position(|other| other == arrival) {
                Some(at) => drop(those.swap_remove(at)),
                None => {
                    let Arrival { place, device, kind, bytes } = arrival;
                    let kind = ["", " (broadcast)", " (multicast)", " (not its own)"]
                        .get(usize::from(*kind))
                        .copied()
                        .unwrap_or(" (?)");
                    let packet = packet::describe(bytes);
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{name} {place} {device}{kind}: {packet}");
                }
            }
        }
    };
    side("only with the cache:   ", with, without);
    side("only without the cache:", without, with);
    text
}

fn counters_differ(with: &World, without: &World) -> Result<Option<String>> {
    let mut text = String::new();
    for place in Where::ALL {
        let (one, other) = (with.counters(place)?, without.counters(place)?);
        for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
            let (one, other) = (one.get(name).unwrap_or(&0), other.get(name).unwrap_or(&0));
            if one != other {
                let place = place.name();
                let _ = writeln!(text, "{place} {name}: {one} with the cache, {other} without");
            }
        }
    }
    Ok((!text.is_empty()).then_some(text))
}

/// The commands of a scene.
pub fn script(steps: &[Step]) -> String {
    let mut text = world::commands().join("\n");
    text.push('\n');
    for step in steps {
        match step {
            Step::Change(change) => {
                let _ = writeln!(text, "{}", change.command());
            }
            Step::Send(place, packet) => {
                let (end, device, _) = place.end();
                let number = place.entrance().number();
                let to = match packet.frame {
                    packet::Frame::Router => change::mac(number, 1),
                    packet::Frame::Macvlan => change::mac(5, 1),
                    packet::Frame::Broadcast => [0xff; 6],
                    packet::Frame::Other => change::mac(number, 9),
                };
                let frame = world::frame(to, change::mac(number, 2), packet);
                let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                let _ = writeln!(
                    text,
                    "ip netns exec {} python3 -c 'import socket as s; p = s.socket(17, 3); \
                     p.bind((\"{device}\", 0)); p.send(bytes.fromhex(\"{hex}\"))'  # {packet}",
                    end.name()
                );
            }
        }
    }
    text
}
