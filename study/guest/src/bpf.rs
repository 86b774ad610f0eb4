// SPDX-License-Identifier: GPL-2.0

//! Two programs for XDP.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rnetns_selftests::bpf::{self, Instruction};
use rnetns_selftests::fuzz::rtnetlink::{Request, Socket};

/// What a program is for, and what attaches it: of `linux/bpf.h`.
const PROG_TYPE_XDP: u32 = 6;
const XDP: u32 = 37;

const XDP_PASS: i32 = 2;
/// `bpf_redirect(ifindex, flags)`.
const REDIRECT: i32 = 23;

/// Lets all frames pass.
pub fn xdp_pass() -> Result<OwnedFd> {
    load(&[Instruction::set(0, XDP_PASS), Instruction::EXIT])
}

/// Sends all frames out of another device.
pub fn xdp_redirect(index: u32) -> Result<OwnedFd> {
    load(&[
        Instruction::set(1, index as i32),
        Instruction::set(2, 0),
        Instruction::call(REDIRECT),
        Instruction::EXIT,
    ])
}

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    bpf::load(PROG_TYPE_XDP, XDP, program).context("load a BPF program")
}

const RTM_SETLINK: u16 = 19;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;

/// The request that gives a device a program: `struct ifinfomsg`, and the attributes
/// `IFLA_XDP { IFLA_XDP_FD }`.
fn set_xdp(index: u32, program: i32) -> Request {
    Request::new(RTM_SETLINK, 0)
        .word(0)
        .word(index)
        .raw(&[0; 8])
        .nest(IFLA_XDP, |xdp| xdp.number(IFLA_XDP_FD, program as u32))
}

/// Attaches a program to a device of the calling thread's namespace, in the driver.
pub fn attach_xdp(index: u32, program: &OwnedFd) -> Result<()> {
    Socket::open()?.demand("attach an XDP program", set_xdp(index, program.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_device_and_program() {
        let message = set_xdp(7, 3).bytes();
        assert_eq!(message.len(), 44);
        assert_eq!(message[..4], 44u32.to_ne_bytes());
        assert_eq!(message[20..24], 7u32.to_ne_bytes());
        assert_eq!(message[40..], 3i32.to_ne_bytes());
    }
}
