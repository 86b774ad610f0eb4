// SPDX-License-Identifier: GPL-2.0

//! debugfs: what the base kernel's crate has, and what is added to it.

pub use theirs::debugfs::*;

#[path = "../kernel/debugfs/module_dir.rs"]
pub mod module_dir;
