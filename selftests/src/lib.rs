// SPDX-License-Identifier: GPL-2.0

//! What the selftests in Rust share.
//!
//! | module | holds |
//! |---|---|
//! | [`ktap`] | cases, their results, the report |
//! | [`module`] | `rnetns.ko`: loading, unloading, the figures it shows |
//! | [`netns`] | namespaces without a name, that end when nobody holds them |
//! | [`memory`] | how much the kernel has allocated, exactly enough to see a leak |
//! | [`command`] | programs of the system, `ip` first |
//! | [`genl`] | the netlink family `rnetns`, byte by byte |
//! | [`router`] | a namespace whose cache has as many entries as a test wants |

pub mod command;
pub mod genl;
pub mod idle_hooks;
pub mod ktap;
pub mod memory;
pub mod module;
pub mod netns;
pub mod router;

use std::time::{Duration, Instant};

/// Whether `KSFT_MACHINE_SLOW` says that this machine does not keep time, as under emulation with a
/// kernel that watches itself.
pub fn is_slow() -> bool {
    std::env::var_os("KSFT_MACHINE_SLOW").is_some_and(|value| !value.is_empty())
}

/// `limit` on a machine that keeps time; longer on one that [`is_slow`].
pub fn patience(limit: Duration) -> Duration {
    if is_slow() { limit * 10 } else { limit }
}

/// Asks until the answer is yes. False if it is still no after `limit`, or what [`patience`] makes of
/// it.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience(limit);
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
