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
pub mod compile_fail;
pub mod disk;
pub mod doc_examples;
pub mod doctor;
pub mod guest;
pub mod interrupt;
pub mod kbuild_flags;
pub mod kconfig;
pub mod kernel;
pub mod lab;
pub mod lint;
pub mod modules;
pub mod outcome;
pub mod packages;
pub mod phases;
pub mod pipeline;
pub mod process;
pub mod progress;
pub mod rust_analyzer;
pub mod source;
pub mod tally;
pub mod tidy;
pub mod toolchain;
pub mod tools;
pub mod version;
