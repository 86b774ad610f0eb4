// SPDX-License-Identifier: GPL-2.0

//! Starting a guest: engine, initramfs, virtual machine, terminal.

mod archive;
pub(crate) mod clock;
mod dump;
pub mod engine;
pub mod files;
pub mod initramfs;
pub mod kernel;
mod qmp;
pub mod saved;
mod strip;
pub mod terminal;
pub mod vm;
