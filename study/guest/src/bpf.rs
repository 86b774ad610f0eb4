// SPDX-License-Identifier: GPL-2.0

//! Two programs for XDP, as instructions: no compiler is needed where the study runs.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

const MOVE: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const XDP_PASS: i32 = 2;
/// `bpf_redirect(ifindex, flags)`.
const REDIRECT: i32 = 23;

const fn set(register: u8, value: i32) -> Instruction {
    Instruction { code: MOVE, registers: register, offset: 0, value }
}

const fn end(code: u8, value: i32) -> Instruction {
    Instruction { code, registers: 0, offset: 0, value }
}

/// Lets all frames pass.
pub fn xdp_pass() -> Result<OwnedFd> {
    load(&[set(0, XDP_PASS), end(EXIT, 0)])
}

/// Sends all frames out of another device.
pub fn xdp_redirect(index: u32) -> Result<OwnedFd> {
    load(&[set(1, index as i32), set(2, 0), end(CALL, REDIRECT), end(EXIT, 0)])
}

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`; what is left out is zero.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach: u32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    let attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_XDP,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..ProgramLoad::default()
    };
    // SAFETY: the attributes, and what they point to, live until the call ends.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<ProgramLoad>())
    };
    let fd = Errno::result(fd).context("load a BPF program")?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

const RTM_SETLINK: u16 = 19;
const IFLA_XDP: u16 = 43 | 1 << 15;
const IFLA_XDP_FD: u16 = 1;

/// The message that gives a device a program: `struct nlmsghdr`, `struct ifinfomsg`, and the
/// attributes `IFLA_XDP { IFLA_XDP_FD }`.
fn set_xdp(index: u32, program: i32) -> Vec<u8> {
    const HEADER: usize = 16;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend([0; 8]);
    for (length, kind) in [(12u16, IFLA_XDP), (8, IFLA_XDP_FD)] {
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
    }
    body.extend(program.to_ne_bytes());
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(RTM_SETLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port.
    message.extend(1u32.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

/// Attaches a program to a device of the calling thread's namespace, in the driver.
pub fn attach_xdp(index: u32, program: &OwnedFd) -> Result<()> {
    let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
    let socket = socket::socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute)
        .context("open a netlink socket")?;
    let message = set_xdp(index, program.as_raw_fd());
    socket::send(socket.as_raw_fd(), &message, MsgFlags::empty()).context("ask for XDP")?;
    let mut answer = [0; 1024];
    let got = socket::recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())
        .context("hear about XDP")?;
    match error(&answer[..got])? {
        0 => Ok(()),
        error => Err(Errno::from_raw(-error)).context("attach an XDP program"),
    }
}

/// The error number in an answer: `struct nlmsghdr`, and `struct nlmsgerr`, which begins with it.
fn error(answer: &[u8]) -> Result<i32> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(error)) => Ok(error),
        _ => bail!("an answer of {} bytes says nothing: {answer:?}", answer.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_or_refused() {
        let mut answer = vec![0; 36];
        answer[4] = 2;
        assert_eq!(error(&answer).unwrap(), 0);
        answer[16..20].copy_from_slice(&(-22i32).to_ne_bytes());
        assert_eq!(error(&answer).unwrap(), -22);
        for length in [0, 5, 16, 19] {
            assert!(error(&answer[..length]).is_err(), "{length}");
        }
        answer[4] = 16;
        assert!(error(&answer).is_err());
    }

    #[test]
    fn the_message_is_as_long_as_it_says() {
        let message = set_xdp(7, 3);
        assert_eq!(message.len(), 44);
        assert_eq!(message[..4], 44u32.to_ne_bytes());
        assert_eq!(message[20..24], 7u32.to_ne_bytes());
        assert_eq!(message[40..], 3i32.to_ne_bytes());
    }
}
