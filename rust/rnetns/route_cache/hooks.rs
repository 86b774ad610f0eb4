// SPDX-License-Identifier: GPL-2.0

//! The cache's hooks on packets. A namespace whose cache is off has no hook.

use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
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
struct Hooks;

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

type Registered = Arc<netfilter::Registration<Hooks>>;

kernel::sync::global_lock! {
    // SAFETY: `init` is called by `Registration::new`, before anything locks it.
    unsafe(uninit) static HOOKS: Mutex<Option<Registered>> = None;
}

/// The hooks while this exists.
pub(super) struct Registration(());

impl Registration {
    /// Registers the hooks in all namespaces whose cache is on.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: Called once, by the module's initialisation, before there is a netlink interface.
        unsafe { HOOKS.init() };
        *HOOKS.lock() = Some(Arc::pin_init(netfilter::register(), GFP_KERNEL)?);
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The netlink interface, which takes the lock too, is gone. The hooks are dropped after the
        // lock is released: dropping them waits for a grace period.
        let hooks = HOOKS.lock().take();
        drop(hooks);
    }
}

/// Registers the hooks of a namespace if its cache is on, and unregisters them if it is off.
/// Process context, sleeps. `ENOMEM`.
pub(crate) fn follow_cache(net: &ActiveNamespace) -> Result {
    let hooks = HOOKS.lock().clone().ok_or(ENODEV)?;
    let is_on = || Cache::of(net, &rcu::read_lock()).is_some_and(|cache| cache.is_enabled());
    loop {
        let on = is_on();
        hooks.set(net, on)?;
        // Another CPU may have changed the setting meanwhile, and its hooks before ours.
        if is_on() == on {
            return Ok(());
        }
    }
}
