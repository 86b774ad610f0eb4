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

pub mod command;
pub mod ktap;
pub mod memory;
pub mod module;
pub mod netns;

use std::time::{Duration, Instant};

/// Asks until the answer is yes. False if it is still no after `limit`.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
