// SPDX-License-Identifier: GPL-2.0

//! Starting a guest: engine, initramfs, virtual machine, terminal.

pub mod accel;
pub(crate) mod clock;
mod dump;
pub mod initramfs;
pub mod kernel;
mod strip;
pub mod terminal;
pub mod vm;
