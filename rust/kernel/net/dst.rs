// SPDX-License-Identifier: GPL-2.0

//! Destinations: what a route look-up came to, as the packet carries it.
//!
//! C headers: [`include/net/dst.h`](srctree/include/net/dst.h),
//! [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/ip6_fib.h`](srctree/include/net/ip6_fib.h)

use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

use super::{
    net_device::NetDevice,
    netfilter::Protocol,
    tagged_table::RcuValue, //
};
use crate::bindings;

/// A destination (`struct dst_entry`), which may be about to go.
///
/// # Invariants
///
/// The memory is valid while a reference to this type exists, and is part of the structure that
/// the family of its operations says (`struct rtable`, `struct rt6_info`). The count of references
/// may be zero.
#[repr(transparent)]
pub struct Dst(Opaque<bindings::dst_entry>);

// SAFETY: Destinations are shared between CPUs; what is read here is read as whole words.
unsafe impl Send for Dst {}

// SAFETY: As above.
unsafe impl Sync for Dst {}

impl Dst {
    /// Makes a reference of a C pointer.
    ///
    /// # Safety
    ///
    /// `dst` must be a valid destination for `'a`, by a reference or under RCU.
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

    /// Takes a reference, unless the last one is gone already.
    ///
    /// May be called from any context. Wraps `dst_hold_safe()`.
    #[inline]
    pub fn hold(&self) -> Option<OwnedDst> {
        // SAFETY: By the type invariant the pointer is valid.
        if !unsafe { bindings::dst_hold_safe(self.as_raw()) } {
            return None;
        }
        // INVARIANT: The reference was counted just now.
        NonNull::new(self.as_raw()).map(OwnedDst)
    }

    /// Whether the routes that led to it are still what they were.
    ///
    /// `cookie` is what [`cookie`](Self::cookie) said when it was looked up. May be called from any
    /// context. Wraps `dst_check()`.
    #[inline]
    pub fn check(&self, cookie: u32, _guard: &rcu::Guard) -> bool {
        // SAFETY: By the type invariant the pointer is valid, and RCU is held.
        !unsafe { bindings::dst_check(self.as_raw(), cookie) }.is_null()
    }

    /// What [`check`](Self::check) will want to know: for IPv6 the state of the routes, for IPv4
    /// nothing. Wraps `rt6_get_cookie()`.
    #[inline]
    pub fn cookie(&self, _guard: &rcu::Guard) -> u32 {
        match self.as_rt6_info() {
            // SAFETY: By the type invariant the pointer is valid, and RCU is held.
            Some(rt) => unsafe { bindings::rt6_get_cookie(rt.as_ptr()) },
            None => 0,
        }
    }

    fn family(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid; `ops` is set when it is made.
        unsafe { (*(*self.as_raw()).ops).family.into() }
    }

    /// Whether packets of this protocol can have it.
    #[inline]
    pub(super) fn is_of(&self, protocol: Protocol) -> bool {
        let family = match protocol {
            Protocol::Ipv4 => bindings::AF_INET,
            Protocol::Ipv6 => bindings::AF_INET6,
        };
        self.family() == family
    }

    fn as_rtable(&self) -> Option<NonNull<bindings::rtable>> {
        let rt = NonNull::new(self.as_raw().cast::<bindings::rtable>())?;
        (self.family() == bindings::AF_INET).then_some(rt)
    }

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
                (*rt.as_ptr()).rt6i_flags & bindings::RTF_LOCAL != 0
            } else {
                false
            }
        }
    }

    /// Why packets are refused (`unreachable`, `prohibit`, `blackhole` routes), as an errno; zero if
    /// they are not.
    #[inline]
    pub fn error(&self) -> i32 {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { (&raw const (*self.as_raw()).error).read_volatile() }.into()
    }

    /// Whether the route leads to a host, to this machine, or to all on a link of it: `RTN_UNICAST`,
    /// `RTN_LOCAL`, `RTN_BROADCAST`; for IPv6, one of the first two.
    pub fn leads_somewhere(&self) -> bool {
        // SAFETY: By the type invariant the structures are valid.
        unsafe {
            if let Some(rt) = self.as_rtable() {
                matches!(
                    u32::from((*rt.as_ptr()).rt_type),
                    bindings::RTN_UNICAST | bindings::RTN_LOCAL | bindings::RTN_BROADCAST
                )
            } else if let Some(rt) = self.as_rt6_info() {
                (*rt.as_ptr()).rt6i_flags & (bindings::RTF_ANYCAST | bindings::RTF_REJECT) == 0
            } else {
                false
            }
        }
    }

    /// Whether a redirect that was learnt has changed where it leads. IPv4 alone changes a
    /// destination.
    #[inline]
    pub fn is_redirected(&self) -> bool {
        // SAFETY: By the type invariant the structure is valid; the flags are read whole.
        self.as_rtable().is_some_and(|rt| unsafe {
            (&raw const (*rt.as_ptr()).rt_flags).read_volatile() & bindings::RTCF_REDIRECTED != 0
        })
    }

    /// Whether it stands for an exception of a route: a path MTU that was learnt, or a redirect.
    /// Such a one ends by itself, which only a look-up notices.
    ///
    /// That an IPv4 destination expires says nothing: the stack notes so, too, that a host did not
    /// answer, in the destination of all hosts on that link.
    pub fn is_exception(&self) -> bool {
        // SAFETY: By the type invariant the structures are valid.
        unsafe {
            if let Some(rt) = self.as_rtable() {
                self.is_redirected() || bindings::rt_pmtu(rt.as_ptr()) != 0
            } else if let Some(rt) = self.as_rt6_info() {
                (*rt.as_ptr()).rt6i_flags & bindings::RTF_CACHE != 0
            } else {
                true
            }
        }
    }

    /// Whether the route keeps it for the next packet. Of one that it does not keep, the route does
    /// not know when an exception makes it wrong.
    pub fn is_kept_by_route(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the word says on which list it is.
        unsafe {
            (&raw const (*self.as_raw()).rt_uncached_list)
                .read_volatile()
                .is_null()
        }
    }

    /// Whether packets are encapsulated, or handled by something else than routing.
    pub fn has_lwtunnel(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { !(*self.as_raw()).lwtstate.is_null() }
    }

    /// Whether the route has several next hops, and one is chosen for each packet. IPv6 only: for
    /// IPv4, the packet says so.
    pub fn is_multipath(&self, _guard: &rcu::Guard) -> bool {
        let Some(rt) = self.as_rt6_info() else {
            return false;
        };
        // SAFETY: By the type invariant the structure is valid; `from` is read once and stays valid
        // under RCU.
        unsafe {
            let from = (&raw const (*rt.as_ptr()).from).read_volatile();
            let from = from.cast::<bindings::fib6_info>();
            from.is_null() || !(*from).nh.is_null() || (*from).fib6_nsiblings != 0
        }
    }

    /// The device that packets leave by, or the one that stands for local delivery.
    ///
    /// It may change to the device that takes packets of devices which are gone.
    #[inline]
    pub fn dev<'g>(&self, _guard: &'g rcu::Guard) -> &'g NetDevice {
        // SAFETY: By the type invariant the pointer is valid. `dst_dev_put()` replaces the device,
        // whose memory outlives a grace period after that.
        unsafe {
            let dev = (&raw const (*self.as_raw()).__bindgen_anon_1.dev).read_volatile();
            NetDevice::from_raw(dev.cast())
        }
    }
}

/// A reference to a destination, which keeps it in use until it is dropped.
///
/// # Invariants
///
/// One count of references is this one's.
pub struct OwnedDst(NonNull<bindings::dst_entry>);

// SAFETY: References can be dropped on any CPU.
unsafe impl Send for OwnedDst {}

// SAFETY: As `Dst`.
unsafe impl Sync for OwnedDst {}

impl Deref for OwnedDst {
    type Target = Dst;

    #[inline]
    fn deref(&self) -> &Dst {
        // SAFETY: By the type invariant the reference keeps it.
        unsafe { Dst::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedDst {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant one reference is ours. May be called from any context.
        unsafe { bindings::dst_release(self.0.as_ptr()) };
    }
}

// SAFETY: This is a reference, and the memory lasts until the last reference was dropped. (No
// longer: next hops give up theirs by `dst_release_immediate()`.)
unsafe impl RcuValue for OwnedDst {
    type Target = Dst;

    #[inline]
    fn into_raw(self) -> NonNull<Dst> {
        let raw = self.0.cast();
        core::mem::forget(self);
        raw
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<Dst>) -> Self {
        // INVARIANT: The count that `into_raw` kept.
        Self(raw.cast())
    }
}
