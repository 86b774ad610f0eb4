// SPDX-License-Identifier: GPL-2.0

//! Synchronisation: what the base kernel's crate has, and what is added to it.

pub use theirs::sync::*;

pub mod lock;

pub use lock::spinlock_bh::{
    new_spinlock_bh,
    SpinLockBh, //
};
