// SPDX-License-Identifier: GPL-2.0

//! Judging a guest: test output, kernel log, stacks, and the report of it all.

pub(crate) mod guest_log;
#[expect(clippy::module_inception, reason = "it is the judge")]
pub mod judge;
pub mod junit;
pub mod kernel_log;
pub(crate) mod kmsg;
pub mod ktap;
mod live;
pub mod outcome;
pub mod printk;
pub mod report;
pub mod stack;
pub mod tally;
pub mod verdict;
pub mod whole;
