// SPDX-License-Identifier: GPL-2.0

//! `add_routes GATEWAY DEVICE FROM TO`: adds the IPv4 networks with these numbers, counted from
//! 10.0.0.0/24, to the main table. Not a test: measurements of large tables need it. It adds many
//! routes in one system call, while `ip -batch` takes several calls for each route.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// Routes in one system call.
const TOGETHER: u32 = 512;
/// A network for each number, from here on.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const LENGTH: u8 = 24;

const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL`
const NEW: u16 = 0x601;
const NLM_F_ACK: u16 = 0x4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// The header of a message, that of a route, and three attributes of four bytes each.
const MESSAGE: u32 = 16 + 12 + 3 * 8;

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("add_routes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [gateway, device, from, to] = arguments else {
        bail!("usage: add_routes GATEWAY DEVICE FROM TO");
    };
    let gateway: Ipv4Addr = gateway.parse().with_context(|| format!("gateway '{gateway}'"))?;
    let index =
        if_nametoindex(device.as_str()).with_context(|| format!("find device '{device}'"))?;
    let from: u32 = from.parse().with_context(|| format!("number '{from}'"))?;
    let to: u32 = to.parse().with_context(|| format!("number '{to}'"))?;
    ensure!(from <= to && to <= 1 << 18, "numbers go up to {}", 1 << 18);
    let protocol = SockProtocol::NetlinkRoute;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .context("open a socket")?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("bind a socket")?;
    for first in (from..to).step_by(TOGETHER as usize) {
        add(&fd, gateway, index, first..to.min(first + TOGETHER))
            .with_context(|| format!("add routes from number {first} on"))?;
    }
    Ok(())
}

/// Adds routes with one call. Only the last is acknowledged; errors of others arrive before that.
fn add(fd: &OwnedFd, gateway: Ipv4Addr, index: u32, numbers: std::ops::Range<u32>) -> Result<()> {
    let last = numbers.end - 1;
    let mut bytes = Vec::new();
    for number in numbers {
        let ack = if number == last { NLM_F_ACK } else { 0 };
        let network = Ipv4Addr::from(u32::from(FIRST) + (number << (32 - LENGTH)));
        bytes.extend(MESSAGE.to_ne_bytes());
        bytes.extend(RTM_NEWROUTE.to_ne_bytes());
        bytes.extend((NEW | ack).to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend([0; 4]);
        // AF_INET, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST.
        bytes.extend([2, LENGTH, 0, 0, 254, 4, 0, 1]);
        bytes.extend([0; 4]);
        for (kind, value) in [
            (RTA_DST, network.octets()),
            (RTA_OIF, index.to_ne_bytes()),
            (RTA_GATEWAY, gateway.octets()),
        ] {
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
        }
    }
    let sent = send(fd.as_raw_fd(), &bytes, MsgFlags::empty()).context("send")?;
    ensure!(sent == bytes.len(), "sent {sent} bytes of {}", bytes.len());
    let mut answer = [0; 4096];
    let length = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()).context("receive")?;
    let word = |at: usize| -> Result<[u8; 4]> {
        let bytes = answer[..length].get(at..at + 4).context("a short answer")?;
        Ok(bytes.try_into()?)
    };
    let kind = u16::from_ne_bytes([word(4)?[0], word(4)?[1]]);
    ensure!(kind == NLMSG_ERROR, "an answer of kind {kind}");
    match i32::from_ne_bytes(word(16)?) {
        0 => Ok(()),
        error => Err(Errno::from_raw(-error)).with_context(|| "the kernel's answer"),
    }
}
