// SPDX-License-Identifier: GPL-2.0

//! One boot of the guest, from QEMU's start to the verdict. Does the input and output for the
//! judge.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vmlab_init::protocol::{self, Beginning, Frame, Request, Size, Start, Status, Wake};

use crate::boot::engine::{self, Choice, Engine};
use crate::boot::files;
use crate::boot::initramfs;
use crate::boot::kernel::Kernel;
use crate::boot::saved::{self, Saved};
use crate::boot::terminal::{self, Raw};
use crate::boot::vm::{self, Person, Vm, VmEvent, VmSpec};
use crate::judge::judge::{Heard, Judge, Order, Plan, PlannedTest, PlannedWork};
use crate::judge::kmsg::Records;
use crate::judge::outcome::Outcome;
use crate::judge::report::{Report, TestReport};
use crate::judge::stack::Decoder;
use crate::judge::verdict::{Exit, Verdict};
use crate::run::interrupt;
use crate::run::job::{Budget, Job, NO_LIMIT, Test, Work};
use crate::run::phases::Phases;
use crate::run::progress::{Steps, human, say};

/// How often to check the clock and QEMU.
const TICK: Duration = Duration::from_millis(100);

/// Time for QEMU to end after its last output.
const ENDING: Duration = Duration::from_secs(30);

/// The most bytes of PID 1's kernel log that are kept on disk.
const LONGEST_LOG: usize = 64 << 20;

/// The longest line of a test that is shown as it comes.
const LONGEST_LINE: usize = 4096;

/// The result of one boot.
#[derive(Debug)]
pub struct Ended {
    /// The report.
    pub report: Report,
    /// How a command or a shell ended.
    pub status: Option<Status>,
}

/// Boots a guest, does the job, and judges it.
pub fn run(job: &Job, kernel: &Kernel, engine: &Choice, phases: Phases) -> Result<Ended> {
    run_then(job, kernel, engine, phases, || ())
}

/// Like [`run`]. Calls `ready` when the guest has booted and has the job's files: from then on,
/// others may be built in the place of the kernel and of these files.
pub fn run_then(
    job: &Job,
    kernel: &Kernel,
    engine: &Choice,
    mut phases: Phases,
    ready: impl FnOnce(),
) -> Result<Ended> {
    within(&Budget::for_job(job, kernel, engine), job, kernel, engine, &mut phases, ready)
}

/// Like [`run`], with explicit limits.
pub fn run_within(
    budget: &Budget,
    job: &Job,
    kernel: &Kernel,
    engine: &Choice,
    phases: &mut Phases,
) -> Result<Ended> {
    within(budget, job, kernel, engine, phases, || ())
}

fn within(
    budget: &Budget,
    job: &Job,
    kernel: &Kernel,
    engine: &Choice,
    phases: &mut Phases,
    ready: impl FnOnce(),
) -> Result<Ended> {
    require_terminal(job)?;
    let scratch = scratch()?;
    let archive = scratch.path().join(ARCHIVE);
    phases.time("archive", || files::write(&archive, job))?;
    let key = key();
    let told = job.for_guest(budget, terminal::size(), key, &archive);
    let started = Started::start(job, kernel, engine, scratch, key, Some(told))?;
    started.follow(budget, job, kernel, engine, phases, ready)
}

/// A running guest.
#[derive(Debug)]
pub struct Started {
    key: u64,
    vm: Vm,
    /// When it was told its job, from its start on.
    told: Duration,
    copy_of: Option<Saved>,
    scratch: TempDir,
}

impl Started {
    /// Starts a guest before its files are built. It boots meanwhile, and waits for
    /// [`Started::run`]. `job` must have the options of the machine, but need not have modules,
    /// tests and tools yet.
    ///
    /// Dropping it ends the guest.
    pub fn early(job: &Job, kernel: &Kernel, engine: &Choice) -> Result<Started> {
        require_terminal(job)?;
        Started::start(job, kernel, engine, scratch()?, key(), None)
    }

    fn start(
        job: &Job,
        kernel: &Kernel,
        engine: &Choice,
        scratch: TempDir,
        key: u64,
        told: Option<protocol::GuestJob>,
    ) -> Result<Started> {
        fs::create_dir_all(&job.logs).with_context(|| format!("create {}", job.logs.display()))?;
        let initrd = scratch.path().join("initrd");
        let spec = VmSpec::new(job, kernel, engine.used, initrd, key);
        let stderr = scratch.path().join("stderr");
        let start = Start { key, job: told, answers: true };
        let (vm, copy_of) = match copy(job, kernel, engine.used, &spec, &stderr, &start)? {
            Some((vm, saved)) => (vm, Some(saved)),
            None => {
                initramfs::write(&spec.initrd, &job.init, &Beginning::Start(start))?;
                (vm::start(&spec, &log(job), &stderr)?, None)
            }
        };
        Ok(Started { key, vm, told: Duration::ZERO, copy_of, scratch })
    }

    /// Does the job and judges it, like [`run`]. The machine and the folder for logs are those of
    /// the job that the guest was started for.
    pub fn run(self, job: &Job, kernel: &Kernel, engine: &Choice, phases: Phases) -> Result<Ended> {
        self.run_then(job, kernel, engine, phases, || ())
    }

    /// Like [`Started::run`]; see [`run_then`].
    pub fn run_then(
        mut self,
        job: &Job,
        kernel: &Kernel,
        engine: &Choice,
        mut phases: Phases,
        ready: impl FnOnce(),
    ) -> Result<Ended> {
        let budget = Budget::for_job(job, kernel, engine);
        let archive = self.scratch.path().join(ARCHIVE);
        phases.time("archive", || files::write(&archive, job))?;
        self.told = self.vm.age();
        // This fails if the guest is dead already. The judge sees what happened to it.
        let _ = self.vm.give(&job.for_guest(&budget, terminal::size(), self.key, &archive));
        self.follow(&budget, job, kernel, engine, &mut phases, ready)
    }

    fn follow(
        self,
        budget: &Budget,
        job: &Job,
        kernel: &Kernel,
        engine: &Choice,
        phases: &mut Phases,
        ready: impl FnOnce(),
    ) -> Result<Ended> {
        let plan = Plan { told: self.told, ..plan(job, budget, engine.used, self.key, &log(job)) };
        let roots: [&Path; 3] = [&job.root, &kernel.source, &kernel.build];
        let mut decoder = Decoder::new(&kernel.vmlinux, &job.modules, &roots);
        let logs = Logs::create(job)?;
        let judge = Judge::new(plan);
        let verdict = Session::new(job, self.vm, judge, logs, &mut decoder, ready).follow()?;
        if may_be_damage(verdict.outcome, &verdict.tests)
            && let Some(saved) = &self.copy_of
        {
            // The next guest must not use the snapshot.
            let _ = saved.remove();
        }
        report(verdict, decoder, kernel, engine, std::mem::take(phases))
    }
}

/// Whether a copy may have died of a damaged snapshot: before any test came to its end.
fn may_be_damage(outcome: Outcome, tests: &[TestReport]) -> bool {
    match outcome {
        Outcome::Boot => true,
        // Only a test that has ended has a time.
        Outcome::Panic => tests.iter().all(|test| test.ms == 0),
        _ => false,
    }
}

/// Starts a guest from a snapshot. `None` if the guest must boot: either the job wants that, or the
/// snapshot cannot be made or loaded.
fn copy(
    job: &Job,
    kernel: &Kernel,
    engine: Engine,
    spec: &VmSpec,
    stderr: &Path,
    start: &Start,
) -> Result<Option<(Vm, Saved)>> {
    let saved = match saved::for_job(job, kernel, engine) {
        Ok(None) => return Ok(None),
        Ok(Some(saved)) => saved,
        Err(error) => return boots_instead(&error),
    };
    match awake(&saved, spec, &log(job), stderr, start) {
        Ok(vm) => Ok(Some((vm, saved))),
        Err(error) => {
            // If this fails, the next guest tries the same snapshot and then boots, too.
            let _ = saved.remove();
            boots_instead(&error)
        }
    }
}

fn awake(saved: &Saved, spec: &VmSpec, log: &Path, stderr: &Path, start: &Start) -> Result<Vm> {
    let vm = vm::start(&saved.copy(spec), log, stderr).context("start from a snapshot")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's time")?;
    vm.wake(&Wake { start: start.clone(), seed: saved::seed()?, now })?;
    Ok(vm)
}

fn boots_instead<T>(error: &anyhow::Error) -> Result<Option<T>> {
    interrupt::check()?;
    say(&format!("this guest boots, since no snapshot can be used: {error:#}"));
    Ok(None)
}

/// The name of the archive with the job's files.
const ARCHIVE: &str = "files";

/// The file for the kernel log that comes over the serial line.
fn log(job: &Job) -> PathBuf {
    job.logs.join("dmesg.log")
}

fn require_terminal(job: &Job) -> Result<()> {
    if matches!(job.work, Work::Shell) { terminal::require() } else { Ok(()) }
}

/// A temporary folder with a path that is the same in the guest.
fn scratch() -> Result<TempDir> {
    let folder =
        std::env::temp_dir().canonicalize().context("find the folder for scratch files")?;
    tempfile::tempdir_in(folder).context("create a scratch folder")
}

/// A random number that programs in the guest do not know.
fn key() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn plan(job: &Job, budget: &Budget, engine: Engine, key: u64, log: &Path) -> Plan {
    let (work, whole) = match &job.work {
        Work::Tests(tests) => {
            let planned =
                |test: &Test| PlannedTest { name: test.name.clone(), limit: budget.test(test) };
            (PlannedWork::Tests(tests.iter().map(planned).collect()), budget.run(tests))
        }
        Work::Command(_) => (PlannedWork::Command, NO_LIMIT),
        Work::Shell => (PlannedWork::Shell, NO_LIMIT),
    };
    Plan {
        work,
        key,
        boot: budget.boot,
        told: Duration::ZERO,
        settle: budget.settle,
        grace: budget.grace,
        whole,
        real_time: engine != Engine::Counting,
        memory_mb: job.memory_mb,
        log: log.display().to_string(),
    }
}

/// The log files. They are written while the guest runs, so they exist even if the lab is killed.
struct Logs {
    tests: Vec<PathBuf>,
    open: Option<(usize, File)>,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    kernel: File,
    kernel_path: PathBuf,
    kernel_length: usize,
    records: Records,
}

impl Logs {
    /// Creates all files empty, so that nothing of an earlier run is left.
    fn create(job: &Job) -> Result<Logs> {
        let tests = paths(job);
        let dir = job.logs.join("tests");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for path in &tests {
            File::create(path).with_context(|| format!("create {}", path.display()))?;
        }
        let kernel_path = job.logs.join("kmsg.log");
        let kernel = File::create(&kernel_path);
        let kernel = kernel.with_context(|| format!("create {}", kernel_path.display()))?;
        Ok(Logs {
            tests,
            open: None,
            line: Vec::new(),
            kernel,
            kernel_path,
            kernel_length: 0,
            records: Records::default(),
        })
    }

    fn keep(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Some(path) = self.tests.get(index) else { return Ok(()) };
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let file = File::options().append(true).open(path);
            self.open = Some((index, file.with_context(|| format!("open {}", path.display()))?));
            self.line.clear();
        }
        let written = self.open.as_mut().map(|(_, file)| file.write_all(bytes));
        written
            .transpose()
            .with_context(|| format!("write {}: make room there", path.display()))?;
        Ok(())
    }

    /// Shows lines with this beginning at once.
    fn show(&mut self, bytes: &[u8], beginning: &str) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                line.trim_end().strip_prefix(beginning).into_iter().for_each(say);
            }
        }
    }

    fn kernel(&mut self, bytes: &[u8]) -> Result<()> {
        for record in self.records.feed(bytes).into_iter().flatten() {
            for line in record.lines() {
                self.kernel_length += line.len();
                if self.kernel_length > LONGEST_LOG {
                    return Ok(());
                }
                let written = writeln!(self.kernel, "{line}");
                let path = &self.kernel_path;
                written.with_context(|| format!("write {}: make room there", path.display()))?;
            }
        }
        Ok(())
    }
}

/// The log file of each test.
fn paths(job: &Job) -> Vec<PathBuf> {
    let Work::Tests(tests) = &job.work else { return Vec::new() };
    let path = |test: &Test| job.logs.join("tests").join(format!("{}.log", test.name));
    tests.iter().map(path).collect()
}

struct Session<'a, R: FnOnce()> {
    job: &'a Job,
    vm: Vm,
    judge: Judge,
    logs: Logs,
    decoder: &'a mut Decoder,
    steps: Steps,
    began: Instant,
    raw: Option<Raw>,
    size: Option<Size>,
    /// Called once the guest has its files.
    ready: Option<R>,
}

impl<'a, R: FnOnce()> Session<'a, R> {
    fn new(
        job: &'a Job,
        vm: Vm,
        judge: Judge,
        logs: Logs,
        decoder: &'a mut Decoder,
        ready: R,
    ) -> Session<'a, R> {
        let steps = Steps::new(logs.tests.len());
        let began = Instant::now();
        let ready = Some(ready);
        Session { job, vm, judge, logs, decoder, steps, began, raw: None, size: None, ready }
    }

    /// Listens until QEMU has ended and all its output is read.
    fn follow(mut self) -> Result<Verdict> {
        let (mut frames, mut log) = (true, true);
        while frames || log {
            interrupt::check()?;
            let (at, event) = self.vm.listen(TICK);
            let heard = match event {
                Some(VmEvent::Frame(frame)) => {
                    if let Frame::Kernel(bytes) = &frame {
                        self.logs.kernel(bytes)?;
                    }
                    Heard::Frame(frame)
                }
                Some(VmEvent::FramesEnd(torn)) => {
                    frames = false;
                    Heard::FramesEnd(torn)
                }
                Some(VmEvent::Log(line)) => Heard::Console(line),
                Some(VmEvent::LogEnd) => {
                    log = false;
                    Heard::Silence
                }
                Some(VmEvent::LogCut) => Heard::ConsoleCut,
                Some(VmEvent::LogLost(why)) => {
                    bail!("{why}: the kernel log is lost; make room there and run again")
                }
                None => Heard::Silence,
            };
            for order in self.judge.feed(at, heard) {
                self.obey(order)?;
            }
            self.steps.draw();
            self.follow_size()?;
        }
        let exit = self.end()?;
        Ok(self.judge.verdict(exit))
    }

    /// Waits until QEMU has exited.
    fn end(&mut self) -> Result<Exit> {
        self.raw = None;
        let deadline = Instant::now() + ENDING;
        loop {
            if let Some(status) = self.vm.ended()? {
                let complaint = self.vm.complaint();
                return Ok(Exit { status: Some(status), complaint, at: self.vm.age() });
            }
            if Instant::now() > deadline {
                self.vm.kill();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Connect => {
                self.ready.take().into_iter().for_each(|ready| ready());
                self.connect()
            }
            Order::Began(index) => {
                self.began = Instant::now();
                let test = self.judge.test(index);
                test.into_iter().for_each(|test| self.steps.begin(&test.name));
                Ok(())
            }
            Order::Ended(index) => {
                let took = human(self.began.elapsed());
                let test = self.judge.test(index);
                test.into_iter().for_each(|it| self.steps.end(&format!("{}, {took}", it.name)));
                Ok(())
            }
            Order::Keep(index, bytes) => {
                self.logs.keep(index, &bytes)?;
                if let Some(beginning) = self.job.progress {
                    self.logs.show(&bytes, beginning);
                }
                Ok(())
            }
            Order::Tell(index, text) => {
                self.tell(index, &text);
                Ok(())
            }
            Order::TellFinding(index, mut finding) => {
                if self.job.tells {
                    self.decoder.decode(&mut finding);
                    self.tell(index, &finding.quote_shortly());
                }
                Ok(())
            }
            Order::Show(bytes, out) => show(&bytes, out),
            Order::Ask => {
                // This fails if the guest is dead already; the lab ends it later.
                let _ = self.vm.request(Request::Whereabouts);
                self.judge.answered(self.vm.age());
                Ok(())
            }
            Order::Release => {
                // This fails if the guest has already ended without waiting for it.
                let _ = self.vm.request(Request::Heard);
                self.judge.answered(self.vm.age());
                Ok(())
            }
            Order::Kill => {
                self.vm.kill();
                Ok(())
            }
        }
    }

    /// Prints at once what went wrong, and in which test, if there is one.
    fn tell(&self, index: Option<usize>, text: &str) {
        if self.job.tells {
            let test = index.and_then(|index| self.judge.test(index));
            say(&told(test.map(|test| test.name.as_str()), text));
        }
    }

    fn connect(&mut self) -> Result<()> {
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
        if self.raw.is_some() {
            let size = terminal::size();
            if let (Some(new), true) = (size, size != self.size) {
                // This fails if the guest has ended; then the size does not matter.
                let _ = self.vm.request(Request::Resize(new));
                self.size = size;
            }
        }
        Ok(())
    }
}

/// The text with the test's name before each line: other guests may print at the same time.
fn told(test: Option<&str>, text: &str) -> String {
    let lines = text.trim_end().lines();
    let told: Vec<String> = match test {
        Some(name) => lines.map(|line| format!("{name}: {line}")).collect(),
        None => lines.map(str::to_owned).collect(),
    };
    told.join("\n")
}

/// Passes on a command's output. An error if our reader has closed the pipe.
fn show(bytes: &[u8], out: bool) -> Result<()> {
    let written =
        if out { std::io::stdout().write_all(bytes) } else { std::io::stderr().write_all(bytes) };
    written.context("write the command's output")
}

/// Makes a report from the verdict.
fn report(
    verdict: Verdict,
    mut decoder: Decoder,
    kernel: &Kernel,
    engine: &Choice,
    mut phases: Phases,
) -> Result<Ended> {
    let Verdict { mut findings, mut notes, .. } = verdict;
    phases.0.extend(verdict.phases.0);
    if !findings.is_empty() {
        phases.time("decode stacks", || {
            findings.iter_mut().for_each(|finding| decoder.decode(finding));
        });
    }
    notes.append(&mut decoder.errors);
    let release = verdict.release.unwrap_or_else(|| kernel.release.clone());
    let versions: BTreeMap<String, String> =
        [("linux".to_owned(), release), ("qemu".to_owned(), engine::qemu_version()?)].into();
    let report = Report {
        outcome: verdict.outcome,
        engine: Some(engine.clone()),
        versions,
        tests: verdict.tests,
        kernel_findings: findings,
        notes,
        ..Report::not_built(verdict.message, phases)
    };
    Ok(Ended { report, status: verdict.status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_dies_before_a_test_has_ended_may_have_a_damaged_snapshot() {
        let tests = |times: &[u64]| -> Vec<TestReport> {
            times.iter().map(|ms| TestReport { ms: *ms, ..TestReport::default() }).collect()
        };
        for (outcome, times, want) in [
            (Outcome::Boot, &[][..], true),
            (Outcome::Panic, &[], true),
            (Outcome::Panic, &[0, 0], true),
            (Outcome::Panic, &[7, 0], false),
            (Outcome::Test, &[0], false),
            (Outcome::Pass, &[7], false),
        ] {
            assert_eq!(may_be_damage(outcome, &tests(times)), want, "{outcome:?} {times:?}");
        }
    }
}
