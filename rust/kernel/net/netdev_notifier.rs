// SPDX-License-Identifier: GPL-2.0

//! News about network devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::marker::PhantomData;

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::{
    net_device::NetDevice,
    Namespace, //
};

/// What happened to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It leaves its namespace: for ever, or for another one (`NETDEV_UNREGISTER`).
    Unregister,
    /// It goes up or down, loses or finds its carrier, changes its MTU, or what is above it: what
    /// routes through it may depend on.
    Change,
    /// Something else.
    Other,
}

impl Event {
    fn from_raw(event: c_ulong) -> Self {
        match event as u32 {
            bindings::netdev_cmd_NETDEV_UNREGISTER => Self::Unregister,
            bindings::netdev_cmd_NETDEV_UP
            | bindings::netdev_cmd_NETDEV_DOWN
            | bindings::netdev_cmd_NETDEV_CHANGE
            | bindings::netdev_cmd_NETDEV_CHANGEMTU
            // Rules may name it.
            | bindings::netdev_cmd_NETDEV_CHANGENAME
            | bindings::netdev_cmd_NETDEV_CHANGEUPPER => Self::Change,
            _ => Self::Other,
        }
    }
}

/// A receiver of events about devices.
///
/// # Examples
///
/// ```
/// # use kernel::net::Namespace;
/// # use kernel::net::net_device::NetDevice;
/// # use kernel::net::netdev_notifier;
/// struct Watch;
///
/// impl netdev_notifier::Watcher for Watch {
///     fn event(net: &Namespace, dev: &NetDevice, event: netdev_notifier::Event) {
///         if event == netdev_notifier::Event::Unregister {
///             pr_debug!("device {} leaves {}\n", dev.ifindex(), net.inum());
///         }
///     }
/// }
///
/// fn watch() -> impl PinInit<netdev_notifier::Registration<Watch>, Error> {
///     netdev_notifier::register()
/// }
/// ```
pub trait Watcher: 'static {
    /// Something happened to `dev`, which is in `net`. May sleep.
    ///
    /// RTNL is held, so that [`rtnl::lock`](super::rtnl::lock) must not be called, nor anything be
    /// registered or unregistered that takes it. It need not be that of `net`: the core has
    /// released that when it unregisters the devices of a namespace that ends.
    ///
    /// `dev` was registered, and is still waited for until nobody holds it: of one whose
    /// registration is not complete, and may fail, nothing is told. Nor is what the core repeats
    /// while it waits.
    ///
    /// Called after all other receivers, so the stack has already acted on it. When a watcher is
    /// registered, it is called for every device as if it were new; when it is unregistered, as if
    /// it were gone.
    fn event(net: &Namespace, dev: &NetDevice, event: Event);
}

/// A registered watcher: dropping it ends that. Process context, sleeps, takes RTNL: not to be
/// dropped in an event, as [`pernet`](super::pernet) says.
///
/// # Invariants
///
/// `block` is registered, and its callback belongs to `T`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Watcher> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    _watcher: PhantomData<fn() -> T>,
}

// SAFETY: It can be dropped on any thread.
unsafe impl<T: Watcher> Send for Registration<T> {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Watcher> Sync for Registration<T> {}

/// Registers a watcher for the devices of all namespaces.
///
/// Wraps `register_netdevice_notifier()`. Process context, sleeps, takes RTNL.
pub fn register<T: Watcher>() -> impl PinInit<Registration<T>, Error> {
    try_pin_init!(Registration {
        block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
            // SAFETY: The structure is ours to write, and pinned until `drop` unregisters it.
            unsafe {
                block.write(bindings::notifier_block {
                    notifier_call: Some(notify::<T>),
                    priority: c_int::MIN,
                    ..pin_init::zeroed()
                });
                to_result(bindings::register_netdevice_notifier(block))
            }
        }),
        _watcher: PhantomData,
    }? Error)
}

/// # Safety
///
/// Called by the chain of network devices only.
unsafe extern "C" fn notify<T: Watcher>(
    _block: *mut bindings::notifier_block,
    event: c_ulong,
    info: *mut c_void,
) -> c_int {
    // The registration of the device may still fail, or has: then it is freed, whoever holds it.
    if matches!(
        event as u32,
        bindings::netdev_cmd_NETDEV_POST_INIT | bindings::netdev_cmd_NETDEV_PRE_UNINIT
    ) {
        return bindings::NOTIFY_DONE as c_int;
    }
    let info = info.cast::<bindings::netdev_notifier_info>();
    // SAFETY: The chain passes this structure with a valid device.
    let dev = unsafe { (*info).dev };
    // While `netdev_run_todo()` waits for those who hold a device, it says once more each second
    // that the device leaves. The device is in no list any more, and its namespace may be gone: see
    // the type invariant of `NetDevice`.
    // SAFETY: As above; the state is written as a whole.
    let state = unsafe { (&raw const (*dev).reg_state).read_volatile() };
    if u32::from(state) == bindings::netdev_reg_state_NETREG_UNREGISTERED {
        return bindings::NOTIFY_DONE as c_int;
    }
    // SAFETY: All other events are about devices that were registered: `netdev_run_todo()` waits
    // until nobody holds them, and has not begun with that. RTNL was held since the device was in
    // its namespace, which does not end without RTNL.
    let (net, dev) = unsafe {
        let dev = NetDevice::from_raw(dev.cast());
        (dev.net_rcu(), dev)
    };
    T::event(net, dev, Event::from_raw(event));
    bindings::NOTIFY_DONE as c_int
}

#[pinned_drop]
impl<T: Watcher> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered. This waits until no call is running.
        let result = unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
        crate::warn_on!(result != 0);
    }
}
