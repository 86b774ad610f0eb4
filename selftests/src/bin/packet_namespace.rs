// SPDX-License-Identifier: GPL-2.0

//! A packet is in the namespace of its device, and counts for that of the socket which sent it. The
//! namespace of the sending process does not matter.
//!
//! Packets are sent from sockets and processes of two namespaces, A and B, through `rlo` of A:
//!
//! ```text
//!          A                                     B
//!   rlo  192.0.2.1 -> 192.0.2.2, .3      veth 198.51.100.2
//!   veth 198.51.100.1 ------------------- |
//!   tunnel made here, by rlo to .3 ------ moved here, 203.0.113.2
//! ```
//!
//! Every claim is an exact number of packets and of bytes, in both.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike,
    SockaddrStorage, sendto, socket,
};

use rnetns_selftests::command::ip;
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Figures, Loaded, Module, Traffic};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::wait_until;

/// Packets of a case: a number that noise would not produce.
const PACKETS: u64 = 7;
/// Bytes of data in each.
const DATA: u64 = 100;
/// Ethernet, IPv4 and UDP headers.
const ETHERNET: u64 = 14;
const IP_UDP: u64 = 20 + 8;
/// What a Geneve tunnel puts before an Ethernet packet: IPv4, UDP, its own header.
const GENEVE: u64 = IP_UDP + 8;

fn main() -> ExitCode {
    ktap::run(&[
        ("a_socket_and_a_device_of_one_namespace", one_namespace),
        ("a_process_that_moved_takes_its_socket_nowhere", moved_sender),
        ("a_packet_socket_used_from_elsewhere", moved_packet_socket),
        ("a_forwarded_packet_has_a_device_and_no_socket", forwarded),
        ("a_tunnel_joins_a_socket_and_a_device_of_two_namespaces", tunnel),
    ])
}

/// The two namespaces, with the module loaded.
struct Scene {
    a: Netns,
    b: Netns,
    init: Netns,
    // Last: it is unloaded when nobody uses the namespaces any more.
    _module: Loaded,
}

impl Scene {
    fn new() -> Result<Scene> {
        let module = Module::open()?.load()?;
        let scene =
            Scene { a: Netns::new()?, b: Netns::new()?, init: Netns::own()?, _module: module };
        // B's device is ready, too, so that a packet could be counted on the wrong side.
        scene.a.run(rlo_up)?;
        scene.b.run(rlo_up)?;
        Ok(scene)
    }

    /// Sends with `send`, and returns what that has counted in A and in B. Nothing may be counted in
    /// the initial namespace.
    fn counted(&self, send: impl FnOnce() -> Result<()>) -> Result<(Traffic, Traffic)> {
        let figures = || {
            anyhow::Ok([
                Figures::of(self.a.inum())?,
                Figures::of(self.b.inum())?,
                Figures::of(self.init.inum())?,
            ])
        };
        let before = figures()?;
        send()?;
        let after = figures()?;
        let [a, b, init] = [0, 1, 2].map(|i| after[i].traffic_since(&before[i]));
        ensure!(init? == Traffic::default(), "counted in the initial namespace");
        let (a, b) = (a?, b?);
        comment(&format!("A {a:?}, B {b:?}"));
        Ok((a, b))
    }
}

/// `rlo` leads to 192.0.2.2 and .3. Without IPv6, which would send packets of its own.
fn rlo_up() -> Result<()> {
    std::fs::write("/proc/sys/net/ipv6/conf/rlo/disable_ipv6", "1").context("disable IPv6")?;
    ip(&[
        "link set lo up",
        "link set rlo up",
        "addr add 192.0.2.1/32 dev rlo",
        "route add 192.0.2.2/32 dev rlo",
        "route add 192.0.2.3/32 dev rlo",
    ])
}

fn udp() -> Result<UdpSocket> {
    UdpSocket::bind("0.0.0.0:0").context("open a UDP socket")
}

fn send_udp(socket: &UdpSocket, to: &str) -> Result<()> {
    for _ in 0..PACKETS {
        socket.send_to(&[0; DATA as usize], to).with_context(|| format!("send to {to}"))?;
    }
    Ok(())
}

/// Packets of `bytes` each, `PACKETS` of them.
fn packets(bytes: u64) -> (u64, u64) {
    (PACKETS, PACKETS * bytes)
}

fn expect(what: &str, have: Traffic, device: (u64, u64), socket: (u64, u64)) -> Result<()> {
    let want = Traffic { device, socket };
    ensure!(have == want, "{what}: counted {have:?}, want {want:?}");
    Ok(())
}

const NONE: (u64, u64) = (0, 0);

fn one_namespace() -> Result<Outcome> {
    let scene = Scene::new()?;
    let (a, b) = scene.counted(|| scene.a.run(|| send_udp(&udp()?, "192.0.2.2:9")))?;
    let all = packets(ETHERNET + IP_UDP + DATA);
    expect("A", a, all, all)?;
    expect("B", b, NONE, NONE)?;
    Ok(Outcome::Pass)
}

fn moved_sender() -> Result<Outcome> {
    let scene = Scene::new()?;
    let (a, b) = scene.counted(|| {
        scene.a.run(|| {
            let socket = udp()?;
            scene.b.enter()?;
            send_udp(&socket, "192.0.2.2:9")
        })
    })?;
    let all = packets(ETHERNET + IP_UDP + DATA);
    expect("A, where the socket was opened", a, all, all)?;
    expect("B, where the sender is", b, NONE, NONE)?;
    Ok(Outcome::Pass)
}

fn moved_packet_socket() -> Result<Outcome> {
    let scene = Scene::new()?;
    let (a, b) = scene.counted(|| {
        scene.a.run(|| {
            let socket = packet_socket()?;
            let rlo = link_address(if_nametoindex("rlo").context("rlo")?)?;
            scene.b.enter()?;
            for _ in 0..PACKETS {
                sendto(socket.as_raw_fd(), &frame(), &rlo, MsgFlags::empty())
                    .context("send a frame")?;
            }
            Ok(())
        })
    })?;
    let all = packets(ETHERNET + DATA);
    expect("A, where the socket was opened", a, all, all)?;
    expect("B, where the sender is", b, NONE, NONE)?;
    Ok(Outcome::Pass)
}

/// An Ethernet frame to nobody, of a protocol for experiments.
fn frame() -> Vec<u8> {
    let mut frame = vec![0; (ETHERNET + DATA) as usize];
    frame[12..14].copy_from_slice(&0x88b5_u16.to_be_bytes());
    frame
}

/// A socket that sends whole frames and receives none.
fn packet_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None::<SockProtocol>)
        .context("open a packet socket")
}

/// `struct sockaddr_ll` of an interface.
fn link_address(ifindex: u32) -> Result<LinkAddr> {
    let addresses = nix::ifaddrs::getifaddrs().context("list the interfaces")?;
    addresses
        .filter_map(|entry| entry.address)
        .filter_map(|address: SockaddrStorage| address.as_link_addr().copied())
        .find(|address| address.ifindex() == ifindex as usize && address.len() > 0)
        .context("rlo has no link address")
}

/// A and B share a link.
fn connect(scene: &Scene) -> Result<()> {
    let to_b = format!("link add veth0 type veth peer name veth0 netns {}", scene.b.path());
    scene.a.run(|| ip(&[&to_b, "link set veth0 up", "addr add 198.51.100.1/24 dev veth0"]))?;
    scene.b.run(|| ip(&["link set veth0 up", "addr add 198.51.100.2/24 dev veth0"]))
}

fn forwarded() -> Result<Outcome> {
    let scene = Scene::new()?;
    connect(&scene)?;
    scene.a.run(|| {
        // Only packets from B are forwarded. Those that rlo receives would go in circles.
        std::fs::write("/proc/sys/net/ipv4/conf/veth0/forwarding", "1").context("forward")
    })?;
    scene.b.run(|| ip(&["route replace 192.0.2.2/32 via 198.51.100.1"]))?;
    let (a, b) = scene.counted(|| {
        scene.b.run(|| {
            send_udp(&udp()?, "192.0.2.2:9")?;
            // The first packets wait for the neighbour's answer.
            let seen = || anyhow::Ok(Figures::of(scene.a.inum())?.get("device_packets")?);
            ensure!(wait_until(|| seen().is_ok_and(|seen| seen >= PACKETS)), "only {}", seen()?);
            Ok(())
        })
    })?;
    expect("A, which forwards", a, packets(ETHERNET + IP_UDP + DATA), NONE)?;
    expect("B, where the socket is", b, NONE, NONE)?;
    Ok(Outcome::Pass)
}

/// A tunnel device sends in the namespace that it was made in, wherever it is moved. Socket and route
/// of a packet are then in two namespaces, and the packet keeps its socket.
fn tunnel() -> Result<Outcome> {
    let scene = Scene::new()?;
    let made = scene.a.run(|| ip(&["link add rnetns-t type geneve id 1 remote 192.0.2.3"]));
    if let Err(error) = made {
        return Ok(Outcome::Skip(format!("no Geneve tunnels (CONFIG_GENEVE): {error:#}")));
    }
    let to_b = format!("link set rnetns-t netns {}", scene.b.path());
    scene.a.run(|| ip(&[&to_b]))?;
    scene.b.run(|| {
        std::fs::write("/proc/sys/net/ipv6/conf/rnetns-t/disable_ipv6", "1").context("IPv6")?;
        ip(&[
            "link set rnetns-t up",
            "addr add 203.0.113.1/24 dev rnetns-t",
            "neigh add 203.0.113.2 lladdr 02:00:00:00:00:02 dev rnetns-t",
        ])
    })?;
    let (a, b) = scene.counted(|| scene.b.run(|| send_udp(&udp()?, "203.0.113.2:9")))?;
    let all = packets(ETHERNET + GENEVE + ETHERNET + IP_UDP + DATA);
    expect("A, where the device is", a, all, NONE)?;
    expect("B, where the socket is", b, NONE, all)?;
    Ok(Outcome::Pass)
}
