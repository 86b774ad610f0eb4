// SPDX-License-Identifier: GPL-2.0

//! RTNL, the lock under which devices and addresses are configured.
//!
//! It is being split into a mutex for each namespace: whoever takes it says for which one. Until
//! that is done, there is one mutex for all, and those of the namespaces are taken below it where
//! `CONFIG_DEBUG_NET_SMALL_RTNL` asks for it.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use crate::{
    bindings,
    task::might_sleep,
    types::NotThreadSafe, //
};

use super::Namespace;

/// RTNL of a namespace, held until this is dropped.
///
/// # Invariants
///
/// The current thread holds RTNL of `net`, and this value is the one that releases it.
pub struct Guard<'a> {
    net: &'a Namespace,
    _not_thread_safe: NotThreadSafe,
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this thread holds RTNL of `net` and is to release it.
        unsafe { bindings::rtnl_net_unlock(self.net.as_raw()) };
    }
}

/// Takes RTNL of a namespace. Sleeps; the thread must not hold that of any namespace already.
///
/// Wraps `rtnl_net_lock()`. Dropping the guard finishes the devices that were unregistered under it
/// (`netdev_run_todo()`), which can sleep for long.
///
/// # Examples
///
/// ```
/// # use kernel::net::rtnl;
/// # use kernel::net::Namespace;
/// fn configure(net: &Namespace) {
///     let rtnl = rtnl::lock(net);
///     pr_debug!("nobody else configures devices of {}\n", net.inum());
///     drop(rtnl);
/// }
/// ```
#[inline]
pub fn lock(net: &Namespace) -> Guard<'_> {
    might_sleep();
    // SAFETY: The namespace is valid, and process context is what the documentation asks for.
    unsafe { bindings::rtnl_net_lock(net.as_raw()) };
    // INVARIANT: Just taken, and released by nobody else.
    Guard {
        net,
        _not_thread_safe: NotThreadSafe,
    }
}

/// Devices that will be unregistered together, before RTNL is released.
///
/// # Invariants
///
/// `head` is the head of a list that `unregister_netdevice_many()` will be called with.
pub struct KillList<'a> {
    head: NonNull<bindings::list_head>,
    _head: PhantomData<&'a mut bindings::list_head>,
}

impl KillList<'_> {
    /// # Safety
    ///
    /// `head` must be an initialised list of devices that the caller unregisters.
    pub(super) unsafe fn from_raw(head: *mut bindings::list_head) -> Self {
        Self {
            // SAFETY: An initialised list is not null.
            // INVARIANT: The caller promises it.
            head: unsafe { NonNull::new_unchecked(head) },
            _head: PhantomData,
        }
    }

    /// The head of the list.
    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut bindings::list_head {
        self.head.as_ptr()
    }
}
