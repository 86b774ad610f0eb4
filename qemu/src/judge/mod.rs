// SPDX-License-Identifier: GPL-2.0

//! Judging a guest: test output, kernel log, stacks, and the report of it all.

pub mod junit;
pub mod kernel_log;
pub mod ktap;
pub mod outcome;
pub(crate) mod printk;
pub mod report;
pub mod stack;
pub mod whole;
