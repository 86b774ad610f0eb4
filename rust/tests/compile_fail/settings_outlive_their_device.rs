// SPDX-License-Identifier: GPL-2.0
// expect: E0505
// expect: cannot move out of `dev` because it is borrowed

//! RCU alone keeps neither a device that is only waited for, nor its settings.

include!("../preamble.rs");

use core::ops::Deref;

/// Reads a setting after the device was given back.
pub fn late(net: &Namespace, dev: impl Deref<Target = NetDevice>) -> i32 {
    let guard = rcu::read_lock();
    let settings = in_device::InDevice::of(net, &dev, &guard);
    drop(dev);
    settings.map_or(0, |settings| settings.max(in_device::Setting::RpFilter))
}
