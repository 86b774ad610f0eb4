// SPDX-License-Identifier: GPL-2.0

//! Namespaces without a name: an open file holds each, so that none outlives the test.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

/// The file of the calling thread's namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// A namespace, held by an open file.
pub struct Netns {
    file: File,
    inum: u64,
}

impl Netns {
    /// Makes a new one.
    pub fn new() -> Result<Netns> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("create a namespace")?;
            Netns::own()
        })
    }

    /// The calling thread's namespace.
    pub fn own() -> Result<Netns> {
        let file = File::open(OWN).context(OWN)?;
        let inum = file.metadata().context(OWN)?.ino();
        Ok(Netns { file, inum })
    }

    /// The inode number, by which the module lists it.
    pub fn inum(&self) -> u64 {
        self.inum
    }

    /// A path by which other programs can name it while this exists: `ip link set DEV netns PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// The number of the open file.
    pub fn fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Moves the calling thread here.
    pub fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).context("enter a namespace")
    }

    /// Does something in it, in a new thread: the caller stays where it is.
    pub fn run<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            self.enter()?;
            what()
        })
    }
}

/// Moves the calling thread to a new namespace. Returns the kernel's own answer.
pub fn unshare_net() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNET)
}

/// Whether the calling thread's namespace has a device called `rlo`.
///
/// Looks for its settings first. Listing devices reads the counters of each, and that would crash if
/// a device had outlived its module.
pub fn has_device() -> Result<bool> {
    if Path::new("/proc/sys/net/ipv4/conf/rlo").exists() {
        return Ok(true);
    }
    let path = "/proc/thread-self/net/dev";
    let devices = fs::read_to_string(path).context(path)?;
    Ok(devices.lines().any(|line| line.trim_start().starts_with("rlo:")))
}

/// Does something in a new thread.
pub fn in_thread<T: Send>(what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(what).join())
        .map_err(|_| anyhow!("a thread of the test panicked"))?
}
