// SPDX-License-Identifier: GPL-2.0

//! Notifications: what those who have joined the group `events` are told.

use kernel::{
    alloc::{
        flags::{
            GFP_ATOMIC,
            GFP_KERNEL, //
        },
        Flags, //
    },
    genl_group,
    net::{
        LiveNamespace,
        Namespace, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    uapi::{
        RNETNS_CMD_CACHE_NTF,
        RNETNS_CMD_FLUSH_NTF,
        RNETNS_FLUSH_A_FLUSHED, //
    },
};

use super::{
    family,
    put_report, //
};
use crate::route_cache::cache::Report;

/// Whether the family is registered. Packets may come before and after.
static IS_ON: Atomic<bool> = Atomic::new(false);

/// The family is registered.
pub(super) fn begin() {
    IS_ON.store(true, Relaxed);
}

/// The family is going to be unregistered. Waits for announcements that are made now.
pub(super) fn end() {
    IS_ON.store(false, Relaxed);
    rcu::synchronize_rcu();
}

/// Settings of the cache have changed. Whoever is not told because there is no memory sees it when
/// they ask the next time.
pub(super) fn cache(net: &LiveNamespace, report: &Report) {
    send_report(net, report, GFP_KERNEL);
}

/// The cache has stepped aside, or come back. In a packet's path.
pub(crate) fn aside(net: &Namespace, report: impl FnOnce() -> Report, _guard: &rcu::Guard) {
    if IS_ON.load(Relaxed) {
        send_report(net, &report(), GFP_ATOMIC);
    }
}

/// Entries were flushed by a request.
pub(super) fn flush(net: &LiveNamespace, flushed: u64) {
    let _ = family().notify(
        net,
        genl_group!(RNETNS_NLGRP_EVENTS),
        RNETNS_CMD_FLUSH_NTF as u8,
        GFP_KERNEL,
        |message| message.put_uint(RNETNS_FLUSH_A_FLUSHED, flushed),
    );
}

fn send_report(net: &Namespace, report: &Report, flags: Flags) {
    let _ = family().notify(
        net,
        genl_group!(RNETNS_NLGRP_EVENTS),
        RNETNS_CMD_CACHE_NTF as u8,
        flags,
        |message| put_report(message, report),
    );
}
