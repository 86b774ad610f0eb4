// SPDX-License-Identifier: GPL-2.0

//! Namespaces come and go while the module does.
//!
//! Two threads create one namespace after another; each new one ends the one before. One thread
//! loads and unloads the module. One reads and changes the state of the namespaces that exist. They
//! do not wait for each other. In the end everything must be in its place.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;

use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::memory::{self, live_namespaces, settled_namespaces, wait_for_namespaces};
use rnetns_selftests::module::{self, Figures, Module};
use rnetns_selftests::netns::{Netns, has_device, unshare_net};
use rnetns_selftests::{patience, wait_until};

/// The least time that the loops run. They go on until each has met the others.
const DURATION: Duration = Duration::from_secs(5);
/// Namespaces end more slowly than they begin. Beyond this many, the loops let the ends catch up.
const MOST_AT_ONCE: i64 = 200;
/// Threads that create namespaces.
const CREATORS: usize = 2;

fn main() -> ExitCode {
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[
        ("namespaces_come_and_go_while_the_module_does", race),
        ("everything_is_in_its_place_afterwards", afterwards),
    ])
}

/// How often each event happened.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    namespaces: AtomicU64,
    with_device: AtomicU64,
    without_device: AtomicU64,
    loads: AtomicU64,
    looks: AtomicU64,
    changes: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Counts {
    fn counted(&self) -> [(&'static str, &AtomicU64); 6] {
        [
            ("namespaces created", &self.namespaces),
            ("of these, seen with rlo", &self.with_device),
            ("of these, seen without rlo", &self.without_device),
            ("module loaded and unloaded", &self.loads),
            ("state read", &self.looks),
            ("generation changed", &self.changes),
        ]
    }

    /// What has not happened yet.
    fn missing(&self) -> Option<&'static str> {
        let never = |(what, count): (_, &AtomicU64)| (count.load(Relaxed) == 0).then_some(what);
        self.counted().into_iter().find_map(never)
    }

    /// Repeats `step` until time is up. An error ends all loops.
    fn repeat(&self, name: &str, mut step: impl FnMut() -> Result<()>) {
        while !self.stop.load(Relaxed) {
            if let Err(error) = step() {
                self.stop.store(true, Relaxed);
                if let Ok(mut failures) = self.failures.lock() {
                    failures.push(format!("{name}: {error:#}"));
                }
            }
        }
    }
}

fn race() -> Result<Outcome> {
    let module = Module::open()?;
    let at_first = settled_namespaces()?;
    let counts = Counts::default();
    thread::scope(|scope| {
        for _ in 0..CREATORS {
            scope.spawn(|| counts.repeat("create", || create(&counts)));
        }
        scope.spawn(|| counts.repeat("load", || load(&module, &counts)));
        scope.spawn(|| counts.repeat("look", || look(&counts)));
        let begin = Instant::now();
        let goes_on = || match begin.elapsed() {
            elapsed if elapsed < DURATION => true,
            elapsed => elapsed < patience() && counts.missing().is_some(),
        };
        while goes_on() && !counts.stop.load(Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
        counts.stop.store(true, Relaxed);
    });
    report(&counts)?;
    wait_for_namespaces(at_first)?;
    Ok(Outcome::Pass)
}

fn report(counts: &Counts) -> Result<()> {
    for (what, count) in counts.counted() {
        comment(&format!("{what}: {}", count.load(Relaxed)));
    }
    let failures = counts.failures.lock().map(|f| f.join("; ")).unwrap_or_default();
    ensure!(failures.is_empty(), "{failures}");
    match counts.missing() {
        Some(what) => bail!("the loops did not meet: {what}: never"),
        None => Ok(()),
    }
}

fn create(counts: &Counts) -> Result<()> {
    unshare_net().context("create a namespace")?;
    let seen = match has_device()? {
        true => &counts.with_device,
        false => &counts.without_device,
    };
    seen.fetch_add(1, Relaxed);
    fresh()?;
    let number = counts.namespaces.fetch_add(1, Relaxed);
    if number.is_multiple_of(32) {
        while live_namespaces()? > MOST_AT_ONCE && !counts.stop.load(Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Nobody has used the thread's namespace yet, so its figures must be those of a new one. Any others
/// would come from a state that is used after its memory was freed.
fn fresh() -> Result<()> {
    let inum = Netns::own()?.inum();
    let Ok(figures) = Figures::of(inum) else {
        return Ok(());
    };
    for name in ["device_packets", "device_bytes", "socket_packets", "socket_bytes", "dropped"] {
        ensure!(figures.get(name)? == 0, "a new namespace begins with {figures:?}");
    }
    ensure!(figures.get("generation")? == 1, "a new namespace begins with {figures:?}");
    Ok(())
}

fn load(module: &Module, counts: &Counts) -> Result<()> {
    let loaded = module.load()?;
    // Long enough for namespaces to begin and end with it.
    thread::sleep(Duration::from_millis(20));
    loaded.unload()?;
    thread::sleep(Duration::from_millis(20));
    counts.loads.fetch_add(1, Relaxed);
    Ok(())
}

/// Reads the figures and changes one. Whether there is anything to read is chance.
fn look(counts: &Counts) -> Result<()> {
    if let Ok(all) = module::all() {
        let count = u64::from(!all.is_empty());
        counts.looks.fetch_add(count, Relaxed);
    }
    match module::next_generation("pid 1") {
        Ok(()) => counts.changes.fetch_add(1, Relaxed),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            // Not loaded; being loaded; being unloaded, which it may be before its files go.
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::EACCES | Errno::EIO) => 0,
            _ => bail!("change a generation: {error}"),
        },
    };
    thread::sleep(Duration::from_millis(1));
    Ok(())
}

fn afterwards() -> Result<Outcome> {
    let module = Module::open()?;
    let at_first = settled_namespaces()?;
    let own = Netns::own()?;
    let loaded = module.load()?;
    let fresh: Vec<Netns> = (0..3).map(|_| Netns::new()).collect::<Result<_>>()?;
    let want: BTreeSet<u64> = fresh.iter().chain([&own]).map(Netns::inum).collect();
    // A namespace that has ended may be listed for a moment.
    let listed = || module::all().map(|all| all.into_keys().collect::<BTreeSet<u64>>());
    let alone = wait_until(|| listed().is_ok_and(|listed| listed == want));
    ensure!(alone, "state in {:?}, want it in {want:?}", listed()?);
    for net in &fresh {
        ensure!(net.run(has_device)?, "a new namespace has no device");
        ensure!(Figures::of(net.inum())?.get("generation")? == 1, "not the first generation");
    }
    loaded.unload()?;
    for net in fresh.iter().chain([&own]) {
        ensure!(!net.run(has_device)?, "a device is left behind");
    }
    drop(fresh);
    wait_for_namespaces(at_first)?;
    Ok(Outcome::Pass)
}
