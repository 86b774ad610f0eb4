// SPDX-License-Identifier: GPL-2.0

//! Networking: the abstractions of this project, and what they extend.
//!
//! Upstream, the lines without `#[path]` are those of `rust/kernel/net/mod.rs`.

#[cfg(all(CONFIG_INET, CONFIG_IPV6, CONFIG_64BIT, not(CONFIG_PREEMPT_RT)))]
#[path = "../kernel/net/dst.rs"]
pub mod dst;
#[cfg(all(CONFIG_INET, CONFIG_IPV6, CONFIG_NETFILTER))]
#[path = "../kernel/net/early_demux.rs"]
pub mod early_demux;
#[cfg(CONFIG_INET)]
#[path = "../kernel/net/in_device.rs"]
pub mod in_device;
mod later;
#[path = "../kernel/net/namespace.rs"]
pub mod namespace;
#[path = "../kernel/net/net_device.rs"]
pub mod net_device;
#[path = "../kernel/net/netdev_notifier.rs"]
pub mod netdev_notifier;
#[cfg(CONFIG_NETFILTER)]
#[path = "../kernel/net/netfilter.rs"]
pub mod netfilter;
pub mod netlink;
#[cfg(CONFIG_64BIT)]
#[path = "../kernel/net/pcpu_counters.rs"]
pub mod pcpu_counters;
#[path = "../kernel/net/pernet.rs"]
pub mod pernet;
#[path = "../kernel/net/ratelimit.rs"]
mod ratelimit;
#[cfg(all(
    CONFIG_INET,
    CONFIG_IPV6,
    CONFIG_NETFILTER,
    CONFIG_64BIT,
    not(CONFIG_PREEMPT_RT)
))]
#[path = "../kernel/net/route.rs"]
pub mod route;
#[path = "../kernel/net/rtnl.rs"]
pub mod rtnl;
#[path = "../kernel/net/sk_buff.rs"]
pub mod sk_buff;
#[path = "../kernel/net/sock.rs"]
pub mod sock;
#[cfg(all(CONFIG_64BIT, not(CONFIG_PREEMPT_RT)))]
#[path = "../kernel/net/tagged_table/mod.rs"]
pub mod tagged_table;
#[path = "../kernel/net/tracepoint.rs"]
pub mod tracepoint;

pub use self::{
    later::Cookie,
    namespace::{
        LiveNamespace,
        Namespace,
        NamespaceRef, //
    },
    ratelimit::ratelimit, //
};
