// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.
//!
//! A `struct net` has two counts, and this module one type for each way of holding it:
//!
//! - [`Namespace`]: its data is there. Its users may be gone already, and its end have begun. This
//!   is what a packet, a device, a socket or a callback gives.
//! - [`ActiveNamespace`]: somebody uses it, so that its exit cannot begin. `ARef<ActiveNamespace>`
//!   owns such a reference (`get_net()`, `put_net()`).
//!
//! [`Namespace::get`] leads from the first to the second, when that is still possible.
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
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        rcu, //
    },
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
/// - what subsystems allocate for it in their `init` callbacks is not freed yet: none of their `exit`
///   callbacks has run. What is not allocated yet is null.
///
/// # Examples
///
/// ```
/// # use kernel::net::Namespace;
/// fn same(a: &Namespace, b: &Namespace) -> bool {
///     a.tag() == b.tag()
/// }
/// ```
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
    /// `ptr` must point to a `struct net` that, with its per-namespace data, stays valid for `'a`: see
    /// the type invariant.
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

    /// Returns an identity that can be stored and compared, and nothing else.
    #[inline]
    pub fn tag(&self) -> Tag {
        // SAFETY: By the type invariant the pointer is valid. The cookie is written once, before
        // any `init` callback of the namespace runs, and thus before anything has borrowed it.
        Tag(unsafe { (*self.as_raw()).net_cookie })
    }

    /// Returns the inode number: the one that `ls -L -i /proc/PID/ns/net` shows.
    ///
    /// Unlike a [`Tag`], it is used again after the namespace's end.
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

    /// Takes an active reference, unless the namespace is ending, or not completely created yet.
    ///
    /// Wraps `maybe_get_net()`, behind `net_initialized()`: a creation that fails frees the
    /// namespace whatever its count says. May be called from any context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::ActiveNamespace;
    /// # use kernel::net::Namespace;
    /// # use kernel::sync::aref::ARef;
    /// fn keep(net: &Namespace) -> Result<ARef<ActiveNamespace>> {
    ///     net.get().ok_or(ENODEV)
    /// }
    /// ```
    pub fn get(&self) -> Option<ARef<ActiveNamespace>> {
        // SAFETY: By the type invariant the pointer is valid.
        if !unsafe { bindings::net_initialized(self.as_raw()) } {
            return None;
        }
        // SAFETY: As above.
        let net = NonNull::new(unsafe { bindings::maybe_get_net(self.as_raw()) })?;
        // SAFETY: `maybe_get_net()` has just counted this reference. The creation is over, so that
        // a count above zero keeps the exit from beginning.
        Some(unsafe { ActiveNamespace::from_counted(net) })
    }
}

/// A network namespace that is in use: its exit cannot begin.
///
/// # Invariants
///
/// The namespace is completely created, and its active count is not zero while a reference to
/// this type exists.
///
/// # Examples
///
/// ```
/// # use kernel::net::ActiveNamespace;
/// # use kernel::sync::aref::ARef;
/// // What `ip link set dev DEV netns PID` does to find its target.
/// fn target(pid: i32) -> Result<ARef<ActiveNamespace>> {
///     ActiveNamespace::get_by_pid(pid)
/// }
/// ```
#[repr(transparent)]
pub struct ActiveNamespace {
    net: Namespace,
}

// SAFETY: An active reference can be dropped on any thread: `put_net()` has no context of its own.
unsafe impl Send for ActiveNamespace {}

// SAFETY: As for `Namespace`; taking and dropping references is atomic.
unsafe impl Sync for ActiveNamespace {}

// SAFETY: By the type invariant the count is above zero, so that `get_net()` may be called, and
// the namespace stays until as many `put_net()` have followed.
unsafe impl AlwaysRefCounted for ActiveNamespace {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the pointer is valid and the count not zero.
        unsafe { bindings::get_net(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up one count that it owns.
        unsafe { bindings::put_net(obj.cast().as_ptr()) };
    }
}

impl Deref for ActiveNamespace {
    type Target = Namespace;

    #[inline]
    fn deref(&self) -> &Namespace {
        &self.net
    }
}

impl ActiveNamespace {
    /// Makes an owned reference of one that C has counted.
    ///
    /// # Safety
    ///
    /// `net` must be completely created, and the caller must own one active reference to it, which
    /// it hands over.
    unsafe fn from_counted(net: NonNull<bindings::net>) -> ARef<Self> {
        // INVARIANT: The count that the caller hands over is above zero until it is dropped.
        // SAFETY: The caller hands over its count; the types are transparent over `struct net`.
        unsafe { ARef::from_raw(net.cast::<Self>()) }
    }

    /// Returns the initial namespace, which never ends.
    #[inline]
    pub fn init_net() -> &'static Self {
        // INVARIANT: `init_net` is created at boot, and its count never reaches zero.
        // SAFETY: `init_net` is a static of the kernel, and the types are transparent over it.
        unsafe { &*(&raw mut bindings::init_net).cast::<Self>() }
    }

    /// Looks up the namespace of the process `pid`, as the caller's pid namespace numbers it.
    ///
    /// Wraps `get_net_ns_by_pid()`. Process context, since it takes `task_lock()`; `ESRCH` if there
    /// is no such process, or it is exiting.
    #[inline]
    pub fn get_by_pid(pid: i32) -> Result<ARef<Self>> {
        might_sleep();
        // SAFETY: The function takes any number, and returns a counted namespace or an error.
        let net = from_err_ptr(unsafe { bindings::get_net_ns_by_pid(pid) })?;
        // SAFETY: `get_net_ns_by_pid()` has counted the reference; a process is never attached to
        // a namespace that is not completely created.
        Ok(unsafe { Self::from_counted(NonNull::new(net).ok_or(ESRCH)?) })
    }

    /// Looks up the namespace that the calling process has open as file descriptor `fd`.
    ///
    /// Wraps `get_net_ns_by_fd()`. Process context; `EBADF` if `fd` is not open, `EINVAL` if it is
    /// not a network namespace.
    #[inline]
    pub fn get_by_fd(fd: i32) -> Result<ARef<Self>> {
        might_sleep();
        // SAFETY: The function takes any number, and returns a counted namespace or an error.
        let net = from_err_ptr(unsafe { bindings::get_net_ns_by_fd(fd) })?;
        // SAFETY: `get_net_ns_by_fd()` has counted the reference; a namespace file exists only for
        // a completely created namespace.
        Ok(unsafe { Self::from_counted(NonNull::new(net).ok_or(EINVAL)?) })
    }

    /// Looks up the namespace that this one calls `id` (`ip netns list-id`).
    ///
    /// Wraps `get_net_ns_by_id()`. May be called from any context; `ENOENT` if there is none.
    #[inline]
    pub fn get_by_id(&self, id: i32) -> Result<ARef<Self>> {
        // SAFETY: `self` is valid; the function takes any number.
        let net = unsafe { bindings::get_net_ns_by_id(self.as_raw(), id) };
        // SAFETY: If it is not null, `get_net_ns_by_id()` has counted the reference; an id is
        // given to completely created namespaces only.
        Ok(unsafe { Self::from_counted(NonNull::new(net).ok_or(ENOENT)?) })
    }
}

/// The identity of a network namespace, for storing in entries of shared tables.
///
/// It can be compared and nothing else: it keeps nothing alive and leads nowhere. It is the
/// namespace's cookie (`SO_NETNS_COOKIE`), which is never used again, so that an entry that
/// outlives its namespace matches nobody.
///
/// # Examples
///
/// ```
/// # use kernel::net::Namespace;
/// # use kernel::net::Tag;
/// struct Entry {
///     owner: Tag,
/// }
///
/// fn belongs_to(entry: &Entry, net: &Namespace) -> bool {
///     entry.owner == *net
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// From the cookie of a `struct net` that nothing more is known of than that its memory is
    /// there.
    #[inline]
    pub(super) fn from_cookie(cookie: u64) -> Self {
        Self(cookie)
    }

    /// The number: what `getsockopt(SO_NETNS_COOKIE)` gives to user space.
    #[inline]
    pub fn cookie(self) -> u64 {
        self.0
    }
}

impl PartialEq<Namespace> for Tag {
    #[inline]
    fn eq(&self, net: &Namespace) -> bool {
        *self == net.tag()
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
