// SPDX-License-Identifier: GPL-2.0

//! Packets whose number of copies is known: whoever counts wrong is found out here.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use rnetns_selftests::command::{ip, run};
use rnetns_selftests::fuzz::packet::checksum;
use rnetns_selftests::netns::Netns;

use crate::bpf;
use crate::memory::{self, Endpoints};
use crate::results::Place;
use crate::tracing::{Counts, ROOM, Tracing};
use crate::traffic::{Flow, Listener, Listening, Protocol, TRAFFIC};
use crate::world::{Direction, Way, World, index};

const PACKETS: usize = 32;
/// What the module of the study has in debugfs.
const FILES: &str = "/sys/kernel/debug/rnetns_study";

/// A packet that somebody else keeps a clone of, and that `tc pedit` writes to, is copied once; one
/// that nobody keeps is written to where it is.
pub fn a_cloned_packet_that_is_written_to_is_copied_once(tracing: &Tracing) -> Result<()> {
    let world = direct()?;
    let path = world.path(Direction::In, false)?;
    path.to.run(|| {
        run("tc qdisc add dev eth0 clsact")?;
        run("tc filter add dev eth0 ingress matchall action pedit ex munge ip ttl set 33 pipe csum ip4h")
    })?;
    // Unlike UDP's, its packets pass a tracepoint at their end, where the copy is seen.
    let ping = TRAFFIC.into_iter().find(|it| it.protocol == Protocol::Ping).context("no ping")?;
    for (listening, want) in [(Listening::Nobody, 0), (Listening::Socket, 1)] {
        let listener = path.from.run(|| Listener::start(listening))?;
        let mut flow = Flow::open(&path, &ping)?;
        flow.send(4)?;
        let ((), counts) = tracing.count(|| flow.send(PACKETS))?;
        expect(&counts, want, "cloned")?;
        let endpoints = Endpoints { sends: "out0", answers: "eth0" };
        let ((), check) = memory::check(tracing, endpoints, || flow.send(PACKETS))?;
        ensure!(
            check.packets == 2 * PACKETS as u64
                && check.heads == check.packets + want * PACKETS as u64,
            "by memory: {check:?}"
        );
        drop(listener);
    }
    Ok(())
}

/// Where a router needs some headroom for the next device, a packet with one byte less is copied
/// once, and one that has enough, or one byte more, is not.
pub fn a_packet_without_the_headroom_is_copied_once(tracing: &Tracing) -> Result<()> {
    /// `LL_RESERVED_SPACE` of an Ethernet device.
    const NEEDED: u32 = 16;
    let net: &Netns = Box::leak(Box::new(Netns::new()?));
    net.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward")?;
        ip(&[
            "link add in0 address 02:00:00:00:00:02 type dummy",
            "link add sink0 type dummy",
            "link set in0 up",
            "link set sink0 up",
            "address add 10.1.0.1/24 dev in0",
            "address add 10.2.0.1/24 dev sink0",
            "neighbour replace 10.2.0.2 lladdr 02:00:00:00:00:05 dev sink0 nud permanent",
        ])?;
        for (headroom, want) in [(NEEDED - 1, 1), (NEEDED, 0), (NEEDED + 1, 0)] {
            let send = || (0..PACKETS).try_for_each(|_| inject("in0", headroom));
            send()?;
            let ((), counts) = tracing.count(send)?;
            ensure!(
                counts.sent.get("sink0") == Some(&(PACKETS as u64)),
                "not all packets were forwarded: {:?}",
                counts.sent
            );
            expect(&counts, want, "headroom").with_context(|| format!("headroom {headroom}"))?;
        }
        Ok(())
    })
}

/// Each function that copies, and each that is counted beside them, is counted once for each call,
/// with its bytes, and no other one is.
pub fn each_function_counts_its_own_calls(tracing: &Tracing) -> Result<()> {
    /// What the module's packets have in their head, and in a page.
    const HEAD: u64 = 100;
    const PAGED: u64 = 200;
    type Found = fn(&Counts) -> &[Place];
    let copies: Found = |counts| &counts.copies;
    let cases: [(&str, Found, u64); 6] = [
        ("skb_copy", copies, HEAD + PAGED),
        ("skb_copy_expand", copies, HEAD + PAGED),
        ("__pskb_copy_fclone", copies, HEAD),
        ("skb_copy_ubufs", copies, PAGED),
        ("skb_clone", |counts| &counts.clones, 0),
        ("__pskb_pull_tail", |counts| &counts.pulls, PAGED),
    ];
    for (function, found, bytes) in cases {
        let call = || (0..PACKETS).try_for_each(|_| write("call", function.as_bytes()));
        let ((), counts) = tracing.count(call)?;
        let all = [&counts.copies, &counts.clones, &counts.pulls, &counts.splits];
        let places = found(&counts);
        ensure!(
            all.iter().map(|places| Place::count(places)).sum::<u64>() == PACKETS as u64
                && Place::count(places) == PACKETS as u64
                && places.iter().map(|it| it.bytes).sum::<u64>() == PACKETS as u64 * bytes
                && places.iter().all(|it| it.function == function && it.stack[0] == "call"),
            "{PACKETS} calls of {function} with {bytes} bytes: {counts:?}"
        );
    }
    Ok(())
}

/// XDP copies each packet of a socket for the program of a veth.
pub fn a_packet_of_a_socket_is_copied_once_for_xdp(tracing: &Tracing) -> Result<()> {
    let world = direct()?;
    let path = world.path(Direction::In, false)?;
    path.to.run(|| bpf::attach_xdp(index(path.answers)?, &bpf::xdp_pass()?))?;
    path.from.run(|| run("ethtool -K out0 tx off"))?;
    let udp = TRAFFIC.into_iter().find(|it| it.protocol == Protocol::Udp).context("no UDP")?;
    let mut flow = Flow::open(&path, &udp)?;
    flow.send(4)?;
    let ((), counts) = tracing.count(|| flow.send(PACKETS))?;
    // Its head is of kmalloc(), it has no page, and nobody has a clone.
    expect(&counts, 1, "head is not of a page, headroom")
}

/// A record that is too small for what happens is refused.
pub fn a_record_without_room_is_refused(tracing: &Tracing) -> Result<()> {
    let world = direct()?;
    let path = world.path(Direction::In, false)?;
    let udp = TRAFFIC.into_iter().find(|it| it.protocol == Protocol::Udp).context("no UDP")?;
    let mut flow = Flow::open(&path, &udp)?;
    tracing.make_room(8)?;
    let result = memory::check(tracing, path.endpoints(), || flow.send(16 * PACKETS));
    tracing.make_room(ROOM)?;
    match result {
        Ok((_, check)) => bail!("a part of the record was taken for all of it: {check:?}"),
        Err(error) if format!("{error:#}").contains("no room") => Ok(()),
        Err(error) => Err(error.context("not the error of a lack of room")),
    }
}

/// A world that stays: when one ends, the kernel takes it down meanwhile, with messages that are
/// copied.
fn direct() -> Result<&'static World> {
    World::new(Way::Direct).map(|world| &*Box::leak(Box::new(world)))
}

fn expect(counts: &Counts, each: u64, reason: &str) -> Result<()> {
    let times = Place::count(&counts.copies);
    ensure!(
        times == each * PACKETS as u64 && counts.copies.iter().all(|it| it.reason == reason),
        "{PACKETS} packets, of which each is copied {each} times ({reason}): {:?}",
        counts.copies
    );
    Ok(())
}

/// A UDP packet from 10.1.0.2 to 10.2.0.2 that a device receives.
fn inject(device: &str, headroom: u32) -> Result<()> {
    let mut bytes = index(device)?.to_ne_bytes().to_vec();
    bytes.extend(headroom.to_ne_bytes());
    bytes.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    let mut header = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2];
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(header);
    // Ports, length, no checksum, and four bytes of data.
    bytes.extend([0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
    write("frame", &bytes)
}

fn write(file: &str, bytes: &[u8]) -> Result<()> {
    let path = format!("{FILES}/{file}");
    fs::write(&path, bytes).context(path)
}
