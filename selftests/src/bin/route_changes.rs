// SPDX-License-Identifier: GPL-2.0

//! Routes that change under traffic: no packet that was sent after a change takes the way from before.
//!
//! A sender numbers its packets by the latest change that was complete when it sent them. Three
//! receivers have the same address behind a router; each change moves the route to the next one. A
//! packet may be overtaken by the change after its own; but at the receiver of the change before its
//! own, it has taken an old route.
//!
//! Two changes overtake none: the next change waits until a packet with the number of the last one
//! has arrived. The sender stays on one processor, where packets keep their order: so all that were
//! sent before that one have been routed by then.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::unistd::Pid;

use rnetns_selftests::command::{ip, run};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Figures, Module};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::wait_until;

/// How many ways there are.
const WAYS: usize = 3;
/// How long each case changes routes at least, and how often.
const DURATION: Duration = Duration::from_secs(4);
const LEAST: u32 = 10;
/// So many packets are sent at once.
const BURST: u32 = 8;
/// How often a receiver looks whether all is over.
const PAUSE: Duration = Duration::from_millis(100);
/// Room for packets that a receiver has no time for.
const ROOM: usize = 64 << 20;

fn main() -> ExitCode {
    ktap::run(&[
        ("ipv4_routes", || changes(&V4, Means::Route)),
        ("ipv6_routes", || changes(&V6, Means::Route)),
        ("ipv4_rules", || changes(&V4, Means::Rule)),
        ("ipv6_rules", || changes(&V6, Means::Rule)),
        ("ipv4_next_hops", || changes(&V4, Means::NextHop)),
    ])
}

/// What a change changes.
#[derive(Clone, Copy, PartialEq)]
enum Means {
    /// The route itself.
    Route,
    /// A rule that leads to another table.
    Rule,
    /// The next hop object of the route.
    NextHop,
}

/// The addresses of a family.
struct Family {
    option: &'static str,
    target: &'static str,
    length: u32,
    /// The network of a link by its number, and the length of its prefix.
    link: fn(usize, u32) -> String,
    link_length: u32,
}

const V4: Family = Family {
    option: "-4",
    target: "10.9.0.9",
    length: 32,
    link: |link, host| format!("10.0.{link}.{host}"),
    link_length: 24,
};

const V6: Family = Family {
    option: "-6",
    target: "fd09::9",
    length: 128,
    link: |link, host| format!("fd0{link}::{host}"),
    link_length: 64,
};

/// A router with a sender on one side and the receivers on the other.
struct Scene {
    sender: Netns,
    router: Netns,
    receivers: Vec<Netns>,
    family: &'static Family,
}

impl Scene {
    fn new(family: &'static Family) -> Result<Scene> {
        let (sender, router) = (Netns::new()?, Netns::new()?);
        let receivers = (0..WAYS).map(|_| Netns::new()).collect::<Result<Vec<_>>>()?;
        let scene = Scene { sender, router, receivers, family };
        scene.router.run(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
            Ok(())
        })?;
        scene.connect(&scene.sender, 0, "")?;
        let local = format!("addr add {}/{} dev lo", family.target, family.length);
        for (number, receiver) in (1..).zip(&scene.receivers) {
            scene.connect(receiver, number, &local)?;
        }
        Ok(scene)
    }

    /// A link between the router and another namespace, which finds everything else there. Each end
    /// knows the other: a packet that waits for a neighbour's answer can be dropped, and for a second
    /// all others with it.
    fn connect(&self, other: &Netns, number: usize, also: &str) -> Result<()> {
        let Family { link, link_length, .. } = self.family;
        let (near, far) = (link(number, 1), link(number, 2));
        let (near_mac, far_mac) =
            (format!("02:00:00:00:{number:02x}:01"), format!("02:00:00:00:{number:02x}:02"));
        let nodad = if *link_length == 64 { "nodad" } else { "" };
        self.router.run(|| {
            ip(&[
                &format!(
                    "link add name l{number} address {near_mac} type veth peer name e address \
                     {far_mac} netns {}",
                    other.path()
                ),
                &format!("link set dev l{number} up"),
                &format!("addr add {near}/{link_length} dev l{number} {nodad}"),
                &format!("neigh add {far} lladdr {far_mac} dev l{number} nud permanent"),
            ])
        })?;
        other.run(|| {
            ip(&[
                "link set dev lo up",
                "link set dev e up",
                &format!("addr add {far}/{link_length} dev e {nodad}"),
                &format!("neigh add {near} lladdr {near_mac} dev e nud permanent"),
                &format!("route add default via {near}"),
                also,
            ])
        })
    }

    /// What is there before the first change, which is to the second way.
    fn prepare(&self, means: Means) -> Result<()> {
        let Family { option, target, link, .. } = self.family;
        let mut lines = Vec::new();
        if means == Means::Rule {
            let table = |way| format!("route add {target} via {} table 10{way}", link(way, 2));
            lines.extend((1..=WAYS).map(table));
        }
        let first = link(1, 2);
        match means {
            Means::Route | Means::Rule => lines.push(format!("route add {target} via {first}")),
            Means::NextHop => {
                lines.push(format!("nexthop add id 7 via {first} dev l1"));
                lines.push(format!("route add {target} nhid 7"));
            }
        }
        self.router.run(|| ip_lines(option, &lines))
    }

    /// Change number `change`.
    fn change(&self, means: Means, change: u32) -> Result<()> {
        let Family { option, target, link, .. } = self.family;
        let way = way_of(change) + 1;
        let via = link(way, 2);
        let lines = match means {
            Means::Route => vec![format!("route replace {target} via {via}")],
            Means::NextHop => vec![format!("nexthop replace id 7 via {via} dev l{way}")],
            // The new one comes before the old one, and that goes then.
            Means::Rule => {
                let pref = 10_000 - change;
                let mut lines = vec![format!("rule add pref {pref} to {target} lookup 10{way}")];
                if change > 1 {
                    lines.push(format!("rule del pref {}", pref + 1));
                }
                lines
            }
        };
        ip_lines(option, &lines)
    }
}

/// Runs commands of `ip` for a family.
fn ip_lines(family: &str, lines: &[String]) -> Result<()> {
    lines.iter().try_for_each(|line| run(&format!("ip {family} {line}")).map(drop))
}

/// The way that the route takes after a change.
fn way_of(change: u32) -> usize {
    change as usize % WAYS
}

/// What the threads have in common.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    /// The latest change that is complete.
    change: AtomicU32,
    sent: AtomicU64,
    right: AtomicU64,
    /// The latest change of which a packet has arrived.
    arrived: AtomicU32,
    overtaken: AtomicU64,
    old: AtomicU64,
}

impl Counts {
    /// Waits until a packet that was sent after a change has arrived.
    fn wait_for(&self, change: u32) -> Result<()> {
        let has_arrived = || self.arrived.load(Ordering::SeqCst) >= change;
        let is_over = || self.stop.load(Ordering::SeqCst);
        ensure!(
            wait_until(|| has_arrived() || is_over()),
            "after change {change}, nothing arrives"
        );
        Ok(())
    }

    /// Ends all threads when one has failed.
    fn checked(&self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            self.stop.store(true, Ordering::SeqCst);
        }
        result
    }
}

fn changes(family: &'static Family, means: Means) -> Result<Outcome> {
    let _module = Module::open()?.load()?;
    let scene = Scene::new(family)?;
    scene.prepare(means)?;
    let counts = Counts::default();
    let sockets = scene
        .receivers
        .iter()
        .map(|net| net.run(|| bind(family)))
        .collect::<Result<Vec<UdpSocket>>>()?;
    let sender = scene.sender.run(|| {
        let unspecified = if family.length == 32 { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(unspecified).context("bind")?;
        socket.connect((family.target, 5000)).context("connect")?;
        Ok(socket)
    })?;
    thread::scope(|scope| {
        let receivers: Vec<_> = sockets
            .iter()
            .enumerate()
            .map(|(way, socket)| {
                let counts = &counts;
                scope.spawn(move || counts.checked(receive(socket, way, counts)))
            })
            .collect();
        let sending = scope.spawn(|| counts.checked(send(&sender, &counts)));
        let changed = scene.router.run(|| {
            let begin = Instant::now();
            for change in 1.. {
                let is_over = counts.stop.load(Ordering::SeqCst);
                if is_over || (change > LEAST && begin.elapsed() >= DURATION) {
                    break;
                }
                scene.change(means, change)?;
                counts.change.store(change, Ordering::SeqCst);
                counts.wait_for(change)?;
            }
            Ok(())
        });
        counts.stop.store(true, Ordering::SeqCst);
        let joined = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().map_err(|_| anyhow!("a thread panicked"))?
        };
        joined(sending)?;
        receivers.into_iter().try_for_each(joined)?;
        changed
    })?;
    report(&scene, &counts)
}

fn bind(family: &Family) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((family.target, 5000)).context("bind the target")?;
    socket.set_read_timeout(Some(PAUSE))?;
    setsockopt(&socket, RcvBufForce, &ROOM).context("make room for packets")?;
    Ok(socket)
}

/// Sends packets, as long as routes change.
fn send(socket: &UdpSocket, counts: &Counts) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu().context("which processor this is")?)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("stay on a processor")?;
    while !counts.stop.load(Ordering::SeqCst) {
        for _ in 0..BURST {
            let change = counts.change.load(Ordering::SeqCst);
            // Where the target cannot be reached for a moment, an error comes back.
            if socket.send(&change.to_ne_bytes()).is_ok() {
                counts.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Receives packets until no more come, and says which ones took the way of another change.
fn receive(socket: &UdpSocket, way: usize, counts: &Counts) -> Result<()> {
    let mut packet = [0; 4];
    loop {
        match socket.recv(&mut packet) {
            Ok(_) => {}
            Err(error) if is_silence(&error) => match counts.stop.load(Ordering::SeqCst) {
                true => return Ok(()),
                false => continue,
            },
            Err(error) => bail!("receive: {error}"),
        }
        let change = u32::from_ne_bytes(packet);
        counts.arrived.fetch_max(change, Ordering::SeqCst);
        let counter = if way == way_of(change) {
            &counts.right
        } else if way == way_of(change + 1) {
            &counts.overtaken
        } else {
            &counts.old
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn report(scene: &Scene, counts: &Counts) -> Result<Outcome> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, right) = (count(&counts.sent), count(&counts.right));
    let (overtaken, old) = (count(&counts.overtaken), count(&counts.old));
    let changes = counts.change.load(Ordering::SeqCst);
    let cache = Figures::of_route_cache(scene.router.inum())?;
    let (hits, stale) = (cache.get("hits")?, cache.get("invalidations")?);
    comment(&format!(
        "{changes} changes, {sent} packets: {right} arrived, {overtaken} by the next way, {old} by \
         an old one; {hits} hits, {stale} stale entries found"
    ));
    ensure!(old == 0, "{old} packets took a way that had been changed before they were sent");
    // Else it says nothing.
    ensure!(changes >= LEAST, "only {changes} changes");
    let arrived = right + overtaken;
    ensure!(arrived >= sent / 2, "of {sent} packets, only {arrived} arrived");
    ensure!(right >= sent / 10, "of {sent} packets, only {right} were faster than the next change");
    ensure!(hits >= sent / 2, "of {sent} packets, only {hits} were hits");
    ensure!(stale >= u64::from(changes) / 2, "{changes} changes, {stale} stale entries");
    Ok(Outcome::Pass)
}
