// SPDX-License-Identifier: GPL-2.0

//! Which namespaces the module works in.
//!
//! Code that is not ready for namespaces refuses to work in any but the initial one, and says so.
//! The module is ready for them; `init_net_only=1` makes it behave as if it were not.

use kernel::{
    net::{
        self,
        Namespace, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

static INIT_NET_ONLY: Atomic<bool> = Atomic::new(false);
static HAS_RLO: Atomic<bool> = Atomic::new(true);

/// Sets the rule, once, before anything is registered.
pub(crate) fn set_init_net_only(only: bool) {
    INIT_NET_ONLY.store(only, Relaxed);
}

/// Says whether namespaces get a loopback device, once, before anything is registered.
pub(crate) fn set_has_rlo(has: bool) {
    HAS_RLO.store(has, Relaxed);
}

/// Whether namespaces get a loopback device. The same answer for as long as the module is loaded.
pub(crate) fn has_rlo() -> bool {
    HAS_RLO.load(Relaxed)
}

/// Whether the module works in `net`. The same answer for as long as it is loaded.
pub(crate) fn is_supported(net: &Namespace) -> bool {
    net.is_init_net() || !INIT_NET_ONLY.load(Relaxed)
}

/// Refuses a namespace that the module does not work in: `EAFNOSUPPORT`, and a line in the log.
///
/// Every entry point that gets a namespace calls this before it does anything.
pub(crate) fn check(net: &Namespace) -> Result {
    if is_supported(net) {
        return Ok(());
    }
    if net::ratelimit() {
        pr_warn!(
            "namespace {} refused: loaded with init_net_only=1\n",
            net.inum()
        );
    }
    Err(EAFNOSUPPORT)
}
