// SPDX-License-Identifier: GPL-2.0

//! The question which way a packet goes that has come in.
//!
//! C headers: [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/ip6_route.h`](srctree/include/net/ip6_route.h)

use kernel::prelude::*;

use super::{
    netfilter::{
        Packet,
        Protocol, //
    },
    Namespace, //
};
use crate::bindings;

/// What the look-up says about an IPv4 packet besides the destination (`IPCB(skb)->flags`).
#[derive(Clone, Copy)]
pub struct Answer {
    before: u16,
    after: u16,
}

impl Answer {
    /// Whether the sender is to be told of a better way: that depends on more than the route.
    pub fn redirects(self) -> bool {
        self.after & bindings::IPSKB_DOREDIRECT != 0
    }

    /// Whether the route has several next hops, and one was chosen for this packet.
    pub fn is_multipath(self) -> bool {
        self.after & bindings::IPSKB_MULTIPATH != 0
    }
}

impl Packet<'_> {
    /// Asks which way this IPv4 packet goes, and gives it that destination.
    ///
    /// An error leaves it without one, and asking again gives the same error. Wraps
    /// `ip_route_input_noref()`.
    pub fn ip_route_input(&mut self) -> Result<Answer> {
        if self.protocol() != Protocol::Ipv4 {
            return Err(EINVAL);
        }
        let header = self.ipv4_header().ok_or(EINVAL)?;
        let before = self.ip_flags();
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
        if reason != 0 {
            self.dst_drop();
            self.set_ip_flags(before);
            return Err(EHOSTUNREACH);
        }
        let after = self.ip_flags();
        Ok(Answer { before, after })
    }

    /// Takes back what [`ip_route_input`](Self::ip_route_input) gave.
    pub fn forget_route(&mut self, answer: Answer) {
        self.dst_drop();
        if self.protocol() == Protocol::Ipv4 {
            self.set_ip_flags(answer.before);
        }
    }

    /// Asks which way this IPv6 packet goes, and gives it that destination, which may be one that
    /// refuses it.
    ///
    /// Wraps `ip6_route_input()`.
    pub fn ip6_route_input(&mut self) {
        if self.protocol() == Protocol::Ipv6 {
            // SAFETY: By the type invariant the packet is valid, with an IPv6 header, a device, and
            // RCU held.
            unsafe { bindings::ip6_route_input(self.as_raw()) };
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
        // SAFETY: As above.
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
    /// `net->ipv6.fib6_sernum`, which deletions leave as it is, and the number of deletions: both
    /// only grow, and so does the sum. Of two deletions at the same moment, in two tables, one may
    /// not be counted: the number changes all the same, and routes are unlinked before it does.
    #[inline]
    pub fn fib6_generation(&self) -> u32 {
        // SAFETY: By the type invariant the structure is valid, and so are its statistics, while it
        // has devices that packets come in by; the words are read whole.
        unsafe {
            let ipv6 = &raw const (*self.as_raw()).ipv6;
            let sernum = (&raw const (*ipv6).fib6_sernum.counter).read_volatile() as u32;
            let stats = (&raw const (*ipv6).rt6_stats)
                .read()
                .cast::<bindings::rt6_statistics>();
            let deleted = (&raw const (*stats).fib_discarded_routes).read_volatile();
            sernum.wrapping_add(deleted)
        }
    }

    /// Whether policy rules look at more of an IPv4 packet than its addresses, mark and service:
    /// its ports, say.
    #[inline]
    pub fn rules_look_into_packets(&self) -> bool {
        // SAFETY: By the type invariant the structure is valid; the words are read whole.
        unsafe {
            (&raw const (*self.as_raw()).ipv4.fib_rules_require_fldissect).read_volatile() != 0
        }
    }

    /// The same for IPv6.
    #[inline]
    pub fn rules6_look_into_packets(&self) -> bool {
        // SAFETY: As above.
        unsafe {
            (&raw const (*self.as_raw()).ipv6.fib6_rules_require_fldissect).read_volatile() != 0
        }
    }

    /// Whether there are policy rules for IPv6 besides those that every namespace begins with.
    #[inline]
    pub fn has_rules6(&self) -> bool {
        // SAFETY: As above.
        unsafe { (&raw const (*self.as_raw()).ipv6.fib6_has_custom_rules).read_volatile() }
    }

    /// Whether IPv6 packets are forwarded at all.
    #[inline]
    pub fn forwards_ipv6(&self) -> bool {
        // SAFETY: As above. The structure behind `devconf_all` lives as long as the namespace.
        unsafe {
            let all = (&raw const (*self.as_raw()).ipv6.devconf_all).read_volatile();
            let all = all.cast::<bindings::ipv6_devconf>();
            !all.is_null() && (&raw const (*all).forwarding).read_volatile() != 0
        }
    }
}
