// SPDX-License-Identifier: GPL-2.0

//! The library of the selftests in Rust.
//!
//! | module | holds |
//! |---|---|
//! | [`ktap`] | cases, their results, the report |
//! | [`module`] | `rnetns.ko`: loading, unloading, the figures it shows |
//! | [`netns`] | namespaces without a name, that end when nobody holds them |
//! | [`memory`] | how much the kernel has allocated, exactly enough to see a leak |
//! | [`command`] | programs of the system, `ip` first |
//! | [`genl`] | the netlink family `rnetns`, byte by byte |
//! | [`nfqueue`] | packets that wait for the verdict of this program |
//! | [`bpf`] | programs that choose sockets, in the kernel |
//! | [`fuzz`] | one scene with and without the route cache |
//! | [`router`] | a namespace whose cache has as many entries as a test wants |

pub mod bpf;
pub mod command;
pub mod fuzz;
pub mod genl;
pub mod idle_hooks;
pub mod ktap;
pub mod memory;
pub mod module;
pub mod netns;
pub mod nfqueue;
pub mod router;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When a test gives up waiting. An event that happens at all happens long before, even on a busy
/// machine. So this limit does not decide what is right; it only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(100);

/// Whether `KSFT_MACHINE_SLOW` says that this machine is slow, such as a debug kernel under
/// emulation.
pub fn is_slow() -> bool {
    std::env::var_os("KSFT_MACHINE_SLOW").is_some_and(|value| !value.is_empty())
}

/// Whether the test has given up once. Then it has failed, and need not wait as long for anything
/// else.
static HAS_GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// How long a test waits for an event that never happens. Longer on a machine that [`is_slow`].
pub fn patience() -> Duration {
    match HAS_GIVEN_UP.load(Relaxed) {
        true => PATIENCE / 20,
        false if is_slow() => PATIENCE * 10,
        false => PATIENCE,
    }
}

/// Asks until the answer is yes. Returns false if it is still no when [`patience`] ends.
pub fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience();
    while !done() {
        if Instant::now() >= end {
            HAS_GIVEN_UP.store(true, Relaxed);
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
