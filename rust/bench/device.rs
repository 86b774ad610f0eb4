// SPDX-License-Identifier: GPL-2.0

//! Finding a device, and keeping it.

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    net::{
        net_device::NetDevice,
        LiveNamespace, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Release, //
    },
};

mod c {
    use kernel::bindings;

    // A function of `device.c`.
    unsafe extern "C" {
        pub(super) fn rnetns_bench_netdev_put(
            dev: *mut bindings::net_device,
            tracker: *mut bindings::netdevice_tracker,
        );
        pub(super) fn rnetns_bench_repeats_begin() -> kernel::ffi::c_int;
        pub(super) fn rnetns_bench_repeats_end();
        pub(super) safe fn rnetns_bench_repeats() -> u32;
    }
}

/// An owned reference to a device: the end of its unregistration waits for this.
///
/// # Invariants
///
/// `dev` was registered, and this value owns one reference to it, which `tracker` belongs to.
pub(crate) struct NetDeviceRef {
    dev: NonNull<bindings::net_device>,
    tracker: bindings::netdevice_tracker,
}

// SAFETY: A reference can be given back on any thread.
unsafe impl Send for NetDeviceRef {}

// SAFETY: A shared reference gives a `&NetDevice`, which is `Sync`.
unsafe impl Sync for NetDeviceRef {}

impl NetDeviceRef {
    /// Looks up a device of `net`, and holds it.
    ///
    /// Wraps `netdev_get_by_name()`. May be called from any context; `ENODEV` if there is no such
    /// device.
    pub(crate) fn get_by_name(net: &LiveNamespace, name: &CStr) -> Result<Self> {
        let mut tracker = pin_init::zeroed();
        // SAFETY: The namespace is alive, so that its tables of devices are there. The function
        // writes the tracker.
        let dev = unsafe {
            bindings::netdev_get_by_name(
                net.as_raw(),
                name.as_char_ptr(),
                &mut tracker,
                bindings::GFP_ATOMIC,
            )
        };
        // INVARIANT: The device was found registered, and is held and tracked.
        Ok(Self {
            dev: NonNull::new(dev).ok_or(ENODEV)?,
            tracker,
        })
    }
}

impl Deref for NetDeviceRef {
    type Target = NetDevice;

    #[inline]
    fn deref(&self) -> &NetDevice {
        // SAFETY: By the type invariant the device was registered, and the end of its
        // unregistration waits for `self`.
        unsafe { NetDevice::from_raw(self.dev.as_ptr()) }
    }
}

impl Drop for NetDeviceRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this value owns the reference and its tracker.
        unsafe { c::rnetns_bench_netdev_put(self.dev.as_ptr(), &mut self.tracker) };
    }
}

/// A witness who counts how often the core says once more that a device leaves, while it waits for
/// those who hold it.
///
/// # Invariants
///
/// While there is one, the witness is registered, and there is one at a time.
pub(crate) struct Repeats(());

/// Whether there is a witness.
static IS_THERE: Atomic<bool> = Atomic::new(false);

impl Repeats {
    /// Begins to count, from zero. Takes RTNL, `EBUSY` if somebody does already.
    pub(crate) fn begin() -> Result<Self> {
        if IS_THERE.xchg(true, Full) {
            return Err(EBUSY);
        }
        // SAFETY: It is not registered, since there was no witness. Process context.
        let begun = to_result(unsafe { c::rnetns_bench_repeats_begin() });
        if begun.is_err() {
            IS_THERE.store(false, Release);
        }
        // INVARIANT: Just registered.
        begun.map(|()| Self(()))
    }

    /// How many those were, of all devices.
    pub(crate) fn count() -> u32 {
        c::rnetns_bench_repeats()
    }
}

impl Drop for Repeats {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered.
        unsafe { c::rnetns_bench_repeats_end() };
        IS_THERE.store(false, Release);
    }
}
