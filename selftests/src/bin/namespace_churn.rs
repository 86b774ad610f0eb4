// SPDX-License-Identifier: GPL-2.0

//! 2,000 namespaces begin and end (500 on a slow machine), and memory is back where it was.
//!
//! The test compares numbers of objects: of each kmalloc cache, of per-CPU allocations, of
//! namespaces. A leak of one object for each namespace shows as that many objects, whatever their
//! size. The limit is a tenth of that: far above what the rest of the system allocates meanwhile,
//! and far below the smallest leak. To show that the figures see such a leak, the test makes one: it
//! allocates objects, one for each namespace that would have leaked.
//!
//! Some namespaces end while their route cache has entries.

use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::eventfd::EventFd;

use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::memory::{
    self, Usage, live_namespaces, settled_namespaces, wait_for_namespaces,
};
use rnetns_selftests::module::{self, Module};
use rnetns_selftests::netns::{Netns, in_thread, unshare_net};
use rnetns_selftests::router::Router;
use rnetns_selftests::{is_slow, wait_until};

/// Namespaces that come and go.
const NAMESPACES: i64 = 2000;
/// The same on a slow machine, where each takes half a second.
const NAMESPACES_WHEN_SLOW: i64 = 500;
/// How many objects the control leaks: more would cost time, and not show more.
const LEAKED: usize = 400;
/// Namespaces before the first look, so that caches that never shrink have grown.
const WARM_UP: i64 = 100;
/// Routers that come and go with entries in their cache; those before the first look; and entries of
/// each family.
const ROUTERS: i64 = 60;
const ROUTERS_WHEN_SLOW: i64 = 20;
const WARM_ROUTERS: i64 = 5;
const KEPT: u16 = 3;
/// Threads that create them.
const CREATORS: i64 = 2;
/// Namespaces end more slowly than they begin. Beyond this many, the loops let the ends catch up.
const MOST_AT_ONCE: i64 = 100;

fn main() -> ExitCode {
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[
        ("a_leaked_slab_object_a_namespace_would_be_seen", slab_control),
        ("a_leaked_percpu_object_a_namespace_would_be_seen", percpu_control),
        ("memory_is_back_after_many_namespaces", churn),
        ("routes_are_given_back_at_the_end_of_a_namespace", routes),
    ])
}

fn how_many() -> i64 {
    if is_slow() { NAMESPACES_WHEN_SLOW } else { NAMESPACES }
}

/// Growth of a figure beyond this is a leak.
fn limit() -> i64 {
    how_many() / 10
}

/// Creates and ends `count` namespaces, until there are no more than `at_first`.
fn namespaces(count: i64, at_first: i64) -> Result<()> {
    thread::scope(|scope| {
        let creators: Vec<_> =
            (0..CREATORS).map(|_| scope.spawn(move || create(count / CREATORS))).collect();
        creators.into_iter().try_for_each(|creator| {
            creator.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panic")))
        })
    })?;
    wait_for_namespaces(at_first)
}

fn create(count: i64) -> Result<()> {
    for number in 0..count {
        unshare_net().with_context(|| format!("create namespace {number}"))?;
        if number % 20 == 0 {
            let room = || live_namespaces().is_ok_and(|live| live < MOST_AT_ONCE);
            ensure!(wait_until(room), "namespaces do not end");
        }
    }
    Ok(())
}

fn churn() -> Result<Outcome> {
    let module = Module::open()?;
    let loaded = module.load()?;
    let at_first = settled_namespaces()?;
    namespaces(WARM_UP, at_first)?;
    let before = Usage::now()?;
    comment(&format!("{} namespaces", how_many()));
    namespaces(how_many(), at_first)?;
    let mut grown = Vec::new();
    // Memory that is freed after a grace period, or by a worker, takes a while.
    wait_until(|| {
        grown = Usage::now().map(|now| now.grown_since(&before, limit())).unwrap_or_default();
        grown.is_empty()
    });
    let after = Usage::now()?;
    comment(&format!("largest growth: {:?}", largest(&after, &before)));
    ensure!(grown.is_empty(), "grown by more than {}: {grown:?}", limit());
    let own = Netns::own()?.inum();
    let gone = wait_until(|| module::all().is_ok_and(|all| all.keys().eq([&own])));
    ensure!(gone, "state in {:?}, want it in {own} alone", module::all()?.keys());
    loaded.unload()?;
    Ok(Outcome::Pass)
}

/// Each namespace keeps a route of each family in its cache when it ends.
fn routes() -> Result<Outcome> {
    let module = Module::open()?;
    let loaded = module.load()?;
    let at_first = settled_namespaces()?;
    routers(WARM_ROUTERS, at_first)?;
    let before = Usage::now()?;
    let count = if is_slow() { ROUTERS_WHEN_SLOW } else { ROUTERS };
    routers(count, at_first)?;
    let mut grown = Vec::new();
    let back = wait_until(|| {
        grown = Usage::now().map(|now| now.grown_since(&before, count / 2)).unwrap_or_default();
        grown.retain(|(name, _)| memory::ROUTES.contains(&name.as_str()));
        grown.is_empty()
    });
    ensure!(back, "{count} namespaces have ended, and left: {grown:?}");
    loaded.unload()?;
    Ok(Outcome::Pass)
}

fn routers(count: i64, at_first: i64) -> Result<()> {
    for _ in 0..count {
        Router::new(1)?.fill(KEPT, KEPT)?;
    }
    wait_for_namespaces(at_first)
}

fn largest(after: &Usage, before: &Usage) -> Option<(String, i64)> {
    after.grown_since(before, i64::MIN).into_iter().max_by_key(|(_, growth)| *growth)
}

/// `struct eventfd_ctx` is an object of kmalloc.
fn slab_control() -> Result<Outcome> {
    let before = Usage::now()?;
    let leaked: Vec<EventFd> =
        (0..LEAKED).map(|_| EventFd::new().context("make an eventfd")).collect::<Result<_>>()?;
    let grown = Usage::now()?.grown_since(&before, limit());
    comment(&format!("{LEAKED} eventfds: {grown:?}"));
    drop(leaked);
    ensure!(
        grown.iter().any(|(name, _)| name.starts_with("kmalloc-")),
        "{LEAKED} objects were allocated and none was seen"
    );
    Ok(Outcome::Pass)
}

/// Each mount has per-CPU counts. They go with the thread's own mount namespace.
fn percpu_control() -> Result<Outcome> {
    let before = Usage::now()?;
    if before.percpu.is_none() {
        return Ok(Outcome::Skip(
            "per-CPU allocations are not counted (CONFIG_PERCPU_STATS)".into(),
        ));
    }
    let grown = in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).context("own mounts")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private")?;
        for _ in 0..LEAKED {
            mount(Some("/proc"), "/proc", none, MsFlags::MS_BIND, none).context("bind /proc")?;
        }
        Ok(Usage::now()?.grown_since(&before, limit()))
    })?;
    comment(&format!("{LEAKED} mounts: {grown:?}"));
    ensure!(
        grown.iter().any(|(name, _)| name == "per-CPU"),
        "{LEAKED} per-CPU objects were allocated and none was seen"
    );
    let back = || Usage::now().is_ok_and(|now| now.grown_since(&before, limit()).is_empty());
    ensure!(wait_until(back), "the mounts did not go");
    Ok(Outcome::Pass)
}
