// SPDX-License-Identifier: GPL-2.0

//! The route cache: a table for each protocol, which all namespaces share. An entry carries the
//! namespace that it belongs to.
//!
//! A packet that comes in is looked up by what its route depends on: its namespace, addresses,
//! device, mark and service. If the route is there and still what it was, the packet gets it
//! without a look at rules and routes; else it is asked for, and kept.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | what a route depends on |
//! | [`tables`] | the shared tables, and how large they are |
//! | [`cache`] | a namespace's part: entries, quota, timeout |
//! | [`aside`] | when the cache lets packets pass, because it costs more than it saves |
//! | [`stats`] | what is counted |
//! | [`hooks`], [`ipv4`], [`ipv6`] | the hooks on packets |
//! | [`devices`] | what happens when devices change or go |
//! | [`trace`] | tracepoints: hits, misses and evictions as they happen |
//!
//! # How a change is noticed
//!
//! With the cache, packets must go where they would go without it. For everything that decides on
//! a route, one of these holds:
//!
//! | what decides | how a change is noticed |
//! |---|---|
//! | addresses, device, mark, DSCP, the flow label where there are rules | they are in the key |
//! | IPv4 routes, rules, addresses, next hops; `forwarding`, `accept_local`, `route_localnet` | the stack counts up `rt_genid`, which `dst_check()` compares |
//! | IPv6 routes, rules, addresses | an entry has the sum of `fib6_sernum` and of the number of deletions; `dst_check()` knows of one table alone |
//! | either of them while a route is looked up | an entry is refused if the number is not what it was before |
//! | `rp_filter` | it is in the key: the stack counts nothing up. The stack may have read another value than the key: the source is looked up once more before an entry goes in |
//! | the route back to an IPv4 source | the stack counts up `rt_genid` for a route that somebody has looked up: so each source is, before an entry goes in |
//! | the members of the next hop group by which the source is checked | not cached: the stack counts nothing when they change |
//! | `src_valid_mark` | nothing is cached while it is on; the source is looked up once more, without the mark |
//! | `log_martians`, `bc_forwarding` | nothing is cached while they are on |
//! | path MTUs, redirects that were learnt | the stack marks the route; routes with one are not cached |
//! | realms | local IPv4 routes that have one are not cached |
//! | several next hops, IPv6 next hop objects, of the route or of one that an IPv6 rule has passed over | not cached: what else is in the packet may decide |
//! | rules that look at ports or protocols | nothing is cached while there are any |
//! | redirects to be sent | packets that leave where they came in are not cached |
//! | a socket that knows the way (early demux) | TCP and UDP packets are left to it: those for this machine, and others if it is there |
//! | a tunnel's metadata on the packet | it is not looked up |
//! | IPsec, a bridge's netfilter | packets that were protected, or are bridged, are not looked up |
//! | VRFs | packets of their devices are not cached |
//! | IP options, multicast, limited broadcast, addresses of the link or of the machine itself | not cached |
//! | the next header, by which IPv6 rules decide on what comes in by `lo` | such packets are not cached where there are rules |
//! | a device that moves while a packet waits in a queue | the packet is let pass, or its route is not kept |
//! | a device that goes up or down, loses its carrier, changes MTU, master or name | the namespace's entries are flushed |
//! | a device that goes or moves to another namespace | its entries go before it does |
//!
//! What is not noticed:
//!
//! - `ignore_routes_with_linkdown` that is changed while a link has no carrier; RFC 4191
//!   preferences of IPv6 routers; the group of a device (`suppress_ifgroup`) that is changed in
//!   sysfs.
//! - An IPv6 route that has expired and is renewed before it is collected: packets stay on the next
//!   best one while they keep coming.
//! - An IPv4 route that is deleted or replaced while the first packet ever is looking it up on
//!   another CPU, and that shares its next hop with other routes: the stack may see no user of it,
//!   and count nothing. The entry then stays for as long as packets come.
//! - An IPv4 route that a driver refuses (a FIB notifier, of netdevsim, say) can be seen for a moment,
//!   and goes without being counted: who looks it up in that moment stays on it, if its next hop is
//!   shared with another route, for as long as packets come.
//! - An IPv6 route for which there was no memory when the first packet asked for it: the stack goes on to
//!   the next rule or table for that packet, and the cache keeps that answer while packets come.
//! - A member of a next hop group that is replaced, where an IPv4 rule with `suppress_ifgroup` has passed
//!   over the group's route.
//! - On an IPv6 host that forwards nothing, whether the neighbour of a better route has failed or
//!   not: packets for a local route of the same table stay there while they keep coming.
//! - A redirect or a path MTU that is learnt while the first packet since a change of routes is
//!   looking up the same next hop on another CPU: the stack then marks a destination that this
//!   look-up replaces. The entry stays for as long as packets come.
//! - The next hop in a group of one that is replaced: old entries end with the old next hop, a grace
//!   period later.
//! - What the stack counts per look-up (`/proc/net/stat/rt_cache`), and who traces look-ups: those
//!   that hit are not there, and a packet that is refused, or left to a connected socket after a
//!   miss, is there twice.
//!
//! The cache comes after all other hooks: it routes packets as those have made them. Among hooks of
//! the same, last, priority, netfilter puts the new one in front. So where another one is there
//! already, the cache is off, and cannot be switched on; what is registered later with the same
//! priority comes before it.
//!
//! Whoever unregisters a netfilter hook of a namespace drops the packets of it that wait for the
//! verdict of a program (`NFQUEUE`). So the hooks stay when the cache is switched off, and let
//! packets pass. They go while the cache steps aside if there are no others in the namespace, by
//! which a packet could wait. They come back unless another one of the last priority is there by
//! then. Unloading the module has to unregister them.

use kernel::{
    net::{
        dst,
        netdev_notifier,
        netfilter,
        pernet, //
    },
    prelude::*, //
};

mod aside;
pub(crate) mod cache;
pub(crate) mod devices;
pub(crate) mod hooks;
mod ipv4;
mod ipv6;
pub(crate) mod key;
pub(crate) mod stats;
pub(crate) mod tables;
mod trace;

use self::{
    cache::PernetCache,
    devices::Devices,
    hooks::Hooks,
    tables::{
        Holder,
        Tables, //
    }, //
};

/// The route cache while it exists.
///
/// Fields are dropped from the first to the last: no packet sees a cache that is gone, the
/// destinations that the caches hold are given back with them, and the tables go when no namespace
/// uses them. A namespace that ends does it in the same order.
#[pin_data]
pub(crate) struct RouteCache {
    #[pin]
    hooks: netfilter::Registration<Hooks>,
    #[pin]
    devices: netdev_notifier::Registration<Devices>,
    #[pin]
    caches: pernet::Registration<PernetCache>,
    #[pin]
    holder: dst::Registration<Holder>,
    #[pin]
    tables: pernet::Registration<Tables>,
}

impl RouteCache {
    /// Gives each namespace a cache, and puts it in the packets' way.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            tables <- pernet::register_pernet_subsys(),
            holder <- dst::register(),
            caches <- pernet::register_pernet_subsys(),
            devices <- netdev_notifier::register(),
            hooks <- netfilter::register(),
        })
    }
}
