// SPDX-License-Identifier: GPL-2.0

//! A scene: changes and packets in an order that a seed decides.

use std::net::IpAddr;

use super::change::{
    Action, Change, Device, Listener, Network, Route, Rule, VRF_TABLE, Verb, Way, host,
};
use super::packet::{Extra, Frame, Packet, Payload};
use super::random::Random;
use super::world::{Place, TARGETS, target};

/// A step of a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Change(Change),
    Send(Place, Packet),
}

/// The steps of the scene of a seed.
pub fn scene(seed: u64) -> Vec<Step> {
    let mut maker = Maker::new(seed);
    for change in maker.beginning() {
        maker.steps.push(Step::Change(change));
    }
    for _ in 0..2 + maker.random.below(5) {
        maker.change();
    }
    let rounds = 5 + maker.random.below(6);
    for _ in 0..rounds {
        maker.burst();
        for _ in 0..1 + maker.random.below(2) {
            maker.change();
        }
        maker.burst();
    }
    maker.steps
}

/// A scene in which a mark decides where packets go.
pub fn about_a_mark() -> Vec<Step> {
    let is_v4 = true;
    let mut maker = Maker::new(0);
    let mut steps: Vec<Step> = maker.beginning().into_iter().map(Step::Change).collect();
    let rule = Rule {
        is_v4,
        pref: 100,
        not: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: Some((1, u32::MAX)),
        tos: None,
        dscp: None,
        flow_label: None,
        protocol: None,
        source_port: None,
        port: None,
        suppress: None,
        action: Action::Lookup(101),
    };
    let packet = |number| Packet {
        number,
        frame: Frame::Router,
        source: host(1, 2, is_v4),
        destination: target(9, 1, is_v4),
        ttl: 64,
        tos: 0,
        flow_label: 0,
        payload: Payload::Udp { from: 7, to: 9 },
        extra: Extra::None,
        length: 8,
    };
    steps.push(Step::Send(Place::Src, packet(1)));
    steps.push(Step::Change(Change::Rule(Verb::Add, rule)));
    steps.push(Step::Send(Place::Src, packet(2)));
    steps.push(Step::Change(Change::Mark(1)));
    steps.push(Step::Send(Place::Src, packet(3)));
    steps
}

/// What a scene has changes of. Scenes of few kinds find more than scenes in which all happens at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Routes,
    Rules,
    Marks,
    NextHops,
    Addresses,
    Links,
    Devices,
    Vrf,
    Neighbours,
    Sources,
    Settings,
    Errors,
    Sockets,
}

const KINDS: [Kind; 13] = [
    Kind::Routes,
    Kind::Rules,
    Kind::Marks,
    Kind::NextHops,
    Kind::Addresses,
    Kind::Links,
    Kind::Devices,
    Kind::Vrf,
    Kind::Neighbours,
    Kind::Sources,
    Kind::Settings,
    Kind::Errors,
    Kind::Sockets,
];

const MARKS: [u32; 4] = [0, 1, 2, 0x101];
const SERVICES: [u8; 6] = [0, 0x08, 0x10, 0x20, 0xb8, 0x02];
/// What a rule for IPv4 compares of the type of service.
const TOS: u8 = 0x1c;
const TABLES: [u32; 3] = [254, 101, 102];
const PORTS: [u16; 3] = [7, 9, 5000];

/// The bits of an address.
fn whole(is_v4: bool) -> u8 {
    if is_v4 { 32 } else { 128 }
}

struct Maker {
    random: Random,
    kinds: Vec<Kind>,
    /// Which families there are.
    families: Vec<bool>,
    flows: Vec<(Place, Packet)>,
    number: u16,
    steps: Vec<Step>,
    routes: Vec<Route>,
    rules: Vec<Rule>,
    next_hops: Vec<(u32, bool)>,
    addresses: Vec<(Device, IpAddr, u8)>,
    down: Vec<Device>,
    devices: Vec<Device>,
    enslaved: Vec<Device>,
    mtus: Vec<Device>,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        let mut random = Random::new(seed);
        let mut kinds = Vec::new();
        for _ in 0..2 + random.below(4) {
            kinds.push(random.pick(&KINDS));
        }
        // Something must lead elsewhere.
        kinds.push(random.pick(&[Kind::Routes, Kind::Rules]));
        if kinds.contains(&Kind::Marks) {
            kinds.push(Kind::Rules);
        }
        let families = match random.below(5) {
            0 | 1 => vec![true],
            2 | 3 => vec![false],
            _ => vec![true, false],
        };
        let mut maker = Maker {
            random,
            kinds,
            families,
            flows: Vec::new(),
            number: 0,
            steps: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            next_hops: Vec::new(),
            addresses: Vec::new(),
            down: Vec::new(),
            devices: Vec::new(),
            enslaved: Vec::new(),
            mtus: Vec::new(),
        };
        for _ in 0..6 + maker.random.below(7) {
            let flow = maker.flow();
            maker.flows.push(flow);
        }
        maker
    }

    fn is_about(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The routes that all scenes begin with.
    fn beginning(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for is_v4 in [true, false] {
            let third = if is_v4 { Device::D } else { Device::C };
            for (table, device) in [(254, Device::B), (101, Device::C), (102, third)] {
                let route = Route {
                    to: Network(target(9, 0, is_v4), if is_v4 { 24 } else { 64 }),
                    table,
                    metric: None,
                    tos: 0,
                    mtu: None,
                    way: Way::Gateway(device),
                };
                self.routes.push(route.clone());
                changes.push(Change::Route(Verb::Add, route));
            }
        }
        if self.is_about(Kind::Devices) {
            changes.extend([Device::Macvlan, Device::Dummy].map(Change::NewDevice));
            self.devices = vec![Device::Macvlan, Device::Dummy];
        }
        changes
    }

    // --- Packets --------------------------------------------------------------------------------

    /// A new flow, or one that differs from another in one thing.
    fn flow(&mut self) -> (Place, Packet) {
        if !self.flows.is_empty() && self.random.percent(60) {
            let number = self.random.below(self.flows.len());
            let (mut place, mut packet) = self.flows[number];
            let is_v4 = packet.source.is_ipv4();
            match self.random.below(9) {
                0 | 1 => packet.tos = self.random.pick(&SERVICES),
                2 => packet.ttl = self.ttl(),
                3 => packet.payload = self.payload(place, packet.destination),
                4 => packet.extra = self.extra(is_v4),
                5 => place = if place == Place::Src { Place::SrcToo } else { Place::Src },
                6 => packet.source = self.source(place, is_v4),
                7 => packet.flow_label = self.random.pick(&[0, 0x123, 0xabcde]),
                _ => packet.destination = self.destination(place, is_v4),
            }
            packet.frame = self.frame(place);
            return (place, packet);
        }
        let families = self.families.clone();
        let is_v4 = self.random.pick(&families);
        let place = self.random.pick(&[
            Place::Src,
            Place::Src,
            Place::Src,
            Place::SrcToo,
            Place::SrcToo,
            Place::Dst,
            Place::Alt,
        ]);
        let destination = self.destination(place, is_v4);
        let packet = Packet {
            number: 0,
            frame: self.frame(place),
            source: self.source(place, is_v4),
            destination,
            ttl: self.ttl(),
            tos: self.random.maybe(40, &SERVICES).unwrap_or(0),
            flow_label: self.random.maybe(30, &[0x123, 0xabcde]).unwrap_or(0),
            payload: self.payload(place, destination),
            extra: self.extra(is_v4),
            length: self.random.pick(&[8, 8, 8, 700, 1300]),
        };
        (place, packet)
    }

    fn frame(&mut self, place: Place) -> Frame {
        let is_about_devices = self.is_about(Kind::Devices);
        match self.random.below(40) {
            // A macvlan copies such frames later, by work.
            0 if !is_about_devices => Frame::Broadcast,
            1 => Frame::Other,
            2..=16 if is_about_devices && place == Place::Src => Frame::Macvlan,
            _ => Frame::Router,
        }
    }

    fn ttl(&mut self) -> u8 {
        self.random.pick(&[64, 64, 64, 64, 1, 2, 255])
    }

    fn source(&mut self, place: Place, is_v4: bool) -> IpAddr {
        let own = place.entrance().number();
        let is_about_sources = self.is_about(Kind::Sources);
        let strange: &[IpAddr] = &[
            [127, 0, 0, 1].into(),
            [0, 0, 0, 1].into(),
            [224, 0, 0, 1].into(),
            [240, 0, 0, 1].into(),
            [255, 255, 255, 255].into(),
            [10, 0, 2, 1].into(),
        ];
        match self.random.below(if is_about_sources { 10 } else { 30 }) {
            0 | 1 => target(66, 1, is_v4),
            2 => target(66, 2, is_v4),
            3 if matches!(place, Place::Src | Place::SrcToo) => host(3, 2, is_v4),
            4 if is_v4 => self.random.pick(strange),
            5 | 6 if place == Place::SrcToo => host(1, 2, is_v4),
            7 => host(own, 3, is_v4),
            _ => host(own, 2, is_v4),
        }
    }

    fn destination(&mut self, place: Place, is_v4: bool) -> IpAddr {
        let is_behind = matches!(place, Place::Dst | Place::Alt);
        let number = 1 + self.random.below(2) as u8;
        match self.random.below(14) {
            0 => host(2, 1, is_v4),
            1 => host(place.entrance().number(), 1, is_v4),
            2 if is_v4 => self.random.pick(&[
                [10, 0, 1, 255].into(),
                [10, 0, 2, 255].into(),
                [255, 255, 255, 255].into(),
                [224, 0, 0, 9].into(),
                [127, 0, 0, 1].into(),
                [0, 0, 0, 0].into(),
            ]),
            3 if is_v4 || !is_behind => target(8, number, is_v4),
            4 if is_v4 => target(66, number, is_v4),
            // To a receiver itself.
            5 if !is_behind => host(3, 2, is_v4),
            _ if is_behind => host(self.random.pick(&[1, 1, 4]), 2, is_v4),
            _ => target(9, 1 + self.random.below(TARGETS.into()) as u8, is_v4),
        }
    }

    fn payload(&mut self, place: Place, destination: IpAddr) -> Payload {
        let is_v4 = destination.is_ipv4();
        let (from, to) = (self.random.pick(&PORTS), self.random.pick(&PORTS));
        if self.is_about(Kind::Errors) && self.random.percent(25) {
            let quoted = target(9, 1 + self.random.below(TARGETS.into()) as u8, is_v4);
            return match (quoted, place.entrance().gateway(true)) {
                (IpAddr::V4(quoted), IpAddr::V4(gateway)) if self.random.percent(40) => {
                    Payload::Redirect { quoted, gateway }
                }
                _ => Payload::TooBig { quoted, mtu: self.random.pick(&[600, 1280]) },
            };
        }
        match self.random.below(10) {
            0..=3 => Payload::Udp { from, to },
            4..=6 => Payload::TcpSyn { from, to },
            7 | 8 => Payload::Ping { id: 7 },
            _ => Payload::Unknown,
        }
    }

    fn extra(&mut self, is_v4: bool) -> Extra {
        match self.random.below(if is_v4 { 24 } else { 16 }) {
            0 | 1 => Extra::FirstFragment,
            2 => Extra::LaterFragment,
            3 if !is_v4 => Extra::HopByHop,
            4 if !is_v4 => Extra::ForDestination,
            3..=5 if is_v4 => Extra::DontFragment,
            6 if is_v4 => Extra::RecordRoute,
            7 if is_v4 => Extra::SourceRoute([10, 0, 1, 1].into()),
            8 if is_v4 => Extra::Timestamp,
            9 if is_v4 => Extra::RouterAlert,
            10 if is_v4 => Extra::NoOperation,
            _ => Extra::None,
        }
    }

    /// Packets of all flows, those of some several times.
    fn burst(&mut self) {
        for number in 0..self.flows.len() {
            let (place, packet) = self.flows[number];
            for _ in 0..self.random.pick(&[1, 2, 2, 3]) {
                self.number += 1;
                self.steps.push(Step::Send(place, Packet { number: self.number, ..packet }));
            }
        }
        // A flow that comes as another goes.
        if self.random.percent(30) {
            let (number, flow) = (self.random.below(self.flows.len()), self.flow());
            self.flows[number] = flow;
        }
    }

    // --- Changes --------------------------------------------------------------------------------

    fn change(&mut self) {
        let kinds = self.kinds.clone();
        let change = match self.random.pick(&kinds) {
            Kind::Routes => self.route(),
            Kind::Rules => self.rule(),
            Kind::Marks => Change::Mark(self.random.pick(&MARKS)),
            Kind::NextHops => self.next_hop(),
            Kind::Addresses => self.address(),
            Kind::Links => self.link(),
            Kind::Devices => self.device(),
            Kind::Vrf => self.vrf(),
            Kind::Neighbours => self.neighbour(),
            Kind::Sources => self.source_setting(),
            Kind::Settings => self.setting(),
            Kind::Errors => self.error_setting(),
            Kind::Sockets => self.socket(),
        };
        self.steps.push(Step::Change(change));
    }

    fn is_v4(&mut self) -> bool {
        let families = self.families.clone();
        self.random.pick(&families)
    }

    /// IPv6 packets never leave where they came in: how many redirects are sent would depend on time.
    fn exit(&mut self, is_v4: bool) -> Device {
        match is_v4 {
            true => self.random.pick(&[
                Device::B,
                Device::B,
                Device::C,
                Device::C,
                Device::D,
                Device::A,
            ]),
            false => self.random.pick(&[Device::B, Device::C]),
        }
    }

    fn route(&mut self) -> Change {
        if !self.routes.is_empty() && self.random.percent(35) {
            let number = self.random.below(self.routes.len());
            if self.random.percent(60) {
                return Change::Route(Verb::Del, self.routes.remove(number));
            }
            // Back again, or somewhere else.
            let mut route = self.routes[number].clone();
            let is_v4 = route.to.0.is_ipv4();
            route.way = self.way(is_v4);
            return Change::Route(Verb::Replace, route);
        }
        let is_v4 = self.is_v4();
        let to = self.network(is_v4, true);
        let table = if self.is_about(Kind::Vrf) && self.random.percent(40) {
            VRF_TABLE
        } else {
            self.random.pick(&TABLES)
        };
        let way = self.way(is_v4);
        let has_hop = matches!(way, Way::Gateway(_) | Way::OnLink(_));
        let route = Route {
            to,
            table,
            metric: self.random.maybe(25, &[50, 200, 2000]),
            tos: if is_v4 { self.random.maybe(15, &[0x08, 0x10]).unwrap_or(0) } else { 0 },
            mtu: if has_hop { self.random.maybe(10, &[600, 1290]) } else { None },
            way,
        };
        self.routes.push(route.clone());
        let verb = self.random.pick(&[Verb::Add, Verb::Add, Verb::Replace, Verb::Append]);
        Change::Route(verb, route)
    }

    fn network(&mut self, is_v4: bool, may_be_all: bool) -> Network {
        let whole = whole(is_v4);
        let half = if is_v4 { 24 } else { 64 };
        let number = 1 + self.random.below(TARGETS.into()) as u8;
        match self.random.below(10) {
            0..=3 => Network(target(9, number, is_v4), whole),
            4 | 5 => Network(target(9, 0, is_v4), half),
            6 => Network(target(8, 0, is_v4), half),
            7 => Network(target(66, 0, is_v4), half),
            8 if may_be_all && is_v4 => Network([0, 0, 0, 0].into(), 0),
            8 if may_be_all => Network(IpAddr::V6(0.into()), 0),
            _ => Network(target(9, number, is_v4), whole - 1),
        }
        .masked()
    }

    fn way(&mut self, is_v4: bool) -> Way {
        match self.random.below(16) {
            0 => Way::Blackhole,
            1 => Way::Unreachable,
            2 => Way::Prohibit,
            3 => Way::Throw,
            4 => Way::Local,
            5 => Way::Several(vec![Device::B, Device::C]),
            6 => Way::OnLink(self.random.pick(&[Device::B, Device::C])),
            7 if self.is_about(Kind::Devices) => Way::OnLink(Device::Dummy),
            8..=10 if self.is_about(Kind::NextHops) => {
                Way::Object(1 + self.random.below(3) as u32 + if is_v4 { 0 } else { 10 })
            }
            _ => Way::Gateway(self.exit(is_v4)),
        }
    }

    fn rule(&mut self) -> Change {
        if !self.rules.is_empty() && self.random.percent(35) {
            let number = self.random.below(self.rules.len());
            return Change::Rule(Verb::Del, self.rules.remove(number));
        }
        let is_v4 = self.is_v4();
        let mut rule = Rule {
            is_v4,
            pref: 100 + self.random.below(400) as u32,
            not: self.random.percent(10),
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            tos: None,
            dscp: None,
            flow_label: None,
            protocol: None,
            source_port: None,
            port: None,
            suppress: None,
            action: Action::Lookup(self.random.pick(&[101, 102, 101, 102, 254])),
        };
        let of_family = self.flows.iter().filter(|(_, packet)| packet.source.is_ipv4() == is_v4);
        let flows: Vec<_> = of_family.copied().collect();
        match flows.is_empty() || self.random.percent(40) {
            true => self.select_anything(&mut rule),
            false => {
                let (place, packet) = self.random.pick(&flows);
                self.select_flow(&mut rule, place, &packet);
            }
        }
        match self.random.below(20) {
            0 => rule.action = Action::Blackhole,
            1 => rule.action = Action::Unreachable,
            2 => rule.action = Action::Prohibit,
            3 => rule.action = Action::Goto(600 + self.random.below(2) as u32 * 100),
            4 => {
                rule.action = Action::Lookup(254);
                rule.suppress = Some(self.random.pick(&[0, 24, 31]));
            }
            _ => {}
        }
        self.rules.push(rule);
        Change::Rule(Verb::Add, rule)
    }

    /// One or two selectors, whatever the packets are.
    fn select_anything(&mut self, rule: &mut Rule) {
        let is_v4 = rule.is_v4;
        for _ in 0..1 + self.random.below(2) {
            match self.random.below(if self.is_about(Kind::Marks) { 18 } else { 12 }) {
                0 => {
                    let is_near = self.random.percent(50);
                    let number = if is_near { 1 } else { 4 };
                    rule.from = Some(match self.random.percent(40) {
                        true => Network(target(66, 0, is_v4), if is_v4 { 24 } else { 64 }),
                        false => Network(host(number, 2, is_v4), whole(is_v4)),
                    });
                }
                1 => rule.to = Some(self.network(is_v4, false)),
                2 | 3 => {
                    rule.iif =
                        Some(self.random.pick(&[Device::A, Device::D, Device::B, Device::Loopback]))
                }
                4 => rule.oif = Some(self.random.pick(&[Device::B, Device::C])),
                5 | 6 => rule.tos = Some(self.random.pick(&[0x08, 0x10, 0x20, 0xb8])),
                7 if self.random.percent(50) => {
                    rule.protocol = Some(self.random.pick(&[1, 6, 17, 58]))
                }
                8 if self.random.percent(50) => rule.port = Some(self.random.pick(&PORTS)),
                9 if self.random.percent(50) => rule.source_port = Some(self.random.pick(&PORTS)),
                _ => {
                    let mask = self.random.pick(&[u32::MAX, 1, 0xff]);
                    rule.mark = Some((self.random.pick(&MARKS) & mask, mask));
                }
            }
        }
    }

    /// One or two selectors that a flow meets. Others differ from it in one thing: these must not
    /// take its way.
    fn select_flow(&mut self, rule: &mut Rule, place: Place, packet: &Packet) {
        let is_v4 = rule.is_v4;
        let ports = match packet.payload {
            Payload::Udp { from, to } | Payload::TcpSyn { from, to } => Some((from, to)),
            _ => None,
        };
        for _ in 0..1 + self.random.below(2) {
            match self.random.below(9) {
                0 => rule.from = Some(Network(packet.source, whole(is_v4))),
                1 => rule.to = Some(Network(packet.destination, whole(is_v4))),
                2 => rule.iif = Some(place.entrance()),
                3 if ports.is_some() => rule.source_port = ports.map(|(from, _)| from),
                4 if ports.is_some() => rule.port = ports.map(|(_, to)| to),
                5 if packet.flow_label != 0 && !is_v4 => rule.flow_label = Some(packet.flow_label),
                6 if is_v4 && packet.tos & TOS != 0 && rule.dscp.is_none() => {
                    rule.tos = Some(packet.tos & TOS);
                }
                _ if rule.tos.is_none() => rule.dscp = Some(packet.tos >> 2),
                _ => {}
            }
        }
    }

    fn next_hop(&mut self) -> Change {
        let is_v4 = self.is_v4();
        let base = if is_v4 { 0 } else { 10 };
        let id = base + 1 + self.random.below(3) as u32;
        if !self.next_hops.is_empty() && self.random.percent(20) {
            let number = self.random.below(self.next_hops.len());
            let (id, is_v4) = self.next_hops.remove(number);
            return Change::NextHop(Verb::Del, id, None, is_v4);
        }
        if self.next_hops.len() >= 2 && self.random.percent(20) {
            return Change::NextHopGroup(base + 3, vec![base + 1, base + 2]);
        }
        self.next_hops.push((id, is_v4));
        let device = match self.random.percent(90) {
            true => Some(self.exit(is_v4)),
            false => None,
        };
        Change::NextHop(Verb::Replace, id, device, is_v4)
    }

    fn address(&mut self) -> Change {
        if !self.addresses.is_empty() && self.random.percent(45) {
            let number = self.random.below(self.addresses.len());
            let (device, address, length) = self.addresses.remove(number);
            return Change::Address(Verb::Del, device, address, length);
        }
        let is_v4 = self.is_v4();
        let whole = whole(is_v4);
        let device = self.random.pick(&[Device::A, Device::B, Device::C, Device::Loopback]);
        let number = 1 + self.random.below(TARGETS.into()) as u8;
        let (address, length) = match self.random.below(4) {
            0 => (target(9, number, is_v4), whole),
            1 => (target(66, 1, is_v4), whole),
            2 => (target(8, 1, is_v4), if is_v4 { 24 } else { 64 }),
            _ => (host(device.number().clamp(1, 4), 7, is_v4), if is_v4 { 24 } else { 64 }),
        };
        self.addresses.push((device, address, length));
        Change::Address(Verb::Add, device, address, length)
    }

    fn link(&mut self) -> Change {
        if !self.down.is_empty() && self.random.percent(70) {
            let number = self.random.below(self.down.len());
            return Change::Link(self.down.remove(number), true);
        }
        if self.random.percent(35) {
            let device = self.random.pick(&[Device::A, Device::B, Device::C]);
            let mtu = match self.mtus.contains(&device) {
                true => {
                    self.mtus.retain(|other| *other != device);
                    1500
                }
                false => {
                    self.mtus.push(device);
                    self.random.pick(&[600, 1280, 1400])
                }
            };
            return Change::Mtu(device, mtu);
        }
        let device = self.random.pick(&[Device::B, Device::C, Device::A, Device::D]);
        self.down.push(device);
        Change::Link(device, false)
    }

    fn device(&mut self) -> Change {
        let device = self.random.pick(&[Device::Macvlan, Device::Dummy]);
        if self.devices.contains(&device) {
            self.devices.retain(|other| *other != device);
            return Change::DelDevice(device);
        }
        self.devices.push(device);
        Change::NewDevice(device)
    }

    fn vrf(&mut self) -> Change {
        if !self.devices.contains(&Device::Vrf) {
            self.devices.push(Device::Vrf);
            return Change::NewDevice(Device::Vrf);
        }
        if let Some(device) = self.enslaved.pop().filter(|_| self.random.percent(60)) {
            return Change::Master(device, None);
        }
        if self.random.percent(15) {
            self.devices.retain(|other| *other != Device::Vrf);
            return Change::DelDevice(Device::Vrf);
        }
        let device = self.random.pick(&[Device::A, Device::C, Device::D]);
        self.enslaved.push(device);
        Change::Master(device, Some(Device::Vrf))
    }

    fn neighbour(&mut self) -> Change {
        let is_v4 = self.is_v4();
        let device = self.random.pick(&[Device::B, Device::C]);
        let end = self.random.pick(&[2, 9]);
        let mac = super::change::mac(device.number(), end);
        Change::Neighbour(device, device.gateway(is_v4), mac)
    }

    fn source_setting(&mut self) -> Change {
        let device = self.random.pick(&["all", "a", "d", "a"]);
        let (name, values): (&str, &[&str]) = match self.random.below(8) {
            0..=3 => ("rp_filter", &["0", "1", "1", "2", "-1"]),
            4 => ("src_valid_mark", &["0", "1", "-1"]),
            5 => ("accept_local", &["0", "1"]),
            6 => ("route_localnet", &["0", "1"]),
            _ => return self.route(),
        };
        let value = self.random.pick(values);
        Change::Setting(format!("ipv4/conf/{device}/{name}"), value.into())
    }

    fn error_setting(&mut self) -> Change {
        let device = self.random.pick(&["all", "a", "b", "c"]);
        let name = match self.random.below(5) {
            0 => return self.route(),
            1 | 2 => "accept_redirects",
            3 => "secure_redirects",
            _ => "send_redirects",
        };
        let value = self.random.pick(&["0", "1", "1"]);
        Change::Setting(format!("ipv4/conf/{device}/{name}"), value.into())
    }

    fn setting(&mut self) -> Change {
        const OF_DEVICES: [&str; 8] = [
            "ipv4/conf/DEV/forwarding",
            "ipv4/conf/DEV/accept_source_route",
            "ipv4/conf/DEV/send_redirects",
            "ipv4/conf/DEV/shared_media",
            "ipv4/conf/DEV/bc_forwarding",
            "ipv4/conf/DEV/disable_policy",
            "ipv6/conf/DEV/forwarding",
            "ipv6/conf/DEV/accept_source_route",
        ];
        const OF_ALL: [&str; 11] = [
            "ipv4/ip_forward",
            "ipv4/ip_early_demux",
            "ipv4/tcp_early_demux",
            "ipv4/udp_early_demux",
            "ipv4/fib_multipath_use_neigh",
            "ipv4/fib_multipath_hash_policy",
            "ipv6/fib_multipath_hash_policy",
            "ipv4/fwmark_reflect",
            "ipv4/ip_forward_update_priority",
            "ipv4/icmp_errors_use_inbound_ifaddr",
            "ipv4/icmp_echo_ignore_broadcasts",
        ];
        let value = self.random.pick(&["0", "1", "1"]).to_owned();
        if self.random.percent(60) {
            let device = self.random.pick(&["all", "a", "b", "d"]);
            return Change::Setting(self.random.pick(&OF_DEVICES).replace("DEV", device), value);
        }
        Change::Setting(self.random.pick(&OF_ALL).into(), value)
    }

    fn socket(&mut self) -> Change {
        if self.random.percent(30) {
            return Change::NoSockets;
        }
        let is_v4 = self.is_v4();
        let any: IpAddr = if is_v4 { [0, 0, 0, 0].into() } else { IpAddr::V6(0.into()) };
        let local = self.random.pick(&[any, host(2, 1, is_v4), host(1, 1, is_v4)]);
        let port = self.random.pick(&PORTS);
        let to = self.random.maybe(60, &PORTS).map(|port| (host(1, 2, is_v4), port));
        Change::Socket(Listener { local, port, to })
    }
}

impl Network {
    /// Without the bits that do not count.
    fn masked(self) -> Network {
        let Network(address, length) = self;
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Network(address, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_scene() {
        assert_eq!(scene(1), scene(1));
        assert_ne!(scene(1), scene(2));
    }

    #[test]
    fn all_kinds_of_changes_come() {
        let commands: String = (0..300)
            .flat_map(scene)
            .filter_map(|step| match step {
                Step::Change(change) => Some(change.command() + "\n"),
                Step::Send(..) => None,
            })
            .collect();
        for part in [
            " rule add",
            " rule del",
            "not from",
            "iif lo",
            "oif b",
            "fwmark",
            "tos ",
            "dscp",
            "flowlabel",
            "ipproto",
            "sport",
            "dport",
            "goto",
            "suppress",
            "rule add pref",
            "blackhole",
            "unreachable",
            "prohibit",
            "throw",
            "local ",
            "nexthop via",
            "nhid",
            "route replace",
            "route append",
            "nexthop replace",
            "group",
            "nexthop del",
            "addr add",
            "addr del",
            "down",
            "mtu",
            "link add m",
            "link del m",
            "link add red",
            "nomaster",
            "neigh",
            "rp_filter=-1",
            "src_valid_mark",
            "actions",
            "connect=",
            "accept_redirects",
            "-6 route",
        ] {
            assert!(commands.contains(part), "{part}");
        }
    }
}
