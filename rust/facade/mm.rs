// SPDX-License-Identifier: GPL-2.0

//! Memory management: what the base kernel's crate has, and what is added to it.

pub use theirs::mm::*;

#[path = "../kernel/mm/totalram.rs"]
mod totalram;

pub use totalram::totalram_pages;
