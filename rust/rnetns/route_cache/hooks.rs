// SPDX-License-Identifier: GPL-2.0

//! The cache's hooks on packets. A namespace whose cache is off has no hook.

use kernel::{
    prelude::*,
    sync::rcu, //
};

use super::{
    cache::Cache,
    ipv4::Hook4,
    ipv6::Hook6, //
};
use crate::{
    net::{
        netfilter,
        ActiveNamespace,
        Namespace, //
    },
    pernet_slot, support,
};

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
}

/// Registers the hooks of a namespace if its cache is on, and unregisters them if it is off.
/// Process context, sleeps. `ENOMEM`.
pub(crate) fn follow_cache(net: &ActiveNamespace) -> Result {
    let is_on = || Cache::of(net, &rcu::read_lock()).is_some_and(|cache| cache.is_enabled());
    loop {
        let on = is_on();
        netfilter::set::<Hooks>(net, on)?;
        // Another CPU may have changed the setting meanwhile, and its hooks before ours.
        if is_on() == on {
            return Ok(());
        }
    }
}
