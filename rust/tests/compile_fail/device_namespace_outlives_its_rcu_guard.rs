// SPDX-License-Identifier: GPL-2.0
// expect: E0515
// expect: returns a value referencing data owned by the current function

//! A device can move, or go, and then its namespace waits for nobody who knows it by the device.

include!("../preamble.rs");

/// Lets the namespace out of the critical section.
pub fn escape(dev: &NetDevice) -> Option<&Namespace> {
    let guard = rcu::read_lock();
    dev.net(&guard)
}
