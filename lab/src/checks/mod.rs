// SPDX-License-Identifier: GPL-2.0

//! Checks that need no guest of their own, and mutants: code that is broken on purpose.

pub mod as_kselftest;
pub mod code_edits;
pub mod compile_fail;
pub mod examples;
pub mod house_rules;
pub mod in_tree;
mod kunit;
mod libtest;
pub mod lint;
pub mod made_mutants;
pub mod mutants;
pub mod patch_states;
pub mod rust_analyzer;
pub mod series_source;
mod threads;
pub mod ynl;
