// SPDX-License-Identifier: GPL-2.0

//! The judge of one guest. It takes what the guest sends, with the time of each message, and gives
//! the verdict.
//!
//! Nothing in here starts a guest, reads a file or looks at a clock. There is one way to pass:
//!
//! - PID 1 sent each of its events once and in order;
//! - every test that was asked for began, ended, and has a good result;
//! - the kernel log is complete and has no finding, and the kernel's own counters agree with it;
//! - the machine switched itself off.

use std::time::Duration;

use vmlab_init::protocol::{Counters, Event, Frame, Status};

use crate::judge::guest_log::GuestLog;
use crate::judge::kernel_log::Finding;
use crate::judge::ktap;
use crate::judge::live::Live;
use crate::run::job::NO_LIMIT;
use crate::run::phases::{Phases, millis};

/// The most bytes of a test's output. A test that prints more has failed.
pub const MOST_OUTPUT: usize = 64 << 20;

/// The most bytes of a test's standard error in the report.
const LAST_WORDS: usize = 4096;

/// The most notes of PID 1, and the most errors in its messages, that are kept.
const MOST_REMARKS: usize = 200;

/// The kernel's message when the initramfs does not fit into memory.
const UNPACKING_FAILED: &str = "Initramfs unpacking failed";

/// Bits of the kernel's taint that do not mean a fault: a proprietary module, a processor out of
/// specification, a workaround for firmware, a module from outside of the tree or without a
/// signature, a distribution's mark, a randomized layout, a KUnit test.
const HARMLESS_TAINT: u64 = 1 | 1 << 2 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 16 | 1 << 17 | 1 << 18;

/// What the guest was asked to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub work: PlannedWork,
    /// The key in PID 1's marks, see [`vmlab_init::protocol::mark`].
    pub key: u64,
    /// The limit from QEMU's start until everything is mounted, and again from then until the job's
    /// files are unpacked.
    pub boot: Duration,
    /// When the guest got its job, since QEMU's start. It may have waited for the job.
    pub told: Duration,
    /// How long things that a test leaves behind, such as namespaces, may take to end.
    pub settle: Duration,
    /// How long the lab waits beyond a limit that PID 1 enforces, before the guest counts as
    /// silent.
    pub grace: Duration,
    /// The limit for the whole run.
    pub whole: Duration,
    /// Whether the guest's clock runs at the same speed as the lab's. It does not when it counts
    /// instructions.
    pub real_time: bool,
    /// The guest's memory, in MiB, for messages.
    pub memory_mb: u32,
    /// The kernel log, for messages.
    pub log: String,
}

/// The work of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedWork {
    /// Tests, in the order in which they run.
    Tests(Vec<PlannedTest>),
    Command,
    /// A shell for a person.
    Shell,
}

/// A test that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTest {
    pub name: String,
    /// The limit after which PID 1 kills it.
    pub limit: Duration,
}

/// An input of the judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message of PID 1.
    Frame(Frame),
    /// The end of PID 1's frames, with the reason if the last one is cut off.
    FramesEnd(Option<String>),
    /// A line of the console.
    Console(String),
    /// The console's file is full.
    ConsoleCut,
    /// Nothing: only time has passed.
    Silence,
}

/// An output of the judge: what the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Connect the person's terminal.
    Connect,
    /// The test of this number began.
    Began(usize),
    /// The test of this number ended.
    Ended(usize),
    /// Keep the output of this test.
    Keep(usize, Vec<u8>),
    /// Print at once what went wrong, and in which test.
    Tell(Option<usize>, String),
    /// The same for a report of the kernel, with its stack decoded.
    TellFinding(Option<usize>, Finding),
    /// Show the command's output: to standard output if true, else to standard error.
    Show(Vec<u8>, bool),
    /// Ask the guest where it hangs.
    Ask,
    /// Tell the guest that its last event was read.
    Release,
    /// End the guest.
    Kill,
}

/// Where the guest is in its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Booting,
    Mounting,
    Waiting,
    Between,
    Test(usize),
    Ending,
}

/// How one run of one test went.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub output: ktap::Reader,
    live: Live,
    pub length: usize,
    pub last_words: Vec<u8>,
    /// When it began, by the lab's clock.
    pub begun: Option<Duration>,
    pub ended: Option<(Status, u64)>,
    pub problems: Vec<String>,
    pub notes: Vec<String>,
}

/// The judge of one guest; see the [module](self).
#[derive(Debug)]
pub struct Judge {
    pub(super) plan: Plan,
    pub(super) tests: Vec<PlannedTest>,
    pub(super) rounds: Vec<Round>,
    pub(super) at: At,
    now: Duration,
    since: Duration,
    deadline: Duration,
    /// How long the guest waited for the lab, which had many messages to read.
    lag: Duration,
    pub(super) log: GuestLog,
    pub(super) phases: Phases,
    pub(super) release: Option<String>,
    pub(super) not_loaded: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
    pub(super) gave_up: Option<String>,
    pub(super) torn: Option<String>,
    pub(super) frames_ended: bool,
    /// The limit that was exceeded.
    pub(super) late: Option<String>,
    /// How the guest's clock differs from the lab's.
    pub(super) wrong_clock: Option<String>,
    killed: bool,
    pub(super) status: Option<Status>,
    pub(super) done: bool,
    pub(super) unpacking_failed: bool,
    /// Messages that PID 1 cannot have sent at that time.
    pub(super) nonsense: Vec<String>,
    counted: bool,
}

impl Judge {
    /// The judge of a guest that starts now.
    pub fn new(plan: Plan) -> Judge {
        let tests = match &plan.work {
            PlannedWork::Tests(tests) => tests.clone(),
            PlannedWork::Command | PlannedWork::Shell => Vec::new(),
        };
        let names = tests.iter().map(|test| test.name.clone()).collect();
        Judge {
            log: GuestLog::new(plan.key, names),
            rounds: tests.iter().map(|_| Round::default()).collect(),
            tests,
            at: At::Booting,
            now: Duration::ZERO,
            since: Duration::ZERO,
            deadline: plan.boot,
            lag: Duration::ZERO,
            plan,
            phases: Phases::default(),
            release: None,
            not_loaded: Vec::new(),
            notes: Vec::new(),
            gave_up: None,
            torn: None,
            frames_ended: false,
            late: None,
            wrong_clock: None,
            killed: false,
            status: None,
            done: false,
            unpacking_failed: false,
            nonsense: Vec::new(),
            counted: false,
        }
    }

    /// Takes the next input, with the time since QEMU's start. Returns what to do.
    pub fn feed(&mut self, now: Duration, heard: Heard) -> Vec<Order> {
        self.now = self.now.max(now);
        let mut orders = Vec::new();
        match heard {
            Heard::Frame(_) if self.frames_ended => self.nonsense("a message after its last one"),
            Heard::Frame(Frame::Kernel(bytes)) => self.log.stream(&bytes),
            Heard::Frame(_) if self.done => self.nonsense("a message after its last one"),
            Heard::Frame(Frame::Event(event)) => self.event(event, &mut orders),
            Heard::Frame(Frame::Out(bytes)) => self.output(bytes, true, &mut orders),
            Heard::Frame(Frame::Err(bytes)) => self.output(bytes, false, &mut orders),
            Heard::FramesEnd(torn) => {
                self.frames_ended = true;
                self.torn = self.torn.take().or(torn);
            }
            Heard::Console(line) => {
                self.unpacking_failed |= line.contains(UNPACKING_FAILED);
                self.log.console(&line);
            }
            Heard::ConsoleCut => {
                let text = format!("the kernel log is too long: {} is cut off", self.plan.log);
                self.log.add("log-incomplete", text, None);
            }
            Heard::Silence => {}
        }
        let news = self.log.news();
        orders.extend(news.into_iter().map(|finding| Order::TellFinding(self.running(), finding)));
        self.look_at_the_clock(&mut orders);
        orders
    }

    /// Notes that the lab answered the guest at this time. The guest waited until then, and may
    /// have asked long before, if the lab had many messages to read.
    pub fn answered(&mut self, at: Duration) {
        self.lag = self.lag.max(at.saturating_sub(self.now));
        self.deadline = self.deadline.max(at + self.plan.grace);
    }

    fn running(&self) -> Option<usize> {
        if let At::Test(index) = self.at { Some(index) } else { None }
    }

    fn nonsense(&mut self, what: impl Into<String>) {
        if self.nonsense.len() < MOST_REMARKS {
            self.nonsense.push(what.into());
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MOST_REMARKS && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn event(&mut self, event: Event, orders: &mut Vec<Order>) {
        match event {
            Event::Saveable => self.nonsense("the event `Saveable`"),
            Event::Hello { release, uptime_ms } => self.hello(release, uptime_ms),
            Event::Mounted => self.mounted(),
            Event::Ready => self.ready(orders),
            Event::Begin(index) => self.begin(index, orders),
            Event::End { index, status, ms, counters, problems, notes } => {
                if self.at != At::Test(index) {
                    return self.nonsense(format!("the end of test {index}, which did not run"));
                }
                self.compare(index, counters);
                self.compare_clocks(index, ms);
                let round = &mut self.rounds[index];
                if let Some(why) = why(status, &problems)
                    && let Some(text) = std::mem::take(&mut round.live).end(&why)
                {
                    orders.push(Order::Tell(Some(index), text));
                }
                (round.ended, round.problems, round.notes) = (Some((status, ms)), problems, notes);
                orders.push(Order::Ended(index));
                self.go(At::Between, self.plan.settle + self.plan.grace);
            }
            Event::Loaded(_) => self.expect(&[At::Between], "a module loaded"),
            Event::NotLoaded { module, reason } => {
                self.expect(&[At::Between], "a module not loaded");
                self.not_loaded.push((module, reason));
            }
            Event::Note(text) => self.note(text),
            Event::Whereabouts(places) => self.whereabouts(places, orders),
            Event::Finished(status) => {
                self.expect(&[At::Between], "a command's end");
                if self.status.replace(status).is_some() || self.is_for_tests() {
                    self.nonsense("the end of a command that did not run");
                }
            }
            Event::GaveUp(why) => {
                self.gave_up.get_or_insert(why);
                orders.push(Order::Release);
            }
            Event::Done => {
                self.expect(&[At::Between], "the event `Done`");
                self.done = true;
                self.step(if self.is_for_tests() { "tests" } else { "work" });
                self.go(At::Ending, self.plan.grace);
                orders.push(Order::Release);
            }
        }
    }

    fn is_for_tests(&self) -> bool {
        matches!(self.plan.work, PlannedWork::Tests(_))
    }

    fn expect(&mut self, places: &[At], what: &str) {
        if !places.contains(&self.at) {
            self.nonsense(format!("{what}, out of order"));
        }
    }

    fn hello(&mut self, release: String, uptime_ms: Option<u64>) {
        if self.at != At::Booting {
            return self.nonsense("hello, once more");
        }
        self.release = Some(release);
        match uptime_ms {
            // The kernel's clock starts with the kernel: the time before that is QEMU and its
            // firmware.
            Some(uptime) => {
                let uptime = Duration::from_millis(uptime).min(self.now);
                self.phases.add("QEMU to kernel", self.now - uptime);
                self.phases.add("kernel to PID 1", uptime);
            }
            None => self.phases.add("QEMU to PID 1, a copy", self.now),
        }
        self.since = self.now;
        self.go(At::Mounting, self.plan.boot);
    }

    fn mounted(&mut self) {
        if self.at != At::Mounting {
            return self.nonsense("the event `Mounted`, out of order");
        }
        self.step("mounts");
        let wait = self.plan.told.saturating_sub(self.now);
        self.go(At::Waiting, wait + self.plan.boot);
    }

    fn ready(&mut self, orders: &mut Vec<Order>) {
        if self.at != At::Waiting {
            return self.nonsense("the event `Ready`, out of order");
        }
        self.since = self.since.max(self.plan.told);
        self.step("files");
        let limit = if self.is_for_tests() { self.plan.settle + self.plan.grace } else { NO_LIMIT };
        self.go(At::Between, limit);
        orders.push(Order::Connect);
    }

    /// A test begins. Tests must come in their order, each once.
    fn begin(&mut self, index: usize, orders: &mut Vec<Order>) {
        let due = self.rounds.iter().position(|round| round.begun.is_none());
        if self.at != At::Between || due != Some(index) {
            return self.nonsense(format!("the beginning of test {index}, out of order"));
        }
        self.rounds[index].begun = Some(self.now);
        // PID 1 waits at most `settle` for a killed test to die, and then as long for what it left
        // behind to end.
        let limit = self.tests[index].limit + 2 * self.plan.settle + self.plan.grace;
        self.go(At::Test(index), limit);
        orders.push(Order::Began(index));
    }

    fn output(&mut self, bytes: Vec<u8>, out: bool, orders: &mut Vec<Order>) {
        match self.at {
            At::Test(index) => {
                let round = &mut self.rounds[index];
                let room = MOST_OUTPUT.saturating_sub(round.length);
                if room == 0 {
                    // More output than this fails the test.
                    round.length = round.length.saturating_add(bytes.len());
                    return;
                }
                for text in round.live.output(&bytes, out) {
                    orders.push(Order::Tell(Some(index), text));
                }
                if out {
                    round.output.feed(&bytes);
                } else {
                    round.last_words.extend(&bytes);
                    let over = round.last_words.len().saturating_sub(LAST_WORDS);
                    round.last_words.drain(..over);
                }
                round.length = round.length.saturating_add(bytes.len());
                let mut kept = bytes;
                kept.truncate(room);
                orders.push(Order::Keep(index, kept));
            }
            At::Between if !self.is_for_tests() => orders.push(Order::Show(bytes, out)),
            _ => self.nonsense("output when no program ran"),
        }
    }

    /// Compares the kernel's own counters with its log.
    fn compare(&mut self, index: usize, counters: Counters) {
        if self.counted {
            return;
        }
        let reports = self.log.reports();
        let counted = |count: Option<u64>| count.is_some_and(|count| count > reports as u64);
        let mut wrong = Vec::new();
        for (what, count) in [("warnings", counters.warnings), ("oopses", counters.oopses)] {
            if counted(count) {
                let count = count.unwrap_or_default();
                wrong.push(format!(
                    "the kernel counts {count} {what}, its log has {reports} reports"
                ));
            }
        }
        let taint = counters.taint.unwrap_or_default() & !HARMLESS_TAINT;
        if taint != 0 && reports == 0 {
            wrong.push(format!("the kernel is tainted ({taint:#x}), and its log does not say why"));
        }
        if counters.lockdep == Some(false) && reports == 0 {
            wrong.push("lockdep has switched itself off, and the log does not say why".to_owned());
        }
        // The counters never decrease, so they would also differ after each of the next tests.
        self.counted = !wrong.is_empty();
        let name = self.tests[index].name.clone();
        wrong.into_iter().for_each(|wrong| self.log.add("counters", wrong, Some(&name)));
    }

    /// Compares the guest's clock with the lab's. PID 1 uses the guest's clock for the limits of
    /// tests, and a kernel that measures the clock's speed on a busy host may get it wrong.
    fn compare_clocks(&mut self, index: usize, ms: u64) {
        let begun = self.rounds[index].begun.unwrap_or(self.now);
        let ours = millis(self.now.saturating_sub(begun));
        if self.plan.real_time && ms > ours.saturating_mul(2).saturating_add(2000) {
            let name = &self.tests[index].name;
            let wrong = format!(
                "the guest's clock is wrong: {name} took {ms} ms by it, and {ours} ms by ours"
            );
            self.wrong_clock.get_or_insert(wrong.clone());
            self.note(wrong);
        }
    }

    fn whereabouts(&mut self, places: Vec<String>, orders: &mut Vec<Order>) {
        if self.late.is_none() {
            return self.nonsense("a list of processes, which the lab did not ask for");
        }
        places.into_iter().take(MOST_REMARKS).for_each(|place| self.note(place));
        self.kill(orders);
    }

    pub(super) fn go(&mut self, at: At, limit: Duration) {
        self.at = at;
        // After the first limit that was exceeded, only the answer to `Ask` is awaited.
        if self.late.is_none() {
            self.deadline = self.now + limit;
        }
    }

    /// Notes how long the current step took.
    fn step(&mut self, name: &str) {
        self.phases.add(name, self.now.saturating_sub(self.since));
        self.since = self.now;
    }

    fn look_at_the_clock(&mut self, orders: &mut Vec<Order>) {
        let whole = match self.is_for_tests() {
            true => self.plan.told + self.plan.whole + self.lag,
            false => NO_LIMIT,
        };
        if self.now <= self.deadline.min(whole) {
            return;
        }
        if self.late.is_some() {
            // The lab asked the guest where it hangs, and got no answer.
            if self.now > self.deadline {
                self.kill(orders);
            }
            return;
        }
        let late = if self.now > whole {
            "the whole run took too long".to_owned()
        } else {
            self.lateness()
        };
        self.late = Some(late);
        if matches!(self.at, At::Between | At::Test(_)) && !self.frames_ended {
            self.deadline = self.now + self.plan.grace;
            orders.push(Order::Ask);
        } else {
            self.kill(orders);
        }
    }

    fn lateness(&self) -> String {
        match self.at {
            At::Booting => "PID 1 did not start".to_owned(),
            At::Mounting => "PID 1 started, but did not get ready".to_owned(),
            At::Waiting => "PID 1 got ready for its job, but did not begin".to_owned(),
            At::Between => "the guest stopped talking between two tests".to_owned(),
            At::Test(index) => format!("the guest stopped talking in {}", self.tests[index].name),
            At::Ending => "the guest did not switch off".to_owned(),
        }
    }

    fn kill(&mut self, orders: &mut Vec<Order>) {
        if !self.killed {
            self.killed = true;
            orders.push(Order::Kill);
        }
    }

    pub(super) fn power_off(&mut self, at: Duration) {
        self.now = self.now.max(at);
        self.step("power off");
    }

    /// The test that an order is about.
    pub fn test(&self, index: usize) -> Option<&PlannedTest> {
        self.tests.get(index)
    }
}

/// Why a test has failed, as far as is known when it ends.
fn why(status: Status, problems: &[String]) -> Option<String> {
    let ended = match status {
        Status::Exited(1) => Some("exit status 1".to_owned()),
        _ => ktap::ended_badly(status),
    };
    let reasons: Vec<&str> = ended.iter().chain(problems).map(String::as_str).collect();
    (!reasons.is_empty()).then(|| reasons.join("\n"))
}
