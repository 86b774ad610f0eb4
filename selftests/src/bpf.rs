// SPDX-License-Identifier: GPL-2.0

//! Programs in the kernel, as instructions: no compiler is needed in the guest. One of them is asked
//! which socket gets a packet (`sk_lookup`), and counts how often it was.

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

/// What [`Chooser`] answers: the choice is the kernel's.
const SK_PASS: i32 = 1;

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

impl Instruction {
    /// Ends the program. Its result is in register 0.
    pub const EXIT: Instruction = Instruction::new(0x95, 0, 0);

    /// Puts a number into a register.
    pub const fn set(register: u8, value: i32) -> Instruction {
        Instruction::new(0xb7, register, value)
    }

    /// Calls a function of the kernel, by its number.
    pub const fn call(function: i32) -> Instruction {
        Instruction::new(0x85, 0, function)
    }

    const fn new(code: u8, registers: u8, value: i32) -> Instruction {
        Instruction { code, registers, offset: 0, value }
    }
}

/// What `PROG_LOAD` is told.
#[repr(C)]
#[derive(Default)]
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
        let choose = [Instruction::set(0, SK_PASS), Instruction::EXIT];
        let program = match load(PROG_TYPE_SK_LOOKUP, SK_LOOKUP, &choose) {
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
        // SAFETY: What the command is told has its layout.
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

/// Loads a program of a kind, to be attached as the kind says.
pub fn load(kind: u32, attach_type: u32, program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let load = Load {
        kind,
        length: program.len() as u32,
        program: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        expected_attach_type: attach_type,
        ..Load::default()
    };
    // SAFETY: What the command is told has its layout, and all that it leads to is there.
    unsafe { bpf(PROG_LOAD, &load) }
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
