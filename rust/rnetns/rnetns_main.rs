// SPDX-License-Identifier: GPL-2.0

//! Per-namespace state, and a loopback device in every network namespace.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | what each namespace has one of: counters, age, generation |
//! | [`loopback`] | `rlo`, a loopback device in each namespace |
//! | [`support`] | which namespaces the module works in (`init_net_only`) |
//! | [`introspection`] | the state as user space sees it, in debugfs |

use kernel::prelude::*;

use crate::net::{
    net_device,
    pernet, //
};

#[allow(unreachable_pub)]
#[path = "../bindings/mod.rs"]
mod bindings;
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../kernel/net/mod.rs"]
mod net;

mod introspection;
mod loopback;
mod state;
mod support;

use crate::{
    introspection::Introspection,
    loopback::Rlo,
    state::State, //
};

module! {
    type: Rnetns,
    name: "rnetns",
    authors: ["rnetns developers"],
    description: "Network namespaces in Rust: per-namespace state and loopback",
    license: "GPL",
    params: {
        init_net_only: bool {
            default: false,
            description: "Refuse to work in any namespace but the initial one (default: N)",
        },
    },
}

/// The module while it is loaded.
///
/// Fields are dropped from the first to the last: what user space reads goes before the devices,
/// and these before the state that they count in.
#[pin_data]
pub struct Rnetns {
    #[pin]
    introspection: Introspection,
    #[pin]
    loopback: net_device::Registration<Rlo>,
    #[pin]
    state: pernet::Registration<State>,
}

impl kernel::InPlaceModule for Rnetns {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        support::set_init_net_only(module_parameters::init_net_only.value());
        try_pin_init!(Self {
            state <- pernet::register_pernet_subsys(),
            loopback <- net_device::register(),
            introspection <- introspection::new(),
        })
    }
}
