// SPDX-License-Identifier: GPL-2.0

//! The cache's hooks on packets. A namespace whose cache was never on has no hook.

use kernel::{
    net::{
        netfilter,
        LiveNamespace,
        Namespace, //
    },
    pernet_slot,
    prelude::*,
    sync::rcu, //
};

use super::{
    cache::Cache,
    ipv4::Hook4,
    ipv6::Hook6, //
};
use crate::support;

/// Both hooks of a namespace.
pub(super) struct Hooks;

pernet_slot!(Hooks: netfilter::Registered);

impl netfilter::Hooks for Hooks {
    fn hooks() -> &'static [netfilter::Hook] {
        static HOOKS: [netfilter::Hook; 2] = [
            netfilter::Hook::pre_routing::<Hook4>(),
            netfilter::Hook::pre_routing::<Hook6>(),
        ];
        &HOOKS
    }

    fn applies_to(net: &Namespace) -> bool {
        support::is_supported(net)
    }

    fn are_on_at_first(net: &Namespace) -> bool {
        Cache::of(net, &rcu::read_lock()).is_some_and(|cache| cache.is_enabled())
    }

    fn stay_off(net: &Namespace) {
        if let Some(cache) = Cache::of(net, &rcu::read_lock()) {
            cache.stay_off();
        }
    }
}

/// Those of a namespace, for the work that is done for its cache.
pub(super) fn switch(net: &Namespace, guard: &rcu::Guard) -> Option<netfilter::Switch> {
    netfilter::Switch::of::<Hooks>(net, guard)
}

/// Puts the cache in the packets' way, for as long as the namespace or the module lasts. Where it
/// is off again, the hooks let packets pass: to unregister a hook drops all packets of the
/// namespace that wait for a program's verdict (`NFQUEUE`), for whatever hook they do. Process
/// context, sleeps. `ENOMEM`; `EBUSY` where another hook comes last, which would see packets after
/// they were routed.
pub(crate) fn put_in_the_way(net: &LiveNamespace) -> Result {
    netfilter::turn_on::<Hooks>(net)
}
