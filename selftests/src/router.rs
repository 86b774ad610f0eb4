// SPDX-License-Identifier: GPL-2.0

//! A router with a sender on one side and nothing on the other: each address that the sender writes
//! to is an entry of the router's cache.
//!
//! All neighbours are told, and nobody answers: no packet is on the wire but those of the test.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::{Context, Result, ensure};

use crate::command::ip;
use crate::genl::{Answer, Attributes, uapi};
use crate::module::Figures;
use crate::netns::Netns;

/// So many packets go to each address, one after another: where most packets are misses, the cache
/// steps aside.
const PACKETS: usize = 8;

/// The router, and the sender behind it.
pub struct Router {
    net: Netns,
    _sender: Netns,
    number: u8,
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Router {
    /// Makes one. The number tells its addresses from those of others.
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
        Ok(Router { net, _sender: sender, number, v4, v6 })
    }

    /// The namespace with the cache.
    pub fn net(&self) -> &Netns {
        &self.net
    }

    /// Sends to an address. There is an entry for it afterwards.
    pub fn send(&self, to: IpAddr) -> Result<()> {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        for _ in 0..PACKETS {
            socket.send_to(b"x", (to, 9)).with_context(|| format!("send to {to}"))?;
        }
        Ok(())
    }

    /// Sends to so many addresses of both families. There are as many entries afterwards.
    pub fn fill(&self, v4: u16, v6: u16) -> Result<()> {
        let before = self.entries()?;
        (0..v4).try_for_each(|number| self.send(address4(number)))?;
        (0..v6).try_for_each(|number| self.send(address6(number)))?;
        let have = self.entries()?;
        let want = (before.0.max(v4.into()), before.1.max(v6.into()));
        ensure!(have == want, "there are {have:?} entries, want {want:?}: {:?}", self.figures()?);
        Ok(())
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

    /// How often a dump shows each destination. An error if it shows another namespace's.
    pub fn shown(&self, answer: &Answer) -> Result<BTreeMap<IpAddr, usize>> {
        let mut shown = BTreeMap::new();
        for entry in &answer.messages {
            let (from, to) =
                (address(entry, uapi::ENTRY_A_SRC)?, address(entry, uapi::ENTRY_A_DST)?);
            ensure!(self.is_source(from), "an entry of {from} in the namespace of {}", self.number);
            *shown.entry(to).or_default() += 1;
        }
        Ok(shown)
    }
}

/// A destination by its number.
pub fn address4(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low).into()
}

/// As [`address4`].
pub fn address6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 1, number).into()
}

fn address(entry: &Attributes, kind: u16) -> Result<IpAddr> {
    let bytes = entry.bytes(kind).context("an entry without addresses")?;
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(bytes.into());
    }
    let bytes: [u8; 16] = bytes.try_into().context("an address")?;
    Ok(bytes.into())
}

fn set(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    fs::write(&path, value).context(path)
}
