// SPDX-License-Identifier: GPL-2.0

//! Destinations: what a route look-up came to, as the packet carries it.
//!
//! C headers: [`include/net/dst.h`](srctree/include/net/dst.h),
//! [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/ip6_fib.h`](srctree/include/net/ip6_fib.h)

use core::{
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::NonNull, //
};

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::rcu,
    time::msecs_to_jiffies,
    types::Opaque, //
};

use super::{
    net_device::NetDevice,
    pernet,
    tagged_table::RcuValue,
    Namespace, //
};

/// A destination (`struct dst_entry`) that a look-up of routes gave a packet which came in. It may
/// be invalid by now.
///
/// Packets also have destinations of other kinds: IPsec's, those that carry the metadata of a
/// tunnel, and a bridge's own. None of these is one.
///
/// # Invariants
///
/// While a reference to this type exists:
///
/// - The memory is valid, and part of a `struct rtable` with the operations of IPv4, which are a
///   static, or of a `struct rt6_info` with the operations in the `struct net` of its namespace.
/// - In the latter case, that [`Namespace`] is valid, too.
///
/// The count of references may be zero.
#[repr(transparent)]
pub struct Dst(Opaque<bindings::dst_entry>);

// SAFETY: Destinations are shared between CPUs; what is read here is read as whole words.
unsafe impl Send for Dst {}

// SAFETY: Words that change are read and counted as whole words, by C's functions or here.
unsafe impl Sync for Dst {}

impl Dst {
    /// Makes a reference of a C pointer.
    ///
    /// # Safety
    ///
    /// `dst` must be what the type invariant says for `'a`, by a reference or under RCU.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(dst: *mut bindings::dst_entry) -> &'a Self {
        // INVARIANT: As the caller promises.
        // SAFETY: The type is transparent over the structure.
        unsafe { &*dst.cast::<Self>() }
    }

    /// The C pointer.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::dst_entry {
        self.0.get()
    }

    /// Takes a reference, unless the last one is gone already, on behalf of `T`.
    ///
    /// `None`, too, for an IPv6 destination whose namespace is ending, or while `T` is not
    /// [registered](register), or was before IPv6 was. May be called from any context. Wraps
    /// `dst_hold_safe()`.
    pub fn hold<T: Holder>(&self, guard: &rcu::Guard) -> Option<OwnedDst<T>> {
        let holds = match self.namespace() {
            Some(net) => {
                let holds = T::slot().get(net, guard)?;
                if !holds.get() {
                    return None;
                }
                Some(holds)
            }
            None => None,
        };
        // SAFETY: By the type invariant the pointer is valid.
        let held = unsafe { bindings::dst_hold_safe(self.as_raw()) };
        match NonNull::new(self.as_raw()).filter(|_| held) {
            // INVARIANT: The reference was counted just now, and before that in the namespace, if
            // it is an IPv6 one.
            Some(dst) => Some(OwnedDst(dst, PhantomData)),
            None => {
                if let Some(holds) = holds {
                    holds.put();
                }
                None
            }
        }
    }

    /// Whether the routes that led to it are still what they were.
    ///
    /// `cookie` is what [`cookie`](Self::cookie) said when it was looked up. May be called from any
    /// context. Wraps `dst_check()`; IPv6 destinations of a next hop object, which that judges
    /// without a look at the route, are never valid.
    #[inline]
    pub fn check<'g>(&'g self, cookie: u32, _guard: &'g rcu::Guard) -> Option<&'g ValidDst> {
        if let Some(rt) = self.as_rt6_info() {
            // SAFETY: By the type invariant the structure is valid; the word is set when it is
            // made.
            if unsafe { (*rt.as_ptr()).sernum } != 0 {
                return None;
            }
        }
        // SAFETY: By the type invariant the pointer is valid, and RCU is held.
        let dst = NonNull::new(unsafe { bindings::dst_check(self.as_raw(), cookie) })?;
        // SAFETY: It was found valid under the guard, which is held for `'g`; the function returns
        // the destination that it was given.
        Some(unsafe { ValidDst::from_raw(dst.as_ptr()) })
    }

    /// [Checks](Self::check) whether there are still routes that lead to it, whatever they were.
    #[inline]
    pub fn check_now<'g>(&'g self, guard: &'g rcu::Guard) -> Option<&'g ValidDst> {
        self.check(self.cookie(guard), guard)
    }

    /// The namespace that an IPv6 destination cannot outlive. An IPv4 one can.
    #[inline]
    fn namespace(&self) -> Option<&Namespace> {
        if self.family() != bindings::AF_INET6 {
            return None;
        }
        // SAFETY: By the type invariant the operations are those in the `struct net`, as for
        // `ip6_dst_gc()`, and the namespace is valid while `self` is borrowed.
        unsafe {
            let ops = (*self.as_raw()).ops.cast::<u8>();
            let net = ops.sub(offset_of!(bindings::net, ipv6.ip6_dst_ops));
            Some(Namespace::from_raw(net.cast()))
        }
    }

    /// What [`check`](Self::check) will want to know: for IPv6 the state of the routes, for IPv4
    /// nothing. Wraps `rt6_get_cookie()`.
    #[inline]
    fn cookie(&self, _guard: &rcu::Guard) -> u32 {
        match self.as_rt6_info() {
            // SAFETY: By the type invariant the pointer is valid, and RCU is held.
            Some(rt) => unsafe { bindings::rt6_get_cookie(rt.as_ptr()) },
            None => 0,
        }
    }

    /// `AF_INET` or `AF_INET6`.
    #[inline]
    pub(super) fn family(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid; `ops` is set when it is made.
        unsafe { (*(*self.as_raw()).ops).family.into() }
    }

    #[inline]
    fn as_rtable(&self) -> Option<NonNull<bindings::rtable>> {
        let rt = NonNull::new(self.as_raw().cast::<bindings::rtable>())?;
        (self.family() == bindings::AF_INET).then_some(rt)
    }

    #[inline]
    fn as_rt6_info(&self) -> Option<NonNull<bindings::rt6_info>> {
        let rt = NonNull::new(self.as_raw().cast::<bindings::rt6_info>())?;
        (self.family() == bindings::AF_INET6).then_some(rt)
    }

    /// Whether it has a realm, `tclassid`: an IPv4 route that does is made for each packet, and
    /// nothing but its end gives back the device that it holds.
    #[inline]
    pub fn has_realm(&self) -> bool {
        // SAFETY: By the type invariant the structure is valid; the word is read whole.
        unsafe { (&raw const (*self.as_raw()).tclassid).read_volatile() != 0 }
    }

    /// Whether packets are delivered to this machine: `RTCF_LOCAL` of an IPv4 route, `RTF_LOCAL` of
    /// an IPv6 one.
    #[inline]
    pub fn is_local(&self) -> bool {
        // SAFETY: By the type invariant the structures are valid.
        unsafe {
            if let Some(rt) = self.as_rtable() {
                (&raw const (*rt.as_ptr()).rt_flags).read_volatile() & bindings::RTCF_LOCAL != 0
            } else if let Some(rt) = self.as_rt6_info() {
                rt6i_flags(rt) & bindings::RTF_LOCAL != 0
            } else {
                false
            }
        }
    }

    /// Why packets are refused (`unreachable`, `prohibit`, `blackhole` routes), as an errno; zero
    /// if they are not.
    #[inline]
    pub fn error(&self) -> i32 {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { (&raw const (*self.as_raw()).error).read_volatile() }.into()
    }

    /// Whether the route leads to a host, to this machine, or to all on a link of it:
    /// `RTN_UNICAST`, `RTN_LOCAL`, `RTN_BROADCAST`; for IPv6, one of the first two.
    #[inline]
    pub fn leads_somewhere(&self) -> bool {
        // SAFETY: By the type invariant the structures are valid.
        unsafe {
            if let Some(rt) = self.as_rtable() {
                matches!(
                    u32::from((*rt.as_ptr()).rt_type),
                    bindings::RTN_UNICAST | bindings::RTN_LOCAL | bindings::RTN_BROADCAST
                )
            } else if let Some(rt) = self.as_rt6_info() {
                rt6i_flags(rt) & (bindings::RTF_ANYCAST | bindings::RTF_REJECT) == 0
            } else {
                false
            }
        }
    }

    /// Whether it stands for an exception of a route: a path MTU that was learnt, or a redirect.
    /// An exception expires, which only a new look-up notices. The stack can turn an IPv4
    /// destination that is in use into one, and does not tell its users.
    ///
    /// That an IPv4 destination expires says nothing: the stack notes so, too, that a host did not
    /// answer, in the destination of all hosts on that link.
    #[inline]
    pub fn is_exception(&self) -> bool {
        // SAFETY: By the type invariant the structures are valid. What is changed while they are in
        // use is read whole: the flags, and the word of `rt_pmtu` and `rt_mtu_locked`.
        unsafe {
            if let Some(rt) = self.as_rtable() {
                let flags = (&raw const (*rt.as_ptr()).rt_flags).read_volatile();
                let pmtu = (&raw const (*rt.as_ptr())._bitfield_1).cast::<u32>();
                flags & bindings::RTCF_REDIRECTED != 0 || pmtu.read_volatile() != 0
            } else if let Some(rt) = self.as_rt6_info() {
                rt6i_flags(rt) & bindings::RTF_CACHE != 0
            } else {
                true
            }
        }
    }

    /// Whether the route keeps it for the next packet. Of one that it does not keep, the route does
    /// not know when an exception makes it wrong.
    #[inline]
    pub fn is_kept_by_route(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the word says on which list it is.
        unsafe {
            (&raw const (*self.as_raw()).rt_uncached_list)
                .read_volatile()
                .is_null()
        }
    }

    /// Whether packets are encapsulated, or handled by something else than routing.
    #[inline]
    pub fn has_lwtunnel(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { !(*self.as_raw()).lwtstate.is_null() }
    }

    /// Whether the route has several next hops, and one is chosen for each packet. IPv6 only: for
    /// IPv4, the packet says so.
    #[inline]
    pub fn is_multipath(&self, _guard: &rcu::Guard) -> bool {
        let Some(rt) = self.as_rt6_info() else {
            return false;
        };
        // SAFETY: By the type invariant the structure is valid; `from` is read once and stays valid
        // under RCU.
        unsafe {
            let from = (&raw const (*rt.as_ptr()).from).read_volatile();
            let from = from.cast::<bindings::fib6_info>();
            from.is_null()
                || !(*from).nh.is_null()
                || (&raw const (*from).fib6_nsiblings).read_volatile() != 0
        }
    }
}

/// The flags of an IPv6 destination: some change while it is in use.
///
/// # Safety
///
/// `rt` must be valid.
#[inline]
unsafe fn rt6i_flags(rt: NonNull<bindings::rt6_info>) -> u32 {
    // SAFETY: By the caller's promise; the word is read whole.
    unsafe { (&raw const (*rt.as_ptr()).rt6i_flags).read_volatile() }
}

/// A destination that routes led to within the RCU critical section in which it is looked at.
///
/// # Invariants
///
/// Those of [`Dst`]. RCU is held while a reference to this type exists, and in that critical
/// section a look-up gave the destination, or `dst_check()` found it valid.
#[repr(transparent)]
pub struct ValidDst(Dst);

impl Deref for ValidDst {
    type Target = Dst;

    #[inline]
    fn deref(&self) -> &Dst {
        &self.0
    }
}

impl ValidDst {
    /// Makes a reference of a C pointer.
    ///
    /// # Safety
    ///
    /// `dst` must be a [`Dst`]. RCU must be held for `'a`, and in that critical section, a look-up
    /// must have given the destination, or `dst_check()` have found it valid.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(dst: *mut bindings::dst_entry) -> &'a Self {
        // INVARIANT: As the caller promises.
        // SAFETY: The type is transparent over the structure.
        unsafe { &*dst.cast::<Self>() }
    }

    /// The device that packets leave by, or the one that stands for local delivery.
    ///
    /// It may be the one by now that takes the packets of devices which are gone.
    #[inline]
    pub fn dev(&self) -> &NetDevice {
        // SAFETY: By the type invariant the pointer is valid. Routes led to the destination in this
        // critical section: `unregister_netdevice_many_notify()` had not taken the routes through
        // the device away when that began. After it has, it waits for a grace period, and only then
        // for those who hold the device. The one that has replaced it (`dst_dev_put()`) is
        // `blackhole_netdev`.
        unsafe {
            let dev = (&raw const (*self.as_raw()).__bindgen_anon_1.dev).read_volatile();
            NetDevice::from_raw(dev.cast())
        }
    }
}

/// What holds destinations: a type with a [`Slot`](super::pernet::Slot) for that.
///
/// # Examples
///
/// ```
/// # use kernel::net::dst;
/// # use kernel::net::dst::Dst;
/// # use kernel::net::dst::OwnedDst;
/// # use kernel::pernet_slot;
/// # use kernel::sync::rcu;
/// struct Routes;
///
/// pernet_slot!(Routes: dst::Holds);
///
/// fn count() -> impl PinInit<dst::Registration<Routes>, Error> {
///     dst::register()
/// }
///
/// fn keep(dst: &Dst) -> Option<OwnedDst<Routes>> {
///     dst.hold(&rcu::read_lock())
/// }
/// ```
pub trait Holder: pernet::HasSlot<Stored = Holds> {}

impl<T: pernet::HasSlot<Stored = Holds>> Holder for T {}

/// How many IPv6 destinations of a namespace are held: what is stored there for a [`Holder`].
///
/// Each CPU counts for itself, until the namespace ends.
///
/// # Invariants
///
/// - `users` is initialised, and completes `gone` when it comes to zero, which it can do after
///   [`close`](Self::close) only.
/// - If `after_ipv6`, IPv6 had initialised what it has in the namespace before: its `exit`
///   callbacks run after ours. Else, nobody is counted.
#[pin_data(PinnedDrop)]
pub struct Holds {
    after_ipv6: bool,
    #[pin]
    users: Opaque<bindings::percpu_ref>,
    #[pin]
    gone: Opaque<bindings::completion>,
}

// SAFETY: A count belongs to no thread.
unsafe impl Send for Holds {}

// SAFETY: References are counted atomically, or by each CPU for itself.
unsafe impl Sync for Holds {}

/// How long the end of a namespace waits before it says so, and then again, in milliseconds.
const PATIENCE_MS: u32 = 10_000;

impl Holds {
    fn new(net: &Namespace) -> impl PinInit<Self, Error> {
        // SAFETY: By the type invariant the structure is valid. IPv6's `init` callback copies the
        // operations there, under the lock under which this one runs.
        let family = unsafe { (*net.as_raw()).ipv6.ip6_dst_ops.family };
        // INVARIANT: Callbacks run in the order of registration, those of `exit` the other way
        // round. If IPv6's has failed, there is no such namespace, or there are no destinations.
        try_pin_init!(Self {
            after_ipv6: u32::from(family) == bindings::AF_INET6,
            gone <- Opaque::ffi_init(|gone: *mut bindings::completion| {
                // SAFETY: The structure is ours to write, and pinned.
                unsafe { bindings::init_completion(gone) }
            }),
            // The last, so that the callback finds the rest.
            users <- Opaque::try_ffi_init(|users: *mut bindings::percpu_ref| {
                // SAFETY: The structure is ours to write, and pinned until `drop` has waited for
                // the callback.
                to_result(unsafe {
                    bindings::percpu_ref_init(users, Some(Self::release), 0, bindings::GFP_KERNEL)
                })
            }),
        }? Error)
    }

    /// Counts one more, unless the namespace is ending, or IPv6 would end before.
    #[inline]
    fn get(&self) -> bool {
        // SAFETY: By the type invariant it is initialised.
        self.after_ipv6 && unsafe { bindings::percpu_ref_tryget_live(self.users.get()) }
    }

    /// Counts one less of those that [`get`](Self::get) has counted.
    #[inline]
    fn put(&self) {
        // SAFETY: By the type invariant it is initialised.
        unsafe { bindings::percpu_ref_put(self.users.get()) }
    }

    /// From here on, nobody is counted any more. To be called once.
    #[inline]
    fn close(&self) {
        // SAFETY: By the type invariant it is initialised; it is killed once.
        unsafe { bindings::percpu_ref_kill_and_confirm(self.users.get(), None) }
    }

    /// # Safety
    ///
    /// Called by the count of a `Holds` only, when it has come to zero.
    unsafe extern "C" fn release(users: *mut bindings::percpu_ref) {
        let users = Opaque::cast_from(users.cast_const());
        // SAFETY: The caller promises what the count is part of. `drop` waits for this, under the
        // completion's own lock.
        unsafe { bindings::complete_all((*crate::container_of!(users, Self, users)).gone.get()) }
    }
}

#[pinned_drop]
impl PinnedDrop for Holds {
    fn drop(self: Pin<&mut Self>) {
        let patience = msecs_to_jiffies(PATIENCE_MS);
        // SAFETY: By the type invariant the completion is initialised. Process context: an `exit`
        // callback.
        while unsafe { bindings::wait_for_completion_timeout(self.gone.get(), patience) } == 0 {
            pr_emerg!("the end of a namespace waits for IPv6 destinations that are held\n");
        }
        // SAFETY: By the type invariant it is initialised; the count is zero for good.
        unsafe { bindings::percpu_ref_exit(self.users.get()) };
    }
}

/// What is done with the counts of a namespace as that begins and ends. Private: nobody else may
/// make a [`Holds`], or close it.
struct PernetHolds<T>(PhantomData<fn() -> T>);

// SAFETY: The slot is that of `T`, which returns the same each time.
unsafe impl<T: Holder> pernet::HasSlot for PernetHolds<T> {
    type Stored = Holds;

    #[inline]
    fn slot() -> &'static pernet::Slot<Holds> {
        T::slot()
    }
}

#[vtable]
impl<T: Holder> pernet::Operations for PernetHolds<T> {
    type Kind = pernet::Subsys;

    fn init(net: &Namespace) -> impl PinInit<Holds, Error> {
        Holds::new(net)
    }

    fn pre_exit(_net: &Namespace, holds: Pin<&Holds>) {
        holds.close();
    }
}

/// Lets `T` hold IPv6 destinations, for as long as what this makes exists.
///
/// A namespace does not end before all of its destinations that `T` holds are given back: register
/// `T` before what gives them back when a namespace ends, which then comes first. While one is held
/// that nobody gives back, its namespace does not end, nor does any other (`cleanup_net()`).
///
/// A `T` that is registered before IPv6 is, as by a driver that is a part of the kernel, holds IPv4
/// destinations alone.
///
/// To be called where [`pernet`] says. `EBUSY` if `T` is registered already, `ENOMEM`.
pub fn register<T: Holder>() -> impl PinInit<Registration<T>, Error> {
    pin_init!(Registration {
        _holds <- pernet::register_pernet_subsys(),
    }? Error)
}

/// That `T` can hold IPv6 destinations. Dropping it waits until all of them are given back.
#[pin_data]
pub struct Registration<T: Holder> {
    #[pin]
    _holds: pernet::Registration<PernetHolds<T>>,
}

/// A reference to a destination, which keeps it in use until it is dropped.
///
/// The end of an IPv6 destination's namespace waits for that.
///
/// # Invariants
///
/// One count of references to the [`Dst`] is this one's. If it is an IPv6 one, so is one of the
/// count that its namespace has for `T`.
pub struct OwnedDst<T: Holder>(NonNull<bindings::dst_entry>, PhantomData<fn() -> T>);

// SAFETY: References can be dropped on any CPU.
unsafe impl<T: Holder> Send for OwnedDst<T> {}

// SAFETY: A shared one gives a `&Dst` alone, which is `Sync`.
unsafe impl<T: Holder> Sync for OwnedDst<T> {}

impl<T: Holder> Deref for OwnedDst<T> {
    type Target = Dst;

    #[inline]
    fn deref(&self) -> &Dst {
        // SAFETY: By the type invariant the reference keeps the memory. The count in the namespace
        // keeps the `exit` callback of `T` from returning, which runs before those of IPv6: see the
        // invariant of `Holds`, which counts nobody where it is not so.
        unsafe { Dst::from_raw(self.0.as_ptr()) }
    }
}

impl<T: Holder> Drop for OwnedDst<T> {
    fn drop(&mut self) {
        let holds = self.namespace().and_then(|net| {
            // SAFETY: By the type invariant `T` has counted this reference in the namespace, and so
            // is registered, with a value that is not dropped before the count was given back.
            unsafe { T::slot().get_unready(net) }
        });
        // SAFETY: By the type invariant one reference is ours; as above, IPv6 still counts its
        // destinations in the namespace. May be called from any context.
        unsafe { bindings::dst_release(self.0.as_ptr()) };
        // What is left to be done with the destination, its namespace waits for (`rcu_barrier()`).
        if let Some(holds) = holds {
            holds.put();
        }
    }
}

// SAFETY: This is a reference, and memory and namespace last until the last reference was dropped.
// (No longer: next hops give up theirs by `dst_release_immediate()`.)
unsafe impl<T: Holder> RcuValue for OwnedDst<T> {
    type Target = Dst;

    #[inline]
    fn into_raw(self) -> NonNull<Dst> {
        let raw = self.0.cast();
        core::mem::forget(self);
        raw
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<Dst>) -> Self {
        // INVARIANT: The counts that `into_raw` kept.
        Self(raw.cast(), PhantomData)
    }
}
