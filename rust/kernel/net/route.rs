// SPDX-License-Identifier: GPL-2.0

//! The question which way a packet goes that has come in.
//!
//! C headers: [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/ip6_route.h`](srctree/include/net/ip6_route.h)

use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use crate::{
    bindings,
    prelude::*, //
};

use super::{
    dst::{
        Dst,
        ValidDst, //
    },
    in_device::{
        InDevice,
        Setting,
        SourceCheck, //
    },
    netfilter::{
        Packet,
        Protocol, //
    },
    Namespace, //
};

/// What the look-up says about a packet: the destination, and what IP notes in the packet, as
/// `IPCB(skb)->flags` or `IP6CB(skb)->flags`.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    dst: &'a ValidDst,
    before: u16,
    redirects: bool,
    is_multipath: bool,
}

impl<'a> Answer<'a> {
    /// The destination.
    #[inline]
    pub fn dst(self) -> &'a ValidDst {
        self.dst
    }

    /// Whether the sender is to be told of a better way: that depends on more than the route. IPv4
    /// only.
    #[inline]
    pub fn redirects(self) -> bool {
        self.redirects
    }

    /// Whether one of several next hops was chosen for this packet. For IPv6, that may have been one
    /// of another route, which a rule has passed over then.
    #[inline]
    pub fn is_multipath(self) -> bool {
        self.is_multipath
    }
}

impl<'a> Packet<'a> {
    /// Gives the packet a destination, without a reference: the packet takes one when it leaves the
    /// RCU critical section. It must not have a destination yet, and this must be one of its
    /// protocol, and for IPv6 of its namespace, too; else, nothing changes. The stack uses the
    /// destination's device without a further look.
    ///
    /// Wraps `skb_dst_set_noref()`.
    #[inline]
    pub fn set_dst_noref(&mut self, dst: &'a ValidDst) {
        if !dst.is_of(self.protocol(), self.net()) {
            return;
        }
        // SAFETY: By the type invariant the packet is valid and ours.
        if unsafe {
            (*self.as_raw())
                .__bindgen_anon_3
                .__bindgen_anon_1
                ._skb_refdst
        } != 0
        {
            return;
        }
        // SAFETY: By the type invariant the packet is ours, and RCU is held for `'a`, during which
        // the destination and its device are valid.
        unsafe { bindings::skb_dst_set_noref(self.as_raw(), dst.as_raw()) };
    }

    /// Takes the destination from the packet.
    #[inline]
    fn dst_drop(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::skb_dst_drop(self.as_raw()) };
    }

    /// Asks which way this IPv4 packet goes, and gives it that destination instead of what it has.
    ///
    /// An error leaves it without one, and asking again gives the same error. Wraps
    /// `ip_route_input_noref()`.
    #[inline]
    pub fn ip_route_input(&mut self) -> Result<Answer<'a>> {
        if self.protocol() != Protocol::Ipv4 {
            return Err(EINVAL);
        }
        let header = self.ipv4_header().ok_or(EINVAL)?;
        let before = self.ip_flags();
        // The look-up takes for granted that there is none.
        self.dst_drop();
        // SAFETY: By the type invariant the packet is valid, its network header an IPv4 header, its
        // device the one it came in by, and RCU is held, as a destination without a reference
        // wants.
        let reason = unsafe {
            bindings::ip_route_input_noref(
                self.as_raw(),
                header.daddr.to_be(),
                header.saddr.to_be(),
                bindings::inet_dsfield_to_dscp(header.tos),
                (*self.dev()).as_raw(),
            )
        };
        if reason != 0 || self.has_moved() {
            self.take_back(before);
            return Err(EHOSTUNREACH);
        }
        let after = self.ip_flags();
        // SAFETY: The look-up has given the packet this destination, in the critical section that
        // lasts for `'a`.
        let dst = unsafe { self.looked_up() }.ok_or(EHOSTUNREACH)?;
        Ok(Answer {
            dst,
            before,
            redirects: after & bindings::IPSKB_DOREDIRECT != 0,
            is_multipath: after & bindings::IPSKB_MULTIPATH != 0,
        })
    }

    /// Whether the source of this IPv4 packet, which has the destination `dst`, is valid where it
    /// is checked as `check` says and the mark has no say in it.
    ///
    /// [`ip_route_input`](Self::ip_route_input) has asked that, too, but by settings as they were
    /// at that moment, and only where they want it. From here on, the stack counts changes of the
    /// route back. This may refuse a source that the stack accepts, and not the other way round. As
    /// `__fib_validate_source()`.
    pub fn has_valid_source(
        &self,
        net: &Namespace,
        in_dev: &InDevice<'_>,
        check: SourceCheck,
        dst: &ValidDst,
    ) -> bool {
        let Some(header) = self.ipv4_header() else {
            return false;
        };
        let mut flow: bindings::flowi4 = pin_init::zeroed();
        flow.__fl_common.flowic_iif = if dst.is_local() {
            bindings::LOOPBACK_IFINDEX as c_int
        } else {
            dst.dev().ifindex()
        };
        // The way back.
        flow.daddr = header.saddr.to_be();
        flow.saddr = header.daddr.to_be();
        // SAFETY: The namespace is valid; without a socket, only its owner is asked.
        unsafe {
            flow.__fl_common.flowic_dscp = bindings::inet_dsfield_to_dscp(header.tos);
            flow.__fl_common.flowic_uid = bindings::sock_net_uid(net.as_raw(), ptr::null());
        }
        let mut result = MaybeUninit::<bindings::fib_result>::uninit();
        // SAFETY: The namespace is valid, and by the type invariant RCU is held, under which what
        // is found stays valid.
        let error =
            unsafe { bindings::fib_lookup(net.as_raw(), &mut flow, result.as_mut_ptr(), 0) };
        if error != 0 {
            return check == SourceCheck::Off;
        }
        // SAFETY: Without an error the type and the route are there.
        let (kind, info) = unsafe { ((*result.as_ptr()).type_, (*result.as_ptr()).fi) };
        // The members of a group decide below, and the stack does not count when they change.
        // SAFETY: The route is valid under RCU; its next hop and what kind that is stay.
        if check != SourceCheck::Off && unsafe { is_by_group(info) } {
            return false;
        }
        match u32::from(kind) {
            bindings::RTN_UNICAST => (),
            bindings::RTN_LOCAL if check == SourceCheck::Off => {
                return in_dev.is_on(Setting::AcceptLocal)
            }
            _ => return false,
        }
        match check {
            SourceCheck::Off => true,
            // SAFETY: A route to a host has next hops, and is valid under RCU, like the device.
            _ if unsafe { bindings::fib_info_nh_uses_dev(info, self.dev().as_raw()) } => true,
            SourceCheck::Strict => false,
            SourceCheck::Loose => in_dev.has_address(),
        }
    }

    /// Takes back what [`ip_route_input`](Self::ip_route_input) or
    /// [`ip6_route_input`](Self::ip6_route_input) gave.
    #[inline]
    pub fn forget_route(&mut self, answer: Answer<'_>) {
        self.take_back(answer.before);
    }

    /// Asks which way this IPv6 packet goes, and gives it that destination, which may be one that
    /// refuses it. `None` for a packet of another protocol, and for one whose device has moved to
    /// another namespace meanwhile, which stays without a destination.
    ///
    /// Wraps `ip6_route_input()`.
    #[inline]
    pub fn ip6_route_input(&mut self) -> Option<Answer<'a>> {
        if self.protocol() != Protocol::Ipv6 {
            return None;
        }
        let before = self.ip_flags();
        // SAFETY: By the type invariant the packet is valid, with an IPv6 header, a device, and
        // RCU held.
        unsafe { bindings::ip6_route_input(self.as_raw()) };
        if self.has_moved() {
            self.take_back(before);
            return None;
        }
        // SAFETY: The look-up has given the packet this destination, in the critical section that
        // lasts for `'a`.
        let dst = unsafe { self.looked_up() }?;
        Some(Answer {
            dst,
            before,
            redirects: false,
            is_multipath: u32::from(self.ip_flags()) & bindings::IP6SKB_MULTIPATH != 0,
        })
    }

    /// Whether the device is in another namespace than when the hook began. The look-up has asked
    /// for the device's namespace once more, and got the routes of that one.
    ///
    /// A packet that a program has held may be under way while its device moves: the last grace
    /// period before that is over then. It does not move a second time: that takes another one.
    #[inline]
    fn has_moved(&self) -> bool {
        !self.dev().is_in(self.net())
    }

    /// Leaves the packet without a destination, and with the notes that IP had made before.
    #[inline]
    fn take_back(&mut self, ip_flags: u16) {
        self.dst_drop();
        // SAFETY: As in `ip_flags()`, and the packet is ours.
        unsafe { *self.ip_flags_mut() = ip_flags };
    }

    /// What IP notes about the packet: `IPCB(skb)->flags` or `IP6CB(skb)->flags`.
    #[inline]
    fn ip_flags(&self) -> u16 {
        // SAFETY: By the type invariant the packet is valid; between IP and its hooks the control
        // block is IP's.
        unsafe { *self.ip_flags_mut() }
    }

    #[inline]
    fn ip_flags_mut(&self) -> *mut u16 {
        // SAFETY: By the type invariant the packet is valid; only addresses are taken.
        unsafe {
            let cb = &raw mut (*self.as_raw()).cb;
            match self.protocol() {
                Protocol::Ipv4 => &raw mut (*cb.cast::<bindings::inet_skb_parm>()).flags,
                Protocol::Ipv6 => &raw mut (*cb.cast::<bindings::inet6_skb_parm>()).flags,
            }
        }
    }

    /// The destination that a look-up has just given the packet.
    ///
    /// # Safety
    ///
    /// `ip_route_input_noref()` or `ip6_route_input()` must have given it, for `'a`'s RCU section,
    /// and nobody another since.
    #[inline]
    unsafe fn looked_up(&self) -> Option<&'a ValidDst> {
        // SAFETY: By the type invariant the packet is valid.
        let dst = NonNull::new(unsafe { bindings::skb_dst(self.as_raw()) })?;
        // SAFETY: The look-up found it among the routes in this critical section, and what was
        // found there is freed a grace period later, with a reference or without.
        Some(unsafe { ValidDst::from_raw(dst.as_ptr()) })
    }
}

/// Whether an IPv4 route leads to a group of next hops.
///
/// # Safety
///
/// The route must be valid under RCU, which must be held.
unsafe fn is_by_group(info: *const bindings::fib_info) -> bool {
    // SAFETY: By the caller's promise; a route does not change its next hop, and holds it.
    let nexthop = unsafe { (*info).nh };
    // SAFETY: As above; a next hop does not become a group.
    !nexthop.is_null() && unsafe { (*nexthop).is_group }
}

impl Dst {
    /// Whether packets of this protocol can have it that are in `net`.
    #[inline]
    fn is_of(&self, protocol: Protocol, net: &Namespace) -> bool {
        match protocol {
            Protocol::Ipv4 => self.family() == bindings::AF_INET,
            // SAFETY: By the type invariants both are valid; of the namespace, only an address is
            // taken.
            Protocol::Ipv6 => unsafe {
                ptr::eq(
                    (*self.as_raw()).ops,
                    &raw const (*net.as_raw()).ipv6.ip6_dst_ops,
                )
            },
        }
    }
}

impl Namespace {
    /// Whether packets of this protocol look for a socket that knows the way before they are
    /// routed (`ip_early_demux`, `tcp_early_demux`, `udp_early_demux`).
    #[inline]
    pub fn early_demux(&self, protocol: u8) -> bool {
        // SAFETY: By the type invariant the structure is valid; the settings are single bytes.
        let read = |setting: *const u8| unsafe { setting.read_volatile() } != 0;
        // SAFETY: By the type invariant the structure is valid; only an address is taken.
        let ipv4 = unsafe { &raw const (*self.as_raw()).ipv4 };
        // SAFETY: As above; only addresses are taken.
        let (all, tcp, udp) = unsafe {
            (
                &raw const (*ipv4).sysctl_ip_early_demux,
                &raw const (*ipv4).sysctl_tcp_early_demux,
                &raw const (*ipv4).sysctl_udp_early_demux,
            )
        };
        match u32::from(protocol) {
            bindings::IPPROTO_TCP => read(all) && read(tcp),
            bindings::IPPROTO_UDP => read(all) && read(udp),
            _ => false,
        }
    }

    /// A number that changes when IPv4 routes, addresses, rules or settings do that decide on them.
    ///
    /// As `rt_genid_ipv4()`.
    #[inline]
    pub fn rt_genid_ipv4(&self) -> u32 {
        // SAFETY: By the type invariant the structure is valid; the word is read whole.
        unsafe { (&raw const (*self.as_raw()).ipv4.rt_genid.counter).read_volatile() as u32 }
    }

    /// A number that changes when an IPv6 route is added, changed or deleted, or rules are, in
    /// whatever table. It does so after the change.
    ///
    /// Always zero where there are no routes: IPv6 is switched off as a whole (`ipv6.disable=1`),
    /// or the namespace is not complete.
    ///
    /// `net->ipv6.fib6_sernum`, which deletions leave as it is, and the number of deletions: both
    /// only grow, and so does the sum. Of two deletions at the same moment, in two tables, one may
    /// not be counted: the number changes all the same, and routes are unlinked before it does.
    #[inline]
    pub fn fib6_generation(&self) -> u32 {
        // Of a namespace that is complete, the statistics are freed by an `exit` callback.
        if !self.has_ipv6_routes() {
            return 0;
        }
        // SAFETY: By the type invariant the structure is valid, and so are its statistics, if it
        // has any, until the `exit` callbacks; the words are read whole.
        unsafe {
            let ipv6 = &raw const (*self.as_raw()).ipv6;
            let sernum = (&raw const (*ipv6).fib6_sernum.counter).read_volatile() as u32;
            let stats = (&raw const (*ipv6).rt6_stats)
                .read_volatile()
                .cast::<bindings::rt6_statistics>();
            if stats.is_null() {
                return 0;
            }
            let deleted = (&raw const (*stats).fib_discarded_routes).read_volatile();
            sernum.wrapping_add(deleted)
        }
    }

    /// Whether what IPv6 has allocated for its routes is there, unless it has nothing at all. Where
    /// its `init` callback fails, it leaves pointers to what it has freed again.
    #[inline]
    fn has_ipv6_routes(&self) -> bool {
        // SAFETY: By the type invariant the structure is valid; the words are read whole.
        unsafe {
            // As `net_initialized()`: so all `init` callbacks have succeeded, where they were
            // registered by then.
            let listed = (&raw const (*self.as_raw()).list.next).read_volatile();
            // Where IPv6 has come later, at boot, and has failed, it has taken this back.
            #[cfg(CONFIG_SMP)]
            let counted = !(&raw const (*self.as_raw()).ipv6.ip6_dst_ops.pcpuc_entries.counters)
                .read_volatile()
                .is_null();
            #[cfg(not(CONFIG_SMP))]
            let counted = true;
            !listed.is_null() && counted
        }
    }

    /// Whether policy rules look at more of an IPv4 packet than its addresses, mark and service:
    /// its ports, say.
    #[inline]
    pub fn rules_look_into_packets(&self) -> bool {
        #[cfg(CONFIG_IP_MULTIPLE_TABLES)]
        // SAFETY: By the type invariant the structure is valid; the word is read whole.
        unsafe {
            (&raw const (*self.as_raw()).ipv4.fib_rules_require_fldissect).read_volatile() != 0
        }
        #[cfg(not(CONFIG_IP_MULTIPLE_TABLES))]
        false
    }

    /// The same as [`rules_look_into_packets`](Self::rules_look_into_packets) for IPv6.
    #[inline]
    pub fn rules6_look_into_packets(&self) -> bool {
        #[cfg(CONFIG_IPV6_MULTIPLE_TABLES)]
        // SAFETY: By the type invariant the structure is valid; the word is read whole.
        unsafe {
            (&raw const (*self.as_raw()).ipv6.fib6_rules_require_fldissect).read_volatile() != 0
        }
        #[cfg(not(CONFIG_IPV6_MULTIPLE_TABLES))]
        false
    }

    /// Whether there are policy rules for IPv6 besides those that every namespace begins with.
    #[inline]
    pub fn has_rules6(&self) -> bool {
        #[cfg(CONFIG_IPV6_MULTIPLE_TABLES)]
        // SAFETY: By the type invariant the structure is valid; the flag is one byte.
        unsafe {
            (&raw const (*self.as_raw()).ipv6.fib6_has_custom_rules).read_volatile()
        }
        #[cfg(not(CONFIG_IPV6_MULTIPLE_TABLES))]
        false
    }

    /// Whether IPv6 packets are forwarded at all.
    #[inline]
    pub fn forwards_ipv6(&self) -> bool {
        // SAFETY: As above. The structure behind `devconf_all` is freed by an `exit` callback.
        unsafe {
            let all = (&raw const (*self.as_raw()).ipv6.devconf_all).read_volatile();
            let all = all.cast::<bindings::ipv6_devconf>();
            !all.is_null() && (&raw const (*all).forwarding).read_volatile() != 0
        }
    }
}
