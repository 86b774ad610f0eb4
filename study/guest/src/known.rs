// SPDX-License-Identifier: GPL-2.0

//! Packets whose number of copies is known: whoever counts wrong is found out here.

use std::fs;

use anyhow::{Context, Result, ensure};
use rnetns_selftests::command::{ip, run};
use rnetns_selftests::fuzz::packet::checksum;
use rnetns_selftests::netns::Netns;

use crate::results::Place;
use crate::tracing::{Counts, Tracing};
use crate::traffic::{Flow, Listener, Listening, Protocol, TRAFFIC};
use crate::world::{Direction, Way, World, index};

const PACKETS: usize = 32;

/// A packet that somebody else keeps a clone of, and that `tc pedit` writes to, is copied once; one
/// that nobody keeps is written to where it is.
pub fn a_cloned_packet_that_is_written_to_is_copied_once(tracing: &Tracing) -> Result<()> {
    let world = World::new(Way::Direct)?;
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
        let ((), check) = tracing.check(&["out0", "eth0"], || flow.send(PACKETS))?;
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
    let net = Netns::new()?;
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
    const PATH: &str = "/sys/kernel/debug/rnetns_study";
    let mut bytes = index(device)?.to_ne_bytes().to_vec();
    bytes.extend(headroom.to_ne_bytes());
    bytes.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    let mut header = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2];
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(header);
    // Ports, length, no checksum, and four bytes of data.
    bytes.extend([0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
    fs::write(PATH, bytes).context(PATH)
}
