// SPDX-License-Identifier: GPL-2.0

//! A program in the kernel that is asked which socket gets a packet (`sk_lookup`), and how often it
//! was.

use std::fs::{self, File};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;

/// Commands, and what a program is for: of `linux/bpf.h`.
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const PROG_TYPE_SK_LOOKUP: u32 = 30;
const SK_LOOKUP: u32 = 36;

/// `r0 = 1 (SK_PASS)`, `exit`: it leaves the choice to the kernel.
const PROGRAM: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// What `PROG_LOAD` is told.
#[repr(C)]
struct Load {
    kind: u32,
    length: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

/// What `LINK_CREATE` is told.
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// A program, for as long as this exists.
pub struct Chooser {
    program: OwnedFd,
    _link: OwnedFd,
}

impl Chooser {
    /// The program is asked in the calling thread's namespace from now on. `None` if the kernel has
    /// no programs (`CONFIG_BPF_SYSCALL`).
    pub fn attach() -> Result<Option<Chooser>> {
        let counted = "/proc/sys/kernel/bpf_stats_enabled";
        let load = Load {
            kind: PROG_TYPE_SK_LOOKUP,
            length: PROGRAM.len() as u32,
            program: PROGRAM.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: [0; 16],
            ifindex: 0,
            expected_attach_type: SK_LOOKUP,
        };
        // SAFETY: What the command is told has its layout, and all that it leads to is there.
        let program = match unsafe { bpf(PROG_LOAD, &load) } {
            Err(Errno::ENOSYS) => return Ok(None),
            result => result.context("load a program")?,
        };
        fs::write(counted, "1").context(counted)?;
        let path = "/proc/thread-self/ns/net";
        let net = File::open(path).context(path)?;
        let link = Link {
            program: program.as_raw_fd() as u32,
            target: net.as_raw_fd() as u32,
            attach_type: SK_LOOKUP,
            flags: 0,
        };
        // SAFETY: As above.
        let link = unsafe { bpf(LINK_CREATE, &link) }.context("attach a program")?;
        Ok(Some(Chooser { program, _link: link }))
    }

    /// How often it was asked.
    pub fn runs(&self) -> Result<u64> {
        let path = format!("/proc/thread-self/fdinfo/{}", self.program.as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let runs = text.lines().find_map(|line| line.strip_prefix("run_cnt:")).context(path)?;
        runs.trim().parse().context("how often a program ran")
    }
}

/// The system call, for commands that open a file.
///
/// # Safety
///
/// `attr` must be what the command takes.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> Result<OwnedFd, Errno> {
    // SAFETY: By the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    let fd = Errno::result(result)?;
    // SAFETY: The kernel has just opened it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
