// SPDX-License-Identifier: GPL-2.0

//! The lab: from a source file to the verdict of a test in a virtual machine.
//!
//! Build side: a kernel ([`kernel`]) from a source tree ([`source`]) with tools
//! ([`toolchain`]) and a configuration ([`kconfig`]), all in a [`cache`]; then
//! the modules ([`modules`]) and what runs in the guest ([`guest`]).
//!
//! VM side: a [`job`] goes into an [`initramfs`], a [`vm`] boots it with the
//! engine that works ([`accel`]), and a [`session`] follows it, reads its tests
//! ([`ktap`]) and its [`kernel_log`], and makes a [`report`].

pub mod accel;
pub mod apt;
pub mod base;
pub mod bench;
pub mod cache;
pub mod cli;
pub mod commands;
pub mod compile_fail;
pub mod decode;
pub mod disk;
pub mod doc_examples;
pub mod doctor;
pub mod guest;
pub mod initramfs;
pub mod interrupt;
pub mod job;
pub mod junit;
pub mod kbuild_flags;
pub mod kconfig;
pub mod kernel;
pub mod kernel_log;
pub mod ktap;
pub mod lab;
pub mod lint;
pub mod modules;
pub mod mutants;
pub mod netlink;
pub mod outcome;
pub mod packages;
pub mod phases;
pub mod pipeline;
pub mod process;
pub mod progress;
pub mod report;
pub mod rust_analyzer;
pub mod selftests_net;
pub mod session;
pub mod source;
pub mod subtests;
pub mod tally;
pub mod terminal;
pub mod tidy;
pub mod toolchain;
pub mod tools;
pub mod version;
pub mod vm;
