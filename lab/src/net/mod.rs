// SPDX-License-Identifier: GPL-2.0

//! The kernel tree's own network tests, without and with the module.

pub mod compare;
pub mod results;
