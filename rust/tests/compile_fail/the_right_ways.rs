// SPDX-License-Identifier: GPL-2.0
// expect: compiles

//! The right ways: without this, the tests that fail to compile would prove little.

include!("../preamble.rs");

/// Under RCU.
pub fn under_rcu(net: &Namespace) -> u32 {
    let guard = rcu::read_lock();
    State::slot().get(net, &guard).map_or(0, |state| state.0)
}

/// With an active reference and the registration: may be kept while sleeping.
pub fn with_reference(registration: &pernet::Registration<State>, net: &LiveNamespace) -> u32 {
    let state = registration.get(net);
    rcu::synchronize_rcu();
    state.map_or(0, |state| state.0)
}

/// A reference that is kept.
pub struct Keeper(NamespaceRef);

/// Takes one, if that is possible.
pub fn keep(net: &Namespace) -> Option<Keeper> {
    net.get().map(Keeper)
}

/// Whom destinations are held for.
pub struct Holder;

pernet_slot!(Holder: dst::Holds);

/// A destination that is kept; its namespace waits for it.
pub struct Way(OwnedDst<Holder>);

impl Way {
    /// Takes a reference, if that is possible.
    pub fn new(dst: &Dst, guard: &rcu::Guard) -> Option<Self> {
        dst.hold(guard).map(Self)
    }

    /// Where it leads, if it still does.
    pub fn leaves_by(&self, guard: &rcu::Guard) -> Option<i32> {
        Some(self.0.check_now(guard)?.dev().ifindex())
    }
}

/// A packet that a device receives.
pub fn receive(skb: SkBuff<'_>, dev: &OwnNetDevice) {
    if let Ok(skb) = skb.eth_type_trans(dev) {
        skb.netif_rx();
    }
}

/// The right registration for the kind.
pub fn register() -> impl PinInit<pernet::Registration<State>, Error> {
    pernet::register_pernet_subsys()
}
