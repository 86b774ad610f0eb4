// SPDX-License-Identifier: GPL-2.0

//! Allocations fail, one in each attempt: the first, the second, and so on to the last
//! (`/proc/thread-self/fail-nth`). Whichever failed, nothing is left behind, and the next attempt
//! succeeds.
//!
//! A slow machine takes a second for each attempt. There, only every third allocation fails, and
//! which these are differs from run to run.
//!
//! Per-CPU allocations have no fault injection, so they are not covered.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;

use rnetns_selftests::genl::{Message, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::memory::{self, Usage, settled_namespaces, wait_for_namespaces};
use rnetns_selftests::module::{self, Figures, Module};
use rnetns_selftests::netns::{Netns, has_device, in_thread, unshare_net};
use rnetns_selftests::{is_slow, wait_until};

const FAILSLAB: &str = "/sys/kernel/debug/failslab";
const FAIL_NTH: &str = "/proc/thread-self/fail-nth";
/// The smallest tables: most of the time of a load goes into clearing them.
const SMALL: &CStr = c"buckets=1024";
/// More allocations than one system call makes: beyond this, the loop would not end.
const MOST: u32 = 5000;
/// On a slow machine, one in this many allocations fails.
const EVERY_WHEN_SLOW: u32 = 3;
/// How many released references the kernel remembers for each namespace (`preinit_net()`).
const TRACKERS: u32 = 128;
/// Failures that the creation of a namespace without the module has on any kernel.
const FEWEST: u32 = 20;

fn main() -> ExitCode {
    if !std::path::Path::new(FAILSLAB).exists() || fs::metadata(FAIL_NTH).is_err() {
        return ktap::skip_all(
            "no fault injection (CONFIG_FAILSLAB, CONFIG_FAULT_INJECTION_DEBUG_FS)",
        );
    }
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[
        ("a_namespace_whose_creation_fails_leaves_nothing", creation),
        ("a_load_that_fails_leaves_nothing", load),
        ("a_change_that_fails_changes_nothing", change),
    ])
}

/// Settings of failslab; dropping this restores them.
struct Settings(Vec<(String, String)>);

impl Settings {
    /// Allocations that may sleep fail too, and none of them is reported in the log.
    fn new() -> Result<Settings> {
        let mut old = Settings(Vec::new());
        for (name, value) in [("ignore-gfp-wait", "N"), ("verbose", "0")] {
            let path = format!("{FAILSLAB}/{name}");
            let before = fs::read_to_string(&path).with_context(|| path.clone())?;
            fs::write(&path, value).with_context(|| path.clone())?;
            old.0.push((path, before));
        }
        Ok(old)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (path, value) in &self.0 {
            if let Err(error) = fs::write(path, value.trim()) {
                comment(&format!("restore {path}: {error}"));
            }
        }
    }
}

/// Lets the `nth` allocation of this thread fail during `attempt`. Returns whether one failed, and
/// the result of `attempt`.
fn with_failure<T>(nth: u32, attempt: impl FnOnce() -> T) -> Result<(bool, T)> {
    let (left, result) = with_failure_left(nth, attempt)?;
    Ok((left == 0, result))
}

/// Lets the `nth` allocation of this thread fail during `attempt`. Returns how many allocations were
/// left until then, and the result of `attempt`.
fn with_failure_left<T>(nth: u32, attempt: impl FnOnce() -> T) -> Result<(u32, T)> {
    let file = OpenOptions::new().read(true).write(true).open(FAIL_NTH).context(FAIL_NTH)?;
    file.write_all_at(nth.to_string().as_bytes(), 0).context(FAIL_NTH)?;
    let result = attempt();
    let mut left = [0; 16];
    let len = file.read_at(&mut left, 0).context(FAIL_NTH)?;
    file.write_all_at(b"0", 0).context(FAIL_NTH)?;
    let left = std::str::from_utf8(&left[..len]).context(FAIL_NTH)?;
    Ok((left.trim().parse().context(FAIL_NTH)?, result))
}

/// How the attempts ended.
#[derive(Default, Debug)]
struct Tally {
    failed: u32,
    succeeded_nevertheless: u32,
    /// Not every subsystem says `ENOMEM`.
    errors: BTreeMap<String, u32>,
}

impl Tally {
    fn fail(&mut self, error: Errno) {
        self.failed += 1;
        *self.errors.entry(format!("{error:?}")).or_default() += 1;
    }
}

fn creation() -> Result<Outcome> {
    let loaded = Module::open()?.load()?;
    let settings = Settings::new()?;
    let at_first = settled_namespaces()?;
    let before = Usage::now()?;
    let tally = create_all()?;
    drop(settings);
    wait_for_namespaces(at_first)?;
    comment(&format!("{tally:?}"));
    ensure!(tally.failed >= FEWEST, "only {} allocations failed", tally.failed);
    settled(&before, tally.failed)?;
    usable()?;
    loaded.unload()?;
    Ok(Outcome::Pass)
}

/// Which allocations fail, from the `first` on.
fn failures(first: u32) -> impl Iterator<Item = u32> {
    let every = if is_slow() { EVERY_WHEN_SLOW } else { 1 };
    let first = first + std::process::id() % every;
    comment(&format!("from allocation {first} on, 1 of {every} fails"));
    (first..MOST).step_by(every as usize)
}

/// Creates namespaces, with every allocation failing once.
fn create_all() -> Result<Tally> {
    in_thread(|| {
        let mut tally = Tally::default();
        for nth in failures(1) {
            let (injected, created) = with_failure(nth, unshare_net)?;
            match (injected, created) {
                (true, Ok(())) => tally.succeeded_nevertheless += 1,
                (true, Err(error)) => tally.fail(error),
                (false, Err(error)) => bail!("nothing failed but the call, after {nth}: {error}"),
                (false, Ok(())) => return Ok(tally),
            }
        }
        bail!("{MOST} allocations, and no end");
    })
}

fn load() -> Result<Outcome> {
    let module = Module::open()?;
    // One namespace besides the initial one, so that the module must undo what the first one got.
    let other = Netns::new()?;
    let settings = Settings::new()?;
    // The first load allocates things that the kernel keeps.
    module.load_with(SMALL).context("load rnetns")?.unload()?;
    fill_trackers(&other)?;
    let before = Usage::now()?;
    let first = before_parameters(&module)? + 1;
    let tally = load_all(&module, &other, first)?;
    drop(settings);
    comment(&format!("{tally:?}"));
    ensure!(tally.failed >= FEWEST, "only {} allocations failed", tally.failed);
    settled(&before, tally.failed)?;
    let loaded = module.load()?;
    usable()?;
    loaded.unload()?;
    Ok(Outcome::Pass)
}

/// A kernel that tracks references to namespaces remembers the last released ones of each. Looking
/// for the device takes a reference.
fn fill_trackers(other: &Netns) -> Result<()> {
    for _ in 0..TRACKERS {
        has_device()?;
        other.run(has_device)?;
    }
    Ok(())
}

/// How many allocations the loader makes before it reads the parameters, its last step before it
/// calls the module. These do not fail here: some are for the descriptions of tracepoints, and the
/// kernel warns (`event_define_fields()`) when it has no memory for those.
fn before_parameters(module: &Module) -> Result<u32> {
    const NO_NUMBER: &CStr = c"buckets=none";
    let (left, loaded) = with_failure_left(MOST, || module.load_with(NO_NUMBER))?;
    match loaded {
        Err(Errno::EINVAL) => Ok(MOST - left),
        Err(error) => bail!("a parameter that is no number: {error}, want EINVAL"),
        Ok(_) => bail!("a parameter that is no number is taken"),
    }
}

/// Loads the module, with every allocation from the `first` on failing once.
fn load_all(module: &Module, other: &Netns, first: u32) -> Result<Tally> {
    let mut tally = Tally::default();
    for nth in failures(first) {
        let (injected, loaded) = with_failure(nth, || module.load_with(SMALL))?;
        match (injected, loaded) {
            (true, Err(error)) => {
                tally.fail(error);
                ensure!(!has_device()?, "failure {nth} left a device behind");
                ensure!(!other.run(has_device)?, "failure {nth} left a device behind elsewhere");
            }
            // Files in debugfs may be missing: the module works without them.
            (true, Ok(loaded)) => {
                tally.succeeded_nevertheless += 1;
                loaded.unload()?;
            }
            (false, Err(error)) => bail!("nothing failed but the call, after {nth}: {error}"),
            (false, Ok(loaded)) => {
                loaded.unload()?;
                return Ok(tally);
            }
        }
    }
    bail!("{MOST} allocations, and no end")
}

/// A change of three settings of a cache that is off, in a namespace of its own each time: where the
/// cache is on for the first time, its hooks are registered.
fn change() -> Result<Outcome> {
    const OLD: [u64; 3] = [9000, 90, 0];
    const NEW: [u64; 3] = [777, 7, 1];
    let _loaded = Module::open()?.load_with(c"buckets=1024 quota=9000 timeout=90 enable=N")?;
    let _settings = Settings::new()?;
    let message = Message::new(uapi::CMD_CACHE_SET)
        .u32(uapi::A_QUOTA, NEW[0] as u32)
        .u32(uapi::A_TIMEOUT, NEW[1] as u32)
        .u32(uapi::A_ENABLED, NEW[2] as u32);
    let (mut refused, mut made) = (0, 0);
    // What fails in this order: sending, the change, the answer.
    for nth in 1..MOST {
        let net = Netns::new()?;
        let mut socket = net.run(Socket::open)?;
        let (injected, _) = with_failure(nth, || socket.ask(&message))?;
        let figures = Figures::of_route_cache(net.inum())?;
        let have = ["quota", "timeout", "enabled"].map(|name| figures.get(name).ok());
        match (injected, have) {
            (true, have) if have == OLD.map(Some) => refused += 1,
            (true, have) if have == NEW.map(Some) => made += 1,
            (false, have) if have == NEW.map(Some) => {
                comment(&format!("{refused} times nothing has changed, {made} times all has"));
                // A hook for each family, and what its list is made of.
                ensure!(refused >= 3, "only {refused} failures kept it from being changed");
                return Ok(Outcome::Pass);
            }
            (_, have) => bail!("failure {nth} leaves {have:?}, want {OLD:?} or {NEW:?}"),
        }
    }
    bail!("{MOST} allocations, and no end")
}

/// Memory is as before. A leak at one place of the module would show in each attempt that got beyond
/// it. So an object for every second attempt is a sure sign; single objects are not.
fn settled(before: &Usage, attempts: u32) -> Result<()> {
    let limit = i64::from(attempts / 4);
    let mut grown = Vec::new();
    wait_until(|| {
        grown = Usage::now().map(|now| now.grown_since(before, limit)).unwrap_or_default();
        grown.is_empty()
    });
    ensure!(grown.is_empty(), "grown by more than {limit}: {grown:?}");
    Ok(())
}

/// The state of the initial namespace and that of a new one can be read and changed.
fn usable() -> Result<()> {
    let new = Netns::new()?;
    ensure!(new.run(has_device)?, "a new namespace has no device");
    for net in [&new, &Netns::own()?] {
        let before = Figures::of(net.inum())?.get("generation")?;
        module::next_generation(&format!("fd {}", net.fd())).context("next generation")?;
        let after = Figures::of(net.inum())?.get("generation")?;
        ensure!(after == before + 1, "generation {before}, then {after}");
    }
    Ok(())
}
