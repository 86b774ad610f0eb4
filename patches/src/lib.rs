// SPDX-License-Identifier: GPL-2.0

//! Keeps a source and its patch series equal.

pub mod assign;
pub mod diff;
mod edit;
mod moves;
mod pairing;
pub mod rules;
pub mod weave;
