// SPDX-License-Identifier: GPL-2.0

//! Packets, byte by byte: no socket has a say in what is sent.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is behind the header of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    Udp {
        from: u16,
        to: u16,
    },
    TcpSyn {
        from: u16,
        to: u16,
    },
    Ping {
        id: u16,
    },
    /// A protocol that nobody knows.
    Unknown,
    /// An error that says that a packet from the destination to another address was too large.
    TooBig {
        quoted: IpAddr,
        mtu: u16,
    },
    /// A redirect for such a packet, to another gateway. IPv4 alone.
    Redirect {
        quoted: Ipv4Addr,
        gateway: Ipv4Addr,
    },
}

/// What else the header has, or what is between it and the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    None,
    /// IPv4: must not be cut.
    DontFragment,
    /// The first part of a larger packet.
    FirstFragment,
    /// A later part.
    LaterFragment,
    /// IPv4 options.
    RecordRoute,
    /// A loose source route by way of this address.
    SourceRoute(Ipv4Addr),
    Timestamp,
    RouterAlert,
    NoOperation,
    /// IPv6: an extension header of padding, for each hop or for the destination.
    HopByHop,
    ForDestination,
}

/// For whom the frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The device at the other end of the cable.
    Router,
    /// The router's macvlan, by way of its first device.
    Macvlan,
    Broadcast,
    /// Somebody else.
    Other,
}

/// A packet. The number makes it different from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub number: u16,
    pub frame: Frame,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// The flow label, for IPv6.
    pub flow_label: u32,
    pub payload: Payload,
    pub extra: Extra,
    /// Bytes of data.
    pub length: usize,
}

impl Packet {
    /// The packet from its IP header on.
    pub fn bytes(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source, destination),
            _ => Vec::new(),
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let mut sum = Vec::from(source.octets());
        sum.extend(destination.octets());
        let (protocol, payload) = self.payload(sum);
        let options: Vec<u8> = match self.extra {
            Extra::RecordRoute => vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Extra::SourceRoute(by) => {
                let by = by.octets();
                vec![131, 7, 4, by[0], by[1], by[2], by[3], 1]
            }
            Extra::Timestamp => vec![68, 12, 13, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            Extra::RouterAlert => vec![148, 4, 0, 0],
            Extra::NoOperation => vec![1, 1, 1, 1],
            _ => Vec::new(),
        };
        let length = 20 + options.len();
        let part: u16 = match self.extra {
            Extra::DontFragment => 0x4000,
            Extra::FirstFragment => 0x2000,
            Extra::LaterFragment => 0x0040,
            _ => 0,
        };
        let mut bytes = vec![0x40 | (length / 4) as u8, self.tos];
        bytes.extend(((length + payload.len()) as u16).to_be_bytes());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(part.to_be_bytes());
        bytes.extend([self.ttl, protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(options);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut sum = Vec::from(source.octets());
        sum.extend(destination.octets());
        let (protocol, payload) = self.payload(sum);
        let fragment = |part: u16| {
            let [high, low] = part.to_be_bytes();
            let [first, second] = self.number.to_be_bytes();
            Some((44, vec![protocol, 0, high, low, 0, 0, first, second]))
        };
        let padding = |kind| Some((kind, vec![protocol, 0, 1, 4, 0, 0, 0, 0]));
        let extension = match self.extra {
            Extra::FirstFragment => fragment(1),
            Extra::LaterFragment => fragment(0x0200),
            Extra::HopByHop => padding(0),
            Extra::ForDestination => padding(60),
            _ => None,
        };
        let (next, extension) = extension.unwrap_or((protocol, Vec::new()));
        let first = 6 << 28 | u32::from(self.tos) << 20 | (self.flow_label & 0xf_ffff);
        let mut bytes = Vec::from(first.to_be_bytes());
        bytes.extend(((extension.len() + payload.len()) as u16).to_be_bytes());
        bytes.extend([next, self.ttl]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(extension);
        bytes.extend(payload);
        bytes
    }

    /// Number and bytes of the protocol. `sum` has the addresses, of which the checksum is made, too.
    fn payload(&self, mut sum: Vec<u8>) -> (u8, Vec<u8>) {
        let is_v4 = self.source.is_ipv4();
        let mut data = vec![0x5a; self.length.max(2)];
        data[..2].copy_from_slice(&self.number.to_be_bytes());
        let (protocol, mut bytes, at) = match self.payload {
            Payload::Udp { from, to } => {
                let mut bytes = ports(from, to);
                bytes.extend(((8 + data.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                (17, bytes, 6)
            }
            Payload::TcpSyn { from, to } => {
                let mut bytes = ports(from, to);
                bytes.extend(u32::from(self.number).to_be_bytes());
                bytes.extend([0, 0, 0, 0, 5 << 4, 2, 4, 0, 0, 0, 0, 0]);
                data.clear();
                (6, bytes, 16)
            }
            Payload::Ping { id } => {
                let mut bytes = vec![if is_v4 { 8 } else { 128 }, 0, 0, 0];
                bytes.extend(id.to_be_bytes());
                bytes.extend(self.number.to_be_bytes());
                (if is_v4 { 1 } else { 58 }, bytes, 2)
            }
            Payload::Unknown => return (253, data),
            Payload::TooBig { quoted, mtu } => {
                data = self.quote(quoted);
                let [high, low] = mtu.to_be_bytes();
                match is_v4 {
                    true => (1, vec![3, 4, 0, 0, 0, 0, high, low], 2),
                    false => (58, vec![2, 0, 0, 0, 0, 0, high, low], 2),
                }
            }
            Payload::Redirect { quoted, gateway } => {
                data = self.quote(quoted.into());
                let mut bytes = vec![5, 1, 0, 0];
                bytes.extend(gateway.octets());
                (1, bytes, 2)
            }
        };
        bytes.extend(data);
        if is_v4 && protocol == 1 {
            sum.clear();
        } else {
            sum.extend((bytes.len() as u32).to_be_bytes());
            sum.extend([0, 0, 0, protocol]);
        }
        sum.extend(&bytes);
        let sum = checksum(&sum);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        (protocol, bytes)
    }

    /// The answer to a ping that the destination of this packet may have sent to an address.
    fn quote(&self, to: IpAddr) -> Vec<u8> {
        let quoted = Packet {
            source: self.destination,
            destination: to,
            payload: Payload::Ping { id: 1 },
            extra: Extra::None,
            length: 8,
            ..*self
        };
        let mut bytes = quoted.bytes();
        let header = if to.is_ipv4() { 20 } else { 40 };
        if let Some(kind) = bytes.get_mut(header) {
            *kind = if to.is_ipv4() { 0 } else { 129 };
        }
        bytes
    }
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = Vec::from(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes
}

pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = words.map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Packet { number, frame, source, destination, ttl, tos, .. } = self;
        write!(f, "#{number} {source} > {destination} ttl {ttl} tos {tos:#x}")?;
        if source.is_ipv6() {
            write!(f, " flow {:#x}", self.flow_label)?;
        }
        write!(f, " {:?}", self.payload)?;
        if self.extra != Extra::None {
            write!(f, " {:?}", self.extra)?;
        }
        if *frame != Frame::Router {
            write!(f, " frame {frame:?}")?;
        }
        write!(f, " {} bytes", self.length)
    }
}

/// A packet that has arrived, in short.
pub fn describe(bytes: &[u8]) -> String {
    match (bytes.first().map(|first| first >> 4), bytes.len()) {
        (Some(4), 20..) => {
            let address =
                |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
            let header = usize::from(bytes[0] & 15) * 4;
            let protocol = protocol(bytes[9], bytes.get(header..).unwrap_or(&[]));
            let part = u16::from_be_bytes([bytes[6], bytes[7]]);
            format!(
                "{} > {} ttl {} tos {:#x} {protocol} part {part:#x} {} bytes",
                address(12),
                address(16),
                bytes[8],
                bytes[1],
                bytes.len()
            )
        }
        (Some(6), 40..) => {
            let address = |at: usize| {
                let octets: [u8; 16] = bytes[at..at + 16].try_into().unwrap_or([0; 16]);
                Ipv6Addr::from(octets)
            };
            format!(
                "{} > {} ttl {} {} {} bytes",
                address(8),
                address(24),
                bytes[7],
                protocol(bytes[6], &bytes[40..]),
                bytes.len()
            )
        }
        _ => format!("{} bytes that are no IP packet", bytes.len()),
    }
}

fn protocol(number: u8, payload: &[u8]) -> String {
    match (number, payload) {
        (1, [kind, code, ..]) => format!("icmp {kind}/{code}"),
        (58, [kind, code, ..]) => format!("icmp6 {kind}/{code}"),
        (6, [..]) => "tcp".into(),
        (17, [..]) => "udp".into(),
        (number, _) => format!("protocol {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str) -> Packet {
        Packet {
            number: 0x1234,
            frame: Frame::Router,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ttl: 9,
            tos: 4,
            flow_label: 5,
            payload: Payload::Udp { from: 1, to: 2 },
            extra: Extra::None,
            length: 4,
        }
    }

    #[test]
    fn checksums_are_right() {
        let v4 = packet("10.0.0.1", "10.0.0.2").bytes();
        assert_eq!(checksum(&v4[..20]), 0);
        let v6 = packet("fd01::1", "fd02::1").bytes();
        let mut sum = v6[8..40].to_vec();
        sum.extend([0, 0, 0, 12, 0, 0, 0, 17]);
        sum.extend(&v6[40..]);
        assert_eq!(checksum(&sum), 0);
    }

    #[test]
    fn an_error_quotes_a_packet_of_the_other_direction() {
        let quoted = "10.9.0.1".parse().unwrap();
        let error = Packet {
            payload: Payload::TooBig { quoted, mtu: 600 },
            ..packet("10.0.0.1", "10.0.0.2")
        };
        let bytes = error.bytes();
        assert_eq!(
            describe(&bytes),
            "10.0.0.1 > 10.0.0.2 ttl 9 tos 0x4 icmp 3/4 part 0x0 64 bytes"
        );
        assert!(describe(&bytes[28..]).starts_with("10.0.0.2 > 10.9.0.1 ttl 9 tos 0x4 icmp 0/0"));
    }
}
