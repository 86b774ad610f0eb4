// SPDX-License-Identifier: GPL-2.0
// expect: E0515
// expect: returns a value referencing data owned by the current function

//! A packet can outlive the namespace of its socket: what is known of it is known under RCU.

include!("../preamble.rs");

/// Lets the namespace out of the critical section.
pub fn escape(sk: &Sock) -> Option<&Namespace> {
    let guard = rcu::read_lock();
    sk.net(&guard)
}
