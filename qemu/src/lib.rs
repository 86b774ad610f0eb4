// SPDX-License-Identifier: GPL-2.0

//! The lab: from a source file to the verdict of a test in a virtual machine.
//!
//! Build side: a kernel ([`kernel`]) from a source tree ([`source`]) with tools
//! ([`toolchain`]) and a configuration ([`kconfig`]), all in a [`cache`]; then
//! the modules ([`modules`]) and what runs in the guest ([`guest`]).

pub mod apt;
pub mod base;
pub mod cache;
pub mod cli;
pub mod commands;
pub mod disk;
pub mod guest;
pub mod interrupt;
pub mod kconfig;
pub mod kernel;
pub mod lab;
pub mod modules;
pub mod process;
pub mod progress;
pub mod source;
pub mod toolchain;
pub mod tools;
pub mod version;
