// SPDX-License-Identifier: GPL-2.0

//! Work queues: what the base kernel's crate has, and what is added to it.

pub use theirs::workqueue::*;

#[path = "../kernel/workqueue/deferred.rs"]
pub mod deferred;
