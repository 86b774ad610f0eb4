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
pub fn with_reference(registration: &pernet::Registration<State>, net: &ActiveNamespace) -> u32 {
    let state = registration.get(net);
    rcu::synchronize_rcu();
    state.map_or(0, |state| state.0)
}

/// A reference that is kept.
pub struct Keeper(ARef<ActiveNamespace>);

/// Takes one, if that is possible.
pub fn keep(net: &Namespace) -> Option<Keeper> {
    net.get().map(Keeper)
}

/// The right registration for the kind.
pub fn register() -> impl PinInit<pernet::Registration<State>, Error> {
    pernet::register_pernet_subsys()
}
