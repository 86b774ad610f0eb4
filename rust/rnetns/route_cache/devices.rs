// SPDX-License-Identifier: GPL-2.0

//! Devices that change, or go: the routes that have to do with them go too.

use kernel::sync::rcu;

use super::cache::{
    Cache,
    Entry,
    Key,
    Place, //
};
use crate::net::{
    net_device::NetDevice,
    netdev_notifier::{
        Event,
        Watcher, //
    },
    Namespace, //
};

/// Told about devices, after the stack has done what it does with their routes.
pub(crate) struct Devices;

impl Watcher for Devices {
    fn event(net: &Namespace, dev: &NetDevice, event: Event) {
        match event {
            // References to its routes are given back before the device is waited for. No packet
            // comes in by it any more; and the stack has no route left that leads to it.
            Event::Unregister => forget(net, dev.ifindex() as u32),
            // Which of several routes is taken may depend on it.
            Event::Change => {
                let guard = rcu::read_lock();
                if let Some(cache) = Cache::of(net, &guard) {
                    Cache::flush_all(cache);
                }
            }
            Event::Other => {}
        }
    }
}

/// Takes out all entries that concern a device. Process context: between some and the next, others
/// get their turn.
fn forget(net: &Namespace, ifindex: u32) {
    let mut place = Place::default();
    loop {
        let guard = rcu::read_lock();
        let Some(cache) = Cache::of(net, &guard) else {
            return;
        };
        let mut which = |entry: &Entry<'_>| concerns(entry, ifindex, &guard);
        if Cache::flush_some(cache, &mut place, &mut which).1 {
            // What went before may have to do with it too.
            return cache.schedule_now();
        }
    }
}

/// Whether an entry is about packets that come in by the device with this index, or leave by it.
pub(crate) fn concerns(entry: &Entry<'_>, ifindex: u32, guard: &rcu::Guard) -> bool {
    let iif = match &entry.key {
        Key::V4(key) => key.iif,
        Key::V6(key) => key.iif,
    };
    iif == ifindex || entry.dst.dev(guard).ifindex() as u32 == ifindex
}
