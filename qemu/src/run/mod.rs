// SPDX-License-Identifier: GPL-2.0

//! Running one boot: its job, its session, and the processes and files that it needs.

pub mod dry;
pub mod files;
pub mod interrupt;
pub mod job;
pub mod phases;
pub mod pool;
pub mod print;
pub mod process;
pub mod progress;
pub mod session;
