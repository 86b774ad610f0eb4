// SPDX-License-Identifier: GPL-2.0

//! What the stack asks before it routes a packet: whether a connected socket takes it.
//!
//! The socket knows the way then, wherever routes lead. Who routes packets before the stack does
//! must leave it those.

use core::ptr;

use crate::{
    bindings,
    prelude::*, //
};

use super::{
    netfilter::{
        Packet,
        Protocol, //
    },
    Namespace, //
};

/// Both ends of a packet: addresses and ports in network order, and the device that it came in by.
struct Ends<A> {
    saddr: A,
    daddr: A,
    sport: u16,
    dport: u16,
    dif: c_int,
}

impl<A> Ends<A> {
    fn new(saddr: A, daddr: A, [s0, s1, d0, d1]: [u8; 4], packet: &Packet<'_>) -> Self {
        Self {
            saddr,
            daddr,
            sport: u16::from_ne_bytes([s0, s1]),
            dport: u16::from_ne_bytes([d0, d1]),
            dif: packet.dev().ifindex(),
        }
    }
}

impl Packet<'_> {
    /// Whether a connected socket of `net` may take the packet, which carries `protocol` right
    /// behind an IP header without options. Says so too if it cannot see the ports, and of UDP
    /// while there are programs that choose sockets (`sk_lookup`): to ask for a socket would run
    /// them, for packets that they are not meant to see.
    ///
    /// Any context in which packets are received. Wraps `__inet_lookup_established()` and
    /// `__udp4_lib_lookup()`, or what IPv6 has for them.
    pub fn has_connected_socket(&self, net: &Namespace, protocol: u8) -> bool {
        let protocol = u32::from(protocol);
        match self.protocol() {
            Protocol::Ipv4 => self.ipv4_ends().is_none_or(|ends| match protocol {
                bindings::IPPROTO_TCP => self.has_tcp_socket(net, &ends),
                bindings::IPPROTO_UDP => self.has_udp_socket(net, &ends),
                _ => false,
            }),
            Protocol::Ipv6 => self.ipv6_ends().is_none_or(|ends| match protocol {
                bindings::IPPROTO_TCP => self.has_tcp6_socket(net, &ends),
                bindings::IPPROTO_UDP => self.has_udp6_socket(net, &ends),
                _ => false,
            }),
        }
    }

    fn ipv4_ends(&self) -> Option<Ends<u32>> {
        let [saddr, daddr] = self.ipv4_addresses()?;
        let [.., p0, p1, p2, p3] = self.header::<24>()?;
        Some(Ends::new(saddr, daddr, [p0, p1, p2, p3], self))
    }

    fn ipv6_ends(&self) -> Option<Ends<bindings::in6_addr>> {
        let [s0, s1, s2, s3, d0, d1, d2, d3] = self.ipv6_addresses()?;
        let [.., p0, p1, p2, p3] = self.header::<44>()?;
        let address = |words| bindings::in6_addr {
            in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr32: words },
        };
        let (saddr, daddr) = (address([s0, s1, s2, s3]), address([d0, d1, d2, d3]));
        Some(Ends::new(saddr, daddr, [p0, p1, p2, p3], self))
    }

    fn has_tcp_socket(&self, net: &Namespace, ends: &Ends<u32>) -> bool {
        // SAFETY: The namespace is valid, and by the type invariant RCU is held.
        put(unsafe {
            bindings::__inet_lookup_established(
                net.as_raw(),
                ends.saddr,
                ends.sport,
                ends.daddr,
                u16::from_be(ends.dport),
                ends.dif,
                0,
            )
        })
    }

    fn has_tcp6_socket(&self, net: &Namespace, ends: &Ends<bindings::in6_addr>) -> bool {
        // SAFETY: As for IPv4; the addresses are only read.
        put(unsafe {
            bindings::__inet6_lookup_established(
                net.as_raw(),
                &raw const ends.saddr,
                ends.sport,
                &raw const ends.daddr,
                u16::from_be(ends.dport),
                ends.dif,
                0,
            )
        })
    }

    fn has_udp_socket(&self, net: &Namespace, ends: &Ends<u32>) -> bool {
        if has_lookup_programs() {
            return true;
        }
        // Without the packet: programs that choose one of several sockets are not asked. A
        // connected socket is chosen by none, and the packet may be for somebody else.
        // SAFETY: The namespace is valid, and by the type invariant RCU is held, under which a
        // socket that is found stays valid. The packet may be left out.
        unsafe {
            is_connected(bindings::__udp4_lib_lookup(
                net.as_raw(),
                ends.saddr,
                ends.sport,
                ends.daddr,
                ends.dport,
                ends.dif,
                0,
                ptr::null_mut(),
            ))
        }
    }

    fn has_udp6_socket(&self, net: &Namespace, ends: &Ends<bindings::in6_addr>) -> bool {
        if has_lookup_programs() {
            return true;
        }
        // SAFETY: As for IPv4; the addresses are only read.
        unsafe {
            is_connected(bindings::__udp6_lib_lookup(
                net.as_raw(),
                &raw const ends.saddr,
                ends.sport,
                &raw const ends.daddr,
                ends.dport,
                ends.dif,
                0,
                ptr::null_mut(),
            ))
        }
    }
}

/// Whether any namespace has a program that chooses sockets.
fn has_lookup_programs() -> bool {
    // SAFETY: The key is a static.
    unsafe { bindings::bpf_sk_lookup_is_enabled() }
}

/// Gives back the reference to a socket that was looked up for. Says whether there is one.
fn put(sk: *mut bindings::sock) -> bool {
    if !sk.is_null() {
        // SAFETY: The callers' look-ups have taken a reference.
        unsafe { bindings::sock_gen_put(sk) };
    }
    !sk.is_null()
}

/// Whether there is a socket, and it is connected.
///
/// # Safety
///
/// If `sk` is not null, it is valid.
unsafe fn is_connected(sk: *const bindings::sock) -> bool {
    // SAFETY: By the caller's promise; the state is a byte.
    let state = || unsafe { ptr::read_volatile(&raw const (*sk).__sk_common.skc_state) };
    !sk.is_null() && u32::from(state()) == bindings::TCP_ESTABLISHED
}
