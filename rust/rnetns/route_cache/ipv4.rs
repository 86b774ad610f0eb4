// SPDX-License-Identifier: GPL-2.0

//! IPv4 packets that come in.

use kernel::{
    net::{
        dst::{
            Dst,
            ValidDst, //
        },
        in_device::{
            InDevice,
            Setting,
            SourceCheck, //
        },
        net_device::NetDevice,
        netfilter::{
            self,
            Ipv4Header,
            Packet,
            Verdict, //
        },
        Namespace, //
    },
    workqueue::deferred::Deferred, //
};

use super::{
    cache::{
        Cache,
        Family,
        Inet4,
        Lookup,
        Ready, //
    },
    key::Key4,
    trace, //
};

/// The hook on IPv4 packets. It comes last: other hooks have already changed the packet.
pub(crate) struct Hook4;

impl netfilter::PreRouting for Hook4 {
    const PROTOCOL: netfilter::Protocol = netfilter::Protocol::Ipv4;
    const PRIORITY: i32 = netfilter::LAST;

    #[inline]
    fn pre_routing(net: &Namespace, packet: &mut Packet<'_>) -> Verdict {
        route(net, packet);
        Verdict::Accept
    }
}

/// Gives the packet its route, if it is one for the cache. Otherwise the packet stays as it was.
///
/// Most of the work is in another function, so that packets do not pay for it where the cache is of
/// no use.
#[inline]
fn route(net: &Namespace, packet: &mut Packet<'_>) -> Option<()> {
    // As all that this machine sends to itself.
    if packet.is_decided() {
        return None;
    }
    let cache = Cache::of(net, packet.rcu())?;
    let ready = cache.ready::<Inet4, _, _>(&packet.ipv4_addresses()?)?;
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
    let header = packet.ipv4_header()?;
    let dev = packet.dev();
    if packet.has_special_extensions()
        || !has_plain_addresses(&header)
        || header.ihl != 5
        || dev.is_l3mdev()
    {
        return None;
    }
    let in_dev = InDevice::of(net, dev, guard)?;
    let check = in_dev.source_check();
    let key = key(packet, &header, dev, &in_dev, check)?;
    match cache.lookup::<Inet4, _>(net, ready, &key, guard) {
        Lookup::Hit(dst) => {
            // A change of the setting that the stack takes back, because the lock was not free, is
            // seen by packets all the same, and no generation counts it.
            let is_refused = !dst.is_local() && !in_dev.forwards();
            if is_refused || is_left_to_sockets(net, packet, &header, dst) {
                Cache::left(cache, net, ready, guard);
            } else {
                cache.used(ready);
                trace::hit(net.inum(), || Inet4::key(&key), dst);
                packet.set_dst_noref(dst);
            }
        }
        Lookup::Miss(ticket) => {
            trace::miss(net.inum(), || Inet4::key(&key));
            if !may_ask(net, &in_dev) {
                Cache::decline(cache, net, ticket, guard);
                return None;
            }
            // The stack refuses such packets itself: it first looks for a socket that accepts them,
            // and counts what it drops.
            let Ok(answer) = packet.ip_route_input() else {
                Cache::decline(cache, net, ticket, guard);
                return None;
            };
            let dst = answer.dst();
            let is_left = has_socket(net, packet, &header);
            // The stack has checked the source itself, by settings that may have been others at
            // that moment, and be again now what they were before: nothing counts how often they
            // change. Where sources are not checked, it may not even have looked the source up.
            // Then it would count no change of the route back, which may make the source one that
            // is refused.
            let is_cacheable = !answer.redirects()
                && !answer.is_multipath()
                && is_cacheable(dst, dev)
                && packet.has_valid_source(net, &in_dev, check, dst);
            match is_cacheable.then(|| dst.hold(guard)).flatten() {
                Some(held) => {
                    Cache::insert::<Inet4, _>(cache, net, ticket, &key, held, guard);
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

/// Whether both addresses are those of hosts, and not of this machine's own network (127.0.0.0/8).
/// Other addresses follow special rules that no cached route can hold.
#[inline(always)]
fn has_plain_addresses(header: &Ipv4Header) -> bool {
    let is_plain = |address: u32| {
        let network = address >> 24;
        network != 0 && network != 127 && network < 224
    };
    is_plain(header.saddr) && is_plain(header.daddr)
}

#[inline(always)]
fn key(
    packet: &Packet<'_>,
    header: &Ipv4Header,
    dev: &NetDevice,
    in_dev: &InDevice<'_>,
    check: SourceCheck,
) -> Option<[u32; super::key::WORDS4]> {
    // With this setting the mark decides whether a source is valid, and no generation counts a
    // change of the setting.
    if in_dev.is_on(Setting::SrcValidMark) {
        return None;
    }
    Key4 {
        saddr: header.saddr,
        daddr: header.daddr,
        iif: dev.ifindex() as u32,
        mark: packet.mark(),
        dscp: header.tos,
        rp_filter: check as u8,
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
    header: &Ipv4Header,
    dst: &Dst,
) -> bool {
    seeks_socket(net, header)
        && (dst.is_local() || packet.has_connected_socket(net, header.protocol))
}

/// Whether there may be a socket that knows the route, which the stack would look for. If there is
/// none, the stack would only ask for the route.
fn has_socket(net: &Namespace, packet: &Packet<'_>, header: &Ipv4Header) -> bool {
    seeks_socket(net, header) && packet.has_connected_socket(net, header.protocol)
}

/// Whether the stack looks for a socket that knows the route. It does so only for packets without
/// a socket.
#[inline(always)]
fn seeks_socket(net: &Namespace, header: &Ipv4Header) -> bool {
    !header.is_fragment && net.early_demux(header.protocol)
}

/// Whether the route depends on the key alone, as far as that is known before it is looked up.
fn may_ask(net: &Namespace, in_dev: &InDevice<'_>) -> bool {
    // A refused packet is looked up a second time by the stack, and would be logged twice.
    !in_dev.is_on(Setting::LogMartians)
        // The stack counts up its generation after a change of these two.
        && !in_dev.is_on(Setting::BcForwarding)
        && !net.rules_look_into_packets()
}

/// Whether a route can be cached: `dst_check()` will tell when it is no longer right.
fn is_cacheable(dst: &ValidDst, in_dev: &NetDevice) -> bool {
    dst.error() == 0
        && dst.leads_somewhere()
        && !dst.is_exception()
        && !dst.has_lwtunnel()
        && ((dst.is_local() && !dst.has_realm())
            // A packet that leaves where it came in may call for a redirect.
            || (dst.dev().ifindex() != in_dev.ifindex()
                // When a path MTU or a redirect is learnt, the next hop marks the routes that it
                // keeps itself. It does not know the others.
                && dst.is_kept_by_route()))
}
