// SPDX-License-Identifier: GPL-2.0

//! This machine: its tools, packages, pins and disk.

pub mod answers;
pub mod apt;
pub mod disk;
pub mod doctor;
pub mod environment;
pub mod linters;
pub mod machine;
pub mod packages;
pub mod pins;
pub mod places;
pub mod toolchain;
pub mod version;
