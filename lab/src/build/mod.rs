// SPDX-License-Identifier: GPL-2.0

//! From a source tree to a kernel, modules and guest programs, all cached.

pub mod cache;
pub mod guest_programs;
pub mod kbuild_flags;
pub mod kconfig;
pub mod kernel;
pub mod modules;
pub mod overlay;
pub mod pipeline;
pub mod source;
pub mod staging;
pub mod wiring;
