// SPDX-License-Identifier: GPL-2.0

//! What one boot is for, following it, and the processes and files that this takes.

pub mod files;
pub mod interrupt;
pub mod job;
pub mod phases;
pub mod pool;
pub mod process;
pub mod progress;
pub mod session;
