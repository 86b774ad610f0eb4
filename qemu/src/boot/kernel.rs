// SPDX-License-Identifier: GPL-2.0

//! A finished kernel: files to boot it and to decode its stacks.

use std::path::PathBuf;

#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// The build directory, for `make -C`.
    pub build: PathBuf,
    pub source: PathBuf,
    /// The file that QEMU boots: vmlinux with a PVH note, without debug information.
    pub image: PathBuf,
    /// vmlinux with debug information.
    pub vmlinux: PathBuf,
    /// The output of `uname -r`.
    pub release: String,
    /// Whether it has KASAN or lockdep. It is slow then, and time limits grow.
    pub debug: bool,
}
