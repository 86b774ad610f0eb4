// SPDX-License-Identifier: GPL-2.0

//! Finding a device, and keeping it.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::ptr::NonNull;

use crate::{
    bindings,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
};

use super::{
    net_device::NetDevice,
    LiveNamespace, //
};

// SAFETY: `dev_hold()` keeps the structure until as many `dev_put()` have followed: unregistering
// waits for the count (`netdev_run_todo()`), and the end of the device's namespace for that. By the
// type invariant of `NetDevice`, that wait is not over while a device is borrowed.
unsafe impl AlwaysRefCounted for NetDevice {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::dev_hold(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(dev: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so that the device is valid.
        unsafe { bindings::dev_put(dev.as_ptr().cast()) };
    }
}

impl LiveNamespace {
    /// Looks up a device of this namespace, and holds it.
    ///
    /// Wraps `dev_get_by_name()`. May be called from any context; `ENODEV` if there is no such
    /// device. Its unregistration waits until nobody holds it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::LiveNamespace;
    /// # use kernel::net::net_device::NetDevice;
    /// # use kernel::sync::aref::ARef;
    /// fn loopback(net: &LiveNamespace) -> Result<ARef<NetDevice>> {
    ///     net.dev_get_by_name(c"lo")
    /// }
    /// ```
    #[inline]
    pub fn dev_get_by_name(&self, name: &CStr) -> Result<ARef<NetDevice>> {
        // SAFETY: The namespace is in use, so that its tables of devices are there.
        let dev = unsafe { bindings::dev_get_by_name(self.as_raw(), name.as_char_ptr()) };
        let dev = NonNull::new(dev).ok_or(ENODEV)?;
        // SAFETY: The device was found registered, and `dev_get_by_name()` has counted this
        // reference; `NetDevice` is transparent over it.
        Ok(unsafe { ARef::from_raw(dev.cast()) })
    }
}
