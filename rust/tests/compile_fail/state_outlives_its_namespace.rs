// SPDX-License-Identifier: GPL-2.0
// expect: E0515
// expect: returns a value referencing data owned by the current function

//! Without the reference, the namespace may end, and its state with it.

include!("../preamble.rs");

/// Keeps the state and drops the reference.
pub fn escape(registration: &pernet::Registration<State>) -> Option<&State> {
    let net = LiveNamespace::get_by_pid(1).ok()?;
    registration.get(&net)
}
