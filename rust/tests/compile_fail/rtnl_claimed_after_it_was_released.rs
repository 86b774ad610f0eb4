// SPDX-License-Identifier: GPL-2.0
// expect: E0505
// expect: cannot move out of `guard` because it is borrowed

//! The proof that RTNL is held ends where RTNL does.

include!("../preamble.rs");

/// Something that needs RTNL.
pub fn configure(_rtnl: rtnl::Held<'_>) {}

/// Releases RTNL, then claims to hold it.
pub fn late(net: &Namespace) {
    let guard = rtnl::lock(net);
    let held = guard.held();
    drop(guard);
    configure(held);
}
