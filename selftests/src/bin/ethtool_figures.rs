// SPDX-License-Identifier: GPL-2.0

//! `ethtool_figures DEVICE`: asks for the figures of a device, and says how many there are. Not a
//! test. `ethtool -S` asks first how many there are, and then not for none of them.

use std::env;
use std::ffi::c_char;
use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GSTATS: u32 = 0x1d;
/// More than any device of ours has.
const ROOM: usize = 1024;

/// `struct ethtool_stats`, with room for the figures.
#[repr(C)]
struct Figures {
    cmd: u32,
    count: u32,
    data: [u64; ROOM],
}

fn main() -> Result<()> {
    let device = env::args().nth(1).context("usage: ethtool_figures DEVICE")?;
    let mut figures = Figures { cmd: ETHTOOL_GSTATS, count: 0, data: [0; ROOM] };
    // SAFETY: Zeroed memory is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ensure!(device.len() < request.ifr_name.len(), "the name is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut figures).cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None)?;
    // SAFETY: The request is valid, and points to room for what the kernel answers.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    ensure!(result == 0, "{device}: {}", io::Error::last_os_error());
    println!("{}", figures.count);
    Ok(())
}
