// SPDX-License-Identifier: GPL-2.0

//! Two programs for XDP, as instructions: no compiler is needed where the study runs.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;

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

/// `struct nlmsghdr`, `struct ifinfomsg`, and the attributes `IFLA_XDP { IFLA_XDP_FD }`.
#[repr(C)]
struct SetXdp {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    pad: u8,
    device_kind: u16,
    index: i32,
    device_flags: u32,
    change: u32,
    outer_length: u16,
    outer: u16,
    inner_length: u16,
    inner: u16,
    fd: i32,
}

const RTM_SETLINK: u16 = 19;
const IFLA_XDP: u16 = 43 | 1 << 15;
const IFLA_XDP_FD: u16 = 1;

/// Attaches a program to a device of the calling thread's namespace, in the driver.
pub fn attach_xdp(index: u32, program: &OwnedFd) -> Result<()> {
    let message = SetXdp {
        length: size_of::<SetXdp>() as u32,
        kind: RTM_SETLINK,
        flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16,
        sequence: 1,
        port: 0,
        family: 0,
        pad: 0,
        device_kind: 0,
        index: index as i32,
        device_flags: 0,
        change: 0,
        outer_length: 12,
        outer: IFLA_XDP,
        inner_length: 8,
        inner: IFLA_XDP_FD,
        fd: program.as_raw_fd(),
    };
    // SAFETY: a new socket; nothing is passed but numbers.
    let socket = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    };
    // SAFETY: the kernel has just opened it for us; -1 is caught by `result`.
    let socket = unsafe { OwnedFd::from_raw_fd(Errno::result(socket)?) };
    // SAFETY: the message is plain data of that size.
    let sent = unsafe {
        libc::send(socket.as_raw_fd(), (&raw const message).cast(), size_of::<SetXdp>(), 0)
    };
    Errno::result(sent).context("ask for XDP")?;
    // The answer: a header of 16 bytes and the error.
    let mut answer = [0u8; 1024];
    // SAFETY: the buffer has that size.
    let got =
        unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    Errno::result(got).context("hear about XDP")?;
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match error {
        0 => Ok(()),
        error => Err(Errno::from_raw(-error)).context("attach an XDP program"),
    }
}
