// SPDX-License-Identifier: GPL-2.0

//! One boot of the guest, from QEMU's start to a verdict.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use vmlab_init::protocol::{Event, Frame, LOG_BEGIN, LOG_END, LOG_PANIC, Request, Size, Status};

use crate::boot::accel::{self, Choice};
use crate::boot::clock;
use crate::boot::initramfs;
use crate::boot::kernel::Kernel;
use crate::boot::terminal::{self, Raw};
use crate::boot::vm::{self, Person, Vm, VmEvent, VmSpec};
use crate::judge::kernel_log::{Finding, Scanner};
use crate::judge::ktap::{self, TestResult};
use crate::judge::outcome::Outcome;
use crate::judge::printk;
use crate::judge::report::{self, Report, TestReport};
use crate::judge::stack::Decoder;
use crate::run::interrupt;
use crate::run::job::{Budget, Job, NO_LIMIT, Test, Work};
use crate::run::phases::Phases;
use crate::run::progress::{Series, human, say};

/// How often the lab looks at the clock and at QEMU.
const TICK: Duration = Duration::from_millis(100);

/// How much of one test's output is kept. A test that prints for ever fails; it
/// does not fill this machine's memory.
const MOST_OUTPUT: usize = 16 << 20;

/// What the kernel says when the initramfs does not fit.
const UNPACKING_FAILED: &str = "Initramfs unpacking failed";

/// What came of one boot.
#[derive(Debug)]
pub struct Ended {
    /// The report.
    pub report: Report,
    /// How a command or a shell ended.
    pub status: Option<Status>,
    /// Whether the kernel fell silent before PID 1, without a word of complaint.
    silent_boot: bool,
}

/// Boots, does the job, and judges.
pub fn run(job: &Job, kernel: &Kernel, accel: &Choice, mut phases: Phases) -> Result<Ended> {
    let budget = Budget::of(accel.used, kernel);
    let budget = if job.options.gdb.is_some() { budget.without_limits() } else { budget };
    run_within(&budget, job, kernel, accel, &mut phases)
}

/// As [`run`], with limits of one's own.
///
/// A guest that falls silent while it boots is started once more, and the report says so: under
/// software emulation on a busy machine, about one boot in three hundred stops for good around the
/// change to the TSC as clock source, before anything of ours runs.
pub fn run_within(
    budget: &Budget,
    job: &Job,
    kernel: &Kernel,
    accel: &Choice,
    phases: &mut Phases,
) -> Result<Ended> {
    let before = phases.clone();
    let ended = once(budget, job, kernel, accel, phases)?;
    if !ended.silent_boot {
        return Ok(ended);
    }
    say(&format!("{}: starting the guest once more", ended.report.message));
    *phases = before;
    let mut again = once(budget, job, kernel, accel, phases)?;
    again.report.notes.push(format!("the second boot; the first: {}", ended.report.message));
    Ok(again)
}

/// One boot, as it comes.
fn once(
    budget: &Budget,
    job: &Job,
    kernel: &Kernel,
    accel: &Choice,
    phases: &mut Phases,
) -> Result<Ended> {
    let shell = matches!(job.work, Work::Shell);
    if shell {
        terminal::require()?;
    }
    let scratch = tempfile::tempdir().context("create a scratch folder")?;
    fs::create_dir_all(&job.logs).with_context(|| format!("create {}", job.logs.display()))?;
    let guest = job.for_guest(budget, terminal::size());
    let initrd = scratch.path().join("initrd");
    phases.time("initramfs", || initramfs::write(&initrd, job, &guest))?;
    let spec = VmSpec {
        engine: accel.used,
        memory_mb: job.memory_mb,
        image: kernel.image.clone(),
        initrd,
        person: Person::of(&job.work),
        turns: job.turns,
        options: job.options.clone(),
        loops_per_jiffy: clock::loops_per_jiffy(kernel),
    };
    let vm = vm::start(&spec, &job.logs.join("dmesg.log"), &scratch.path().join("stderr"))?;
    let mut session = Session::new(job, budget, vm, guest_tests(job));
    session.follow(phases)?;
    session.judge(kernel, accel, std::mem::take(phases))
}

/// Each test as often as it runs.
fn guest_tests(job: &Job) -> Vec<Test> {
    match &job.work {
        Work::Tests { tests, repeat } => (0..repeat.get()).flat_map(|_| tests.clone()).collect(),
        _ => Vec::new(),
    }
}

/// How one run of one test went.
#[derive(Debug, Clone, Default)]
struct Round {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    ended: Option<(Status, u64)>,
    problems: Vec<String>,
    notes: Vec<String>,
}

/// Where the line begins that is not whole yet.
fn last_line(text: &[u8]) -> usize {
    text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

/// The lines that have come to their end.
fn whole_lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text[..last_line(text)]
        .split(|&byte| byte == b'\n')
        .filter_map(|line| str::from_utf8(line).ok())
}

/// What the guest is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Booting,
    Mounting,
    Between,
    Test(usize),
    Ending,
}

struct Session<'a> {
    job: &'a Job,
    budget: &'a Budget,
    vm: Vm,
    tests: Vec<Test>,
    rounds: Vec<Round>,
    series: Series,
    at: At,
    since: Instant,
    deadline: Instant,
    last_call: Instant,
    log: Vec<String>,
    release: Option<String>,
    not_loaded: Vec<(String, String)>,
    notes: Vec<String>,
    gave_up: Option<String>,
    torn: Option<String>,
    /// What took too long.
    late: Option<String>,
    status: Option<Status>,
    done: bool,
    exit: Option<ExitStatus>,
    raw: Option<Raw>,
    size: Option<Size>,
}

impl<'a> Session<'a> {
    fn new(job: &'a Job, budget: &'a Budget, vm: Vm, tests: Vec<Test>) -> Session<'a> {
        let now = Instant::now();
        let whole = match &job.work {
            Work::Tests { tests, repeat } => budget.run(tests, *repeat),
            Work::Command(_) | Work::Shell => NO_LIMIT,
        };
        Session {
            job,
            budget,
            vm,
            rounds: vec![Round::default(); tests.len()],
            series: Series::new(tests.len()),
            tests,
            at: At::Booting,
            since: now,
            deadline: now + budget.boot,
            last_call: now + whole,
            log: Vec::new(),
            release: None,
            not_loaded: Vec::new(),
            notes: Vec::new(),
            gave_up: None,
            torn: None,
            late: None,
            status: None,
            done: false,
            exit: None,
            raw: None,
            size: None,
        }
    }

    /// Listens until QEMU has ended and everything that it said is heard.
    fn follow(&mut self, phases: &mut Phases) -> Result<()> {
        let (mut frames, mut log) = (true, true);
        while frames || log {
            interrupt::check()?;
            match self.vm.listen(TICK) {
                Some(VmEvent::Frame(Frame::Event(event))) => self.event(event, phases)?,
                Some(VmEvent::Frame(Frame::Out(bytes))) => self.output(&bytes, true)?,
                Some(VmEvent::Frame(Frame::Err(bytes))) => self.output(&bytes, false)?,
                Some(VmEvent::FramesEnd(torn)) => (frames, self.torn) = (false, torn),
                Some(VmEvent::Log(line)) => self.log.push(line),
                Some(VmEvent::LogEnd) => log = false,
                Some(VmEvent::LogLost(why)) => {
                    bail!("{why}: the kernel log is lost; make room there and run again")
                }
                None => {}
            }
            self.series.draw();
            self.look_at_the_clock();
            self.follow_size()?;
        }
        self.raw = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.exit.is_none() {
            self.exit = self.vm.ended()?;
            if Instant::now() > deadline {
                self.vm.kill();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.at == At::Ending {
            self.step("power off", phases);
        }
        Ok(())
    }

    fn event(&mut self, event: Event, phases: &mut Phases) -> Result<()> {
        match event {
            Event::Hello { release, uptime_ms: _ } => {
                self.release = Some(release);
                self.step("boot to PID 1", phases);
                self.go(At::Mounting, self.budget.boot);
            }
            Event::Ready => {
                self.step("mounts", phases);
                self.go(At::Between, self.between());
                self.start_terminal()?;
            }
            Event::Begin(index) => {
                if let Some(test) = self.tests.get(index) {
                    self.series.begin(&test.name);
                }
                let limit =
                    self.tests.get(index).map(|test| self.budget.test(test)).unwrap_or_default();
                self.go(At::Test(index), limit + self.budget.settle + self.budget.grace);
            }
            Event::End { index, status, ms, problems, notes } => {
                if let Some(round) = self.rounds.get_mut(index) {
                    round.ended = Some((status, ms));
                    round.problems = problems;
                    round.notes = notes;
                    let test = self.test(index);
                    let (word, took) = (report::word(test.result), Duration::from_millis(ms));
                    self.series.end(&format!("{word}  {}, {}", test.name, human(took)));
                }
                self.at = At::Between;
                self.deadline = Instant::now() + self.between();
            }
            Event::Loaded(_) => {}
            Event::NotLoaded { module, reason } => self.not_loaded.push((module, reason)),
            Event::Note(text) => self.notes.push(text),
            Event::Finished(status) => self.status = Some(status),
            Event::GaveUp(why) => self.gave_up = Some(why),
            Event::Done => {
                self.done = true;
                self.step(if self.tests.is_empty() { "work" } else { "tests" }, phases);
                self.go(At::Ending, self.budget.grace);
            }
        }
        Ok(())
    }

    /// What may pass without a word when no test runs.
    fn between(&self) -> Duration {
        match self.job.work {
            Work::Tests { .. } => self.budget.settle + self.budget.grace,
            Work::Command(_) | Work::Shell => NO_LIMIT,
        }
    }

    fn go(&mut self, at: At, limit: Duration) {
        self.at = at;
        self.deadline = Instant::now() + limit;
    }

    /// Notes how long it took since the last step.
    fn step(&mut self, name: &str, phases: &mut Phases) {
        phases.add(name, self.since.elapsed());
        self.since = Instant::now();
    }

    fn output(&mut self, bytes: &[u8], out: bool) -> Result<()> {
        if let At::Test(index) = self.at
            && let Some(round) = self.rounds.get_mut(index)
        {
            let kept = if out { &mut round.stdout } else { &mut round.stderr };
            let room = MOST_OUTPUT.saturating_sub(kept.len());
            let new = last_line(kept);
            kept.extend(&bytes[..bytes.len().min(room)]);
            if let Some(beginning) = self.job.progress {
                for line in whole_lines(&kept[new..]) {
                    line.strip_prefix(beginning).into_iter().for_each(say);
                }
            }
            return Ok(());
        }
        // A command's output is ours. Whoever reads it may have had enough.
        let written = if out {
            std::io::stdout().write_all(bytes)
        } else {
            std::io::stderr().write_all(bytes)
        };
        written.context("write the command's output")
    }

    fn look_at_the_clock(&mut self) {
        if self.late.is_some() {
            return;
        }
        let now = Instant::now();
        if now > self.last_call {
            self.late = Some("the whole run took too long".to_owned());
        } else if now > self.deadline {
            self.late = Some(match self.at {
                At::Booting => "PID 1 did not start".to_owned(),
                At::Mounting => "PID 1 started, but did not get ready".to_owned(),
                At::Between => "the guest stopped talking between two tests".to_owned(),
                At::Test(index) => {
                    format!("the guest stopped talking in {}", self.tests[index].name)
                }
                At::Ending => "the guest did not switch off".to_owned(),
            });
        }
        if self.late.is_some() {
            self.vm.kill();
        }
    }

    fn start_terminal(&mut self) -> Result<()> {
        let Some(guest) = self.vm.take_terminal() else { return Ok(()) };
        if Person::of(&self.job.work) == Person::Feeds {
            terminal::feed(guest);
        } else {
            self.raw = Some(Raw::enter()?);
            terminal::connect(guest)?;
        }
        Ok(())
    }

    fn follow_size(&mut self) -> Result<()> {
        if self.raw.is_some() && self.status.is_none() {
            let size = terminal::size();
            if let (Some(new), true) = (size, size != self.size) {
                self.vm.request(Request::Resize(new))?;
                self.size = size;
            }
        }
        Ok(())
    }

    /// Makes a report of all that was heard.
    fn judge(self, kernel: &Kernel, accel: &Choice, mut phases: Phases) -> Result<Ended> {
        let mut findings = self.findings();
        let mut notes = self.notes.clone();
        if !findings.is_empty() {
            let mut decoder = Decoder::new(
                &kernel.vmlinux,
                &self.job.modules,
                &[&self.job.root, &kernel.source, &kernel.build],
            );
            phases.time("decode stacks", || {
                findings.iter_mut().for_each(|finding| decoder.decode(finding))
            });
            notes.append(&mut decoder.errors);
        }
        self.keep_output()?;
        let tests = self.tests();
        let (outcome, message) = self.outcome(&tests, &findings);
        let silent_boot = self.late.is_some() && self.at == At::Booting && findings.is_empty();
        let report = Report {
            outcome,
            message,
            accel: Some(accel.clone()),
            versions: self.versions(kernel)?,
            phases,
            elapsed_ms: None,
            tests,
            kernel_findings: findings,
            notes,
        };
        Ok(Ended { report, status: self.status, silent_boot })
    }

    fn findings(&self) -> Vec<Finding> {
        let mut scanner = Scanner::default();
        for line in &self.log {
            let message = printk::message(line);
            if let Some(name) = message.strip_prefix(LOG_BEGIN) {
                scanner.begin(name);
            } else if message.starts_with(LOG_END) {
                scanner.end();
            } else {
                scanner.console_line(line);
            }
        }
        scanner.finish().0
    }

    fn versions(&self, kernel: &Kernel) -> Result<BTreeMap<String, String>> {
        let release = self.release.clone().unwrap_or_else(|| kernel.release.clone());
        Ok([("linux".to_owned(), release), ("qemu".to_owned(), accel::qemu_version()?)].into())
    }

    /// All that the tests printed, for whoever wants to read it.
    fn keep_output(&self) -> Result<()> {
        let dir = self.job.logs.join("tests");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for (index, round) in self.rounds.iter().enumerate() {
            let repeat = self.rounds.len() > self.distinct();
            let number =
                if repeat { format!(".{}", index / self.distinct() + 1) } else { String::new() };
            let path = dir.join(format!("{}{number}.log", self.tests[index].name));
            let text = [round.stdout.as_slice(), round.stderr.as_slice()].concat();
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    fn distinct(&self) -> usize {
        match &self.job.work {
            Work::Tests { tests, .. } => tests.len().max(1),
            _ => 1,
        }
    }

    fn tests(&self) -> Vec<TestReport> {
        let mut reports: Vec<TestReport> = self.not_loaded.iter().map(module_report).collect();
        let distinct = self.distinct();
        for index in 0..distinct.min(self.tests.len()) {
            let rounds = (index..self.tests.len()).step_by(distinct);
            let runs: Vec<TestReport> = rounds.map(|round| self.test(round)).collect();
            reports.extend(merge(runs));
        }
        reports
    }

    fn test(&self, index: usize) -> TestReport {
        let round = &self.rounds[index];
        let name = self.tests[index].name.clone();
        let Some((status, ms)) = round.ended else {
            return self.unfinished(index, name);
        };
        let judged = ktap::judge(ktap::parse(&round.stdout), status);
        let mut reasons: Vec<String> =
            (!judged.reason.is_empty()).then_some(judged.reason).into_iter().collect();
        reasons.extend(round.problems.iter().cloned());
        let mut notes = round.notes.clone();
        let failed = judged.result == TestResult::Fail || !round.problems.is_empty();
        if failed {
            notes.extend(tail(&round.stderr));
        }
        TestReport {
            name,
            result: if failed { TestResult::Fail } else { judged.result },
            ms,
            reason: reasons.join("; "),
            cases: judged.cases,
            notes,
            ..TestReport::default()
        }
    }

    /// A test that the guest did not live to end: what it printed so far is kept.
    fn unfinished(&self, index: usize, name: String) -> TestReport {
        let running = self.at == At::Test(index);
        let reason = if running { "was running when the guest ended" } else { "did not run" };
        let cases = ktap::parse(&self.rounds[index].stdout).cases;
        let result = TestResult::Fail;
        TestReport {
            name,
            result,
            ms: 0,
            reason: reason.to_owned(),
            cases,
            ..TestReport::default()
        }
    }

    fn outcome(&self, tests: &[TestReport], findings: &[Finding]) -> (Outcome, String) {
        self.death(findings)
            .or_else(|| kernel_findings(findings))
            .or_else(|| self.timeouts())
            .or_else(|| failures(tests))
            .unwrap_or((Outcome::Pass, String::new()))
    }

    /// The ways in which a guest does not live to the end of its job.
    fn death(&self, findings: &[Finding]) -> Option<(Outcome, String)> {
        let booted = !matches!(self.at, At::Booting | At::Mounting);
        let dead = if booted { Outcome::Panic } else { Outcome::Boot };
        let during = match self.at {
            At::Test(index) => format!(" in {}", self.tests[index].name),
            _ => String::new(),
        };
        // PID 1 comes first in the archive: it can run although what follows is cut off.
        if self.log.iter().any(|line| line.contains(UNPACKING_FAILED)) {
            return Some((Outcome::Boot, self.no_memory("while its files were unpacked")));
        }
        if let Some(panic) = findings.iter().find(|finding| finding.kind == "panic") {
            return Some((Outcome::Panic, self.panicked(panic, &during)));
        }
        if let Some(late) = &self.late {
            let outcome = if booted { Outcome::Timeout } else { Outcome::Boot };
            return Some((outcome, format!("{late}: {}", self.how_late())));
        }
        if let Some(why) = &self.gave_up {
            return Some((dead, format!("the guest gave up{during}: {why}")));
        }
        if self.done {
            return None;
        }
        Some((dead, self.disappeared(&during)))
    }

    fn panicked(&self, panic: &Finding, during: &str) -> String {
        let log = self.job.logs.join("dmesg.log");
        let said =
            self.log.iter().find_map(|line| line.split_once(LOG_PANIC).map(|(_, text)| text));
        let headline = panic.text.lines().next().unwrap_or_default();
        if let Some(said) = said {
            format!("the guest's init panicked{during}: {said}; see {}", log.display())
        } else if headline.contains("memory") {
            self.no_memory(during.trim_start())
        } else if headline.contains("Attempted to kill init") {
            format!("the guest's init died{during}: {headline}; see {}", log.display())
        } else {
            format!("the kernel panicked{during}: {headline}; see {}", log.display())
        }
    }

    fn no_memory(&self, when: &str) -> String {
        let memory = self.job.memory_mb;
        let log = self.job.logs.join("dmesg.log");
        format!(
            "the guest ran out of its {memory} MiB of memory {when}: give it more with MEMORY=, see {}",
            log.display()
        )
    }

    fn how_late(&self) -> String {
        let last = self.log.last().map_or("nothing in its log", |line| line.trim());
        format!("last line of {}: {last}", self.job.logs.join("dmesg.log").display())
    }

    fn disappeared(&self, during: &str) -> String {
        use std::os::unix::process::ExitStatusExt;
        let exit = self.exit;
        if let Some(signal) = exit.and_then(|exit| exit.signal()) {
            let name = ktap::signal_name(signal);
            let hint = if signal == 9 {
                " (by a person, or because this machine is out of memory)"
            } else {
                ""
            };
            return format!("QEMU was killed by {name}{during}{hint}: run again");
        }
        if let Some(exit) = exit.filter(|exit| !exit.success()) {
            let said = self.vm.complaint().unwrap_or_else(|| "it says nothing".to_owned());
            return format!("QEMU ended with {exit}{during}: {said}");
        }
        let torn =
            self.torn.as_ref().map(|torn| format!(" in mid-word ({torn})")).unwrap_or_default();
        format!("the guest stopped talking{torn}{during} and ended; {}", self.how_late())
    }

    fn timeouts(&self) -> Option<(Outcome, String)> {
        let hung = self.rounds.iter().zip(&self.tests).filter(|(round, _)| {
            matches!(round.ended, Some((Status::TimedOut | Status::Stuck, _)))
        });
        let names: Vec<String> = hung
            .map(|(_, test)| {
                format!("{} took longer than {} s", test.name, self.budget.test(test).as_secs())
            })
            .collect();
        (!names.is_empty()).then(|| (Outcome::Timeout, names.join("; ")))
    }
}

/// A module that does not load is shown as a test that failed.
fn module_report((module, reason): &(String, String)) -> TestReport {
    let name = format!("load {module}");
    let reason = format!("{reason}{}", way_out(reason));
    TestReport { name, result: TestResult::Fail, ms: 0, reason, ..TestReport::default() }
}

fn way_out(reason: &str) -> &'static str {
    if reason.contains("version magic") || reason.contains("disagrees about version of symbol") {
        ": it was built for another kernel; `make clean` and build again"
    } else if reason.contains("Unknown symbol") {
        ": the kernel does not export that; is the option in lab/config, or a module to load first?"
    } else {
        ""
    }
}

/// The last lines of what a test complained about.
fn tail(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Several runs of one test: the worst is shown.
fn merge(mut runs: Vec<TestReport>) -> Option<TestReport> {
    let results: Vec<TestResult> = runs.iter().map(|run| run.result).collect();
    let longest = runs.iter().map(|run| run.ms).max().unwrap_or(0);
    let worst = results.iter().max()?;
    let shown = results.iter().position(|result| result == worst)?;
    let mut report = runs.swap_remove(shown);
    report.ms = longest;
    if results.len() > 1 {
        report.repeats = results;
    }
    Some(report)
}

fn kernel_findings(findings: &[Finding]) -> Option<(Outcome, String)> {
    let first = findings.first()?;
    let more = if findings.len() > 1 {
        format!(", and {} more", findings.len() - 1)
    } else {
        String::new()
    };
    let during = first.test.as_ref().map(|test| format!(" in {test}")).unwrap_or_default();
    let headline = first.text.lines().next().unwrap_or_default();
    let memory = if first.kind == "out-of-memory" { " (MEMORY= gives the guest more)" } else { "" };
    Some((Outcome::KernelLog, format!("kernel log{during}: {headline}{memory}{more}")))
}

fn failures(tests: &[TestReport]) -> Option<(Outcome, String)> {
    let failed: Vec<&str> = tests
        .iter()
        .filter(|test| test.result == TestResult::Fail)
        .map(|test| test.name.as_str())
        .collect();
    (!failed.is_empty()).then(|| (Outcome::Test, format!("failed: {}", failed.join(", "))))
}
