// SPDX-License-Identifier: GPL-2.0

//! Per-namespace state, a loopback device in every network namespace, and one route cache for all.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | what each namespace has one of: counters, age, generation |
//! | [`loopback`] | `rlo`, a loopback device in each namespace |
//! | [`route_cache`] | the cached routes of all namespaces, in shared tables |
//! | [`netlink`] | the generic netlink family `rnetns` |
//! | [`support`] | which namespaces the module works in (`init_net_only`) |
//! | [`introspection`] | the state as user space sees it, in debugfs |

use kernel::{
    net::{
        net_device,
        pernet, //
    },
    prelude::*, //
};

mod introspection;
mod loopback;
mod netlink;
mod route_cache;
mod state;
mod support;

use crate::{
    introspection::Introspection,
    loopback::Rlo,
    netlink::Netlink,
    route_cache::{
        tables::Sizes,
        RouteCache, //
    },
    state::State, //
};

module! {
    type: Rnetns,
    name: "rnetns",
    authors: ["rnetns developers"],
    description: "Network namespaces in Rust: per-namespace state, loopback, one route cache",
    license: "GPL",
    params: {
        init_net_only: bool {
            default: false,
            description: "Refuse to work in any namespace but the initial one (default: N)",
        },
        rlo: bool {
            default: true,
            description: "Give each namespace a loopback device, rlo (default: Y)",
        },
        buckets: u32 {
            default: 0,
            description: "Lines of the route cache's tables, a power of two (default: by memory)",
        },
        quota: u32 {
            default: 65536,
            description: "Entries of the route cache that a namespace may have (default: 65536)",
        },
        max_quota: u32 {
            default: 1048576,
            description: "The largest quota that a namespace can be given (default: 1048576)",
        },
        timeout: u32 {
            default: 60,
            description: "Seconds without use after which a cached route goes (default: 60)",
        },
        enable: bool {
            default: true,
            description: "Whether namespaces begin with the route cache on (default: Y)",
        },
    },
}

/// The module while it is loaded.
///
/// Fields are dropped from the first to the last: what user space reads and changes goes before the
/// devices, and these before the state that they count in.
#[pin_data]
pub struct Rnetns {
    netlink: Netlink,
    #[pin]
    introspection: Introspection,
    #[pin]
    route_cache: RouteCache,
    #[pin]
    loopback: net_device::Registration<Rlo>,
    #[pin]
    state: pernet::Registration<State>,
}

/// What the parameters say about the route cache.
fn sizes() -> Result<Sizes> {
    Sizes::new(
        module_parameters::buckets.value(),
        module_parameters::quota.value(),
        module_parameters::max_quota.value(),
        module_parameters::timeout.value(),
        module_parameters::enable.value(),
    )
}

impl kernel::InPlaceModule for Rnetns {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        support::set_init_net_only(module_parameters::init_net_only.value());
        support::set_has_rlo(module_parameters::rlo.value());
        try_pin_init!(Self {
            state <- pernet::register_pernet_subsys(),
            loopback <- net_device::register(),
            route_cache <- RouteCache::new(),
            netlink: Netlink::new()?,
            // The last one: a module whose `init` fails does not wait for those who have a file open.
            introspection <- introspection::new(),
        })
    }
}
