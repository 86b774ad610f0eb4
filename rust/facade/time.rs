// SPDX-License-Identifier: GPL-2.0

//! Time: what the base kernel's crate has, and what is added to it.

pub use theirs::time::*;

#[path = "../kernel/time/jiffies.rs"]
mod jiffies;

pub use jiffies::jiffies64_to_msecs;
