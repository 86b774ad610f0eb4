// SPDX-License-Identifier: GPL-2.0

//! Boots a Linux guest, follows it, and judges what it did.
//!
//! [`boot`] starts the guest: the engine that works, an initramfs, QEMU's command line. [`run`]
//! says what one boot is for and follows it. [`judge`] reads tests and kernel log, and makes a
//! report. The guest's PID 1 is a crate of its own, `vmlab-init`.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod boot;
pub mod judge;
pub mod run;
