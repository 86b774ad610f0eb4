// SPDX-License-Identifier: GPL-2.0

//! A router with a sender on one side and nothing on the other: each address that the sender writes
//! to is an entry of the router's cache.
//!
//! All neighbour entries are static, and nobody answers: only packets of the test are on the wire.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::command::{ip, run};
use crate::genl::{Answer, Attributes, uapi};
use crate::module::Figures;
use crate::netns::Netns;
use crate::wait_until;

/// Packets to each address, one after another. If most packets missed, the cache would step aside.
const PACKETS: usize = 8;
/// Addresses to send to before the router must have seen all of these packets: a processor queues
/// no more than a thousand (`netdev_max_backlog`).
const TOGETHER: usize = 64;

/// The router, and the sender behind it.
pub struct Router {
    net: Netns,
    sender: Netns,
    number: u8,
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Router {
    /// Makes a router. The number makes its addresses unique.
    pub fn new(number: u8) -> Result<Router> {
        let (net, sender) = (Netns::new()?, Netns::new()?);
        for side in [&net, &sender] {
            side.run(|| {
                set("ipv6/conf/default/accept_dad", "0")?;
                set("ipv6/conf/default/router_solicitations", "0")?;
                set("ipv4/conf/default/rp_filter", "0")?;
                set("ipv4/conf/all/rp_filter", "0")
            })?;
        }
        let (near, far) =
            (format!("02:00:00:00:{number:02x}:01"), format!("02:00:00:00:{number:02x}:02"));
        net.run(|| {
            set("ipv4/ip_forward", "1")?;
            set("ipv6/conf/all/forwarding", "1")?;
            ip(&[
                &format!(
                    "link add name v address {near} type veth peer name e address {far} netns {}",
                    sender.path()
                ),
                "link add name sink type dummy",
                "link set dev sink arp off",
                "link set dev sink up",
                "link set dev v up",
                &format!("addr add 10.0.{number}.1/24 dev v"),
                &format!("addr add fd00:{number}::1/64 dev v nodad"),
                "route add 10.9.0.0/16 dev sink",
                "route add fd09::/64 dev sink",
            ])
        })?;
        let (v4, v6) = sender.run(|| {
            ip(&[
                "link set dev e up",
                &format!("addr add 10.0.{number}.2/24 dev e"),
                &format!("addr add fd00:{number}::2/64 dev e nodad"),
                &format!("neigh replace 10.0.{number}.1 lladdr {near} dev e nud permanent"),
                &format!("neigh replace fd00:{number}::1 lladdr {near} dev e nud permanent"),
                &format!("route add default via 10.0.{number}.1"),
                &format!("route add default via fd00:{number}::1"),
            ])?;
            Ok((UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("[::]:0")?))
        })?;
        // The kernel tells that a cable has two ends a little later, and then the cache is flushed.
        let is_up = || {
            let shown = net.run(|| run("ip -o link show dev v"));
            shown.is_ok_and(|shown| shown.contains("state UP"))
        };
        ensure!(wait_until(is_up), "the link of the router does not come up");
        Ok(Router { net, sender, number, v4, v6 })
    }

    /// The namespace with the cache.
    pub fn net(&self) -> &Netns {
        &self.net
    }

    /// The namespace of the sender.
    pub fn sender(&self) -> &Netns {
        &self.sender
    }

    /// Sends to an address. The router may see the packets later.
    pub fn send(&self, to: IpAddr) -> Result<()> {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        for _ in 0..PACKETS {
            socket.send_to(b"x", (to, 9)).with_context(|| format!("send to {to}"))?;
        }
        Ok(())
    }

    /// Sends to these addresses, and waits until the router has seen the packets.
    pub fn deliver(&self, addresses: &[IpAddr]) -> Result<()> {
        on_one_processor(|| {
            for some in addresses.chunks(TOGETHER) {
                let before = self.seen()?;
                some.iter().try_for_each(|address| self.send(*address))?;
                let want = before + packets(some.len());
                let all = wait_until(|| self.seen().is_ok_and(|seen| seen >= want));
                ensure!(all, "the router has not seen all packets: {:?}", self.figures()?);
            }
            Ok(())
        })
    }

    /// How many packets the cache has looked up or let pass.
    fn seen(&self) -> Result<u64> {
        let figures = self.figures()?;
        ["hits", "misses", "bypassed"].iter().map(|name| figures.get(name)).sum()
    }

    /// Sends to these numbers of addresses. Afterwards the cache has as many entries.
    ///
    /// A cache that was flushed several times in a row may let packets pass at first: then they are
    /// sent again.
    pub fn fill(&self, v4: u16, v6: u16) -> Result<()> {
        let before = self.entries()?;
        let want = (before.0.max(v4.into()), before.1.max(v6.into()));
        let all: Vec<IpAddr> = (0..v4).map(address4).chain((0..v6).map(address6)).collect();
        let mut result = Ok(false);
        let done = wait_until(|| {
            result = self.fill_once(&all, want);
            !matches!(result, Ok(false))
        });
        result?;
        ensure!(done, "the cache lets packets pass: {:?}", self.figures()?);
        Ok(())
    }

    /// Whether the cache has as many entries as it should. False if packets were let pass.
    fn fill_once(&self, addresses: &[IpAddr], want: (u64, u64)) -> Result<bool> {
        let passed = self.figures()?.get("bypassed")?;
        self.deliver(addresses)?;
        let have = self.entries()?;
        if have != want && self.figures()?.get("bypassed")? > passed {
            return Ok(false);
        }
        ensure!(have == want, "there are {have:?} entries, want {want:?}: {:?}", self.figures()?);
        Ok(true)
    }

    /// How many packets have left the router for the addresses behind it.
    pub fn passed_on(&self) -> Result<u64> {
        self.net.run(|| {
            let path = "/proc/thread-self/net/dev";
            let devices = fs::read_to_string(path).context(path)?;
            let sink = devices.lines().find_map(|line| line.trim().strip_prefix("sink:"));
            let sent = sink.and_then(|figures| figures.split_ascii_whitespace().nth(9));
            sent.context("no device sink")?.parse().context("packets of sink")
        })
    }

    /// The figures of the cache.
    pub fn figures(&self) -> Result<Figures> {
        Figures::of_route_cache(self.net.inum())
    }

    /// How many entries there are, of each family.
    pub fn entries(&self) -> Result<(u64, u64)> {
        let figures = self.figures()?;
        Ok((figures.get("entries4")?, figures.get("entries6")?))
    }

    /// Whether an address is that of the sender.
    pub fn is_source(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == Ipv4Addr::new(10, 0, self.number, 2),
            IpAddr::V6(address) => {
                address == format!("fd00:{}::2", self.number).parse::<Ipv6Addr>().unwrap_or(address)
            }
        }
    }

    /// How often a dump shows each destination. An error if it shows one of another namespace.
    pub fn shown(&self, answer: &Answer) -> Result<BTreeMap<IpAddr, usize>> {
        let mut shown = BTreeMap::new();
        for entry in &answer.messages {
            let (from, to) = (address(entry, SOURCE)?, address(entry, DESTINATION)?);
            ensure!(self.is_source(from), "an entry of {from} in the namespace of {}", self.number);
            *shown.entry(to).or_default() += 1;
        }
        Ok(shown)
    }
}

/// The number of packets for a number of addresses.
pub fn packets(addresses: usize) -> u64 {
    (addresses * PACKETS) as u64
}

/// A destination by its number.
pub fn address4(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low).into()
}

/// Like [`address4`].
pub fn address6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 1, number).into()
}

/// Does something on the processor where the thread is now. The router sees packets from there in
/// their order, so when it has seen the last, it has seen all.
fn on_one_processor(what: impl FnOnce() -> Result<()>) -> Result<()> {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).context("which processors there are")?;
    let mut one = CpuSet::new();
    one.set(sched_getcpu().context("which processor this is")?)?;
    sched_setaffinity(this, &one).context("stay on a processor")?;
    let result = what();
    sched_setaffinity(this, &all).context("leave a processor")?;
    result
}

/// The attributes of an address, of IPv4 and of IPv6.
const SOURCE: [u16; 2] = [uapi::ENTRY_A_SRC4, uapi::ENTRY_A_SRC6];
const DESTINATION: [u16; 2] = [uapi::ENTRY_A_DST4, uapi::ENTRY_A_DST6];

/// The address that an entry has in one of these.
fn address(entry: &Attributes, kinds: [u16; 2]) -> Result<IpAddr> {
    match kinds.map(|kind| entry.bytes(kind)) {
        [Some(v4), None] => Ok(<[u8; 4]>::try_from(v4).context("an IPv4 address")?.into()),
        [None, Some(v6)] => Ok(<[u8; 16]>::try_from(v6).context("an IPv6 address")?.into()),
        other => bail!("an entry with the addresses {other:?}"),
    }
}

fn set(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    fs::write(&path, value).context(path)
}
