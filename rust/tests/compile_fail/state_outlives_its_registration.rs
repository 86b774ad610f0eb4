// SPDX-License-Identifier: GPL-2.0
// expect: E0505
// expect: cannot move out of `registration` because it is borrowed

//! Unregistering frees the state of every namespace.

include!("../preamble.rs");

/// Reads the state after it was unregistered.
pub fn escape(registration: Pin<KBox<pernet::Registration<State>>>) -> u32 {
    let state = registration.get(LiveNamespace::init_net());
    drop(registration);
    state.map_or(0, |state| state.0)
}
