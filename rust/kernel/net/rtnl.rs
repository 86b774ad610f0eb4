// SPDX-License-Identifier: GPL-2.0

//! The RTNL mutex, under which devices and addresses are configured.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use crate::{
    bindings,
    types::NotThreadSafe, //
};

/// Proof that the current thread holds RTNL, borrowed from the code that took it.
///
/// # Invariants
///
/// The current thread holds RTNL while a value of this type exists.
#[derive(Clone, Copy)]
pub struct Held<'a>(PhantomData<&'a ()>, NotThreadSafe);

impl Held<'_> {
    /// States that RTNL is held.
    ///
    /// # Safety
    ///
    /// The current thread must hold RTNL for as long as the value exists.
    #[inline]
    pub(crate) unsafe fn assume() -> Self {
        // INVARIANT: The caller promises it.
        Self(PhantomData, NotThreadSafe)
    }
}

/// RTNL, held until this is dropped.
///
/// # Invariants
///
/// The current thread holds RTNL, and this value is the one that releases it.
pub struct Guard(NotThreadSafe);

impl Guard {
    /// Lends the proof that RTNL is held.
    #[inline]
    pub fn held(&self) -> Held<'_> {
        // SAFETY: By the type invariant RTNL is held while `self` is borrowed.
        unsafe { Held::assume() }
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this thread holds RTNL and is to release it.
        unsafe { bindings::rtnl_unlock() };
    }
}

/// Takes RTNL. Sleeps; the thread must not hold it already.
///
/// Wraps `rtnl_lock()` of `net/core/rtnetlink.c`. Dropping the guard finishes the devices that were
/// unregistered under it (`netdev_run_todo()`), which can sleep for long.
///
/// # Examples
///
/// ```
/// # use kernel::net::rtnl;
/// # fn configure(_rtnl: rtnl::Held<'_>) {}
/// let rtnl = rtnl::lock();
/// configure(rtnl.held());
/// drop(rtnl);
/// ```
#[inline]
pub fn lock() -> Guard {
    // SAFETY: Process context is what the documentation asks for; there is no other requirement.
    unsafe { bindings::rtnl_lock() };
    // INVARIANT: Just taken, and released by nobody else.
    Guard(NotThreadSafe)
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
