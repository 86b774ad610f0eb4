// SPDX-License-Identifier: GPL-2.0

//! Methods of the abstractions that only measurements and tests use. A kernel tree takes a function
//! with its first user, so these are not in the patches: they are for the series that has one.

use core::ptr::{
    self,
    NonNull, //
};

use super::{
    net_device::NetDevice,
    pernet::{
        Operations,
        Registration, //
    },
    LiveNamespace,
    Namespace,
    NamespaceRef, //
};
use crate::{
    bindings,
    sync::rcu, //
};

impl Namespace {
    /// Returns an identity that can be stored and compared, and nothing else.
    #[inline]
    pub fn cookie(&self) -> Cookie {
        // SAFETY: By the type invariant the pointer is valid. The cookie is written once, before
        // any `init` callback of the namespace runs, and thus before anything has borrowed it.
        Cookie(unsafe { (*self.as_raw()).net_cookie })
    }

    /// Takes a reference, unless the namespace is ending, or not completely created yet.
    ///
    /// Wraps `maybe_get_net()`, behind `net_initialized()`: a creation that fails frees the
    /// namespace whatever its count is. May be called from any context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::Namespace;
    /// # use kernel::net::NamespaceRef;
    /// fn keep(net: &Namespace) -> Result<NamespaceRef> {
    ///     net.get().ok_or(ENODEV)
    /// }
    /// ```
    pub fn get(&self) -> Option<NamespaceRef> {
        // SAFETY: By the type invariant the pointer is valid.
        if !unsafe { bindings::net_initialized(self.as_raw()) } {
            return None;
        }
        // SAFETY: As above.
        let net = NonNull::new(unsafe { bindings::maybe_get_net(self.as_raw()) })?;
        // SAFETY: `maybe_get_net()` has just counted this reference. The creation is over, so that
        // a count above zero keeps the exit from beginning.
        Some(unsafe { NamespaceRef::from_counted(net) })
    }
}

/// The identity of a network namespace, for storing in entries of shared tables: `net_cookie`.
///
/// It can be compared and nothing else: it keeps nothing alive and leads nowhere. It is what
/// `getsockopt(SO_NETNS_COOKIE)` gives to user space, and is never used again, so that an entry
/// that outlives its namespace matches nobody.
///
/// # Examples
///
/// ```
/// # use kernel::net::Cookie;
/// # use kernel::net::Namespace;
/// struct Entry {
///     owner: Cookie,
/// }
///
/// fn belongs_to(entry: &Entry, net: &Namespace) -> bool {
///     entry.owner == *net
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cookie(u64);

impl Cookie {
    /// Returns the number.
    #[inline]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl PartialEq<Namespace> for Cookie {
    #[inline]
    fn eq(&self, net: &Namespace) -> bool {
        *self == net.cookie()
    }
}

impl NetDevice {
    /// The namespace that the device is in now: `dev_net_rcu()`. None if the device is leaving for
    /// ever, or has left: its namespace may be gone, whoever still holds the device.
    ///
    /// Devices move, and the namespace that one has left may end: hence the guard.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::Namespace;
    /// # use kernel::net::net_device::NetDevice;
    /// # use kernel::sync::rcu;
    /// fn is_in(dev: &NetDevice, net: &Namespace) -> bool {
    ///     let guard = rcu::read_lock();
    ///     dev.net(&guard).is_some_and(|dev_net| dev_net.cookie() == net.cookie())
    /// }
    /// ```
    #[inline]
    pub fn net<'g>(&self, _guard: &'g rcu::Guard) -> Option<&'g Namespace> {
        // SAFETY: By the type invariant the device is valid; the state is written as a whole.
        let state = unsafe { (&raw const (*self.as_raw()).reg_state).read_volatile() };
        if u32::from(state) != bindings::netdev_reg_state_NETREG_REGISTERED {
            return None;
        }
        // SAFETY: The device was registered just now, in the guard's critical section, which lasts
        // for `'g`.
        Some(unsafe { self.net_rcu() })
    }
}

impl<T: Operations> Registration<T> {
    /// Returns the state of a namespace that is in use; the borrow may be kept while sleeping.
    ///
    /// `None` for a namespace that [`Operations::applies_to`] excludes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::LiveNamespace;
    /// # use kernel::net::pernet;
    /// fn show<T: pernet::Operations<Stored = u32>>(
    ///     registration: &pernet::Registration<T>,
    ///     net: &LiveNamespace,
    /// ) -> Result {
    ///     let generation = registration.get(net).ok_or(EAFNOSUPPORT)?;
    ///     pr_info!("{generation}\n");
    ///     Ok(())
    /// }
    /// ```
    pub fn get<'a>(&'a self, net: &'a LiveNamespace) -> Option<&'a T::Stored> {
        let stored = ptr::from_ref(T::slot().get(net, &rcu::read_lock())?);
        // SAFETY: The value was ready. It goes only when the namespace ends, which the active
        // reference prevents for `'a`, or when the operations are unregistered, which `&'a self`
        // does.
        Some(unsafe { &*stored })
    }
}
