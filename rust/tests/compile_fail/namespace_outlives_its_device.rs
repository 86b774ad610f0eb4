// SPDX-License-Identifier: GPL-2.0
// expect: E0505
// expect: cannot move out of `dev` because it is borrowed

//! The end of a namespace may be waiting for this device alone, with its grace periods behind it.

include!("../preamble.rs");

use core::ops::Deref;

/// Uses the namespace after the device was given back.
pub fn late(dev: impl Deref<Target = NetDevice>) -> u32 {
    let guard = rcu::read_lock();
    let net = dev.net(&guard);
    drop(dev);
    net.fib6_generation()
}
