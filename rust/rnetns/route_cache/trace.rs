// SPDX-License-Identifier: GPL-2.0

//! Tracepoints: what `rnetns:route_cache_*` shows of packets and entries.

use kernel::{
    declare_safe_trace,
    net::{
        dst::ValidDst,
        tracepoint::Address, //
    },
};

use super::cache::Key;

/// The arguments of each: inode number of the namespace, family, source, destination, index of the
/// device that packets come in by, mark, and index of the device that they leave by.
type Arguments = (u32, u16, Address, Address, u32, u32, u32);

declare_safe_trace! {
    fn route_cache_hit(
        netns: u32,
        family: u16,
        saddr: Address,
        daddr: Address,
        iif: u32,
        mark: u32,
        oif: u32,
    );

    fn route_cache_miss(
        netns: u32,
        family: u16,
        saddr: Address,
        daddr: Address,
        iif: u32,
        mark: u32,
        oif: u32,
    );

    fn route_cache_evict(
        netns: u32,
        family: u16,
        saddr: Address,
        daddr: Address,
        iif: u32,
        mark: u32,
        oif: u32,
    );
}

fn arguments(netns: u32, key: &Key, oif: u32) -> Arguments {
    let (saddr, daddr, iif, mark) = match key {
        Key::V4(key) => (
            Address::v4(key.saddr),
            Address::v4(key.daddr),
            key.iif,
            key.mark,
        ),
        Key::V6(key) => (
            Address::v6(key.saddr),
            Address::v6(key.daddr),
            key.iif,
            key.mark,
        ),
    };
    (netns, saddr.family(), saddr, daddr, iif, mark, oif)
}

/// A packet was routed by an entry.
#[inline(always)]
pub(crate) fn hit(netns: u32, key: impl FnOnce() -> Key, dst: &ValidDst) {
    route_cache_hit(|| arguments(netns, &key(), dst.dev().ifindex() as u32));
}

/// There was no valid entry for a packet. Its route is not known yet.
#[inline(always)]
pub(crate) fn miss(netns: u32, key: impl FnOnce() -> Key) {
    route_cache_miss(|| arguments(netns, &key(), 0));
}

/// An entry was dropped to make room for another of the same namespace.
#[inline(always)]
pub(crate) fn evict(netns: u32, key: impl FnOnce() -> Key) {
    route_cache_evict(|| arguments(netns, &key(), 0));
}
