// SPDX-License-Identifier: GPL-2.0

//! What changes in the router, as a request to the kernel and as a command for people.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use nix::libc;

use super::rtnetlink::{APPEND, CREATE, REPLACE, Request, Socket};

/// The router's devices. Each has an index of its own, the same in all scenes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Cables: to the sender, to both receivers, and to the sender again.
    A,
    B,
    C,
    D,
    /// A macvlan on `a`.
    Macvlan,
    Vrf,
    Dummy,
    Loopback,
}

/// The kernel's number; it is too new for the library.
const RTM_NEWNEXTHOP: u16 = 104;

/// Table of routes of the VRF.
pub const VRF_TABLE: u32 = 103;

impl Device {
    pub const CABLES: [Device; 4] = [Device::A, Device::B, Device::C, Device::D];

    pub fn name(self) -> &'static str {
        match self {
            Device::A => "a",
            Device::B => "b",
            Device::C => "c",
            Device::D => "d",
            Device::Macvlan => "m",
            Device::Vrf => "red",
            Device::Dummy => "u",
            Device::Loopback => "lo",
        }
    }

    pub fn index(self) -> u32 {
        match self {
            Device::A => 11,
            Device::B => 12,
            Device::C => 13,
            Device::D => 14,
            Device::Macvlan => 15,
            Device::Vrf => 16,
            Device::Dummy => 17,
            Device::Loopback => 1,
        }
    }

    /// The number of a cable: a part of its addresses.
    pub fn number(self) -> u8 {
        self.index().saturating_sub(10) as u8
    }

    /// The address of the other end of a cable.
    pub fn gateway(self, is_v4: bool) -> IpAddr {
        host(self.number(), 2, is_v4)
    }
}

/// An address in the network of a cable.
pub fn host(number: u8, host: u8, is_v4: bool) -> IpAddr {
    match is_v4 {
        true => Ipv4Addr::new(10, 0, number, host).into(),
        false => {
            Ipv6Addr::new(0xfd00 + u16::from(number), 0, 0, 0, 0, 0, 0, u16::from(host)).into()
        }
    }
}

/// The hardware address of an end of a cable: 1 is the router's.
pub fn mac(number: u8, end: u8) -> [u8; 6] {
    [2, 0, 0, 0, number, end]
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpAddr, pub u8);

impl Network {
    fn show(self) -> String {
        format!("{}/{}", self.0, self.1)
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Gateway(Device),
    OnLink(Device),
    /// Several gateways.
    Several(Vec<Device>),
    /// A next hop object.
    Object(u32),
    Local,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub to: Network,
    pub table: u32,
    pub metric: Option<u32>,
    pub tos: u8,
    pub mtu: Option<u32>,
    pub way: Way,
}

/// How it is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Add,
    Replace,
    Append,
    Del,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Replace => "replace",
            Verb::Append => "append",
            Verb::Del => "del",
        }
    }

    /// Type and flags of a request, of a type for something new whose neighbour deletes.
    fn request(self, new: u16) -> Request {
        match self {
            Verb::Add => Request::new(new, CREATE),
            Verb::Replace => Request::new(new, REPLACE),
            Verb::Append => Request::new(new, APPEND),
            Verb::Del => Request::new(new + 1, 0),
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Lookup(u32),
    Goto(u32),
    Blackhole,
    Unreachable,
    Prohibit,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub is_v4: bool,
    pub pref: u32,
    pub not: bool,
    pub from: Option<Network>,
    pub to: Option<Network>,
    pub iif: Option<Device>,
    pub oif: Option<Device>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// For IPv4, three of its bits are compared.
    pub tos: Option<u8>,
    /// All bits but those of ECN are compared. Not together with `tos`.
    pub dscp: Option<u8>,
    /// For IPv6.
    pub flow_label: Option<u32>,
    pub protocol: Option<u8>,
    pub source_port: Option<u16>,
    pub port: Option<u16>,
    pub suppress: Option<u32>,
    pub action: Action,
}

/// A socket in the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    pub local: IpAddr,
    pub port: u16,
    /// What it is connected to.
    pub to: Option<(IpAddr, u16)>,
}

/// A change in the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Route(Verb, Route),
    Rule(Verb, Rule),
    /// A next hop object by way of a device's gateway, or one that drops.
    NextHop(Verb, u32, Option<Device>, bool),
    NextHopGroup(u32, Vec<u32>),
    Address(Verb, Device, IpAddr, u8),
    Link(Device, bool),
    Mtu(Device, u32),
    NewDevice(Device),
    DelDevice(Device),
    Master(Device, Option<Device>),
    /// The gateway of a cable answers by this hardware address.
    Neighbour(Device, IpAddr, [u8; 6]),
    Setting(String, String),
    /// Packets that come in by `a` and `d` get a mark.
    Mark(u32),
    Socket(Listener),
    NoSockets,
}

impl Change {
    /// Whether the kernel goes on with it after the request.
    pub fn is_slow(&self) -> bool {
        match self {
            Change::Address(..) | Change::Link(..) | Change::NewDevice(_) => true,
            Change::DelDevice(_) | Change::Master(..) | Change::Mtu(..) => true,
            Change::Setting(name, _) => name.starts_with("ipv6/conf/"),
            _ => false,
        }
    }

    /// The device whose neighbours are gone afterwards.
    pub fn forgets_neighbours(&self) -> Option<Device> {
        match self {
            Change::Link(device, true) | Change::Master(device, _) => Some(*device),
            _ => None,
        }
    }

    /// Asks the kernel for it. Returns zero or the error. `None` if the kernel is not asked in this way.
    pub fn ask(&self, socket: &Socket) -> Result<Option<i32>> {
        let request = match self {
            Change::Route(verb, route) => route.request(*verb),
            Change::Rule(verb, rule) => rule.request(*verb),
            Change::NextHop(verb, id, device, is_v4) => next_hop(*verb, *id, *device, *is_v4),
            Change::NextHopGroup(id, members) => {
                let members: Vec<u8> =
                    members.iter().flat_map(|id| [id.to_ne_bytes(), [0; 4]]).flatten().collect();
                Request::new(RTM_NEWNEXTHOP, REPLACE).raw(&[0; 8]).number(1, *id).attr(2, &members)
            }
            Change::Address(verb, device, address, length) => {
                address_request(*verb, device.index(), *address, *length)
            }
            Change::Link(device, up) => link(device.index(), *up),
            Change::Mtu(device, mtu) => Request::new(libc::RTM_NEWLINK, 0)
                .raw(&link_header(device.index(), 0, 0))
                .number(4, *mtu),
            Change::NewDevice(device) => new_device(*device),
            Change::DelDevice(device) => {
                Request::new(libc::RTM_DELLINK, 0).raw(&link_header(device.index(), 0, 0))
            }
            Change::Master(device, master) => Request::new(libc::RTM_NEWLINK, 0)
                .raw(&link_header(device.index(), 0, 0))
                .number(10, master.map_or(0, Device::index)),
            Change::Neighbour(device, address, mac) => neighbour(device.index(), *address, mac),
            Change::Mark(mark) => mark_action(*mark),
            Change::Setting(..) | Change::Socket(_) | Change::NoSockets => return Ok(None),
        };
        socket.ask(request).map(Some)
    }

    /// The command for a shell.
    pub fn command(&self) -> String {
        let ip = |rest: String| format!("ip -n rt {rest}");
        match self {
            Change::Route(verb, route) => {
                format!("ip -n rt {} route {} {}", option(route.to.0), verb.name(), route.show())
            }
            Change::Rule(verb, rule) => rule.show(*verb),
            Change::NextHop(Verb::Del, id, ..) => ip(format!("nexthop del id {id}")),
            Change::NextHop(verb, id, Some(device), is_v4) => ip(format!(
                "nexthop {} id {id} via {} dev {}",
                verb.name(),
                device.gateway(*is_v4),
                device.name()
            )),
            Change::NextHop(verb, id, None, is_v4) => format!(
                "ip -n rt {} nexthop {} id {id} blackhole",
                if *is_v4 { "-4" } else { "-6" },
                verb.name()
            ),
            Change::NextHopGroup(id, members) => {
                let members: Vec<_> = members.iter().map(u32::to_string).collect();
                ip(format!("nexthop replace id {id} group {}", members.join("/")))
            }
            Change::Address(verb, device, address, length) => {
                let nodad = if address.is_ipv6() && *verb != Verb::Del { " nodad" } else { "" };
                let name = device.name();
                ip(format!("addr {} {address}/{length} dev {name}{nodad}", verb.name()))
            }
            Change::Link(device, up) => {
                ip(format!("link set {} {}", device.name(), if *up { "up" } else { "down" }))
            }
            Change::Mtu(device, mtu) => ip(format!("link set {} mtu {mtu}", device.name())),
            Change::NewDevice(device) => ip(format!(
                "link add {} index {} up {}",
                device.name(),
                device.index(),
                match device {
                    Device::Macvlan => "address 02:00:00:00:05:01 link a type macvlan mode bridge",
                    Device::Vrf => "type vrf table 103",
                    _ => "type dummy",
                }
            )),
            Change::DelDevice(device) => ip(format!("link del {}", device.name())),
            Change::Master(device, Some(master)) => {
                ip(format!("link set {} master {}", device.name(), master.name()))
            }
            Change::Master(device, None) => ip(format!("link set {} nomaster", device.name())),
            Change::Neighbour(device, address, mac) => ip(format!(
                "neigh replace {address} lladdr {} dev {} nud permanent",
                show_mac(mac),
                device.name()
            )),
            Change::Setting(name, value) => {
                format!("ip netns exec rt sysctl -qw net/{name}={value}")
            }
            Change::Mark(mark) => {
                format!("tc -n rt actions replace action skbedit mark {mark} pass index 1")
            }
            Change::Socket(Listener { local, port, to }) => {
                let family = if local.is_ipv4() { "" } else { "6" };
                let to = to.map_or(String::new(), |(to, port)| format!(", connect=[{to}]:{port}"));
                format!("# a UDP{family} socket in rt, bind=[{local}]:{port}{to}")
            }
            Change::NoSockets => "# these sockets are closed".into(),
        }
    }
}

fn option(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

/// A hardware address as `ip` has it.
pub fn show_mac(mac: &[u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn family(is_v4: bool) -> u8 {
    (if is_v4 { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

impl Route {
    fn request(&self, verb: Verb) -> Request {
        let is_v4 = self.to.0.is_ipv4();
        // unicast, local, blackhole, unreachable, prohibit, throw
        let kind = match self.way {
            Way::Local => 2,
            Way::Blackhole => 6,
            Way::Unreachable => 7,
            Way::Prohibit => 8,
            Way::Throw => 9,
            _ => 1,
        };
        let scope = match (&self.way, verb, is_v4) {
            (_, Verb::Del, _) if self.way != Way::Local => 255,
            (Way::Local, _, true) => 254,
            (Way::OnLink(_), _, true) => 253,
            _ => 0,
        };
        let scope = if is_v4 { scope } else { 0 };
        let request = verb
            .request(libc::RTM_NEWROUTE)
            .raw(&[family(is_v4), self.to.1, 0, self.tos, 0, 3, scope, kind])
            .word(0)
            .number(15, self.table)
            .with(self.metric, |it, metric| it.number(6, metric))
            .with(self.mtu, |it, mtu| it.nest(8, |it| it.number(2, mtu)));
        let request = match self.to.1 {
            0 => request,
            _ => request.attr(1, &octets(self.to.0)),
        };
        match &self.way {
            Way::Gateway(device) => {
                request.attr(5, &octets(device.gateway(is_v4))).number(4, device.index())
            }
            Way::OnLink(device) => request.number(4, device.index()),
            Way::Several(devices) => {
                let hops = devices.iter().flat_map(|device| {
                    let gateway = octets(device.gateway(is_v4));
                    let length = (8 + 4 + gateway.len()) as u16;
                    let mut bytes = Vec::from(length.to_ne_bytes());
                    bytes.extend([0, 0]);
                    bytes.extend(device.index().to_ne_bytes());
                    bytes.extend((4 + gateway.len() as u16).to_ne_bytes());
                    bytes.extend(5u16.to_ne_bytes());
                    bytes.extend(gateway);
                    bytes
                });
                request.attr(9, &hops.collect::<Vec<u8>>())
            }
            Way::Object(id) => request.number(30, *id),
            Way::Local => request.number(4, Device::Loopback.index()),
            // `ip` names it for IPv6 as well; the kernel chooses it itself.
            _ => request,
        }
    }

    fn show(&self) -> String {
        let kind = match self.way {
            Way::Local => "local ",
            Way::Blackhole => "blackhole ",
            Way::Unreachable => "unreachable ",
            Way::Prohibit => "prohibit ",
            Way::Throw => "throw ",
            _ => "",
        };
        let is_v4 = self.to.0.is_ipv4();
        let mut text = format!("{kind}{} table {}", self.to.show(), self.table);
        // Writing to a String cannot fail.
        if self.tos != 0 {
            let _ = write!(text, " tos {:#x}", self.tos);
        }
        if let Some(metric) = self.metric {
            let _ = write!(text, " metric {metric}");
        }
        if let Some(mtu) = self.mtu {
            let _ = write!(text, " mtu {mtu}");
        }
        let hop = |device: &Device| format!("via {} dev {}", device.gateway(is_v4), device.name());
        match &self.way {
            Way::Gateway(device) => {
                let _ = write!(text, " {}", hop(device));
            }
            Way::OnLink(device) => {
                let _ = write!(text, " dev {}", device.name());
            }
            Way::Several(devices) => {
                for device in devices {
                    let _ = write!(text, " nexthop {}", hop(device));
                }
            }
            Way::Object(id) => {
                let _ = write!(text, " nhid {id}");
            }
            Way::Local => text += " dev lo",
            _ => {}
        }
        text
    }
}

impl Rule {
    fn request(&self, verb: Verb) -> Request {
        let (action, table, target) = match self.action {
            Action::Lookup(table) => (1, table, None),
            Action::Goto(pref) => (2, 0, Some(pref)),
            Action::Blackhole => (6, 0, None),
            Action::Unreachable => (7, 0, None),
            Action::Prohibit => (8, 0, None),
        };
        let length = |network: Option<Network>| network.map_or(0, |network| network.1);
        let flags = if self.not { 2 } else { 0 };
        let network = |kind| move |it: Request, network: Network| it.attr(kind, &octets(network.0));
        let ports = |kind| {
            move |it: Request, port: u16| {
                it.attr(kind, &[port.to_ne_bytes(), port.to_ne_bytes()].concat())
            }
        };
        verb.request(libc::RTM_NEWRULE)
            .raw(&[family(self.is_v4), length(self.to), length(self.from), self.tos.unwrap_or(0)])
            .raw(&[0, 0, 0, action])
            .word(flags)
            .number(6, self.pref)
            .with((table != 0).then_some(table), |it, table| it.number(15, table))
            .with(target, |it, pref| it.number(4, pref))
            .with(self.from, network(2))
            .with(self.to, network(1))
            .with(self.iif, |it, device| it.text(3, device.name()))
            .with(self.oif, |it, device| it.text(17, device.name()))
            .with(self.mark, |it, (mark, mask)| it.number(10, mark).number(16, mask))
            .with(self.dscp, |it, dscp| it.attr(25, &[dscp]))
            .with(self.flow_label, |it, label| {
                it.attr(26, &label.to_be_bytes()).attr(27, &0xf_ffffu32.to_be_bytes())
            })
            .with(self.protocol, |it, protocol| it.attr(22, &[protocol]))
            .with(self.source_port, ports(23))
            .with(self.port, ports(24))
            .with(self.suppress, |it, length| it.number(14, length))
    }

    fn show(&self, verb: Verb) -> String {
        let family = if self.is_v4 { "-4" } else { "-6" };
        let mut text = format!("ip -n rt {family} rule {} pref {}", verb.name(), self.pref);
        let mut add = |word: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(text, " {word}{}{value}", if word.is_empty() { "" } else { " " });
            }
        };
        add("", self.not.then(|| "not".into()));
        add("from", Some(self.from.map_or("all".into(), Network::show)));
        add("to", self.to.map(Network::show));
        add("iif", self.iif.map(|device| device.name().into()));
        add("oif", self.oif.map(|device| device.name().into()));
        add("fwmark", self.mark.map(|(mark, mask)| format!("{mark:#x}/{mask:#x}")));
        add("tos", self.tos.map(|tos| format!("{tos:#x}")));
        add("dscp", self.dscp.map(|dscp| dscp.to_string()));
        add("flowlabel", self.flow_label.map(|label| format!("{label:#x}")));
        add("ipproto", self.protocol.map(|protocol| protocol.to_string()));
        add("sport", self.source_port.map(|port| port.to_string()));
        add("dport", self.port.map(|port| port.to_string()));
        match self.action {
            Action::Lookup(table) => add("lookup", Some(table.to_string())),
            Action::Goto(pref) => add("goto", Some(pref.to_string())),
            Action::Blackhole => add("", Some("blackhole".into())),
            Action::Unreachable => add("", Some("unreachable".into())),
            Action::Prohibit => add("", Some("prohibit".into())),
        }
        add("suppress_prefixlength", self.suppress.map(|length| length.to_string()));
        text
    }
}

fn next_hop(verb: Verb, id: u32, device: Option<Device>, is_v4: bool) -> Request {
    let request = verb.request(RTM_NEWNEXTHOP);
    if verb == Verb::Del {
        return request.raw(&[0; 8]).number(1, id);
    }
    let request = request.raw(&[family(is_v4), 0, 3, 0]).word(0).number(1, id);
    match device {
        Some(device) => request.number(5, device.index()).attr(6, &octets(device.gateway(is_v4))),
        None => request.attr(4, &[]),
    }
}

/// The fixed part of a request about a link.
pub fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for word in [index, flags, change] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// Sets a link up or down.
pub fn link(index: u32, up: bool) -> Request {
    let flag = libc::IFF_UP as u32;
    Request::new(libc::RTM_NEWLINK, 0).raw(&link_header(index, if up { flag } else { 0 }, flag))
}

/// Adds or deletes an address.
pub fn address_request(verb: Verb, index: u32, address: IpAddr, length: u8) -> Request {
    // Addresses of IPv6 are used at once.
    const NODAD: u8 = 2;
    let flags = if address.is_ipv6() && verb != Verb::Del { NODAD } else { 0 };
    let request = verb
        .request(libc::RTM_NEWADDR)
        .raw(&[family(address.is_ipv4()), length, flags, 0])
        .word(index)
        .attr(2, &octets(address))
        .attr(1, &octets(address));
    match (address, length) {
        (IpAddr::V4(address), ..31) => {
            let all = u32::from(address) | u32::MAX >> length;
            request.attr(4, &all.to_be_bytes())
        }
        _ => request,
    }
}

/// Says where a neighbour is, once and for all.
pub fn neighbour(index: u32, address: IpAddr, mac: &[u8; 6]) -> Request {
    const PERMANENT: [u8; 2] = 0x80u16.to_ne_bytes();
    Request::new(libc::RTM_NEWNEIGH, REPLACE)
        .raw(&[family(address.is_ipv4()), 0, 0, 0])
        .word(index)
        .raw(&[PERMANENT[0], PERMANENT[1], 0, 0])
        .attr(1, &octets(address))
        .attr(2, mac)
}

fn new_device(device: Device) -> Request {
    let up = libc::IFF_UP as u32;
    let request = Request::new(libc::RTM_NEWLINK, CREATE)
        .raw(&link_header(device.index(), up, up))
        .text(3, device.name());
    match device {
        Device::Macvlan => {
            const BRIDGE: u32 = 4;
            request
                .attr(1, &mac(5, 1))
                .number(5, Device::A.index())
                .nest(18, |it| it.attr(1, b"macvlan").nest(2, |it| it.number(1, BRIDGE)))
        }
        Device::Vrf => {
            request.nest(18, |it| it.attr(1, b"vrf").nest(2, |it| it.number(1, VRF_TABLE)))
        }
        _ => request.nest(18, |it| it.attr(1, b"dummy")),
    }
}

/// The number of the action that gives packets their mark.
const ACTION: u32 = 1;

fn skbedit(request: Request, mark: u32) -> Request {
    const OK: u32 = 0;
    let parameters: Vec<u8> =
        [ACTION, 0, OK, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    request.nest(1, |it| {
        it.attr(1, b"skbedit\0").nest(2, |it| it.attr(2, &parameters).number(5, mark))
    })
}

fn mark_action(mark: u32) -> Request {
    Request::new(libc::RTM_NEWACTION, REPLACE).raw(&[0; 4]).nest(1, |it| skbedit(it, mark))
}

/// Requests so that packets that come in by a device get the mark of the action.
pub fn marks(index: u32) -> [Request; 2] {
    const CLSACT: u32 = 0xffff_fff1;
    const HANDLE: u32 = 0xffff_0000;
    const INGRESS: u32 = 0xffff_fff2;
    let all = u32::from((libc::ETH_P_ALL as u16).to_be());
    let header = |handle: u32, parent: u32, info: u32| {
        [0, index, handle, parent, info].into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>()
    };
    [
        Request::new(libc::RTM_NEWQDISC, CREATE).raw(&header(HANDLE, CLSACT, 0)).text(1, "clsact"),
        Request::new(libc::RTM_NEWTFILTER, CREATE)
            .raw(&header(0, INGRESS, 1 << 16 | all))
            .text(1, "matchall")
            .nest(2, |it| it.nest(2, |it| skbedit(it, 0))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_ip() {
        let to = Network("10.9.0.0".parse().unwrap(), 24);
        let way = Way::Several(vec![Device::B, Device::C]);
        let route = Route { to, table: 101, metric: Some(5), tos: 8, mtu: None, way };
        assert_eq!(
            Change::Route(Verb::Add, route).command(),
            "ip -n rt -4 route add 10.9.0.0/24 table 101 tos 0x8 metric 5 \
             nexthop via 10.0.2.2 dev b nexthop via 10.0.3.2 dev c"
        );
        let rule = Rule {
            is_v4: true,
            pref: 7,
            not: true,
            from: None,
            to: Some(to),
            iif: Some(Device::A),
            oif: None,
            mark: Some((1, 0xff)),
            tos: None,
            dscp: None,
            flow_label: None,
            protocol: None,
            source_port: None,
            port: Some(9),
            suppress: Some(0),
            action: Action::Lookup(101),
        };
        assert_eq!(
            Change::Rule(Verb::Add, rule).command(),
            "ip -n rt -4 rule add pref 7 not from all to 10.9.0.0/24 iif a fwmark 0x1/0xff \
             dport 9 lookup 101 suppress_prefixlength 0"
        );
    }
}
