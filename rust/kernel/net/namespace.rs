// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.
//!
//! A `struct net` has two counts, and this module one type for each way of holding it:
//!
//! - [`Namespace`]: its data is there. Its users may be gone already, and its end have begun. This
//!   is what a packet, a device, a socket or a callback gives.
//! - [`LiveNamespace`]: somebody uses it, so that its exit cannot begin. [`NamespaceRef`] owns such
//!   a reference (`netns_tracker_alloc()`, `put_net_track()`).
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::rcu,
    task::might_sleep,
    types::Opaque, //
};

/// A network namespace: a `struct net` with its per-namespace data.
///
/// Nothing is said about its users: a packet may still travel through a namespace whose last
/// process has left, and the callbacks of [`pernet`](super::pernet) see namespaces that are not
/// complete yet, or not any more.
///
/// # Invariants
///
/// While a reference to it exists:
///
/// - the `struct net`, its `gen` array and the storage behind that are valid;
/// - what subsystems allocate for it in their `init` callbacks is not freed yet: none of their
///   `exit` callbacks has run. What is not allocated yet is null, but where an `init` callback has
///   failed: that may leave pointers to what it has freed, and the callbacks of the operations that
///   were registered before it still see the namespace, until its creation is undone.
#[repr(transparent)]
pub struct Namespace {
    inner: Opaque<bindings::net>,
}

// SAFETY: A namespace belongs to no thread; what it gives is constant or synchronised by C.
unsafe impl Send for Namespace {}

// SAFETY: What the methods read is constant after the creation of the namespace, or atomic.
unsafe impl Sync for Namespace {}

impl Namespace {
    /// Borrows a namespace from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct net` that, with its per-namespace data, stays valid for `'a`:
    /// see the type invariant.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::net) -> &'a Self {
        // INVARIANT: The caller promises it.
        // SAFETY: `Namespace` is transparent over `Opaque<net>`, and the caller promises validity.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Returns the C pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::net {
        self.inner.get()
    }

    /// Returns the inode number: the one that `ls -L -i /proc/PID/ns/net` shows.
    ///
    /// It is used again after the namespace's end.
    #[inline]
    pub fn inum(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid. The number is written by
        // `ns_common_init()`, before any `init` callback runs.
        unsafe { (*self.as_raw()).ns.inum }
    }

    /// Whether this is the initial namespace, `init_net`.
    #[inline]
    pub fn is_init_net(&self) -> bool {
        ptr::eq(self.as_raw(), &raw mut bindings::init_net)
    }
}

/// A network namespace that is alive: its exit cannot begin.
///
/// # Invariants
///
/// The namespace is completely created, and its count (`ns.__ns_ref`) is not zero while a reference
/// to this type exists.
///
/// # Examples
///
/// ```
/// # use kernel::net::LiveNamespace;
/// # use kernel::net::NamespaceRef;
/// // What `ip link set dev DEV netns PID` does to find its target.
/// fn target(pid: i32) -> Result<NamespaceRef> {
///     LiveNamespace::get_by_pid(pid)
/// }
/// ```
#[repr(transparent)]
pub struct LiveNamespace {
    net: Namespace,
}

// SAFETY: As for `Namespace`: what keeps it alive is not part of it.
unsafe impl Send for LiveNamespace {}

// SAFETY: As for `Namespace`; taking references is atomic.
unsafe impl Sync for LiveNamespace {}

impl Deref for LiveNamespace {
    type Target = Namespace;

    #[inline]
    fn deref(&self) -> &Namespace {
        &self.net
    }
}

impl LiveNamespace {
    /// Borrows a namespace from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct net` that is completely created, and whose count is not zero
    /// for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::net) -> &'a Self {
        // INVARIANT: The caller promises it.
        // SAFETY: The types are transparent over `struct net`, and the caller promises validity.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Returns the initial namespace, which never ends.
    #[inline]
    pub fn init_net() -> &'static Self {
        // SAFETY: `init_net` is a static of the kernel, created at boot, whose count never reaches
        // zero.
        unsafe { Self::from_raw(&raw mut bindings::init_net) }
    }

    /// Looks up the namespace of the process `pid`, as the caller's pid namespace numbers it.
    ///
    /// Wraps `get_net_ns_by_pid()`. Process context, since it takes `task_lock()`; `ESRCH` if there
    /// is no such process, or it is exiting.
    #[inline]
    pub fn get_by_pid(pid: i32) -> Result<NamespaceRef> {
        might_sleep();
        // SAFETY: The function takes any number, and returns a counted namespace or an error.
        let net = from_err_ptr(unsafe { bindings::get_net_ns_by_pid(pid) })?;
        // SAFETY: `get_net_ns_by_pid()` has counted the reference; a process is never attached to
        // a namespace that is not completely created.
        Ok(unsafe { NamespaceRef::from_counted(NonNull::new(net).ok_or(ESRCH)?) })
    }

    /// Looks up the namespace that the calling process has open as file descriptor `fd`.
    ///
    /// Wraps `get_net_ns_by_fd()`. Process context; `EBADF` if `fd` is not open, `EINVAL` if it is
    /// not a network namespace.
    #[inline]
    pub fn get_by_fd(fd: i32) -> Result<NamespaceRef> {
        might_sleep();
        // SAFETY: The function takes any number, and returns a counted namespace or an error.
        let net = from_err_ptr(unsafe { bindings::get_net_ns_by_fd(fd) })?;
        // SAFETY: `get_net_ns_by_fd()` has counted the reference; a namespace file exists only for
        // a completely created namespace.
        Ok(unsafe { NamespaceRef::from_counted(NonNull::new(net).ok_or(EINVAL)?) })
    }
}

/// An owned reference to a network namespace: it keeps the namespace alive.
///
/// With `CONFIG_NET_NS_REFCNT_TRACKER`, the kernel knows who has taken each reference: a namespace
/// that somebody keeps for ever is reported with that stack trace. So this is a type of its own and
/// no [`ARef`](crate::sync::aref::ARef), which has no room for a `netns_tracker`.
///
/// # Invariants
///
/// `net` is completely created, and this value owns one count of it, which `tracker` belongs to.
///
/// # Examples
///
/// ```
/// # use kernel::net::LiveNamespace;
/// # use kernel::net::NamespaceRef;
/// struct Tunnel {
///     lower: NamespaceRef,
/// }
///
/// fn tunnel(fd: i32) -> Result<Tunnel> {
///     let lower = LiveNamespace::get_by_fd(fd)?;
///     Ok(Tunnel { lower })
/// }
/// ```
pub struct NamespaceRef {
    net: NonNull<bindings::net>,
    tracker: bindings::netns_tracker,
}

// SAFETY: A reference can be given back on any thread: `put_net_track()` has no context of its own.
unsafe impl Send for NamespaceRef {}

// SAFETY: A shared reference gives a `&LiveNamespace`, which is `Sync`.
unsafe impl Sync for NamespaceRef {}

impl NamespaceRef {
    /// Makes an owned reference of one that C has counted, and tracks it.
    ///
    /// Wraps `netns_tracker_alloc()`.
    ///
    /// # Safety
    ///
    /// `net` must be completely created, and the caller must own one count of it, which it hands
    /// over.
    pub(super) unsafe fn from_counted(net: NonNull<bindings::net>) -> Self {
        let mut tracker = pin_init::zeroed();
        // SAFETY: The caller promises a valid namespace; the function writes the tracker. It may be
        // called from any context, for it allocates with `GFP_ATOMIC`; without memory the
        // reference is counted as one of those that nobody tracks.
        unsafe { bindings::netns_tracker_alloc(net.as_ptr(), &mut tracker, bindings::GFP_ATOMIC) };
        // INVARIANT: The caller has handed its count over, and the tracker is that of this one.
        Self { net, tracker }
    }
}

impl Deref for NamespaceRef {
    type Target = LiveNamespace;

    #[inline]
    fn deref(&self) -> &LiveNamespace {
        // SAFETY: By the type invariant the namespace is completely created, and its count above
        // zero until `self` is dropped.
        unsafe { LiveNamespace::from_raw(self.net.as_ptr()) }
    }
}

impl Drop for NamespaceRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this value owns the count, and the tracker belongs to it.
        unsafe { bindings::put_net_track(self.net.as_ptr(), &mut self.tracker) };
    }
}

/// Iterates over the namespaces of the machine, `init_net` first, oldest to newest.
///
/// Wraps `for_each_net_rcu()`: namespaces that appear meanwhile may be missing, and some may be
/// about to end.
///
/// # Examples
///
/// ```
/// # use kernel::net::namespace::namespaces;
/// # use kernel::sync::rcu;
/// fn count(guard: &rcu::Guard) -> usize {
///     namespaces(guard).count()
/// }
/// ```
#[inline]
pub fn namespaces(_guard: &rcu::Guard) -> Namespaces<'_> {
    // SAFETY: The list head is a static of the kernel, initialised at boot. A store to `next` may
    // run at the same time: `read_volatile` is the `READ_ONCE()` of `list_for_each_entry_rcu()`.
    let next = unsafe { (&raw const bindings::net_namespace_list.next).read_volatile() };
    // INVARIANT: `next` was read under the guard.
    Namespaces {
        next,
        _guard: PhantomData,
    }
}

/// The iterator that [`namespaces`] returns.
///
/// # Invariants
///
/// `next` was read from the list of namespaces under an RCU read-side critical section that has
/// not ended since.
pub struct Namespaces<'a> {
    next: *mut bindings::list_head,
    _guard: PhantomData<&'a rcu::Guard>,
}

impl<'a> Iterator for Namespaces<'a> {
    type Item = &'a Namespace;

    fn next(&mut self) -> Option<&'a Namespace> {
        if ptr::eq(self.next, &raw mut bindings::net_namespace_list) {
            return None;
        }
        // SAFETY: By the type invariant this is an element, and thus the `list` of a `struct net`.
        let net = unsafe { crate::container_of!(self.next, bindings::net, list) };
        // INVARIANT: Read under the same critical section.
        // SAFETY: `cleanup_net()` waits for a grace period between taking a namespace off the list
        // and freeing it, so that the element is valid; `READ_ONCE()` as above.
        self.next = unsafe { (&raw const (*net).list.next).read_volatile() };
        // SAFETY: As above; that grace period comes before the `exit` callbacks, too. `'a` cannot
        // outlive the guard.
        Some(unsafe { Namespace::from_raw(net) })
    }
}
