// SPDX-License-Identifier: GPL-2.0

//! Locks: what the base kernel's crate has, and what is added to it.

pub use theirs::sync::lock::*;

#[path = "../../kernel/sync/lock/spinlock_bh.rs"]
pub mod spinlock_bh;
