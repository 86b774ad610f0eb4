// SPDX-License-Identifier: GPL-2.0

//! Networking.
//!
//! | module | wraps |
//! |---|---|
//! | [`namespace`] | `struct net`: identity, life time, references |
//! | [`pernet`] | `struct pernet_operations`, `net_generic()`: per-namespace state |
//! | [`dev_lookup`] | finding a device by its name, and holding it |
//! | [`net_device`] | `struct net_device`: a device in every namespace |
//! | [`packet_type`] | `struct packet_type`: handlers of packets |
//! | [`sk_buff`] | `struct sk_buff`: a packet |
//! | [`sock`] | `struct sock`: the namespace of a socket |
//! | [`xmit`] | sending packets made in the kernel |
//! | [`pcpu_counters`] | per-CPU counters |
//! | [`rtnl`] | the RTNL mutex |

pub mod dev_lookup;
pub mod namespace;
pub mod net_device;
pub mod packet_type;
pub mod pcpu_counters;
pub mod pernet;
pub mod rtnl;
pub mod sk_buff;
pub mod sock;
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
pub fn ratelimit() -> bool {
    // SAFETY: `net_ratelimit()` has no requirements: its state is a static under its own lock.
    unsafe { bindings::net_ratelimit() != 0 }
}
