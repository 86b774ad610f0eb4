// SPDX-License-Identifier: GPL-2.0

//! `lab test`, `lab all` and `lab test-debug`: checks and selftests side by side, each selftest in
//! a guest of its own, then one report of it all.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use vmlab::boot::engine;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};
use vmlab::run::interrupt;
use vmlab::run::job::{self, Work};
use vmlab::run::phases::{Phases, millis};
use vmlab::run::pool;
use vmlab::run::print;
use vmlab::run::progress::{Shown, human, say};
use vmlab::run::session::{self, Started};

use crate::build::kernel::Variant;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::checks::compile_fail;
use crate::checks::examples;
use crate::checks::lint;
use crate::cli::TestArgs;
use crate::commands::net::Guests;
use crate::commands::{Runner, reports};
use crate::durations::Durations;
use crate::expected_skips::{self, ExpectedSkips};
use crate::host::disk;
use crate::net::compare::{self, Compared, NetTests};
use crate::project;
use crate::ui::colour;

/// A task. Several run side by side.
#[derive(Debug, Clone)]
enum Task {
    HostLint,
    KernelLint,
    CompileFail,
    Examples,
    HostTests,
    Study,
    /// A selftest, and the number of its repeat.
    Selftest(job::Test, u32),
    /// One of the kernel tree's own tests.
    Net(job::Test),
}

/// Everything that the tasks need.
struct Ready {
    base: Prepared,
    built: Built,
    engine: engine::Choice,
    net: Option<(compare::List, NetTests)>,
    early: Early,
}

/// A selftest's name, and its guest, which was started while modules and programs were built.
type Early = Mutex<Option<(String, Started)>>;

impl Runner<'_> {
    /// Runs the selftests; with `checks`, also everything that needs no guest.
    pub(super) fn test(&self, args: &TestArgs, checks: bool) -> Result<u8> {
        let start = Instant::now();
        let _lock = checkout_lock::take(&self.lab.target)?;
        reports::forget(&self.lab.target)?;
        let mut phases = Phases::default();
        let mut parts = Vec::new();
        let ran = self.all_tasks(args, checks, &mut phases, &mut parts);
        let mut report = Report::whole(parts, phases);
        if let Err(error) = ran {
            report.outcome = reports::outcome_of(&error);
            if report.outcome != Outcome::Interrupted {
                report.message = format!("{:#}", disk::explain(error, self.lab.cache.dir()));
            }
        }
        report.notes.extend(self.unjudged(&report));
        report.elapsed_ms = Some(millis(start.elapsed()));
        self.conclude(&report, args)
    }

    /// A note if there were skips that were not judged.
    fn unjudged(&self, report: &Report) -> Option<String> {
        let skipped = expected_skips::number(report);
        (skipped > 0 && !self.lab.settings.own_kernel()).then(|| {
            format!(
                "{skipped} skipped; not judged, since the list of expected skips is for the lab's own \
                 kernel"
            )
        })
    }

    /// Builds everything and does all tasks. The results are in `parts`, even after an error.
    fn all_tasks(
        &self,
        args: &TestArgs,
        checks: bool,
        phases: &mut Phases,
        parts: &mut Vec<Report>,
    ) -> Result<()> {
        let selftests = job::select(self.lab.selftests()?, &args.patterns)?;
        let expected = ExpectedSkips::load(self.lab, self.variant)?;
        let mut durations = Durations::load(&self.lab.target);
        let longest = selftests.iter().min_by_key(|test| Reverse(durations.expected(&test.name)));
        let ready = self.ready(checks, longest, phases)?;
        let tasks = self.tasks(args, checks, &selftests, &ready, &durations);
        let mut heard = BTreeSet::new();
        let start = Instant::now();
        pool::run(
            &tasks,
            self.lab.settings.jobs,
            Task::waits,
            |task| self.work(task, &ready),
            |task, (mut report, took)| {
                expected.judge(&mut report);
                heard.insert(task.id());
                durations.set(&task.name(), took);
                if !interrupt::requested() {
                    tell(task, &report, took, heard.len(), tasks.len());
                }
                parts.push(report);
                let go_on = !args.fail_fast || !parts.iter().any(|it| it.outcome.is_failure());
                go_on && !interrupt::requested()
            },
        );
        let missing = tasks.iter().filter(|task| !heard.contains(&task.id()));
        parts.extend(missing.map(|task| task.failed("did not run".to_owned())));
        phases.add(if checks { "checks and guests" } else { "guests" }, start.elapsed());
        durations.store()?;
        interrupt::check()
    }

    /// Builds what all tasks need, and boots a guest for the `first` selftest meanwhile.
    fn ready(&self, checks: bool, first: Option<&job::Test>, phases: &mut Phases) -> Result<Ready> {
        let base = pipeline::base(self.lab, self.variant, phases)?;
        if self.variant == Variant::Debug && !base.kernel.debug {
            bail!(
                "this kernel has none of KASAN, lockdep, KCSAN and UBSAN, and would find nothing: \
                 unset KBUILD, or build it with the options of debug.config"
            );
        }
        let engine = self.lab.engine()?;
        let early = match first {
            Some(test) => {
                let job = self.selftest_job(test, 0, &base, &Built::nothing(self.lab)?)?;
                self.early(&job, &base, &engine)?.map(|guest| (test.name.clone(), guest))
            }
            None => None,
        };
        let built = pipeline::build(self.lab, &base, phases)?;
        let compares = checks && self.lab.project.selftests.net;
        let net = if compares { Some(self.prepare_net(&base)?) } else { None };
        Ok(Ready { base, built, engine, net, early: Mutex::new(early) })
    }

    /// All tasks, the longest first.
    fn tasks(
        &self,
        args: &TestArgs,
        checks: bool,
        selftests: &[job::Test],
        ready: &Ready,
        durations: &Durations,
    ) -> Vec<Task> {
        let mut tasks = Vec::new();
        if checks {
            tasks.extend(self.checks());
        }
        if let Some((list, _)) = &ready.net {
            tasks.extend(list.quick().into_iter().map(Task::Net));
        }
        for round in 0..args.repeat.get() {
            tasks.extend(selftests.iter().map(|test| Task::Selftest(test.clone(), round)));
        }
        // A stable sort: tasks that have never run come first, in the order above.
        tasks.sort_by_key(|task| Reverse(durations.expected(&task.name())));
        tasks
    }

    /// The checks that apply to the project.
    fn checks(&self) -> Vec<Task> {
        let project = &self.lab.project;
        let workspace = lint::has_workspace(self.lab);
        let all = [
            (Task::HostTests, workspace),
            (Task::HostLint, workspace || project.lint.house_rules),
            (Task::KernelLint, lint::concerns_kernel(project)),
            (Task::CompileFail, project.compile_fail.is_some()),
            (Task::Examples, project.examples.is_some()),
            // A kernel tree of the user's would have to be built once more.
            (Task::Study, project.study.is_some() && self.lab.settings.own_kernel()),
        ];
        all.into_iter().filter(|(_, wanted)| *wanted).map(|(task, _)| task).collect()
    }

    /// Does a task. Errors become part of its report.
    fn work(&self, task: &Task, ready: &Ready) -> (Report, Duration) {
        let start = Instant::now();
        let _shown = Shown::start(&task.name());
        let report = self.report_of(task, ready).unwrap_or_else(|error| {
            let error = disk::explain(error, self.lab.cache.dir());
            task.failed(format!("{error:#}"))
        });
        (report, start.elapsed())
    }

    fn report_of(&self, task: &Task, ready: &Ready) -> Result<Report> {
        let (lab, base) = (self.lab, &ready.base);
        let mut checks = match task {
            Task::Selftest(test, round) => return self.selftest(test, *round, ready),
            Task::Net(test) => return self.net_check(ready, test),
            Task::HostTests => lint::unit_tests(lab, &base.kernel, &ready.built),
            Task::HostLint => lint::host(lab),
            Task::KernelLint => lint::kernel(lab, base),
            Task::CompileFail => compile_fail::run(lab, &base.tools)?,
            Task::Examples => examples::run(lab, &base.tools)?,
            Task::Study => self.quick_study()?,
        };
        if checks.is_empty() {
            bail!(
                "nothing was checked: a file or folder that {} names is empty or missing",
                project::FILE
            );
        }
        checks.iter_mut().for_each(|check| check.group = task.group().to_owned());
        Ok(Report::of_checks(checks))
    }

    /// A guest for one selftest.
    fn selftest(&self, test: &job::Test, round: u32, ready: &Ready) -> Result<Report> {
        let job = self.selftest_job(test, round, &ready.base, &ready.built)?;
        let (kernel, engine, phases) = (&ready.base.kernel, &ready.engine, Phases::default());
        let early = || {
            let mut early = ready.early.lock().unwrap_or_else(PoisonError::into_inner);
            early.take_if(|(name, _)| round == 0 && *name == test.name)
        };
        let ended = match early() {
            Some((_, guest)) => guest.run(&job, kernel, engine, phases),
            None => session::run(&job, kernel, engine, phases),
        };
        Ok(ended?.report)
    }

    fn selftest_job(
        &self,
        test: &job::Test,
        round: u32,
        base: &Prepared,
        built: &Built,
    ) -> Result<job::Job> {
        let work = Work::one(test.clone());
        let mut job = self.job(base, built, work, &[])?;
        let number = if round > 0 { format!(".{}", round + 1) } else { String::new() };
        job.logs = job.logs.join("guests").join(format!("{}{number}", test.name));
        Ok(job)
    }

    fn net_check(&self, ready: &Ready, test: &job::Test) -> Result<Report> {
        let (_, tests) = ready.net.as_ref().context("the network tests are not prepared")?;
        let guests =
            Guests { base: &ready.base, built: &ready.built, tests, engine: &ready.engine };
        let (check, compared) = self.compare_one(guests, test);
        let notes = compared.iter().map(Compared::line).collect();
        let (group, name) = ("net".to_owned(), test.name.clone());
        let entry = TestReport { group, name, notes, ..check };
        Ok(Report::of_checks(vec![entry]))
    }

    /// Writes the reports and the last lines.
    fn conclude(&self, report: &Report, args: &TestArgs) -> Result<u8> {
        reports::write(report, &self.lab.target)?;
        let tally = report.tally();
        if args.ktap {
            print::out(&report.ktap());
            print::err(&format!("{}{tally}\n", report.table()));
        } else {
            colour::print(&report.table());
            print::out(&format!("{tally}\n"));
        }
        Ok(report.outcome.exit_code())
    }
}

impl Task {
    /// The group of the task's entries in the report; empty for selftests.
    fn group(&self) -> &'static str {
        match self {
            Task::HostLint | Task::KernelLint => lint::GROUP,
            Task::CompileFail => "compile-fail",
            Task::Examples => "example",
            Task::HostTests => "host test",
            Task::Net(_) => "net",
            Task::Study => "study",
            Task::Selftest(..) => "",
        }
    }

    /// Whether the task spends most of its time waiting, for guests that are slow on purpose.
    fn waits(&self) -> bool {
        matches!(self, Task::HostTests)
    }

    /// The task's name, and the number of its repeat.
    fn id(&self) -> (String, u32) {
        (self.name(), if let Task::Selftest(_, round) = self { *round } else { 0 })
    }

    /// The report of a task that could not be done.
    fn failed(&self, reason: String) -> Report {
        let (group, name) = (self.group().to_owned(), self.name());
        Report::of_checks(vec![TestReport { group, name, reason, ..TestReport::default() }])
    }

    /// The task's name in progress lines.
    fn name(&self) -> String {
        match self {
            Task::HostLint => "the host's code".to_owned(),
            Task::KernelLint => "the kernel's code".to_owned(),
            Task::CompileFail => "code that must not compile".to_owned(),
            Task::Examples => "examples".to_owned(),
            Task::HostTests => "host tests".to_owned(),
            Task::Study => "quick study".to_owned(),
            Task::Net(test) => format!("net/{}", test.name),
            Task::Selftest(test, _) => test.name.clone(),
        }
    }
}

/// Prints at once how a task ended, with details of a failure.
fn tell(task: &Task, report: &Report, took: Duration, number: usize, of: usize) {
    let failed = || report.tests.iter().filter(|test| test.result == TestResult::Fail);
    let word = match report.tests.iter().map(|test| test.result).max() {
        _ if report.outcome.is_failure() => "FAIL",
        Some(TestResult::Skip) if report.tests.len() == 1 => "skip",
        _ => "ok  ",
    };
    let line = format!("{number:3} of {of}  {word}  {}, {}", task.name(), human(took));
    say(&colour::for_stderr(&line));
    for test in failed() {
        let title =
            if test.name == task.name() { String::new() } else { format!("{}: ", test.title()) };
        for line in format!("{title}{}", test.reason)
            .lines()
            .chain(test.notes.iter().flat_map(|note| note.lines()))
        {
            say(&format!("           {line}"));
        }
    }
    for finding in &report.kernel_findings {
        say(finding.quote().trim_end());
    }
}
