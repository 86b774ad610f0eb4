// SPDX-License-Identifier: GPL-2.0

//! The network's rate limit of messages.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::bindings;

/// Whether the caller may write to the kernel log now, after the network's common rate limit.
///
/// Wraps `net_ratelimit()` of `net/core/utils.c`. May be called from any context.
///
/// # Examples
///
/// ```
/// # use kernel::net;
/// if net::ratelimit() {
///     pr_warn!("dropping a packet\n");
/// }
/// ```
#[inline]
pub fn ratelimit() -> bool {
    // SAFETY: `net_ratelimit()` has no requirements: its state is a static under its own lock.
    unsafe { bindings::net_ratelimit() != 0 }
}
