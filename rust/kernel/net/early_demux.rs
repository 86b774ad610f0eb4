// SPDX-License-Identifier: GPL-2.0

//! What the stack asks before it routes a packet: whether a connected socket takes it.
//!
//! The socket knows the way then, wherever routes lead. Code that routes packets before the stack
//! does must leave packets of such sockets alone.
//!
//! C headers: [`include/net/inet_hashtables.h`](srctree/include/net/inet_hashtables.h),
//! [`include/net/udp.h`](srctree/include/net/udp.h)

use core::ptr::NonNull;

use crate::{
    bindings,
    container_of,
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

    /// The port of the packet's destination.
    fn port(&self) -> u32 {
        u16::from_be(self.dport).into()
    }

    /// Both ports as a socket has them (`skc_portpair`): the far one in network order, its own one
    /// in the order of the machine. As `INET_COMBINED_PORTS()`.
    fn ports(&self) -> bindings::__portpair {
        let ([a, b], [c, d]) = (
            self.sport.to_ne_bytes(),
            u16::from_be(self.dport).to_ne_bytes(),
        );
        u32::from_ne_bytes([a, b, c, d])
    }
}

impl Ends<u32> {
    /// Both addresses as a socket has them (`skc_addrpair`): the far one first. As
    /// `INET_ADDR_COOKIE()`.
    fn cookie(&self) -> bindings::__addrpair {
        let ([a, b, c, d], [e, f, g, h]) = (self.saddr.to_ne_bytes(), self.daddr.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Packet<'_> {
    /// Whether a connected socket of `net` takes the packet, which carries `protocol` right behind
    /// an IP header without options. Says so too if it cannot see the ports.
    ///
    /// Any context in which packets are received. Wraps `__inet_lookup_established()`, and for UDP
    /// does what `udp_v4_early_demux()` does, or what IPv6 has for them.
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
        // SAFETY: The namespace is valid, and by the type invariant RCU is held, under which a
        // socket that is found stays valid.
        unsafe {
            let hash = bindings::ipv4_portaddr_hash(net.as_raw(), ends.daddr, ends.port());
            first_udp_socket(net, hash).is_some_and(|sk| {
                bindings::inet_match(
                    net.as_raw(),
                    sk.as_ptr(),
                    ends.cookie(),
                    ends.ports(),
                    ends.dif,
                    0,
                )
            })
        }
    }

    fn has_udp6_socket(&self, net: &Namespace, ends: &Ends<bindings::in6_addr>) -> bool {
        // SAFETY: As for IPv4; the addresses are only read, and the state is a byte.
        unsafe {
            let hash =
                bindings::ipv6_portaddr_hash(net.as_raw(), &raw const ends.daddr, ends.port());
            first_udp_socket(net, hash).is_some_and(|sk| {
                let state = (&raw const (*sk.as_ptr()).__sk_common.skc_state).read_volatile();
                u32::from(state) == bindings::TCP_ESTABLISHED
                    && bindings::inet6_match(
                        net.as_raw(),
                        sk.as_ptr(),
                        &raw const ends.saddr,
                        &raw const ends.daddr,
                        ends.ports(),
                        ends.dif,
                        0,
                    )
            })
        }
    }
}

/// The first UDP socket of those whose address and port have this hash. The stack looks at no other
/// one either: there may be very many, in all namespaces.
///
/// # Safety
///
/// RCU must be held for as long as the socket is used.
unsafe fn first_udp_socket(net: &Namespace, hash: u32) -> Option<NonNull<bindings::sock>> {
    // SAFETY: The namespace is valid, and has the table for as long. The list is the first member of
    // the slot. By the caller's promise RCU is held, under which the first node is valid; all nodes
    // are those of sockets.
    unsafe {
        let slot = bindings::udp_hashslot2((*net.as_raw()).ipv4.udp_table.cast(), hash);
        let head = slot.cast::<bindings::hlist_head>();
        let node = NonNull::new((&raw const (*head).first).read_volatile())?;
        let node = node.as_ptr().cast::<bindings::sock_common__bindgen_ty_4>();
        let sk = container_of!(node, bindings::sock, __sk_common.__bindgen_anon_4);
        Some(NonNull::new_unchecked(sk))
    }
}

/// Gives back the reference to a socket that was looked up for. Says whether there is one.
fn put(sk: *mut bindings::sock) -> bool {
    if !sk.is_null() {
        // SAFETY: The callers' look-ups have taken a reference.
        unsafe { bindings::sock_gen_put(sk) };
    }
    !sk.is_null()
}
