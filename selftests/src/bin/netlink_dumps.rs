// SPDX-License-Identifier: GPL-2.0

//! Dumps that take many parts while entries come and go, and dumps that are not read to the end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};

use rnetns_selftests::genl::{Answer, DONE, Message, PAGE, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::memory::{self, Usage, settled_namespaces, wait_for_namespaces};
use rnetns_selftests::module::{Loaded, Module};
use rnetns_selftests::router::{Router, address4, address6};
use rnetns_selftests::{patience, wait_until};

/// Entries of a dump that takes many parts.
const MANY: (u16, u16) = (3000, 1000);
/// Where two parts are enough.
const SOME: (u16, u16) = (300, 100);
/// The least time for dumps to meet flushes. The test goes on until enough have met.
const DURATION: Duration = Duration::from_secs(5);
/// More parts than any dump has.
const ENDLESS: usize = 2000;
/// Dumps that nobody reads to the end.
const ABANDONED: usize = 300;

fn main() -> ExitCode {
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[
        ("a_dump_in_many_parts_shows_each_entry_once_and_nobody_elses", undisturbed),
        ("a_dump_shows_an_entry_that_comes_meanwhile_at_most_once", insertion),
        ("a_dump_during_which_an_entry_goes_says_so", removal),
        ("a_dump_during_which_all_entries_go_ends_and_says_so", flush_of_all),
        ("a_dump_during_which_the_cache_is_switched_off_ends_and_says_so", switching_off),
        ("a_flush_elsewhere_is_nothing_to_a_dump", flush_elsewhere),
        ("dumps_end_while_entries_come_and_go", race),
        ("a_dump_ends_although_entries_come_faster_than_it_is_read", outrun),
        ("a_socket_has_one_dump_at_a_time", second_dump),
        ("the_module_stays_while_a_dump_is_open", unload),
        ("dumps_that_are_abandoned_leave_nothing", abandoned),
        ("a_dump_is_all_that_keeps_a_namespace_and_its_end_lets_it_go", last_reference),
    ])
}

/// Two namespaces; what happens, happens in the first.
struct Scene {
    router: Router,
    other: Router,
    module: Loaded,
}

impl Scene {
    fn new((v4, v6): (u16, u16)) -> Result<Scene> {
        // No entry may expire meanwhile.
        let module = Module::open()?.load_with(c"timeout=3600").context("load rnetns")?;
        let scene = Scene { router: Router::new(1)?, other: Router::new(2)?, module };
        scene.router.fill(v4, v6)?;
        scene.other.fill(20, 10)?;
        Ok(scene)
    }

    fn dump(&self) -> Result<Dump> {
        Dump::begin(&self.router)
    }
}

/// A dump that is being read.
struct Dump {
    socket: Socket,
    answer: Answer,
}

impl Dump {
    /// Asks for a dump. The first part is there at once, the next one when it was read.
    fn begin(router: &Router) -> Result<Dump> {
        let socket = router.net().run(Socket::open)?;
        // The kernel's minimum, which is less than a part.
        socket.set_room(1)?;
        Dump::on(socket)
    }

    fn on(mut socket: Socket) -> Result<Dump> {
        let bytes = socket.bytes(&Message::dump(uapi::CMD_ENTRY_GET));
        socket.send(&bytes).context("ask for a dump")?;
        Ok(Dump { socket, answer: Answer::default() })
    }

    /// Reads one part. False at the end.
    fn part(&mut self) -> Result<bool> {
        let Some(bytes) = self.socket.receive(PAGE)? else {
            ensure!(!self.answer.ends.is_empty(), "a dump stops without an end");
            return Ok(false);
        };
        self.answer.parts += 1;
        self.answer.add(&bytes)?;
        ensure!(self.answer.parts < ENDLESS, "a dump does not end");
        Ok(true)
    }

    /// Reads what is left.
    fn rest(mut self) -> Result<Answer> {
        while self.part()? {}
        ensure!(self.answer.ends == [DONE], "the dump ended with {:?}", self.answer.ends);
        Ok(self.answer)
    }
}

/// Flushes the entries of an address, or all. Returns how many have gone.
fn flush(router: &Router, address: Option<IpAddr>) -> Result<u64> {
    let message = Message::new(uapi::CMD_FLUSH);
    let message = match address {
        None => message,
        Some(IpAddr::V4(address)) => message.attr(uapi::FLUSH_A_DST4, &address.octets()),
        Some(IpAddr::V6(address)) => message.attr(uapi::FLUSH_A_DST6, &address.octets()),
    };
    let answer = router.net().run(Socket::open)?.ask(&message)?;
    answer.messages.first().context("no answer to a flush")?.number(uapi::FLUSH_A_FLUSHED)
}

/// Checks that each of these was shown once, except those that may be missing.
fn each_once(
    shown: &BTreeMap<IpAddr, usize>,
    (v4, v6): (u16, u16),
    may_miss: impl Fn(IpAddr) -> bool,
) -> Result<()> {
    if let Some((address, count)) = shown.iter().find(|(_, count)| **count != 1) {
        bail!("{address} is shown {count} times");
    }
    let all = Iterator::chain((0..v4).map(address4), (0..v6).map(address6));
    for address in all {
        ensure!(shown.contains_key(&address) || may_miss(address), "{address} is not shown");
    }
    Ok(())
}

fn undisturbed() -> Result<Outcome> {
    let scene = Scene::new(MANY)?;
    for _ in 0..2 {
        let answer = scene.dump()?.rest()?;
        let shown = scene.router.shown(&answer)?;
        each_once(&shown, MANY, |_| false)?;
        ensure!(shown.len() == usize::from(MANY.0 + MANY.1), "{} are shown", shown.len());
        ensure!(!answer.interrupted, "it says that something has changed");
        ensure!(answer.parts >= 40, "only {} parts: nothing was resumed", answer.parts);
        comment(&format!("{} entries in {} parts", shown.len(), answer.parts));
    }
    let other = scene.other.shown(&Dump::begin(&scene.other)?.rest()?)?;
    each_once(&other, (20, 10), |_| false)?;
    Ok(Outcome::Pass)
}

fn insertion() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let mut dump = scene.dump()?;
    dump.part()?;
    let new = [address4(SOME.0), address6(SOME.1)];
    scene.router.deliver(&new)?;
    let answer = dump.rest()?;
    each_once(&scene.router.shown(&answer)?, SOME, |_| false)?;
    ensure!(!answer.interrupted, "no entry has gone or moved, but it says so");
    each_once(&scene.router.shown(&scene.dump()?.rest()?)?, SOME, |_| false)?;
    Ok(Outcome::Pass)
}

/// Changes an entry that was not shown yet, one that was, and the one that comes next. In each case
/// the dump shows a state that never existed as a whole.
fn removal() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let (v4, v6) = SOME;
    for address in [address6(v6 - 1), address4(v4 - 1), address4(0)] {
        let mut dump = scene.dump()?;
        dump.part()?;
        let seen = dump.answer.messages.len();
        ensure!(flush(&scene.router, Some(address))? == 1, "{address} was not flushed");
        let answer = dump.rest()?;
        ensure!(answer.interrupted, "{address} has gone, and it does not say so");
        let shown = scene.router.shown(&answer)?;
        each_once(&shown, SOME, |missing| missing == address)?;
        ensure!(address == address4(0) || !shown.contains_key(&address), "{address} is shown");
        scene.router.deliver(&[address])?;
        // Now it is the youngest, and it does not affect a later dump.
        let answer = scene.dump()?.rest()?;
        each_once(&scene.router.shown(&answer)?, SOME, |_| false)?;
        ensure!(!answer.interrupted, "a later dump says that something has changed");
        ensure!(seen > 0 && seen < usize::from(v4), "{seen} entries in the first part");
    }
    // Removes each entry while the dump is at it, until all that are left have gone.
    let mut dump = scene.dump()?;
    dump.part()?;
    for number in 0..v4 {
        flush(&scene.router, Some(address4(number)))?;
        if number % 50 == 0 {
            dump.part()?;
        }
    }
    let answer = dump.rest()?;
    ensure!(answer.interrupted, "all have gone, and it does not say so");
    let shown = scene.router.shown(&answer)?;
    each_once(&shown, SOME, |address| address.is_ipv4())?;
    Ok(Outcome::Pass)
}

fn flush_of_all() -> Result<Outcome> {
    disturbed(|scene| flush(&scene.router, None).map(drop))
}

fn switching_off() -> Result<Outcome> {
    disturbed(|scene| {
        let mut socket = scene.router.net().run(Socket::open)?;
        let answer = socket.ask(&Message::new(uapi::CMD_CACHE_SET).u32(uapi::A_ENABLED, 0))?;
        ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        Ok(())
    })
}

/// After `change`, the dump shows only the part that was already on its way.
fn disturbed(change: impl Fn(&Scene) -> Result<()>) -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let mut dump = scene.dump()?;
    dump.part()?;
    let in_a_part = dump.answer.messages.len();
    change(&scene)?;
    let answer = dump.rest()?;
    ensure!(answer.interrupted, "all have gone, and it does not say so");
    let shown = scene.router.shown(&answer)?;
    each_once(&shown, SOME, |_| true)?;
    ensure!(shown.len() <= 3 * in_a_part, "{} are shown, {in_a_part} in a part", shown.len());
    ensure!(scene.other.entries()? == (20, 10), "the other namespace has lost entries");
    Ok(Outcome::Pass)
}

fn flush_elsewhere() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let mut dump = scene.dump()?;
    dump.part()?;
    ensure!(flush(&scene.other, None)? == 30, "the other namespace was not flushed");
    let answer = dump.rest()?;
    each_once(&scene.router.shown(&answer)?, SOME, |_| false)?;
    ensure!(!answer.interrupted, "it says that something has changed");
    Ok(Outcome::Pass)
}

/// What the threads have in common.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicU64,
    flushes: AtomicU64,
    flushed: AtomicU64,
    dumps: AtomicU64,
    interrupted: AtomicU64,
    entries: AtomicU64,
}

impl Counts {
    /// Whether dumps have met flushes.
    fn are_enough(&self) -> bool {
        let at_least = |counter: &AtomicU64, least| counter.load(Relaxed) >= least;
        at_least(&self.flushed, 100)
            && at_least(&self.entries, 100)
            && at_least(&self.interrupted, 1)
    }

    fn repeat(&self, mut step: impl FnMut(u16) -> Result<()>) -> Result<()> {
        let mut number = 0u16;
        while !self.stop.load(Relaxed) {
            let done = step(number);
            if done.is_err() {
                self.stop.store(true, Relaxed);
                return done;
            }
            number = number.wrapping_add(1);
        }
        Ok(())
    }
}

fn race() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let counts = Counts::default();
    let flushed_before = scene.other.figures()?.get("flushed")?;
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| counts.repeat(|number| insert(&scene, &counts, number))),
            scope.spawn(|| counts.repeat(|number| remove(&scene, &counts, number))),
            scope.spawn(|| counts.repeat(|_| read(&scene, &counts))),
            scope.spawn(|| counts.repeat(|_| read(&scene, &counts))),
        ];
        let begin = Instant::now();
        let goes_on = || match begin.elapsed() {
            elapsed if elapsed < DURATION => true,
            elapsed => elapsed < patience() && !counts.are_enough(),
        };
        while goes_on() && !counts.stop.load(Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
        counts.stop.store(true, Relaxed);
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let (dumps, interrupted) = (count(&counts.dumps), count(&counts.interrupted));
    comment(&format!(
        "{} addresses written to, {} flushes of {} entries, {dumps} dumps of {} entries, \
         {interrupted} of them interrupted",
        count(&counts.sent),
        count(&counts.flushes),
        count(&counts.flushed),
        count(&counts.entries),
    ));
    ensure!(counts.are_enough(), "dumps and flushes have hardly met");
    let flushed = scene.other.figures()?.get("flushed")?;
    ensure!(flushed == flushed_before, "the other namespace has lost entries");
    // A later dump is complete.
    flush(&scene.router, None)?;
    scene.router.fill(SOME.0, SOME.1)?;
    let answer = scene.dump()?.rest()?;
    each_once(&scene.router.shown(&answer)?, SOME, |_| false)?;
    ensure!(!answer.interrupted, "it says that something has changed");
    Ok(Outcome::Pass)
}

fn insert(scene: &Scene, counts: &Counts, number: u16) -> Result<()> {
    scene.router.send(address4(number % 2000))?;
    scene.router.send(address6(number % 700))?;
    if number.is_multiple_of(16) {
        scene.other.send(address4(number % 200))?;
    }
    counts.sent.fetch_add(2, Relaxed);
    Ok(())
}

fn remove(scene: &Scene, counts: &Counts, number: u16) -> Result<()> {
    let flushed = match number % 64 {
        0 => flush(&scene.router, None)?,
        n if n % 2 == 0 => flush(&scene.router, Some(address4(number % 2000)))?,
        _ => flush(&scene.router, Some(address6(number % 700)))?,
    };
    counts.flushes.fetch_add(1, Relaxed);
    counts.flushed.fetch_add(flushed, Relaxed);
    // Now and then, a dump must meet no flush.
    thread::sleep(Duration::from_millis(u64::from(number % 8)));
    Ok(())
}

/// A dump shows no other namespace's entries, and none twice unless it says that something changed.
fn read(scene: &Scene, counts: &Counts) -> Result<()> {
    let answer = scene.dump()?.rest()?;
    let shown = scene.router.shown(&answer)?;
    let twice = shown.iter().find(|(_, count)| **count > 1);
    if let (Some((address, count)), false) = (twice, answer.interrupted) {
        bail!("{address} is shown {count} times, and nothing has changed");
    }
    counts.dumps.fetch_add(1, Relaxed);
    counts.interrupted.fetch_add(answer.interrupted.into(), Relaxed);
    counts.entries.fetch_add(shown.len() as u64, Relaxed);
    Ok(())
}

/// New entries take the places of the oldest, more of them than each part of the dump shows.
fn outrun() -> Result<Outcome> {
    const QUOTA: u16 = 512;
    const NEW: u16 = 64;
    let _module = Module::open()?.load_with(c"timeout=3600 quota=512").context("load rnetns")?;
    let router = Router::new(1)?;
    router.fill(QUOTA, 0)?;
    let mut dump = Dump::begin(&router)?;
    let (mut next, mut shown) = (QUOTA, 0);
    while dump.part()? {
        let all = dump.answer.messages.len();
        ensure!(all - shown < usize::from(NEW), "{} entries in a part", all - shown);
        shown = all;
        ensure!(shown < 4 * usize::from(QUOTA), "it goes on after {shown} of {QUOTA} entries");
        let new: Vec<IpAddr> = (next..next + NEW).map(address4).collect();
        router.deliver(&new)?;
        next += NEW;
    }
    ensure!(dump.answer.ends == [DONE], "the dump ended with {:?}", dump.answer.ends);
    ensure!(dump.answer.interrupted, "it does not say that entries have gone");
    // It has shown as many as there were, and more.
    ensure!(shown > usize::from(QUOTA), "{shown} of {QUOTA} entries are shown");
    comment(&format!("{shown} entries were shown, {} came meanwhile", next - QUOTA));
    Ok(Outcome::Pass)
}

fn second_dump() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let mut dump = Dump::on(scene.router.net().run(Socket::open)?)?;
    let bytes = dump.socket.bytes(&Message::dump(uapi::CMD_ENTRY_GET));
    dump.socket.send(&bytes).context("ask for a second dump")?;
    // The second dump is refused, and the first goes on.
    while dump.part()? {}
    ensure!(dump.answer.verdict()?.error == Errno::EBUSY, "{:?}", dump.answer.verdicts);
    each_once(&scene.router.shown(&dump.answer)?, SOME, |_| false)?;
    // When the first has ended, another is allowed.
    let third = Dump::on(dump.socket)?.rest()?;
    each_once(&scene.router.shown(&third)?, SOME, |_| false)?;
    Ok(Outcome::Pass)
}

fn unload() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let mut dump = scene.dump()?;
    dump.part()?;
    let refused = delete_module(c"rnetns", DeleteModuleFlags::O_NONBLOCK);
    ensure!(refused == Err(Errno::EWOULDBLOCK), "unloading it gave {refused:?}");
    // It is all there.
    scene.router.deliver(&[address4(SOME.0)])?;
    each_once(&scene.router.shown(&dump.rest()?)?, SOME, |_| false)?;
    let mut open = scene.dump()?;
    open.part()?;
    drop(open);
    // The kernel lets a socket go soon after it was closed.
    scene.module.unload().context("after the dump")?;
    Ok(Outcome::Pass)
}

fn abandoned() -> Result<Outcome> {
    let scene = Scene::new(SOME)?;
    let abandon = |count| {
        for number in 0..count {
            let mut dump = scene.dump()?;
            for _ in 0..number % 4 {
                dump.part()?;
            }
        }
        anyhow::Ok(())
    };
    abandon(20)?;
    let before = Usage::now()?;
    abandon(ABANDONED)?;
    let mut grown = Vec::new();
    let settled = wait_until(|| {
        let limit = ABANDONED as i64 / 3;
        grown = Usage::now().map_or_else(|_| Vec::new(), |now| now.grown_since(&before, limit));
        grown.is_empty()
    });
    ensure!(settled, "{ABANDONED} dumps have left objects: {grown:?}");
    scene.module.unload()?;
    Ok(Outcome::Pass)
}

/// A socket keeps its namespace alive, and so does a dump that it has begun.
fn last_reference() -> Result<Outcome> {
    let at_first = settled_namespaces()?;
    let Scene { router, other, module } = Scene::new(SOME)?;
    let mut dump = Dump::begin(&router)?;
    dump.part()?;
    drop(router);
    ensure!(settled_namespaces()? > at_first, "the namespaces are gone");
    // The devices are still there, and the entries.
    ensure!(dump.part()?, "the dump has ended");
    ensure!(dump.socket.as_fd().try_clone_to_owned().is_ok(), "the socket is gone");
    drop(dump);
    drop(other);
    wait_for_namespaces(at_first)?;
    module.unload()?;
    Ok(Outcome::Pass)
}
