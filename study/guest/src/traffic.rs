// SPDX-License-Identifier: GPL-2.0

//! Packets, one at a time: each has arrived before the next is sent.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
};
use rnetns_selftests::fuzz::packet::checksum;

use crate::world::Path;

/// A kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    pub name: &'static str,
    pub protocol: Protocol,
    pub v6: bool,
    /// Bytes of data in each message.
    pub size: usize,
    /// TCP: whether the sender cuts segments itself, because its device does not.
    pub segments: bool,
    /// Whether the host's devices put segments together again.
    pub gro: bool,
    /// Whether it is a part of the quick study.
    pub quick: bool,
}

impl Traffic {
    /// Whether a message is more than a packet of Ethernet.
    pub fn is_large(&self) -> bool {
        self.size > MSS
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Ping,
    Tcp,
}

const fn traffic(name: &'static str, protocol: Protocol, size: usize) -> Traffic {
    Traffic { name, protocol, v6: false, size, segments: false, gro: false, quick: false }
}

/// What a segment holds over Ethernet, with timestamps.
const MSS: usize = 1448;
const MSS6: usize = 1428;
/// Segments of a message that the device is to cut.
pub const SEGMENTS: usize = 10;

pub const TRAFFIC: [Traffic; 9] = [
    Traffic { quick: true, ..traffic("udp-small", Protocol::Udp, 18) },
    traffic("udp-large", Protocol::Udp, 1400),
    traffic("ping", Protocol::Ping, 56),
    Traffic { segments: true, quick: true, ..traffic("tcp-segments", Protocol::Tcp, MSS) },
    Traffic { segments: true, gro: true, ..traffic("tcp-gro", Protocol::Tcp, MSS) },
    traffic("tcp-gso", Protocol::Tcp, SEGMENTS * MSS),
    Traffic { v6: true, quick: true, ..traffic("udp6-small", Protocol::Udp, 18) },
    Traffic {
        v6: true,
        segments: true,
        quick: true,
        ..traffic("tcp6-segments", Protocol::Tcp, MSS6)
    },
    Traffic { v6: true, ..traffic("tcp6-gso", Protocol::Tcp, SEGMENTS * MSS6) },
];

/// How long to wait for a packet that does not come. The clock of a counting processor leaps to its
/// next event, so this takes no time.
const LOST: Duration = Duration::from_secs(10);
const PORT: u16 = 7777;

/// Sockets at both ends.
pub enum Flow {
    Udp { sender: UdpSocket, receiver: UdpSocket, data: Vec<u8> },
    Ping { socket: OwnedFd, data: Vec<u8>, next: u16 },
    Tcp { sender: TcpStream, receiver: TcpStream, data: Vec<u8> },
}

impl Flow {
    pub fn open(path: &Path<'_>, traffic: &Traffic) -> Result<Flow> {
        let data = vec![0x5a; traffic.size];
        match traffic.protocol {
            Protocol::Udp => {
                let receiver = path.to.run(|| Ok(UdpSocket::bind((path.bind, PORT))?))?;
                receiver.set_read_timeout(Some(LOST))?;
                path.bind_to(path.answers, &receiver)?;
                let sender = path.from.run(|| {
                    let source = path.source.unwrap_or(any(traffic.v6));
                    let socket = UdpSocket::bind((source, 0))?;
                    path.bind_to(path.sends, &socket)?;
                    socket.connect((path.target, PORT))?;
                    Ok(socket)
                })?;
                Ok(Flow::Udp { sender, receiver, data })
            }
            Protocol::Ping => {
                let socket = path.from.run(|| {
                    let socket = ping_socket(path.target)?;
                    path.bind_to(path.sends, &socket)?;
                    Ok(socket)
                })?;
                Ok(Flow::Ping { socket, data, next: 0 })
            }
            Protocol::Tcp => {
                let listener = path.to.run(|| Ok(TcpListener::bind((path.bind, PORT))?))?;
                path.bind_to(path.answers, &listener)?;
                let sender = path.from.run(|| {
                    let socket = tcp_socket(traffic.v6)?;
                    path.bind_to(path.sends, &socket)?;
                    if let Some(source) = path.source {
                        let source = SockaddrStorage::from(SocketAddr::from((source, 0)));
                        socket::bind(socket.as_raw_fd(), &source).context("bind")?;
                    }
                    let address = SockaddrStorage::from(SocketAddr::from((path.target, PORT)));
                    socket::connect(socket.as_raw_fd(), &address).context("connect")?;
                    Ok(TcpStream::from(socket))
                })?;
                sender.set_nodelay(true)?;
                let (receiver, _) = listener.accept().context("accept")?;
                receiver.set_read_timeout(Some(LOST))?;
                Ok(Flow::Tcp { sender, receiver, data })
            }
        }
    }

    /// Sends messages, each after the last has arrived.
    pub fn send(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.one()?;
        }
        Ok(())
    }

    fn one(&mut self) -> Result<()> {
        match self {
            Flow::Udp { sender, receiver, data } => {
                sender.send(data).context("send")?;
                let mut buffer = [0; 2048];
                let got = receiver.recv(&mut buffer).context("a packet was lost")?;
                ensure!(got == data.len(), "{got} bytes arrived");
            }
            Flow::Ping { socket, data, next } => {
                *next = next.wrapping_add(1);
                let request = echo_request(*next, data);
                socket::send(socket.as_raw_fd(), &request, MsgFlags::empty()).context("ping")?;
                await_reply(socket, *next)?;
            }
            Flow::Tcp { sender, receiver, data } => {
                sender.write_all(data).context("write")?;
                let mut buffer = vec![0; data.len()];
                receiver.read_exact(&mut buffer).context("data was lost")?;
            }
        }
        Ok(())
    }
}

fn any(v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    }
}

impl Path<'_> {
    /// Binds a socket to a device, on a way where packets must take that one.
    fn bind_to(&self, device: &str, socket: &impl AsFd) -> Result<()> {
        if self.source.is_some() {
            socket::setsockopt(socket, socket::sockopt::BindToDevice, &device.into())
                .with_context(|| format!("bind a socket to {device}"))?;
        }
        Ok(())
    }
}

fn tcp_socket(v6: bool) -> Result<OwnedFd> {
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("open a socket")
}

/// A raw socket for ICMP. There is none for ICMPv6: IPv6 is measured with UDP and TCP.
fn ping_socket(target: IpAddr) -> Result<OwnedFd> {
    let (family, protocol) = (AddressFamily::Inet, SockProtocol::Icmp);
    let socket = socket::socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .context("open a raw socket")?;
    let limit = nix::sys::time::TimeVal::new(LOST.as_secs() as i64, 0);
    socket::setsockopt(&socket, socket::sockopt::ReceiveTimeout, &limit)?;
    let address = SockaddrStorage::from(SocketAddr::from((target, 0)));
    socket::connect(socket.as_raw_fd(), &address).context("connect a raw socket")?;
    Ok(socket)
}

fn echo_request(number: u16, data: &[u8]) -> Vec<u8> {
    const ECHO_REQUEST: u8 = 8;
    let mut request = vec![ECHO_REQUEST, 0, 0, 0, 0, 1];
    request.extend(number.to_be_bytes());
    request.extend(data);
    let sum = checksum(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    request
}

fn await_reply(socket: &OwnedFd, number: u16) -> Result<()> {
    const ECHO_REPLY: u8 = 0;
    const HEADER: usize = 20;
    let mut buffer = [0; 2048];
    loop {
        let got = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
            .context("a ping was lost")?;
        let reply = buffer[..got].get(HEADER..).unwrap_or(&[]);
        if let [ECHO_REPLY, _, _, _, _, 1, high, low, ..] = reply
            && u16::from_be_bytes([*high, *low]) == number
        {
            return Ok(());
        }
    }
}

/// Who else looks at the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    Nobody,
    /// A packet socket whose program is slow to read: it keeps clones.
    Socket,
    /// tcpdump, which has a ring of memory into which the kernel writes.
    Tcpdump,
}

impl Listening {
    pub fn name(self) -> &'static str {
        match self {
            Listening::Nobody => "nobody",
            Listening::Socket => "packet socket",
            Listening::Tcpdump => "tcpdump",
        }
    }
}

/// Somebody who listens to all devices of a namespace, until dropped.
pub enum Listener {
    Nobody,
    Socket(OwnedFd),
    Tcpdump(std::process::Child),
}

impl Listener {
    /// Starts listening in the calling thread's namespace.
    pub fn start(listening: Listening) -> Result<Listener> {
        match listening {
            Listening::Nobody => Ok(Listener::Nobody),
            Listening::Socket => packet_socket().map(Listener::Socket),
            Listening::Tcpdump => tcpdump().map(Listener::Tcpdump),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Tcpdump(child) = self {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A packet socket with room for all packets of a measurement.
fn packet_socket() -> Result<OwnedFd> {
    let all = SockProtocol::EthAll;
    let socket = socket::socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, all)
        .context("listen")?;
    let room = 256 << 20;
    socket::setsockopt(&socket, socket::sockopt::RcvBufForce, &room).context("make room")?;
    Ok(socket)
}

/// tcpdump, once it has said that it listens.
fn tcpdump() -> Result<std::process::Child> {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let mut child = Command::new("tcpdump")
        .args(["-n", "-i", "any", "-w", "/dev/null"])
        .stderr(Stdio::piped())
        .spawn()
        .context("start tcpdump")?;
    let stderr = child.stderr.take().context("no pipe of tcpdump")?;
    for line in BufReader::new(stderr).lines() {
        if line.context("read what tcpdump says")?.contains("listening on") {
            return Ok(child);
        }
    }
    anyhow::bail!("tcpdump does not listen: {:?}", child.wait());
}
