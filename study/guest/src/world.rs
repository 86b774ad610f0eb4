// SPDX-License-Identifier: GPL-2.0

//! Ways into a namespace, each built of three namespaces: one outside, a host, and a box.
//!
//! ```text
//! outside: out0 ──── host: up0 … dn0 ──── box: eth0
//! ```
//!
//! All neighbours are static, and nothing speaks by itself: only packets of the study travel.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use rnetns_selftests::command::{ip, ip_of, run};
use rnetns_selftests::module::{Figures, Loaded, Module};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::wait_until;

use crate::bpf;
use crate::memory::Endpoints;
use crate::results::CacheUse;
use crate::traffic::{Protocol, Traffic};

/// A way from outside into the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The far end of a cable is in the box itself.
    Direct,
    /// The same, with sockets that are bound to the two devices.
    DirectBound,
    /// And with both ends in one namespace: what the RFD compares with.
    SameNamespace,
    Bridge,
    /// A bridge that knows no address, with a third port.
    BridgeFlood,
    /// A bridge whose packets go through the filters of IP (`bridge-nf-call-iptables`).
    BridgeNetfilter,
    Routed,
    /// With the module's route cache.
    RoutedCache,
    /// With a policy rule that no packet meets, without and with the cache.
    RoutedRule,
    RoutedRuleCache,
    NatNft,
    NatIptables,
    NatIptablesNft,
    Vrf,
    Macvlan(&'static str),
    Ipvlan(&'static str),
    TcRedirect,
    XdpRedirect,
}

pub const WAYS: [Way; 23] = [
    Way::Direct,
    Way::DirectBound,
    Way::SameNamespace,
    Way::Bridge,
    Way::BridgeFlood,
    Way::BridgeNetfilter,
    Way::Routed,
    Way::RoutedCache,
    Way::RoutedRule,
    Way::RoutedRuleCache,
    Way::NatNft,
    Way::NatIptables,
    Way::NatIptablesNft,
    Way::Vrf,
    Way::Macvlan("bridge"),
    Way::Macvlan("private"),
    Way::Macvlan("passthru"),
    Way::Macvlan("source"),
    Way::Ipvlan("l2"),
    Way::Ipvlan("l3"),
    Way::Ipvlan("l3s"),
    Way::TcRedirect,
    Way::XdpRedirect,
];

impl Way {
    pub fn name(self) -> String {
        match self {
            Way::Direct => "direct".into(),
            Way::DirectBound => "direct-bound".into(),
            Way::SameNamespace => "same-namespace".into(),
            Way::Bridge => "bridge".into(),
            Way::BridgeFlood => "bridge-flood".into(),
            Way::BridgeNetfilter => "bridge-netfilter".into(),
            Way::Routed => "routed".into(),
            Way::RoutedCache => "routed-cache".into(),
            Way::RoutedRule => "routed-rule".into(),
            Way::RoutedRuleCache => "routed-rule-cache".into(),
            Way::NatNft => "nat-nft".into(),
            Way::NatIptables => "nat-iptables".into(),
            Way::NatIptablesNft => "nat-iptables-nft".into(),
            Way::Vrf => "vrf".into(),
            Way::Macvlan(mode) => format!("macvlan-{mode}"),
            Way::Ipvlan(mode) => format!("ipvlan-{mode}"),
            Way::TcRedirect => "tc-redirect".into(),
            Way::XdpRedirect => "xdp-redirect".into(),
        }
    }

    pub fn find(name: &str) -> Result<Way> {
        let way = WAYS.into_iter().find(|way| way.name() == name);
        way.with_context(|| format!("no way is called {name}"))
    }

    /// Whether the host routes, so that outside and box are in different networks.
    fn routes(self) -> bool {
        matches!(
            self,
            Way::Routed
                | Way::RoutedCache
                | Way::RoutedRule
                | Way::RoutedRuleCache
                | Way::NatNft
                | Way::NatIptables
                | Way::NatIptablesNft
                | Way::Vrf
        )
    }

    fn translates(self) -> bool {
        matches!(self, Way::NatNft | Way::NatIptables | Way::NatIptablesNft)
    }

    /// Whether the host has no part in it.
    fn is_direct(self) -> bool {
        matches!(self, Way::Direct | Way::DirectBound | Way::SameNamespace)
    }

    /// Whether sockets are bound to the devices, without which a namespace would not send what is
    /// for itself through a cable.
    fn is_bound(self) -> bool {
        matches!(self, Way::DirectBound | Way::SameNamespace)
    }

    pub fn has_cache(self) -> bool {
        matches!(self, Way::RoutedCache | Way::RoutedRuleCache)
    }

    /// Whether there is a device `dn0` whose other end is the box's.
    fn has_cable(self) -> bool {
        !self.is_direct() && !matches!(self, Way::Macvlan(_) | Way::Ipvlan(_))
    }

    /// Whether programs of the host, which are in no VRF, can reach the box.
    fn has_local(self) -> bool {
        (self.routes() && self != Way::Vrf) || matches!(self, Way::Bridge | Way::BridgeNetfilter)
    }

    pub fn directions(self) -> Vec<Direction> {
        let mut all = vec![Direction::In, Direction::Out];
        if self.has_local() {
            all.push(Direction::Local);
        }
        all
    }

    /// Whether the box's sender can cut segments itself: devices upon another one cannot be told to
    /// leave that to TCP.
    pub fn cuts(self, direction: Direction) -> bool {
        direction != Direction::Out || !matches!(self, Way::Macvlan(_) | Way::Ipvlan(_))
    }

    /// Whether it takes such packets: XDP has none of more than a page, and the kernel's answers to
    /// a ping are bound to no device.
    pub fn takes(self, traffic: &Traffic) -> bool {
        match self {
            Way::XdpRedirect => !(traffic.is_large() || traffic.gro),
            Way::DirectBound | Way::SameNamespace => traffic.protocol != Protocol::Ping,
            _ => true,
        }
    }

    /// Whether IPv6 is measured, too.
    pub fn has_v6(self) -> bool {
        !self.translates()
    }
}

/// Who sends to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From outside to the box.
    In,
    /// From the box to outside.
    Out,
    /// From the host itself to the box.
    Local,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Local => "local",
        }
    }
}

const OUT_MAC: &str = "02:00:00:00:00:01";
const UP_MAC: &str = "02:00:00:00:00:02";
const DOWN_MAC: &str = "02:00:00:00:00:03";
const BOX_MAC: &str = "02:00:00:00:00:04";
const BRIDGE_MAC: &str = "02:00:00:00:00:05";

/// The namespaces of a way.
pub struct World {
    pub way: Way,
    outside: Netns,
    host: Netns,
    inside: Netns,
}

/// One direction, with what a test needs to know of it.
pub struct Path<'a> {
    pub from: &'a Netns,
    pub to: &'a Netns,
    /// The device that the sender gives its packets.
    pub sends: &'static str,
    /// Where the receiver's answers go.
    pub answers: &'static str,
    /// The address that the sender writes to, and the one that the receiver has.
    pub target: IpAddr,
    pub bind: IpAddr,
    /// The sender's address, if sockets are bound to these devices.
    pub source: Option<IpAddr>,
}

impl Path<'_> {
    pub fn endpoints(&self) -> Endpoints<'static> {
        Endpoints { sends: self.sends, answers: self.answers }
    }
}

impl World {
    pub fn new(way: Way) -> Result<World> {
        let outside = Netns::new()?;
        let inside = match way {
            Way::SameNamespace => outside.run(Netns::own)?,
            _ => Netns::new()?,
        };
        let world = World { way, outside, host: Netns::new()?, inside };
        for net in [&world.outside, &world.host, &world.inside] {
            net.run(quiet)?;
        }
        if way.is_bound() {
            // In one namespace, the source of each packet is an address of its own.
            for net in [&world.outside, &world.inside] {
                net.run(|| set("ipv4/conf/all/accept_local", "1"))?;
            }
        }
        world.build().with_context(|| format!("build {}", way.name()))?;
        Ok(world)
    }

    /// The namespace in which packets are on their way, where somebody may listen.
    pub fn middle(&self) -> &Netns {
        if self.way.is_direct() { &self.inside } else { &self.host }
    }

    /// What the host's route cache was asked so far, if there is one.
    pub fn cache(&self) -> Result<Option<CacheUse>> {
        if !self.way.has_cache() {
            return Ok(None);
        }
        let figures = Figures::of_route_cache(self.host.inum())?;
        Ok(Some(CacheUse { hits: figures.get("hits")?, misses: figures.get("misses")? }))
    }

    pub fn path(&self, direction: Direction, v6: bool) -> Result<Path<'_>> {
        let address = |v4: &str, v6_text: &str| -> Result<IpAddr> {
            let text = if v6 { v6_text } else { v4 };
            text.parse().with_context(|| format!("{text} is no address"))
        };
        let (inside4, inside6) = self.inside_addresses();
        let inside = address(inside4, inside6)?;
        let host = address("10.1.0.1", "fd01::1")?;
        let outside = address("10.1.0.2", "fd01::2")?;
        let bound = self.way.is_bound();
        Ok(match direction {
            Direction::In => Path {
                from: &self.outside,
                to: &self.inside,
                sends: "out0",
                answers: "eth0",
                target: if self.way.translates() { host } else { inside },
                bind: inside,
                source: bound.then_some(outside),
            },
            Direction::Out => Path {
                from: &self.inside,
                to: &self.outside,
                sends: "eth0",
                answers: "out0",
                target: outside,
                bind: outside,
                source: bound.then_some(inside),
            },
            Direction::Local => Path {
                from: &self.host,
                to: &self.inside,
                sends: if self.way.routes() { "dn0" } else { "br0" },
                answers: "eth0",
                target: inside,
                bind: inside,
                source: bound.then_some(host),
            },
        })
    }

    fn inside_addresses(&self) -> (&'static str, &'static str) {
        if self.way.routes() { ("10.2.0.2", "fd02::2") } else { ("10.1.0.3", "fd01::3") }
    }

    fn build(&self) -> Result<()> {
        self.cables()?;
        self.addresses()?;
        match self.way {
            Way::Direct | Way::DirectBound | Way::SameNamespace => Ok(()),
            Way::Bridge | Way::BridgeFlood | Way::BridgeNetfilter => self.bridge(),
            Way::Macvlan(_) | Way::Ipvlan("l2") => Ok(()),
            // These modes look for the route of what the box sends in the host's namespace.
            Way::Ipvlan(_) => self.host.run(|| {
                ip(&[
                    "route add 10.1.0.2 dev up0",
                    "route add fd01::2 dev up0",
                    &format!("neighbour replace 10.1.0.2 lladdr {OUT_MAC} dev up0 nud permanent"),
                    &format!("neighbour replace fd01::2 lladdr {OUT_MAC} dev up0 nud permanent"),
                ])
            }),
            Way::TcRedirect => self.tc(),
            Way::XdpRedirect => self.xdp(),
            _ => self.router(),
        }?;
        // A cable is up a little later than both of its ends.
        let up = |net: &Netns, device: &str| {
            wait_until(|| {
                net.run(|| run(&format!("ip -o link show dev {device}")))
                    .is_ok_and(|text| text.contains("LOWER_UP"))
            })
        };
        ensure!(up(&self.outside, "out0") && up(&self.inside, "eth0"), "a link does not come up");
        Ok(())
    }

    /// Devices, without addresses.
    fn cables(&self) -> Result<()> {
        let direct = self.way.is_direct();
        let peer = if direct { &self.inside } else { &self.host };
        let (name, mac) = if direct { ("eth0", BOX_MAC) } else { ("up0", UP_MAC) };
        self.outside.run(|| {
            ip(&[
                &format!(
                    "link add out0 address {OUT_MAC} type veth peer name {name} address {mac} netns {}",
                    peer.path()
                ),
                "link set out0 up",
            ])
        })?;
        if self.way.has_cable() {
            self.host.run(|| {
                ip(&[
                    &format!(
                        "link add dn0 address {DOWN_MAC} type veth peer name eth0 address {BOX_MAC} netns {}",
                        self.inside.path()
                    ),
                    "link set dn0 up",
                ])
            })?;
        }
        match self.way {
            Way::Macvlan(mode) => self.host.run(|| {
                ip(&[
                    "link set up0 up",
                    &format!(
                        "link add link up0 name eth0 address {BOX_MAC} type macvlan mode {mode}"
                    ),
                ])?;
                if mode == "source" {
                    ip(&[&format!("link set dev eth0 type macvlan macaddr add {OUT_MAC}")])?;
                }
                ip(&[&format!("link set eth0 netns {}", self.inside.path())])
            })?,
            Way::Ipvlan(mode) => self.host.run(|| {
                ip(&[
                    "link set up0 up",
                    &format!("link add link up0 name eth0 type ipvlan mode {mode} bridge"),
                    &format!("link set eth0 netns {}", self.inside.path()),
                ])
            })?,
            _ if direct => {}
            _ => self.host.run(|| ip(&["link set up0 up"]))?,
        }
        self.inside.run(|| ip(&["link set eth0 up"]))
    }

    /// Addresses, static neighbours and routes of the two ends.
    fn addresses(&self) -> Result<()> {
        // In one network, each sees the other. Between networks, each sees the host.
        let (beyond, near) = match self.way {
            way if way.routes() => (UP_MAC, DOWN_MAC),
            // The device of the box has its parent's address, or, routing by itself, asks nobody.
            Way::Ipvlan(_) => (UP_MAC, OUT_MAC),
            _ => (BOX_MAC, OUT_MAC),
        };
        let routed = self.way.routes();
        let (inside4, inside6) = self.inside_addresses();
        self.outside.run(|| {
            let to4 = if routed { "10.1.0.1" } else { inside4 };
            let to6 = if routed { "fd01::1" } else { inside6 };
            ip(&[
                "address add 10.1.0.2/24 dev out0",
                "address add fd01::2/64 dev out0 nodad",
                &format!("neighbour replace {to4} lladdr {beyond} dev out0 nud permanent"),
                &format!("neighbour replace {to6} lladdr {beyond} dev out0 nud permanent"),
            ])?;
            match routed {
                true => {
                    ip(&["route add 10.2.0.0/24 via 10.1.0.1", "route add fd02::/64 via fd01::1"])
                }
                false => Ok(()),
            }
        })?;
        self.inside.run(|| {
            let (to4, to6) = if routed { ("10.2.0.1", "fd02::1") } else { ("10.1.0.2", "fd01::2") };
            ip(&[
                &format!("address add {inside4}/24 dev eth0"),
                &format!("address add {inside6}/64 dev eth0 nodad"),
            ])?;
            if !matches!(self.way, Way::Ipvlan("l3" | "l3s")) {
                ip(&[
                    &format!("neighbour replace {to4} lladdr {near} dev eth0 nud permanent"),
                    &format!("neighbour replace {to6} lladdr {near} dev eth0 nud permanent"),
                ])?;
            }
            match routed {
                true => ip(&["route add default via 10.2.0.1", "route add default via fd02::1"]),
                false => Ok(()),
            }
        })
    }

    fn bridge(&self) -> Result<()> {
        self.host.run(|| {
            ip(&[
                &format!("link add br0 address {BRIDGE_MAC} type bridge mcast_snooping 0"),
                "link set up0 master br0",
                "link set dn0 master br0",
                "link set br0 up",
                "address add 10.1.0.1/24 dev br0",
                "address add fd01::1/64 dev br0 nodad",
                &format!("neighbour replace 10.1.0.3 lladdr {BOX_MAC} dev br0 nud permanent"),
                &format!("neighbour replace fd01::3 lladdr {BOX_MAC} dev br0 nud permanent"),
                &format!("neighbour replace 10.1.0.2 lladdr {OUT_MAC} dev br0 nud permanent"),
                &format!("neighbour replace fd01::2 lladdr {OUT_MAC} dev br0 nud permanent"),
            ])?;
            if self.way == Way::BridgeFlood {
                ip(&[
                    "link add more0 type dummy",
                    "link set more0 addrgenmode none master br0",
                    "link set more0 up",
                ])?;
                run("bridge link set dev up0 learning off")?;
                run("bridge link set dev dn0 learning off")?;
            } else {
                // It would learn them from the first packet, and flood that.
                run(&format!("bridge fdb replace {BOX_MAC} dev dn0 master static"))?;
                run(&format!("bridge fdb replace {OUT_MAC} dev up0 master static"))?;
            }
            // It is on in new namespaces.
            let filters = self.way == Way::BridgeNetfilter;
            for family in ["arptables", "iptables", "ip6tables"] {
                let value = if filters && family != "arptables" { "1" } else { "0" };
                set(&format!("bridge/bridge-nf-call-{family}"), value)?;
            }
            if filters {
                run("nft add table inet seen")?;
                run("nft add chain inet seen forward { type filter hook forward priority 0 ; }")?;
            }
            Ok(())
        })?;
        self.inside.run(|| {
            ip(&[
                &format!("neighbour replace 10.1.0.1 lladdr {BRIDGE_MAC} dev eth0 nud permanent"),
                &format!("neighbour replace fd01::1 lladdr {BRIDGE_MAC} dev eth0 nud permanent"),
            ])
        })
    }

    fn router(&self) -> Result<()> {
        self.host.run(|| {
            if self.way == Way::Vrf {
                ip(&[
                    "link add vrf0 type vrf table 10",
                    "link set vrf0 up",
                    "link set up0 master vrf0",
                    "link set dn0 master vrf0",
                ])?;
                // So that programs outside of any VRF are heard, and can be.
                set("ipv4/tcp_l3mdev_accept", "1")?;
                set("ipv4/udp_l3mdev_accept", "1")?;
            }
            set("ipv4/ip_forward", "1")?;
            set("ipv6/conf/all/forwarding", "1")?;
            ip(&[
                "address add 10.1.0.1/24 dev up0",
                "address add fd01::1/64 dev up0 nodad",
                "address add 10.2.0.1/24 dev dn0",
                "address add fd02::1/64 dev dn0 nodad",
                &format!("neighbour replace 10.1.0.2 lladdr {OUT_MAC} dev up0 nud permanent"),
                &format!("neighbour replace fd01::2 lladdr {OUT_MAC} dev up0 nud permanent"),
                &format!("neighbour replace 10.2.0.2 lladdr {BOX_MAC} dev dn0 nud permanent"),
                &format!("neighbour replace fd02::2 lladdr {BOX_MAC} dev dn0 nud permanent"),
            ])?;
            match self.way {
                Way::RoutedRule | Way::RoutedRuleCache => {
                    ip(&["rule add pref 100 from 198.18.0.0/24 lookup 100"])?;
                    ip_of("-6", &["rule add pref 100 from fd99::/64 lookup 100"])
                }
                Way::NatNft => nft(),
                Way::NatIptables => iptables("iptables-legacy"),
                Way::NatIptablesNft => iptables("iptables-nft"),
                _ => Ok(()),
            }
        })
    }

    fn tc(&self) -> Result<()> {
        self.host.run(|| {
            for (from, to) in [("up0", "dn0"), ("dn0", "up0")] {
                run(&format!("tc qdisc add dev {from} clsact"))?;
                run(&format!(
                    "tc filter add dev {from} ingress matchall action mirred egress redirect dev {to}"
                ))?;
            }
            Ok(())
        })
    }

    /// Both devices of the host hand over what they get, and both ends take it from there.
    fn xdp(&self) -> Result<()> {
        for (net, device) in [(&self.outside, "out0"), (&self.inside, "eth0")] {
            net.run(|| {
                // XDP knows nothing of a checksum that a device is still to compute.
                run(&format!("ethtool -K {device} tx off"))?;
                bpf::attach_xdp(index(device)?, &bpf::xdp_pass()?)
            })?;
        }
        self.host.run(|| {
            for (from, to) in [("up0", "dn0"), ("dn0", "up0")] {
                bpf::attach_xdp(index(from)?, &bpf::xdp_redirect(index(to)?)?)?;
            }
            Ok(())
        })
    }

    /// Switches what devices do for TCP: `tso`, `gso` of the sender, `gro` on the way.
    pub fn offloads(&self, direction: Direction, segments: bool, gro: bool) -> Result<()> {
        let word = |on: bool| if on { "on" } else { "off" };
        let path = self.path(direction, false)?;
        let sends = word(!segments);
        let device = path.sends;
        path.from.run(|| run(&format!("ethtool -K {device} tso {sends} gso {sends}")))?;
        if !self.way.is_direct() {
            let gro = word(gro);
            self.host.run(|| {
                run(&format!("ethtool -K up0 gro {gro}"))?;
                match self.way.has_cable() {
                    true => run(&format!("ethtool -K dn0 gro {gro}")).map(drop),
                    false => Ok(()),
                }
            })?;
        }
        Ok(())
    }
}

/// Loads the module, whose cache is on in every namespace that is made later.
pub fn load_cache() -> Result<Loaded> {
    Module::open()?.load()
}

/// A namespace that says nothing by itself.
fn quiet() -> Result<()> {
    for setting in ["default", "all"] {
        set(&format!("ipv6/conf/{setting}/accept_dad"), "0")?;
        set(&format!("ipv6/conf/{setting}/router_solicitations"), "0")?;
        // The groups that a device joins are reported within this time, in milliseconds: long
        // before anything is counted.
        set(&format!("ipv6/conf/{setting}/mldv2_unsolicited_report_interval"), "1")?;
        set(&format!("ipv4/conf/{setting}/rp_filter"), "0")?;
    }
    ip(&["link set lo up"])
}

fn nft() -> Result<()> {
    run("nft add table ip nat")?;
    run("nft add chain ip nat post { type nat hook postrouting priority 100 ; }")?;
    run("nft add chain ip nat pre { type nat hook prerouting priority -100 ; }")?;
    run("nft add rule ip nat post oifname up0 masquerade")?;
    run("nft add rule ip nat pre iifname up0 ip daddr 10.1.0.1 dnat to 10.2.0.2").map(drop)
}

fn iptables(program: &str) -> Result<()> {
    run(&format!("{program} -t nat -A POSTROUTING -o up0 -j MASQUERADE"))?;
    run(&format!(
        "{program} -t nat -A PREROUTING -i up0 -d 10.1.0.1 -j DNAT --to-destination 10.2.0.2"
    ))
    .map(drop)
}

/// The number of a device in the calling thread's namespace.
pub fn index(device: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(device).with_context(|| format!("find {device}"))
}

fn set(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    fs::write(&path, value).context(path)
}
