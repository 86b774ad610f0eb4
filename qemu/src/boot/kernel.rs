// SPDX-License-Identifier: GPL-2.0

//! A finished kernel: what boots, and what its stacks are decoded with.

use std::path::PathBuf;

/// A finished kernel.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// The build directory, for `make -C`.
    pub build: PathBuf,
    /// The source tree.
    pub source: PathBuf,
    /// What QEMU boots: vmlinux with a PVH note, without debug information.
    pub image: PathBuf,
    /// vmlinux with debug information.
    pub vmlinux: PathBuf,
    /// As in `uname -r`.
    pub release: String,
    /// A kernel with KASAN or lockdep is slow: time budgets grow.
    pub debug: bool,
}
