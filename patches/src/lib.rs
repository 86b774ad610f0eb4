// SPDX-License-Identifier: GPL-2.0

//! Keeps a source and its patch series equal.

pub mod assign;
pub mod base;
pub mod change;
pub mod checks;
pub mod diff;
mod edit;
pub mod editing;
pub mod export;
pub mod folder;
pub mod git;
mod mail;
mod moves;
mod pairing;
pub mod project;
pub mod rules;
pub mod source;
pub mod trailers;
pub mod unified;
mod versions;
pub mod weave;
