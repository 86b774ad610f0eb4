// SPDX-License-Identifier: GPL-2.0

//! What each command does, in its order.

use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab_init::protocol::Status;

use crate::accel::{self, Engine};
use crate::bench;
use crate::cache;
use crate::cli::{self, Accel, Action, Cli, TestArgs};
use crate::compile_fail;
use crate::disk;
use crate::doc_examples;
use crate::doctor;
use crate::guest::{self, Guest};
use crate::interrupt;
use crate::job::{self, Job, Work};
use crate::junit;
use crate::kernel::{self, Variant};
use crate::ktap;
use crate::lab::Lab;
use crate::lint;
use crate::modules;
use crate::mutants::{self, Mutant};
use crate::netlink;
use crate::outcome::Outcome;
use crate::packages::{self, Rights};
use crate::phases::Phases;
use crate::pipeline::{self, Base, Built};
use crate::progress::say;
use crate::report::Report;
use crate::rust_analyzer;
use crate::selftests_net::{self, Compared, Prepared, Run};
use crate::session::{self, Ended};
use crate::subtests;
use crate::tally::{self, Tally, Verdict};
use crate::toolchain::Toolchain;
use crate::tools::Machine;

/// The module, as the guest loads it.
const MODULE: &str = "rnetns.ko";
/// How long one run of all measurements may take, emulated.
const BENCH_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Runs the command; gives the exit status.
pub fn run(lab: &Lab, cli: &Cli) -> Result<u8> {
    let engine = match (cli.options.engine, cli.options.accel) {
        (cli::Engine::Uml, _) => Some(Engine::UserMode),
        (cli::Engine::Qemu, Some(Accel::Kvm)) => Some(Engine::Kvm),
        (cli::Engine::Qemu, Some(Accel::Tcg)) => Some(Engine::Tcg),
        (cli::Engine::Qemu, None) => None,
    };
    let variant = match (&cli.command, engine) {
        (Action::TestDebug(_), _) => Variant::Debug,
        (Action::SelftestsNet { .. }, _) => Variant::NetSelftests,
        (_, Some(Engine::UserMode)) => Variant::UserMode,
        _ => Variant::Plain,
    };
    let job = Command { lab, engine, variant, memory_mb: cli.options.memory };
    match &cli.command {
        Action::All => job.test(&TestArgs::default(), false),
        Action::Test(args) => job.test(args, args.pattern.is_none()),
        Action::TestDebug(args) => job.test(args, false),
        Action::SelftestsNet { tests } => job.selftests_net(tests),
        Action::Mutants { pattern } => job.mutants(pattern.as_deref()),
        Action::Shell => job.command(Work::Shell, &[MODULE]),
        Action::Run { command } => job.command(Work::Command(command.join(" ")), &[MODULE]),
        Action::Bench => job.bench(),
        Action::Kernel { variant } => {
            let variant = match variant {
                None => job.variant,
                Some(cli::Variant::Debug) => Variant::Debug,
                Some(cli::Variant::Net) => Variant::NetSelftests,
            };
            let base = pipeline::base(lab, variant, &mut Phases::default())?;
            say(&format!("Linux {} in {}", base.kernel.release, base.kernel.build.display()));
            Ok(0)
        }
        Action::Netlink => {
            let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
            netlink::generate(lab, &base.kernel)?;
            Ok(0)
        }
        Action::Doctor => diagnose(lab, engine),
        Action::Lint => job.lint(),
        Action::RustAnalyzer => describe(lab),
        Action::Clean => cache::remove_dir(&lab.target).map(|()| 0),
        Action::Distclean => {
            cache::remove_dir(&lab.target)?;
            cache::remove_dir(lab.cache.dir())?;
            say(&format!("removed {}", lab.cache.dir().display()));
            Ok(0)
        }
    }
}

/// A run of the lab.
#[derive(Debug, Clone, Copy)]
struct Command<'a> {
    lab: &'a Lab,
    engine: Option<Engine>,
    variant: Variant,
    /// What was asked for.
    memory_mb: Option<u32>,
}

impl Command<'_> {
    /// The main job; with `checks`, also all that runs on the host.
    fn test(&self, args: &TestArgs, checks: bool) -> Result<u8> {
        let mut phases = Phases::default();
        let mut checked = Checked { tally: Tally::default(), quiet: args.ktap };
        if checks {
            phases.time("lint", || checked.tell(&lint::host(self.lab)));
            interrupt::check()?;
        }
        let report = match self.selftests(args, checks, &mut checked, &mut phases) {
            Ok(report) => report,
            Err(error) => {
                interrupt::check()?;
                let error = disk::explain(error, self.lab.cache.dir());
                Report::not_built(format!("{error:#}"), phases)
            }
        };
        self.conclude(&report, args, checked.tally)
    }

    fn selftests(
        &self,
        args: &TestArgs,
        checks: bool,
        checked: &mut Checked,
        phases: &mut Phases,
    ) -> Result<Report> {
        let base = pipeline::base(self.lab, self.variant, phases)?;
        let built = pipeline::build(self.lab, &base, phases)?;
        if checks {
            phases.time("checks", || checked.built(self.lab, &base, &built))?;
        }
        if self.variant == Variant::Debug && !base.kernel.debug {
            bail!("this kernel has neither KASAN nor lockdep: it would find nothing");
        }
        let folder = self.lab.root.join("selftests");
        let tests = job::select(job::selftests(&folder)?, args.pattern.as_deref())?;
        let work = Work::Tests { tests, repeat: args.repeat };
        let report = self.boot(&base, &built, work, &[], std::mem::take(phases))?.report;
        if checks {
            interrupt::check()?;
            let list = selftests_net::List::load(&self.lab.root)?;
            self.compare(&base, &built, &list, &list.quick(), checked)?;
        }
        Ok(report)
    }

    /// The kernel tree's own network tests.
    fn selftests_net(&self, names: &[String]) -> Result<u8> {
        let mut checked = Checked { tally: Tally::default(), quiet: false };
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let built = pipeline::build(self.lab, &base, &mut Phases::default())?;
        let list = selftests_net::List::load(&self.lab.root)?;
        self.compare(&base, &built, &list, &list.choose(names), &mut checked)?;
        println!("{}", checked.tally);
        Ok(if checked.tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    /// Runs network tests without and with the module, and tells each.
    fn compare(
        &self,
        base: &Base,
        built: &Built,
        list: &selftests_net::List,
        tests: &[job::Test],
        checked: &mut Checked,
    ) -> Result<()> {
        let machine = Machine::this();
        let checks: Vec<_> =
            list.packages.iter().map(|package| doctor::package(&machine, package)).collect();
        let missing = doctor::missing_packages(&checks);
        if !missing.is_empty() {
            let installed = packages::offer(self.lab, &machine, &missing);
            if let Err(error) = &installed {
                say(&format!("note: {error:#}"));
            }
            if !installed.is_ok_and(|installed| installed) {
                let get = packages::by_hand(&missing);
                say(&format!("some of the kernel's tests may skip; to run them:\n  {get}"));
            }
        }
        let prepared = selftests_net::prepare(self.lab, list, &base.kernel, &base.tools)?;
        prepared.notes.iter().for_each(|note| say(&format!("note: {note}")));
        let accel = accel::choose(self.engine, &self.lab.cache)?;
        let mut all: Vec<Compared> = Vec::new();
        for test in tests {
            interrupt::check()?;
            let run = |loaded| self.net_test(base, built, &prepared, test, &accel, loaded);
            let verdict = match selftests_net::compare(&test.name, run) {
                Ok(compared) => {
                    let (failure, void) = (compared.failure(), compared.is_void());
                    let status = match (failure, void) {
                        (Some(why), _) => tally::Status::Failed(why),
                        (None, Some(why)) => {
                            let log = net_logs(self.lab, false).join("tests");
                            let log = log.join(format!("{}.log", test.name));
                            tally::Status::Skipped(format!("{why}; see {}", log.display()))
                        }
                        (None, None) => tally::Status::Passed,
                    };
                    let name = compared.line();
                    all.push(compared);
                    Verdict { name, status }
                }
                Err(error) => Verdict::of::<()>(format!("net/{}", test.name), Err(error)),
            };
            checked.tell(&[verdict]);
            selftests_net::write(&self.lab.target.join("selftests-net.json"), &all)?;
        }
        Ok(())
    }

    /// One network test in a guest of its own.
    fn net_test(
        &self,
        base: &Base,
        built: &Built,
        prepared: &Prepared,
        test: &job::Test,
        accel: &accel::Verdict,
        loaded: bool,
    ) -> Result<Run> {
        let start = Instant::now();
        let work = Work::Tests { tests: vec![test.clone()], repeat: NonZeroU32::MIN };
        let load: &[&str] = if loaded { &[MODULE] } else { &[] };
        let mut job = self.job(base, built, work, load)?;
        job.keep_loaded = true;
        job.turns = true;
        job.selftests = vec![prepared.script(test)?];
        job.logs = net_logs(self.lab, loaded);
        let report = session::run(&job, &base.kernel, accel, Phases::default())?.report;
        if matches!(report.outcome, Outcome::Boot | Outcome::Build) {
            bail!("{}", report.message);
        }
        let log = job.logs.join("tests").join(format!("{}.log", test.name));
        let output = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        let output = String::from_utf8_lossy(&output);
        if loaded != output.lines().any(|line| line == selftests_net::LOADED) {
            bail!(
                "the module was to be {}loaded: {}",
                if loaded { "" } else { "un" },
                log.display()
            );
        }
        let ms = crate::phases::millis(start.elapsed());
        let died = report.outcome == Outcome::Panic;
        Ok(Run { results: subtests::parse(&output), findings: report.kernel_findings, died, ms })
    }

    /// Selftests that must fail.
    fn mutants(&self, pattern: Option<&str>) -> Result<u8> {
        let mutants = mutants::load(&self.lab.root, pattern)?;
        let mut checked = Checked { tally: Tally::default(), quiet: false };
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let guest = guest::build(self.lab, &base.tools)?;
        let accel = accel::choose(self.engine, &self.lab.cache)?;
        let copy = mutants::Copy::new(&self.lab.root)?;
        for mutant in &mutants {
            interrupt::check()?;
            let name = format!("{}: {}", mutant.name, mutant.rule);
            let verdict = match self.mutant(&base, &guest, &copy, mutant, &accel) {
                Ok(who) => Verdict::of(format!("{name}: noticed by {who}"), Ok(())),
                Err(error) => Verdict::of::<()>(name, Err(error)),
            };
            checked.tell(&[verdict]);
        }
        println!("{}", checked.tally);
        Ok(if checked.tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    /// Who has noticed one.
    fn mutant(
        &self,
        base: &Base,
        guest: &Guest,
        copy: &mutants::Copy,
        mutant: &Mutant,
        accel: &accel::Verdict,
    ) -> Result<String> {
        let lab = Lab {
            root: copy.root().to_owned(),
            target: self.lab.target.join("mutants"),
            ..self.lab.clone()
        };
        let modules = copy.with(mutant, || modules::build(&lab, &base.kernel, &base.tools))?;
        let built = Built { modules, guest: guest.clone() };
        let work = Work::Tests { tests: mutant.tests.clone(), repeat: NonZeroU32::MIN };
        let mut job = self.job(base, &built, work, &[])?;
        job.logs = lab.target.join("logs").join(&mutant.name);
        let report = session::run(&job, &base.kernel, accel, Phases::default())?.report;
        mutants::judge(&report).with_context(|| format!("see {}", job.logs.display()))
    }

    /// Boots a guest for one job.
    fn boot(
        &self,
        base: &Base,
        built: &Built,
        work: Work,
        load: &[&str],
        phases: Phases,
    ) -> Result<Ended> {
        let job = self.job(base, built, work, load)?;
        let accel = accel::choose(self.engine, &self.lab.cache)?;
        session::run(&job, &base.kernel, &accel, phases)
    }

    fn job(&self, base: &Base, built: &Built, work: Work, load: &[&str]) -> Result<Job> {
        let lab = self.lab;
        let mut selftests = vec![lab.root.join("selftests")];
        selftests.extend(built.guest.selftests.iter().cloned());
        Ok(Job {
            work,
            modules: built.modules.clone(),
            load: load.iter().map(|name| (*name).to_owned()).collect(),
            keep_loaded: false,
            init: built.guest.init.clone(),
            tools: built.guest.tools.clone(),
            selftests,
            directory: std::env::current_dir().context("find the current directory")?,
            // They are under the host's root, which the guest has as its own.
            env: netlink::environment(lab, &base.kernel),
            turns: false,
            memory_mb: self.memory_mb.unwrap_or(if base.kernel.debug { 2048 } else { 1024 }),
            progress: None,
            logs: lab.target.join("logs"),
            root: lab.root.clone(),
        })
    }

    /// Writes the reports and the last lines.
    fn conclude(&self, report: &Report, args: &TestArgs, mut tally: Tally) -> Result<u8> {
        self.write(report)?;
        tally.add(count(report));
        if args.ktap {
            print!("{}", report.ktap());
            eprint!("{}", report.table());
            eprintln!("{tally}");
        } else {
            print!("{}", report.table());
            println!("{tally}");
        }
        Ok(match report.outcome {
            Outcome::Pass if tally.failed > 0 => Outcome::Test.exit_code(),
            outcome => outcome.exit_code(),
        })
    }

    fn write(&self, report: &Report) -> Result<()> {
        report.write(&self.lab.target.join("results.json"))?;
        junit::write(report, &self.lab.target.join("results.xml"))
    }

    /// One command, or a shell: its exit status is ours, unless the guest came
    /// to harm.
    fn command(&self, work: Work, load: &[&str]) -> Result<u8> {
        let mut phases = Phases::default();
        let base = pipeline::base(self.lab, self.variant, &mut phases)?;
        let built = pipeline::build(self.lab, &base, &mut phases)?;
        let ended = self.boot(&base, &built, work, load, phases)?;
        self.write(&ended.report)?;
        let harmed = !matches!(ended.report.outcome, Outcome::Pass | Outcome::Test);
        if harmed {
            eprint!("{}", ended.report.table());
        }
        Ok(match ended.status {
            Some(status) if !harmed => exit_status(status),
            _ => ended.report.outcome.exit_code(),
        })
    }

    /// Measures time, then instructions, and sets both side by side.
    fn bench(&self) -> Result<u8> {
        let mut phases = Phases::default();
        let base = pipeline::base(self.lab, self.variant, &mut phases)?;
        let built = pipeline::build(self.lab, &base, &mut phases)?;
        if !built.modules.iter().any(|path| path.ends_with(bench::MODULE)) {
            bail!("there is no {} to measure with", bench::MODULE);
        }
        let engine = accel::choose(self.engine, &self.lab.cache)?;
        let counting =
            accel::Verdict { used: Engine::Counting, why: "to count instructions".to_owned() };
        let mut runs = vec![(&engine, "time")];
        if engine.used == Engine::UserMode {
            say("not counting instructions: that takes QEMU, and another kernel");
        } else {
            runs.push((&counting, "instructions"));
        }
        let mut runs = runs.into_iter().zip([bench::Unit::Time, bench::Unit::Instructions]);
        let (mut texts, mut outcome) = (Vec::new(), Outcome::Pass);
        while let (Outcome::Pass, Some(((accel, what), unit))) = (outcome, runs.next()) {
            say(&format!("measuring {what}"));
            let (text, report) = self.measure(&base, &built, accel)?;
            outcome = report.outcome;
            if outcome != Outcome::Pass {
                eprint!("{}", report.table());
            }
            texts.push((unit, text));
        }
        let outputs: Vec<_> =
            texts.iter().map(|(unit, text)| bench::Output { unit: *unit, text }).collect();
        let results = bench::results(&engine, &outputs, outcome == Outcome::Pass)?;
        results.write(&self.lab.target.with_file_name("bench").join("results.json"))?;
        print!("{}", results.table());
        Ok(outcome.exit_code())
    }

    /// What the measurements have printed, however they ended.
    fn measure(
        &self,
        base: &Base,
        built: &Built,
        accel: &accel::Verdict,
    ) -> Result<(String, Report)> {
        let script = self.lab.root.join(bench::SCRIPT);
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let test = job::Test { name: name.clone(), timeout: BENCH_LIMIT };
        let mut job =
            self.job(base, built, Work::Tests { tests: vec![test], repeat: NonZeroU32::MIN }, &[])?;
        job.selftests.push(script);
        job.progress = Some(bench::PROGRESS);
        let report = session::run(&job, &base.kernel, accel, Phases::default())?.report;
        let log = job.logs.join("tests").join(format!("{name}.log"));
        let output = match fs::read_to_string(&log) {
            // It did not come that far.
            Err(_) if report.outcome != Outcome::Pass => String::new(),
            output => output.with_context(|| format!("read {}", log.display()))?,
        };
        Ok((output, report))
    }

    fn lint(&self) -> Result<u8> {
        let mut checked = Checked { tally: Tally::default(), quiet: false };
        checked.tell(&lint::host(self.lab));
        interrupt::check()?;
        let base = pipeline::base(self.lab, Variant::Plain, &mut Phases::default())?;
        checked.tell(&lint::kernel(self.lab, &base.kernel, &base.tools));
        interrupt::check()?;
        println!("{}", checked.tally);
        Ok(if checked.tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }
}

/// Where network tests leave their logs.
fn net_logs(lab: &Lab, loaded: bool) -> PathBuf {
    lab.target.join("logs/selftests-net").join(if loaded { "with" } else { "without" })
}

/// As a shell would have it.
fn exit_status(status: Status) -> u8 {
    match status {
        Status::Exited(code) => u8::try_from(code).unwrap_or(u8::MAX),
        Status::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        Status::TimedOut | Status::Stuck => Outcome::Timeout.exit_code(),
        Status::NotStarted => 127,
    }
}

/// Checks outside of the guest, counted.
struct Checked {
    tally: Tally,
    /// Standard output is for KTAP alone.
    quiet: bool,
}

impl Checked {
    fn tell(&mut self, verdicts: &[Verdict]) {
        let tally = Tally::count(verdicts, |line| self.line(line));
        self.tally.add(tally);
    }

    fn line(&self, line: &str) {
        if self.quiet {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// What needs a kernel, and what runs on it.
    fn built(&mut self, lab: &Lab, base: &Base, built: &Built) -> Result<()> {
        self.tell(&lint::kernel(lab, &base.kernel, &base.tools));
        self.tell(&compile_fail::run(lab, &base.tools)?);
        self.tell(&doc_examples::run(lab, &base.tools)?);
        interrupt::check()?;
        let (passed, failed) = lint::unit_tests(lab, &base.kernel, built);
        self.tally.add(passed);
        self.line(&format!("ok      {} host tests", passed.passed));
        self.tell(&failed);
        interrupt::check()
    }
}

/// The selftests' numbers. A run that failed outside of any test has a failure
/// of its own, so that no last line says "0 failed" of it.
fn count(report: &Report) -> Tally {
    let number = |verdict| report.tests.iter().filter(|test| test.result == verdict).count() as u64;
    let mut tally = Tally {
        passed: number(ktap::Verdict::Pass),
        failed: number(ktap::Verdict::Fail),
        skipped: number(ktap::Verdict::Skip),
    };
    if report.outcome != Outcome::Pass && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

fn describe(lab: &Lab) -> Result<u8> {
    let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
    let tools = base.tools.with_rust_src(lab)?;
    // The generated bindings are part of what an editor resolves.
    modules::build(lab, &base.kernel, &tools)?;
    let path = rust_analyzer::write(lab, &base.kernel, &tools)?;
    say(&format!("wrote {}", path.display()));
    Ok(0)
}

fn diagnose(lab: &Lab, engine: Option<Engine>) -> Result<u8> {
    let machine = Machine::this();
    let mut checks = doctor::tools(lab, &machine);
    let rights = packages::rights(&machine);
    let ready = checks.iter().all(|check| check.state == doctor::State::Good);
    let finished = lab.settings.kbuild.is_some()
        || (ready && Toolchain::find(lab).and_then(|tools| kernel::is_built(lab, &tools))?);
    checks.push(doctor::kvm(lab, engine, &machine));
    checks.push(doctor::disk(lab, finished));
    checks.push(doctor::mirror(lab, !finished));
    interrupt::check()?;
    print!("{}", doctor::table(&checks));

    let missing = doctor::missing_packages(&checks);
    if !missing.is_empty() {
        let how = match rights {
            Rights::None => "run",
            Rights::Root | Rights::Sudo => "`make` installs them, or run",
        };
        println!("\nmissing packages: {how}\n  {}", packages::by_hand(&missing));
    }
    let possible = doctor::can_build(&checks, rights != Rights::None);
    println!("\n{}", if possible { "a build can succeed" } else { "a build cannot succeed" });
    Ok(if possible { 0 } else { Outcome::Build.exit_code() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report { outcome, ..Report::not_built(String::new(), Phases::default()) }
    }

    #[test]
    fn a_run_that_went_wrong_never_counts_as_no_failure() {
        for (outcome, failed) in [(Outcome::Pass, 0), (Outcome::KernelLog, 1), (Outcome::Build, 1)]
        {
            assert_eq!(count(&report(outcome)).failed, failed, "{outcome:?}");
        }
    }

    #[test]
    fn a_commands_status_comes_through_as_in_a_shell() {
        let cases = [
            (Status::Exited(0), 0),
            (Status::Exited(42), 42),
            (Status::Killed(15), 143),
            (Status::TimedOut, 7),
            (Status::NotStarted, 127),
        ];
        for (status, code) in cases {
            assert_eq!(exit_status(status), code, "{status:?}");
        }
    }
}
