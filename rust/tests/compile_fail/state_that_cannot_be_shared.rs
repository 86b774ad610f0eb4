// SPDX-License-Identifier: GPL-2.0
// expect: E0277
// expect: `Cell<u32>` cannot be shared between threads safely

//! Readers run on every CPU.

include!("../preamble.rs");

/// A state that only one thread may use.
pub struct Unshared(core::cell::Cell<u32>);

pernet_slot!(Unshared);
