// SPDX-License-Identifier: GPL-2.0

//! When a device changes or goes, the cached routes that concern it go, too.

use kernel::{
    net::{
        dst::ValidDst,
        net_device::NetDevice,
        netdev_notifier::{
            Event,
            Watcher, //
        },
        Namespace, //
    },
    sync::rcu, //
};

use super::cache::{
    Cache,
    Entry,
    Key, //
};

/// The receiver of events about devices. The stack has already changed its own routes by then.
pub(crate) struct Devices;

impl Watcher for Devices {
    fn event(net: &Namespace, dev: &NetDevice, event: Event) {
        match event {
            // The kernel is going to wait for the last reference to the device, so those of cached
            // routes must go now. No packet comes in by the device any more, and the stack has no
            // route left that leads to it.
            Event::Unregister => {
                let ifindex = dev.ifindex() as u32;
                Cache::flush_some(net, |entry, guard| concerns(entry, ifindex, guard));
            }
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

/// Whether an entry is about packets that come in by the device with this index, or leave by it.
/// Where those leave whose route is not valid any more, nobody knows: such an entry is of no use.
pub(crate) fn concerns(entry: &Entry<'_>, ifindex: u32, guard: &rcu::Guard) -> bool {
    let iif = match &entry.key {
        Key::V4(key) => key.iif,
        Key::V6(key) => key.iif,
    };
    let leaves_by_it = |dst: &ValidDst| dst.dev().ifindex() as u32 == ifindex;
    iif == ifindex || entry.dst.check_now(guard).is_none_or(leaves_by_it)
}
