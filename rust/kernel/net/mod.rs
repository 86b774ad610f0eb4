// SPDX-License-Identifier: GPL-2.0

//! Networking.
//!
//! | module | wraps |
//! |---|---|
//! | [`namespace`] | `struct net`: identity, life time, references |
//! | [`pernet`] | `struct pernet_operations`, `net_generic()`: per-namespace state |
//! | [`deferred`] | `struct delayed_work`: work that ends with what it is for |
//! | [`dev_lookup`] | finding a device by its name, and holding it |
//! | [`dst`] | `struct dst_entry`: where a packet goes |
//! | [`genl`] | `struct genl_info`: requests, replies and dumps of generic netlink |
//! | [`ida`] | `struct ida`: numbers that are handed out |
//! | [`in_device`] | `struct in_device`: the IPv4 settings of a device |
//! | [`jiffies`] | jiffies as user space counts time |
//! | [`memory`] | how much memory the machine has |
//! | [`netdev_notifier`] | news about network devices |
//! | [`netfilter`] | hooks on the packets of a namespace |
//! | [`net_device`] | `struct net_device`: a device in every namespace |
//! | [`packet_type`] | `struct packet_type`: handlers of packets |
//! | [`sk_buff`] | `struct sk_buff`: a packet |
//! | [`sock`] | `struct sock`: the namespace of a socket |
//! | [`xmit`] | sending packets made in the kernel |
//! | [`pcpu_counters`] | per-CPU counters |
//! | [`route`] | the question which way a packet goes |
//! | [`rtnl`] | the RTNL mutex |
//! | [`spinlock_bh`] | spinlocks that packets take as well |
//! | [`tagged_table`] | a hash table that namespaces share |
//! | [`tracepoint`] | `struct tracepoint`: tracepoints that are safe to call |

pub mod deferred;
pub mod dev_lookup;
pub mod dst;
pub mod early_demux;
pub mod genl;
pub mod ida;
pub mod in_device;
pub mod jiffies;
pub mod memory;
pub mod namespace;
pub mod net_device;
pub mod netdev_notifier;
pub mod netfilter;
pub mod packet_type;
pub mod pcpu_counters;
pub mod pernet;
pub mod route;
pub mod rtnl;
pub mod sk_buff;
pub mod sock;
pub mod spinlock_bh;
pub mod tagged_table;
pub mod tracepoint;
pub mod xmit;

pub use self::namespace::{
    ActiveNamespace,
    Namespace,
    Tag, //
};

use crate::bindings;

/// Whether the caller may write to the kernel log now, after the network's common rate limit.
///
/// Wraps `net_ratelimit()` of `net/core/utils.c`. May be called from any context.
///
/// # Examples
///
/// ```
/// if net::ratelimit() {
///     pr_warn!("dropping a packet\n");
/// }
/// ```
#[inline]
pub fn ratelimit() -> bool {
    // SAFETY: `net_ratelimit()` has no requirements: its state is a static under its own lock.
    unsafe { bindings::net_ratelimit() != 0 }
}
