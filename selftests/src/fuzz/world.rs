// SPDX-License-Identifier: GPL-2.0

//! The namespaces of a scene. Two of these worlds are equal but for the cache.
//!
//! ```text
//!   src e === a  rt  b === e dst
//!       f === d      c === e alt
//! ```
//!
//! The receivers both have the targets. All neighbour entries are static, IPv6 has no link-local
//! addresses, and nothing is limited in its rate: what the stack does depends on packets and changes
//! alone, not on time.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, send,
    setsockopt, socket,
};

use super::change::{
    Change, Device, Listener, Verb, address_request, host, link, link_header, mac, marks, neighbour,
};
use super::packet::{Frame, Packet};
use super::rtnetlink::{CREATE, Request, Socket};
use crate::netns::Netns;
use crate::wait_until;

/// Where packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The sender, into `a` of the router.
    Src,
    /// The sender, into `d`.
    SrcToo,
    Dst,
    Alt,
}

impl Place {
    pub const ALL: [Place; 4] = [Place::Src, Place::SrcToo, Place::Dst, Place::Alt];

    /// The router's end of the cable.
    pub fn entrance(self) -> Device {
        match self {
            Place::Src => Device::A,
            Place::SrcToo => Device::D,
            Place::Dst => Device::B,
            Place::Alt => Device::C,
        }
    }

    /// The namespace and the device.
    pub fn end(self) -> (Where, &'static str, u32) {
        match self {
            Place::Src => (Where::Src, "e", 21),
            Place::SrcToo => (Where::Src, "f", 22),
            Place::Dst => (Where::Dst, "e", 21),
            Place::Alt => (Where::Alt, "e", 21),
        }
    }
}

/// The namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    Rt,
    Src,
    Dst,
    Alt,
}

impl Where {
    pub const ALL: [Where; 4] = [Where::Rt, Where::Src, Where::Dst, Where::Alt];

    pub fn name(self) -> &'static str {
        match self {
            Where::Rt => "rt",
            Where::Src => "src",
            Where::Dst => "dst",
            Where::Alt => "alt",
        }
    }
}

/// The addresses that both receivers have.
pub const TARGETS: u8 = 4;

/// A target, or another address that packets are sent to and nobody has.
pub fn target(net: u8, number: u8, is_v4: bool) -> IpAddr {
    match is_v4 {
        true => [10, net, 0, number].into(),
        false => [0xfd00 + u16::from(net), 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

/// All addresses that may be asked for on a cable.
fn known(number: u8, is_v4: bool) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> =
        (1..=TARGETS).map(|target_number| target(9, target_number, is_v4)).collect();
    all.extend([2, 3].map(|end| host(number, end, is_v4)));
    all.extend([1, 2].map(|other| target(8, other, is_v4)));
    all.extend([1, 2].map(|other| target(66, other, is_v4)));
    all
}

/// A packet that arrived somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    pub place: &'static str,
    pub device: &'static str,
    /// Whether it was for this machine, for all, or for another.
    pub kind: u8,
    pub bytes: Vec<u8>,
}

/// Counters of a namespace, by file and name.
pub type Counters = BTreeMap<String, u64>;

/// One of the two.
pub struct World {
    nets: BTreeMap<Where, Netns>,
    control: BTreeMap<Where, Socket>,
    captures: Vec<(Where, OwnedFd)>,
    entrances: Vec<(Place, OwnedFd)>,
    sockets: Vec<UdpSocket>,
    before: BTreeMap<Where, Counters>,
    /// Marks are left as they are: a fault that must be noticed.
    pub ignores_marks: bool,
}

/// What all namespaces begin with. Names are below `/proc/sys/net`.
const QUIET: &[(&str, &str)] = &[
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/all/force_mld_version", "1"),
    ("ipv6/conf/default/mldv1_unsolicited_report_interval", "100000000"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv4/icmp_msgs_burst", "1000000"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv4/ipfrag_time", "3600"),
    ("ipv6/ip6frag_time", "3600"),
];

/// What the router has on top.
const ROUTER: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/keep_addr_on_down", "1"),
    ("ipv6/conf/default/keep_addr_on_down", "1"),
    ("ipv4/fib_multipath_hash_seed", "7"),
];

/// Lets the stack tell each error and each redirect, whenever it comes. For all namespaces.
pub fn without_limits() -> Result<()> {
    set("ipv4/route/error_cost", "0")?;
    set("ipv4/route/redirect_load", "-1")?;
    set("ipv4/route/redirect_number", "1000000")
}

/// Writes a setting of the calling thread's namespace.
pub fn set(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    fs::write(&path, value).context(path)
}

/// The commands that make what [`World::new`] makes.
pub fn commands() -> Vec<String> {
    let mut lines = vec![
        "sysctl -qw net.ipv4.route.error_cost=0 net.ipv4.route.redirect_load=-1 \
         net.ipv4.route.redirect_number=1000000"
            .to_owned(),
    ];
    for place in Where::ALL {
        let name = place.name();
        lines.push(format!("ip netns add {name}; ip -n {name} link set lo up"));
        let more = if place == Where::Rt { ROUTER } else { &[] };
        let settings: Vec<_> =
            QUIET.iter().chain(more).map(|(name, value)| format!("net/{name}={value}")).collect();
        lines.push(format!("ip netns exec {name} sysctl -qw {}", settings.join(" ")));
    }
    for place in Place::ALL {
        let (end, far, far_index) = place.end();
        let (near, far_ns, number) = (place.entrance(), end.name(), place.entrance().number());
        let name = near.name();
        lines.push(format!(
            "ip -n rt link add {name} index {} address 02:00:00:00:{number:02x}:01 type veth peer \
             {far} index {far_index} address 02:00:00:00:{number:02x}:02 netns {far_ns}",
            near.index()
        ));
        for (ns, device, is_near) in [("rt", name, true), (far_ns, far, false)] {
            let own = if is_near { 1 } else { 2 };
            lines.push(format!(
                "ip -n {ns} link set {device} up; \
                 ip -n {ns} addr add 10.0.{number}.{own}/24 dev {device}; \
                 ip -n {ns} addr add fd0{number}::{own}/64 dev {device} nodad"
            ));
            let (of, end) = if is_near { (known_both(number), 2) } else { (near_both(number), 1) };
            for address in of {
                lines.push(format!(
                    "ip -n {ns} neigh replace {address} lladdr 02:00:00:00:{number:02x}:{end:02x} \
                     dev {device} nud permanent"
                ));
            }
        }
        if place != Place::SrcToo {
            lines.push(format!(
                "ip -n {far_ns} route add default via 10.0.{number}.1; \
                 ip -n {far_ns} route add default via fd0{number}::1"
            ));
        }
    }
    lines.push(
        "for t in 1 2 3 4; do for n in dst alt; do ip -n $n addr add 10.9.0.$t/32 dev lo; \
         ip -n $n addr add fd09::$t/128 dev lo nodad; done; done"
            .into(),
    );
    for device in ["a", "d"] {
        lines.push(format!(
            "tc -n rt qdisc add dev {device} clsact; tc -n rt filter add dev {device} ingress \
             matchall action skbedit mark 0 pass index 1"
        ));
    }
    lines
}

fn known_both(number: u8) -> Vec<IpAddr> {
    [true, false].iter().flat_map(|is_v4| known(number, *is_v4)).collect()
}

fn near_both(number: u8) -> Vec<IpAddr> {
    [true, false].map(|is_v4| host(number, 1, is_v4)).into()
}

impl World {
    /// Makes one.
    pub fn new() -> Result<World> {
        let mut nets = BTreeMap::new();
        let mut control = BTreeMap::new();
        for place in Where::ALL {
            let net = Netns::new()?;
            net.enter()?;
            control.insert(place, Socket::open()?);
            let more = if place == Where::Rt { ROUTER } else { &[] };
            for (name, value) in QUIET.iter().chain(more) {
                set(name, value)?;
            }
            nets.insert(place, net);
        }
        let mut world = World {
            nets,
            control,
            captures: Vec::new(),
            entrances: Vec::new(),
            sockets: Vec::new(),
            before: BTreeMap::new(),
            ignores_marks: false,
        };
        world.connect()?;
        for device in [Device::A, Device::D] {
            for request in marks(device.index()) {
                world.demand(Where::Rt, "marks", request)?;
            }
        }
        world.settle()?;
        packets_are_settled()?;
        for place in Where::ALL {
            let counters = world.counters_now(place)?;
            world.before.insert(place, counters);
        }
        world.listen()?;
        Ok(world)
    }

    fn demand(&self, place: Where, what: &str, request: Request) -> Result<()> {
        self.control[&place].demand(&format!("{what} in {}", place.name()), request)
    }

    fn connect(&mut self) -> Result<()> {
        for place in Where::ALL {
            self.demand(place, "lo", link(1, true))?;
        }
        for place in Place::ALL {
            let (end, far, far_index) = place.end();
            let near = place.entrance();
            let number = near.number();
            let request = Request::new(libc::RTM_NEWLINK, CREATE)
                .raw(&link_header(near.index(), 0, 0))
                .text(3, near.name())
                .attr(1, &mac(number, 1))
                .nest(18, |it| {
                    it.attr(1, b"veth").nest(2, |it| {
                        it.nest(1, |it| {
                            it.raw(&link_header(far_index, 0, 0))
                                .text(3, far)
                                .attr(1, &mac(number, 2))
                                .number(28, self.nets[&end].fd() as u32)
                        })
                    })
                });
            self.demand(Where::Rt, "a cable", request)?;
            for (ns, index, own) in [(Where::Rt, near.index(), 1), (end, far_index, 2)] {
                self.demand(ns, "a cable up", link(index, true))?;
                for (is_v4, length) in [(true, 24), (false, 64)] {
                    let address = host(number, own, is_v4);
                    let request = address_request(Verb::Add, index, address, length);
                    self.demand(ns, "an address", request)?;
                }
            }
            self.neighbours(near)?;
            for address in near_both(number) {
                let request = neighbour(far_index, address, &mac(number, 1));
                self.demand(end, "a neighbour", request)?;
            }
        }
        for place in [Where::Dst, Where::Alt] {
            for number in 1..=TARGETS {
                for (is_v4, length) in [(true, 32), (false, 128)] {
                    let address = target(9, number, is_v4);
                    let request = address_request(Verb::Add, 1, address, length);
                    self.demand(place, "a target", request)?;
                }
            }
        }
        // IPv6 has no route by way of an address before the link is there.
        self.settle()?;
        for place in [Place::Src, Place::Dst, Place::Alt] {
            let (end, _, index) = place.end();
            for is_v4 in [true, false] {
                let family = if is_v4 { libc::AF_INET } else { libc::AF_INET6 } as u8;
                let gateway = host(place.entrance().number(), 1, is_v4);
                let request = Request::new(libc::RTM_NEWROUTE, CREATE)
                    .raw(&[family, 0, 0, 0, 254, 3, 0, 1])
                    .word(0)
                    .attr(5, &super::change::octets(gateway))
                    .number(4, index);
                self.demand(end, "a default route", request)?;
            }
        }
        Ok(())
    }

    /// The static neighbours of a device of the router. What cannot be is left out.
    fn neighbours(&self, device: Device) -> Result<()> {
        for address in known_both(device.number()) {
            let request = neighbour(device.index(), address, &mac(device.number(), 2));
            self.control[&Where::Rt].ask(request)?;
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        for place in [Where::Src, Where::Dst, Where::Alt] {
            self.nets[&place].enter()?;
            let protocol = SockProtocol::EthAll;
            let fd = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)
                .context("listen to a link")?;
            setsockopt(&fd, RcvBufForce, &(8 << 20)).context("make room for packets")?;
            self.captures.push((place, fd));
        }
        for place in Place::ALL {
            let (end, _, index) = place.end();
            self.nets[&end].enter()?;
            let fd =
                socket(AddressFamily::Packet, SockType::Raw, flags, None).context("open a link")?;
            bind_to(&fd, index)?;
            self.entrances.push((place, fd));
        }
        Ok(())
    }

    /// The router.
    pub fn router(&self) -> &Netns {
        &self.nets[&Where::Rt]
    }

    /// Namespaces, to switch their caches on or off.
    pub fn nets(&self) -> impl Iterator<Item = &Netns> {
        self.nets.values()
    }

    /// Makes a change. Returns zero, or the error.
    pub fn change(&mut self, change: &Change) -> Result<i32> {
        if self.ignores_marks && matches!(change, Change::Mark(_)) {
            return Ok(0);
        }
        let error = match change.ask(&self.control[&Where::Rt])? {
            Some(error) => error,
            None => self.change_otherwise(change)?,
        };
        if let (0, Some(device)) = (error, change.forgets_neighbours())
            && Device::CABLES.contains(&device)
        {
            self.neighbours(device)?;
        }
        if change.is_slow() {
            self.settle()?;
        }
        Ok(error)
    }

    fn change_otherwise(&mut self, change: &Change) -> Result<i32> {
        self.router().enter()?;
        let result = match change {
            Change::Setting(name, value) => {
                fs::write(format!("/proc/sys/net/{name}"), value).map(drop)
            }
            Change::Socket(Listener { local, port, to }) => UdpSocket::bind((*local, *port))
                .and_then(|socket| {
                    if let Some(to) = to {
                        socket.connect(*to)?;
                    }
                    self.sockets.push(socket);
                    Ok(())
                }),
            _ => {
                self.sockets.clear();
                Ok(())
            }
        };
        Ok(result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1)))
    }

    /// Waits until the kernel has done what it does behind a change: a link tells its other end by
    /// work, and addresses of IPv6 get their routes by work.
    pub fn settle(&self) -> Result<()> {
        let mut result = Ok(false);
        let settled = wait_until_soon(|| {
            result = self.is_settled();
            !matches!(result, Ok(false))
        });
        result?;
        ensure!(settled, "the links do not settle");
        // The work holds this lock until it is through.
        for place in Where::ALL {
            self.demand(place, "a barrier", link(1, true))?;
        }
        Ok(())
    }

    fn is_settled(&self) -> Result<bool> {
        let mut running = BTreeMap::new();
        for (place, net) in &self.nets {
            net.enter()?;
            running.insert(*place, flags()?);
        }
        for place in Place::ALL {
            let (end, far, _) = place.end();
            let near = running[&Where::Rt].get(place.entrance().name()).copied().unwrap_or(0);
            let far = running[&end].get(far).copied().unwrap_or(0);
            let both_up = near & far & libc::IFF_UP as u32 != 0;
            for one in [near, far] {
                if (one & libc::IFF_RUNNING as u32 != 0) != both_up {
                    return Ok(false);
                }
            }
        }
        let rt = &running[&Where::Rt];
        let is = |name: &str, flag: i32| rt.get(name).is_some_and(|flags| flags & flag as u32 != 0);
        if is("m", libc::IFF_UP) && is("m", libc::IFF_RUNNING) != is("a", libc::IFF_RUNNING) {
            return Ok(false);
        }
        for (place, net) in &self.nets {
            net.enter()?;
            if !addresses_are_ready(&running[place])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends a packet.
    pub fn send(&self, place: Place, packet: &Packet) -> Result<()> {
        let entrance = self.entrances.iter().find(|(have, _)| *have == place);
        let (_, fd) = entrance.context("no such place")?;
        let number = place.entrance().number();
        let to = match packet.frame {
            Frame::Router => mac(number, 1),
            Frame::Macvlan => mac(5, 1),
            Frame::Broadcast => [0xff; 6],
            Frame::Other => mac(number, 9),
        };
        let frame = frame(to, mac(number, 2), packet);
        match send(fd.as_raw_fd(), &frame, MsgFlags::empty()) {
            // The other end of the cable is down.
            Ok(_) | Err(Errno::ENETDOWN | Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send {packet}")),
        }
    }

    /// What has arrived since the last time.
    pub fn arrivals(&self) -> Result<Vec<Arrival>> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        for (place, fd) in &self.captures {
            loop {
                let (length, from) = match recvfrom::<LinkAddr>(fd.as_raw_fd(), &mut buffer) {
                    Ok(received) => received,
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::ENETDOWN) => continue,
                    Err(error) => return Err(error).context("receive from a link"),
                };
                let from = from.context("a packet from nowhere")?;
                let frame = &buffer[..length];
                if from.pkttype() == libc::PACKET_OUTGOING || !is_of_the_test(frame) {
                    continue;
                }
                let device = match from.ifindex() {
                    21 => "e",
                    22 => "f",
                    _ => continue,
                };
                let mut bytes = frame[14..].to_vec();
                normalize(&mut bytes);
                let kind = from.pkttype();
                all.push(Arrival { place: place.name(), device, kind, bytes });
            }
        }
        all.sort();
        Ok(all)
    }

    /// How much the counters of a namespace's stack have grown since the world was made.
    pub fn counters(&self, place: Where) -> Result<Counters> {
        let mut all = self.counters_now(place)?;
        for (name, value) in &mut all {
            *value = value.wrapping_sub(self.before[&place].get(name).copied().unwrap_or(0));
        }
        Ok(all)
    }

    fn counters_now(&self, place: Where) -> Result<Counters> {
        self.nets[&place].enter()?;
        let mut all = Counters::new();
        for file in ["snmp", "netstat"] {
            let text = read(file)?;
            let mut lines = text.lines();
            while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
                let mut both = names.split(' ').zip(values.split(' '));
                let group = both.next().context("no group")?.0;
                for (name, value) in both {
                    // Some are -1.
                    all.insert(format!("{group} {name}"), value.parse().unwrap_or(u64::MAX));
                }
            }
        }
        for line in read("snmp6")?.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some(name), Some(value)) = (words.next(), words.next()) {
                all.insert(name.to_owned(), value.parse().context("a counter")?);
            }
        }
        all.retain(|name, _| !depends_on_reports(name));
        Ok(all)
    }
}

/// Whether the kernel counts there what it sends about multicast groups. A report may be sent before
/// or after a link is ready, and is lost or not. What is forwarded or refused, and what protocols get, is
/// counted elsewhere.
fn depends_on_reports(name: &str) -> bool {
    const ALL: [&str; 13] = [
        "Ip6InReceives",
        "Ip6InNoECTPkts",
        "Ip6InNoRoutes",
        "Ip6InDelivers",
        "Ip6InDiscards",
        "Ip6OutOctets",
        "Ip6InOctets",
        "Ip6OutRequests",
        "Ip6OutTransmits",
        "Ip6OutDiscards",
        "Ip6OutNoRoutes",
        "Icmp6InMsgs",
        "Icmp6OutMsgs",
    ];
    const GROUPS: [&str; 4] = ["Mcast", "MLD", "GroupMemb", "Type13"];
    ALL.contains(&name) || GROUPS.iter().any(|part| name.contains(part))
}

/// Waits until no packet is on its way in the kernel.
///
/// The calling thread stays on one processor. A packet goes from one device to the next by way of
/// the queue of the processor, and what takes it from there cannot be preempted. So while this
/// thread runs, all packets on their way are in that queue.
pub fn packets_are_settled() -> Result<()> {
    let mut result = Ok(false);
    let settled = wait_until_soon(|| {
        result = queues_are_empty();
        !matches!(result, Ok(false))
    });
    result?;
    ensure!(settled, "packets stay in their queue");
    Ok(())
}

fn queues_are_empty() -> Result<bool> {
    const LENGTH: usize = 11;
    let path = "/proc/net/softnet_stat";
    let text = fs::read_to_string(path).context(path)?;
    for line in text.lines() {
        let length = line.split(' ').nth(LENGTH).context("no length of the queue")?;
        if u64::from_str_radix(length, 16).context(path)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Like [`wait_until`], for what is there in a moment.
fn wait_until_soon(mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..1000 {
        if done() {
            return true;
        }
        std::thread::yield_now();
    }
    wait_until(done)
}

/// A frame with a packet in it.
pub fn frame(to: [u8; 6], from: [u8; 6], packet: &Packet) -> Vec<u8> {
    let kind = if packet.source.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
    let mut frame = [to, from].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(packet.bytes());
    frame
}

/// Whether a frame has a packet that the test has caused. IPv6 sends some about itself.
fn is_of_the_test(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([8, 0]) => true,
        Some([0x86, 0xdd]) => frame.get(38..40) != Some(&[0xff, 2]),
        _ => false,
    }
}

/// Removes what the kernel draws at random: the numbers of packets that it makes itself.
fn normalize(bytes: &mut [u8]) {
    const ERRORS4: [u8; 4] = [3, 5, 11, 12];
    const RESET: u8 = 4;
    match bytes.first().map(|first| first >> 4) {
        Some(4) if bytes.len() >= 20 => {
            let header = usize::from(bytes[0] & 15) * 4;
            let is_first = bytes[6] & 0x1f == 0 && bytes[7] == 0;
            let flags = bytes.get(header + 13).copied().unwrap_or(0);
            let is_reset = bytes[9] == 6 && (!is_first || flags & RESET != 0);
            if bytes[9] == 1 || is_reset {
                bytes[4..6].fill(0);
                bytes[10..12].fill(0);
            }
            let kind = bytes.get(header).copied().unwrap_or(0);
            if bytes[9] == 1 && is_first && ERRORS4.contains(&kind) && bytes.len() >= header + 8 {
                bytes[header + 2..header + 4].fill(0);
                normalize(&mut bytes[header + 8..]);
            }
        }
        Some(6) if bytes.len() >= 48 => {
            let next = bytes[6];
            let flags = bytes.get(53).copied().unwrap_or(0);
            let is_own = next == 58 && bytes[40] != 128 || next == 6 && flags & RESET != 0;
            if is_own || next == 44 {
                bytes[1] &= 0xf0;
                bytes[2..4].fill(0);
            }
            if next == 44 {
                bytes[44..48].fill(0);
            }
            if next == 58 && bytes[40] < 128 {
                bytes[42..44].fill(0);
                normalize(&mut bytes[48..]);
            }
        }
        _ => {}
    }
}

fn read(file: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{file}");
    fs::read_to_string(&path).context(path)
}

/// The flags of the devices of the calling thread's namespace.
fn flags() -> Result<BTreeMap<String, u32>> {
    let all = nix::net::if_::if_nameindex().context("list devices")?;
    let mut found = BTreeMap::new();
    let socket = UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
    for device in &all {
        let name = device.name().to_string_lossy().into_owned();
        // SAFETY: All zeros are a request.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
            *to = from as libc::c_char;
        }
        // SAFETY: The request outlives the call, which writes within it.
        if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request) } == 0 {
            // SAFETY: The call has succeeded, so it has written the flags.
            let flags = unsafe { request.ifr_ifru.ifru_flags };
            found.insert(name, u32::from(flags as u16));
        }
    }
    Ok(found)
}

/// Whether the addresses of IPv6 of all devices that run have their routes and groups.
fn addresses_are_ready(flags: &BTreeMap<String, u32>) -> Result<bool> {
    let (addresses, routes, groups) = (read("if_inet6")?, read("ipv6_route")?, read("igmp6")?);
    for line in addresses.lines() {
        let mut words = line.split_ascii_whitespace();
        let (address, device) = (words.next(), words.next_back());
        let (Some(address), Some(device)) = (address, device) else { continue };
        let up_and_running = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
        let is_up = flags.get(device).is_some_and(|f| f & up_and_running == up_and_running);
        let want = format!("{address} 80 ");
        let has_route = || {
            routes.lines().any(|route| {
                // The last but one is the flags: local is the highest bit.
                let mut words = route.split_ascii_whitespace().rev();
                let (_, flags) = (words.next(), words.next());
                route.starts_with(&want) && flags.is_some_and(|flags| flags.starts_with('8'))
            })
        };
        // The same work joins the group in which others would ask for the address.
        let group = format!("ff0200000000000000000001ff{}", address.get(26..).unwrap_or(""));
        let has_group = || {
            groups.lines().any(|line| {
                let mut words = line.split_ascii_whitespace().skip(1);
                words.next() == Some(device) && words.next() == Some(&group)
            })
        };
        if is_up && !(has_route() && (device == "lo" || has_group())) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn bind_to(fd: &OwnedFd, index: u32) -> Result<()> {
    // SAFETY: All zeros are an address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: The address is as long as the call is told, and outlives it.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(result).map(drop).context("bind to a link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_kernels_own_packets_do_not_count() {
        let error = |number: u8| {
            let mut bytes = vec![0x45, 0, 0, 56, 0, number, 0, 0, 64, 1, number, number];
            bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 3, 1, number, number, 0, 0, 0, 0]);
            bytes.extend([0x45, 0, 0, 28, 0, number, 0, 0, 64, 1, number, number]);
            bytes.extend([10, 0, 0, 2, 10, 0, 0, 1, 0, 0, 7, 7, 0, 0, 0, 0]);
            normalize(&mut bytes);
            bytes
        };
        assert_eq!(error(1), error(2));
        let mut udp = vec![0x45, 0, 0, 28, 0, 9, 0, 0, 64, 17, 1, 1];
        udp.resize(28, 0);
        let before = udp.clone();
        normalize(&mut udp);
        assert_eq!(udp, before);
    }
}
