// SPDX-License-Identifier: GPL-2.0

//! IPv4 packets that come in.

use kernel::sync::rcu;

use super::{
    cache::{
        Cache,
        Family,
        Inet4,
        Lookup,
        Ready, //
    },
    key::Key4,
    stats::Stat,
    trace, //
};
use crate::net::{
    deferred::Deferred,
    dst::Dst,
    in_device::{
        InDevice,
        Setting, //
    },
    net_device::NetDevice,
    netfilter::{
        self,
        Ipv4Header,
        Packet,
        Verdict, //
    },
    Namespace, //
};

/// The hook on IPv4 packets, behind all others: what changes packets before they are routed has
/// done so.
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

/// Gives the packet its route, if the cache has anything to do with it. Else the stack finds it in
/// the state in which it was.
///
/// Most of it is a function of its own: where the cache steps aside, packets do not pay for it.
#[inline]
fn route(net: &Namespace, packet: &mut Packet<'_>) -> Option<()> {
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
    if packet.is_special() || !has_plain_addresses(&header) || header.ihl != 5 || dev.is_l3mdev() {
        return None;
    }
    let in_dev = InDevice::of(net, dev, guard)?;
    let key = key(packet, &header, dev, &in_dev)?;
    match cache.lookup::<Inet4, _>(net, ready, &key, guard) {
        Lookup::Hit(dst) => {
            if is_left_to_sockets(net, packet, &header, dst) {
                cache.count(Stat::Left);
            } else {
                cache.count(Stat::Hits);
                trace::hit(net.inum(), || Inet4::key(&key), dst, guard);
                packet.set_dst_noref(dst);
            }
        }
        Lookup::Miss(ticket) => {
            trace::miss(net.inum(), || Inet4::key(&key));
            if !may_ask(net, &in_dev) {
                Cache::decline(cache, ticket);
                return None;
            }
            // Refused packets are the stack's to refuse: it looks for a socket that knows better
            // first, and counts what it drops.
            let Ok(answer) = packet.ip_route_input() else {
                Cache::decline(cache, ticket);
                return None;
            };
            let dst = packet.dst()?;
            let is_left = is_left_to_sockets(net, packet, &header, dst);
            let is_plain = !answer.redirects() && !answer.is_multipath();
            match dst.hold() {
                Some(dst) if is_plain && is_cacheable(&dst, dev, guard) => {
                    Cache::insert::<Inet4, _>(cache, net, ticket, &key, dst, guard);
                }
                _ => Cache::decline(cache, ticket),
            }
            if is_left {
                packet.forget_route(answer);
            }
        }
    }
    Some(())
}

/// Whether both addresses are those of hosts, on any network but this machine's own. The others
/// have rules of their own, which are not kept as routes.
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
) -> Option<[u32; super::key::WORDS4]> {
    // With this setting the mark has a say in whether a source is valid: a change of it is not
    // noticed otherwise.
    if in_dev.max(Setting::SrcValidMark) != 0 {
        return None;
    }
    Key4 {
        saddr: header.saddr,
        daddr: header.daddr,
        iif: dev.ifindex() as u32,
        mark: packet.mark(),
        dscp: header.tos,
        rp_filter: in_dev.max(Setting::RpFilter).clamp(0, 3) as u8,
    }
    .words()
}

/// Whether the stack would look for a socket that knows the way, which it only does for packets
/// without one, and may find it: a packet for this machine is left to it at once, of those for others
/// the few for which there is one.
#[inline(always)]
fn is_left_to_sockets(
    net: &Namespace,
    packet: &Packet<'_>,
    header: &Ipv4Header,
    dst: &Dst,
) -> bool {
    !header.is_fragment
        && net.early_demux(header.protocol)
        && (dst.is_local() || packet.has_connected_socket(net, header.protocol))
}

/// Whether the route depends on nothing but the key, as far as that can be known before it is
/// looked up.
fn may_ask(net: &Namespace, in_dev: &InDevice<'_>) -> bool {
    // It was off when the key was made, and may have been switched on since.
    in_dev.max(Setting::SrcValidMark) == 0
        // A packet that is refused is looked up a second time: that would be told twice.
        && in_dev.max(Setting::LogMartians) == 0
        && in_dev.max(Setting::BcForwarding) == 0
        && !net.rules_look_into_packets()
}

/// Whether a route can be kept: `dst_check()` will tell when it is no longer right.
fn is_cacheable(dst: &Dst, in_dev: &NetDevice, guard: &rcu::Guard) -> bool {
    dst.error() == 0
        && dst.leads_somewhere()
        && !dst.is_exception()
        && !dst.has_lwtunnel()
        && ((dst.is_local() && !dst.has_realm())
            // A packet that leaves where it came in may call for a redirect.
            || (dst.dev(guard).ifindex() != in_dev.ifindex()
                // The next hop marks the routes that it keeps when a path MTU or a redirect is
                // learnt; the others it does not know.
                && dst.is_kept_by_route()))
}
