// SPDX-License-Identifier: GPL-2.0

//! Builds kernels, modules and guest programs, and caches them.

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
