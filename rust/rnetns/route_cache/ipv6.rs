// SPDX-License-Identifier: GPL-2.0

//! IPv6 packets that come in.

use kernel::{
    net::{
        dst::{
            Dst,
            ValidDst, //
        },
        net_device::NetDevice,
        netfilter::{
            self,
            Ipv6Header,
            Packet,
            Verdict, //
        },
        Namespace, //
    },
    sync::rcu,
    workqueue::deferred::Deferred, //
};

use super::{
    cache::{
        Cache,
        Family,
        Inet6,
        Lookup,
        Ready, //
    },
    key::Key6,
    trace, //
};

/// The traffic class without the bits of congestion control.
const DSCP: u32 = 0x0fc0_0000;

/// The hook on IPv6 packets. It comes last.
pub(crate) struct Hook6;

impl netfilter::PreRouting for Hook6 {
    const PROTOCOL: netfilter::Protocol = netfilter::Protocol::Ipv6;
    const PRIORITY: i32 = netfilter::LAST;

    #[inline]
    fn pre_routing(net: &Namespace, packet: &mut Packet<'_>) -> Verdict {
        route(net, packet);
        Verdict::Accept
    }
}

/// Gives the packet its route, if it is one for the cache.
#[inline]
fn route(net: &Namespace, packet: &mut Packet<'_>) -> Option<()> {
    // As all that this machine sends to itself.
    if packet.is_decided() {
        return None;
    }
    let cache = Cache::of(net, packet.rcu())?;
    let ready = cache.ready::<Inet6, _, _>(&packet.ipv6_addresses()?)?;
    route_cached(net, packet, cache, ready)
}

#[inline(never)]
fn route_cached(
    net: &Namespace,
    packet: &mut Packet<'_>,
    cache: &Deferred<Cache>,
    ready: Ready,
) -> Option<()> {
    let guard = packet.rcu();
    let header = packet.ipv6_header()?;
    let dev = packet.dev();
    if packet.has_special_extensions() || !has_plain_addresses(&header) || dev.is_l3mdev() {
        return None;
    }
    let has_rules = net.has_rules6();
    let key = key(has_rules, packet, &header, dev);
    match cache.lookup::<Inet6, _>(net, ready, &key, guard) {
        Lookup::Hit(dst) => {
            if is_left_to_sockets(net, packet, &header, dst) {
                Cache::left(cache, net, ready, guard);
            } else {
                cache.used(ready);
                trace::hit(net.inum(), || Inet6::key(&key), dst);
                packet.set_dst_noref(dst);
            }
        }
        Lookup::Miss(ticket) => {
            trace::miss(net.inum(), || Inet6::key(&key));
            // Rules may ask for more than the key holds. Even the flow label is not in the key if
            // the first rules came after the key was made.
            // The stack looks into no packet for a rule about what comes in by `lo`, but compares the
            // next header, which is not in the key either.
            let of_lo = has_rules && dev.is_lo();
            if of_lo || net.rules6_look_into_packets() || net.has_rules6() != has_rules {
                Cache::decline(cache, net, ticket, guard);
                return None;
            }
            let Some(answer) = packet.ip6_route_input() else {
                Cache::decline(cache, net, ticket, guard);
                return None;
            };
            let dst = answer.dst();
            let is_left = has_socket(net, packet, &header);
            let is_cacheable = !answer.is_multipath() && is_cacheable(net, dst, dev, guard);
            match is_cacheable.then(|| dst.hold(guard)).flatten() {
                Some(held) => {
                    Cache::insert::<Inet6, _>(cache, net, ticket, &key, held, guard);
                }
                None => Cache::decline(cache, net, ticket, guard),
            }
            if is_left {
                packet.forget_route(answer);
            }
        }
    }
    Some(())
}

/// Whether both addresses are global addresses of single hosts. Link-local and multicast addresses
/// have a scope, which is not part of the key.
#[inline(always)]
fn has_plain_addresses(header: &Ipv6Header) -> bool {
    let is_plain = |address: &[u32; 4]| {
        let first = u32::from_be(address[0]);
        // Not multicast, link-local or site-local. Not ::/32 either: it holds the unspecified
        // address, the machine's own, and those that stand for IPv4.
        first >> 24 != 0xff && first >> 23 != 0x1fd && first != 0
    };
    is_plain(&header.saddr) && is_plain(&header.daddr)
}

#[inline(always)]
fn key(
    has_rules: bool,
    packet: &Packet<'_>,
    header: &Ipv6Header,
    dev: &NetDevice,
) -> [u32; super::key::WORDS6] {
    // Rules may ask for the flow label: when there are any.
    let asked = if has_rules { u32::MAX } else { DSCP };
    Key6 {
        saddr: header.saddr,
        daddr: header.daddr,
        iif: dev.ifindex() as u32,
        mark: packet.mark(),
        flowinfo: header.flowinfo & asked,
    }
    .words()
}

/// Whether a packet whose route is `dst` is left to the sockets: if the stack would look for one
/// that knows the route, and may find one. A packet for this machine is left at once: two look-ups
/// for a socket cost more than one for a route.
#[inline(always)]
fn is_left_to_sockets(
    net: &Namespace,
    packet: &Packet<'_>,
    header: &Ipv6Header,
    dst: &Dst,
) -> bool {
    seeks_socket(net, header)
        && (dst.is_local() || packet.has_connected_socket(net, header.nexthdr))
}

/// Whether there may be a socket that knows the route, which the stack would look for. If there is
/// none, the stack would only ask for the route.
fn has_socket(net: &Namespace, packet: &Packet<'_>, header: &Ipv6Header) -> bool {
    seeks_socket(net, header) && packet.has_connected_socket(net, header.nexthdr)
}

/// Whether the stack looks for a socket that knows the route. It does so only for packets without
/// a socket.
#[inline(always)]
fn seeks_socket(net: &Namespace, header: &Ipv6Header) -> bool {
    net.early_demux(header.nexthdr)
}

/// Whether a route can be cached: `dst_check()` will tell when it is no longer right.
fn is_cacheable(net: &Namespace, dst: &ValidDst, in_dev: &NetDevice, guard: &rcu::Guard) -> bool {
    dst.error() == 0
        && dst.leads_somewhere()
        && !dst.is_exception()
        && !dst.has_lwtunnel()
        && !dst.is_multipath(guard)
        && dst.is_kept_by_route()
        && (dst.is_local() || (dst.dev().ifindex() != in_dev.ifindex() && net.forwards_ipv6()))
}
