// SPDX-License-Identifier: GPL-2.0
// expect: E0515
// expect: returns a value referencing data owned by the current function

//! The state may be freed as soon as the RCU critical section is over.

include!("../preamble.rs");

/// Lets the state out of the critical section.
pub fn escape(net: &Namespace) -> Option<&'static State> {
    let guard = rcu::read_lock();
    State::slot().get(net, &guard)
}
