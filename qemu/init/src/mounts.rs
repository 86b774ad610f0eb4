// SPDX-License-Identifier: GPL-2.0

//! File systems: the kernel's own, and the host's root with a writable layer.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{chroot, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use vmlab_init::protocol::{HOST_TAG, LAB_DIR, writable_tag};

use crate::boot;
use crate::port::Port;

/// A mount.
struct Mount {
    target: &'static str,
    kind: &'static str,
    options: &'static str,
}

const fn plain(target: &'static str, kind: &'static str) -> Mount {
    Mount { target, kind, options: "" }
}

/// The mounts without which nothing works.
const KERNEL: [Mount; 3] =
    [plain("/dev", "devtmpfs"), plain("/proc", "proc"), plain("/sys", "sysfs")];

/// Mounts in the final root. A kind that the kernel's configuration lacks is skipped. A mount that
/// fails is reported.
const EXTRA: [Mount; 7] = [
    plain("/sys/kernel/debug", "debugfs"),
    plain("/sys/kernel/tracing", "tracefs"),
    plain("/sys/fs/cgroup", "cgroup2"),
    plain("/sys/fs/bpf", "bpf"),
    Mount { target: "/dev/pts", kind: "devpts", options: "ptmxmode=666" },
    plain("/dev/shm", "tmpfs"),
    // ip-netns keeps its files here. The guest must not see the host's.
    plain("/run", "tmpfs"),
];

/// The host's root. With `cache=loose`, the guest does not ask again for files that it has read,
/// and a dynamically linked program reads a dozen. It does not see later changes of the host, but a
/// test that depends on those would be wrong. `msize` is the largest request that QEMU's queue
/// takes.
const HOST_OPTIONS: &str = "trans=virtio,version=9p2000.L,cache=loose,msize=512000";
const WRITABLE_OPTIONS: &str = "trans=virtio,version=9p2000.L,cache=none,msize=512000";
const LAYERS: &str = "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work";

/// Mounts /dev, /proc and /sys.
pub fn kernel_filesystems() -> Result<()> {
    KERNEL.iter().try_for_each(attach)
}

/// Makes the new root: the host's root, read-only, under a layer in memory. The lab's own files are
/// in it, too. Returns the host's root itself, which is not covered by mounts of ours.
pub fn host_root(port: &mut Port) -> Result<OwnedFd> {
    make_dirs(&["/host", "/layer", "/new"])?;
    if boot::user_mode() {
        bind(HOST_TAG, "/host", "hostfs", MountFlags::RDONLY, "/")?;
    } else {
        bind(HOST_TAG, "/host", "9p", MountFlags::RDONLY, HOST_OPTIONS)?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = open("/host", flags, Mode::empty()).context("open /host")?;
    bind("layer", "/layer", "tmpfs", MountFlags::empty(), "mode=0755")?;
    make_dirs(&["/layer/upper", "/layer/work"])?;
    bind("root", "/new", "overlay", MountFlags::empty(), LAYERS)?;
    for mount in &KERNEL {
        carry(mount.target)?;
    }
    let lab = format!("/new{LAB_DIR}");
    make_dirs(&[&lab])?;
    mount_bind(LAB_DIR, &lab).with_context(|| format!("bind {LAB_DIR}"))?;
    enter("/new")?;
    extra(port);
    Ok(host)
}

/// Mounts writable folders of the host over the read-only ones. There is no cache here, so that
/// both sides see each other's changes.
pub fn writable(folders: &[String]) -> Result<()> {
    for (number, folder) in folders.iter().enumerate() {
        let tag = writable_tag(number);
        make_dirs(&[folder])?;
        if boot::user_mode() {
            bind(&tag, folder, "hostfs", MountFlags::empty(), folder)?;
        } else {
            bind(&tag, folder, "9p", MountFlags::empty(), WRITABLE_OPTIONS)?;
        }
    }
    Ok(())
}

fn attach(m: &Mount) -> Result<()> {
    make_dirs(&[m.target])?;
    bind(m.kind, m.target, m.kind, MountFlags::empty(), m.options)
}

fn bind(source: &str, target: &str, kind: &str, flags: MountFlags, options: &str) -> Result<()> {
    let options = CString::new(options)?;
    mount(source, target, kind, flags, options.as_c_str())
        .with_context(|| format!("mount {kind} on {target}"))
}

fn make_dirs(dirs: &[&str]) -> Result<()> {
    for dir in dirs {
        fs::create_dir_all(dir).with_context(|| format!("create {dir}"))?;
    }
    Ok(())
}

/// Moves a mount into the new root.
fn carry(target: &str) -> Result<()> {
    let new = format!("/new{target}");
    make_dirs(&[&new])?;
    mount_move(target, &new).with_context(|| format!("move {target} to {new}"))
}

/// The initramfs cannot be unmounted or pivoted away, so the new root is moved over it.
fn enter(root: &str) -> Result<()> {
    std::env::set_current_dir(root).with_context(|| format!("enter {root}"))?;
    mount_move(".", "/").context("move the new root over the old one")?;
    chroot(".").context("change root")?;
    std::env::set_current_dir("/").context("enter /")
}

fn extra(port: &mut Port) {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for m in EXTRA.iter().filter(|m| is_known(&known, m.kind)) {
        // A mount point in sysfs cannot be created.
        if !Path::new(m.target).exists() && m.target.starts_with("/sys") {
            continue;
        }
        if let Err(error) = attach(m) {
            port.note(format!("{error:#}"));
        }
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        if let Err(error) = symlink(target, link) {
            port.note(format!("link {link}: {error}"));
        }
    }
}

fn is_known(filesystems: &str, kind: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_whole_name() {
        let list = "nodev\tsysfs\nnodev\tdebugfs\n\text4\n";
        assert!(is_known(list, "debugfs") && is_known(list, "ext4"));
        assert!(!is_known(list, "bpf") && !is_known(list, "fs"));
    }
}
