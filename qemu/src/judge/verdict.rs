// SPDX-License-Identifier: GPL-2.0

//! The judge's verdict, after the guest has ended.

use std::process::ExitStatus;
use std::time::Duration;

use vmlab_init::protocol::{LOG_PANIC, NO_ROOM, Status};

use crate::judge::judge::{At, Judge, MOST_OUTPUT, PlannedWork};
use crate::judge::kernel_log::Finding;
use crate::judge::ktap::{self, TestResult};
use crate::judge::outcome::Outcome;
use crate::judge::report::TestReport;
use crate::run::phases::Phases;

/// How QEMU ended.
#[derive(Debug, Clone, Default)]
pub struct Exit {
    /// `None` if the lab killed it.
    pub status: Option<ExitStatus>,
    /// The end of its standard error.
    pub complaint: Option<String>,
    /// When it ended, since its start.
    pub at: Duration,
}

/// The parts of a report that come from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// The reason, in a line.
    pub message: String,
    pub tests: Vec<TestReport>,
    /// Findings in the kernel log.
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
    /// How long each step took.
    pub phases: Phases,
    /// The kernel's release.
    pub release: Option<String>,
    /// How a command or a shell ended.
    pub status: Option<Status>,
}

impl Judge {
    /// The verdict, after the last input.
    pub fn verdict(mut self, exit: Exit) -> Verdict {
        if self.at == At::Ending {
            self.power_off(exit.at);
        }
        let tests = self.tests();
        let ended: Vec<usize> =
            (0..self.rounds.len()).filter(|&index| self.rounds[index].ended.is_some()).collect();
        self.log.check_marks(&ended, self.done);
        let said = self.log.after_words(LOG_PANIC).map(str::to_owned);
        let last_line = self.log.last_line().map(str::to_owned);
        let log =
            std::mem::replace(&mut self.log, crate::judge::guest_log::GuestLog::new(0, Vec::new()));
        let (findings, omitted) = log.finish();
        if omitted > 0 {
            self.notes.push(format!("{omitted} more findings in the kernel log"));
        }
        let told = Told { said, last_line, exit };
        let (outcome, message) = self.outcome(&tests, &findings, &told);
        Verdict {
            outcome,
            message,
            tests,
            findings,
            notes: self.notes,
            phases: self.phases,
            release: self.release,
            status: self.status,
        }
    }

    fn tests(&mut self) -> Vec<TestReport> {
        let mut reports: Vec<TestReport> = self.not_loaded.iter().map(module_report).collect();
        for index in 0..self.rounds.len() {
            reports.push(self.test_report(index));
        }
        reports
    }

    fn test_report(&mut self, index: usize) -> TestReport {
        let round = std::mem::take(&mut self.rounds[index]);
        self.rounds[index].ended = round.ended;
        let name = self.tests[index].name.clone();
        let output = round.output.finish();
        let Some((status, ms)) = round.ended else {
            // The guest ended before the test. The output so far is kept.
            let running = self.at == At::Test(index);
            let reason = if running { "was running when the guest ended" } else { "did not run" };
            let (result, cases) = (TestResult::Fail, output.cases);
            return TestReport {
                name,
                result,
                reason: reason.into(),
                cases,
                ..TestReport::default()
            };
        };
        let judged = ktap::judge(output, status);
        let mut reasons: Vec<String> =
            (!judged.reason.is_empty()).then_some(judged.reason).into_iter().collect();
        if round.length > MOST_OUTPUT {
            reasons.push(format!("printed more than {} MiB", MOST_OUTPUT >> 20));
        }
        let failed = judged.result == TestResult::Fail
            || !round.problems.is_empty()
            || round.length > MOST_OUTPUT;
        reasons.extend(round.problems.iter().cloned());
        let mut notes = round.notes;
        if failed {
            notes.extend(last_lines(&round.last_words));
        }
        TestReport {
            name,
            result: if failed { TestResult::Fail } else { judged.result },
            ms,
            reason: reasons.join("; "),
            cases: judged.cases,
            notes,
            left: round.problems,
            ..TestReport::default()
        }
    }

    fn outcome(
        &self,
        tests: &[TestReport],
        findings: &[Finding],
        told: &Told,
    ) -> (Outcome, String) {
        self.death(findings, told)
            .or_else(|| kernel_findings(findings))
            .or_else(|| self.timeouts())
            .or_else(|| failures(tests))
            .or_else(|| self.skipped(tests))
            .unwrap_or((Outcome::Pass, String::new()))
    }

    /// How the guest ended before its job was done; `None` if the job was done.
    fn death(&self, findings: &[Finding], told: &Told) -> Option<(Outcome, String)> {
        let booted = !matches!(self.at, At::Booting | At::Mounting | At::Waiting);
        let dead = if booted { Outcome::Panic } else { Outcome::Boot };
        let during = match self.at {
            At::Test(index) => format!(" in {}", self.tests[index].name),
            _ => String::new(),
        };
        let panic = findings.iter().find(|it| it.kind == "panic" && !it.from_user_space);
        // The kernel unpacks the initramfs, and PID 1 unpacks all other files. If memory is short,
        // PID 1 may run although the rest of its archive is missing.
        let no_room = panic.is_some_and(|panic| panic.text.contains("memory"))
            || self.gave_up.as_ref().is_some_and(|why| why.contains(NO_ROOM));
        if self.unpacking_failed || (self.at == At::Waiting && no_room) {
            return Some((Outcome::Boot, self.no_memory("while its files were unpacked")));
        }
        if let Some(panic) = panic {
            return Some((Outcome::Panic, self.panicked(panic, &during, told)));
        }
        if let Some(late) = &self.late {
            let late = format!("{late}: {}", self.how_late(told));
            return Some(match fault(findings) {
                _ if !booted => (Outcome::Boot, late),
                // A report of the kernel is most likely the reason.
                Some(fault) => (Outcome::KernelLog, format!("kernel log: {fault}; then {late}")),
                None => (Outcome::Timeout, late),
            });
        }
        if let Some(why) = &self.gave_up {
            return Some((dead, format!("the guest gave up{during}: {why}")));
        }
        if let Some(nonsense) = self.nonsense.first() {
            let what = format!(
                "a message that PID 1 cannot have sent{during}: {nonsense}; a test may have written to \
                 its port"
            );
            return Some((dead, what));
        }
        let clean = told.exit.status.is_some_and(|status| status.success());
        if self.done && clean && self.torn.is_none() {
            return self.unfinished_command();
        }
        Some((dead, self.disappeared(&during, told)))
    }

    /// A command that has not ended, although the guest ended well.
    fn unfinished_command(&self) -> Option<(Outcome, String)> {
        let is_command = !matches!(self.plan.work, PlannedWork::Tests(_));
        let missing = is_command && self.status.is_none() && self.not_loaded.is_empty();
        missing
            .then(|| (Outcome::Panic, "the guest was done, and the command did not end".to_owned()))
    }

    fn panicked(&self, panic: &Finding, during: &str, told: &Told) -> String {
        let log = &self.plan.log;
        let headline = panic.text.lines().next().unwrap_or_default();
        if let Some(said) = &told.said {
            format!("the guest's init panicked{during}: {said}; see {log}")
        } else if headline.contains("memory") {
            self.no_memory(during.trim_start())
        } else if headline.contains("Attempted to kill init") {
            format!("the guest's init died{during}: {headline}; see {log}")
        } else {
            format!("the kernel panicked{during}: {headline}; see {log}")
        }
    }

    fn no_memory(&self, when: &str) -> String {
        let (memory, log) = (self.plan.memory_mb, &self.plan.log);
        format!(
            "the guest ran out of its {memory} MiB of memory {when}: give it more with MEMORY=, see {log}"
        )
    }

    fn how_late(&self, told: &Told) -> String {
        let last = told.last_line.as_deref().unwrap_or("nothing in its log");
        format!("last line of {}: {last}", self.plan.log)
    }

    fn disappeared(&self, during: &str, told: &Told) -> String {
        use std::os::unix::process::ExitStatusExt;
        let exit = told.exit.status;
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
            let said = told.exit.complaint.as_deref().unwrap_or("it printed no error");
            return format!("QEMU ended with {exit}{during}: {said}");
        }
        let torn = self
            .torn
            .as_ref()
            .map(|torn| format!(" within a message ({torn})"))
            .unwrap_or_default();
        format!("the guest stopped talking{torn}{during} and ended; {}", self.how_late(told))
    }

    fn timeouts(&self) -> Option<(Outcome, String)> {
        let hung = self.rounds.iter().zip(&self.tests).filter(|(round, _)| {
            matches!(round.ended, Some((Status::TimedOut | Status::Stuck, _)))
        });
        let mut names: Vec<String> = hung
            .map(|(_, test)| format!("{} took longer than {} s", test.name, test.limit.as_secs()))
            .collect();
        if !names.is_empty() {
            names.extend(self.wrong_clock.clone());
        }
        (!names.is_empty()).then(|| (Outcome::Timeout, names.join("; ")))
    }

    /// The outcome if no test passed and all were skipped: such a run shows nothing.
    fn skipped(&self, tests: &[TestReport]) -> Option<(Outcome, String)> {
        let passed = tests.iter().any(|test| test.result == TestResult::Pass);
        if passed || !matches!(self.plan.work, PlannedWork::Tests(_)) {
            return None;
        }
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        let message = if names.is_empty() {
            "no test was asked for".to_owned()
        } else {
            format!("skipped: {}", names.join(", "))
        };
        Some((Outcome::Skipped, message))
    }
}

/// What is known about the end of the guest.
struct Told {
    /// The panic message of PID 1.
    said: Option<String>,
    last_line: Option<String>,
    exit: Exit,
}

/// A failed test that stands for a module that does not load.
fn module_report((module, reason): &(String, String)) -> TestReport {
    let name = format!("load {module}");
    let reason = format!("{reason}{}", way_out(reason));
    TestReport { name, result: TestResult::Fail, ms: 0, reason, ..TestReport::default() }
}

fn way_out(reason: &str) -> &'static str {
    if reason.contains("version magic") || reason.contains("disagrees about version of symbol") {
        ": it was built for another kernel; run `lab clean`, and build again"
    } else if reason.contains("Unknown symbol") {
        ": the kernel does not export that; is the option on (--config), or another module to be loaded first?"
    } else {
        ""
    }
}

/// The last lines of a test's standard error.
fn last_lines(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].iter().map(|line| (*line).to_owned()).collect()
}

/// The first fault in the findings. An incomplete log does not count here: the log of a killed
/// guest is always incomplete.
fn fault(findings: &[Finding]) -> Option<&str> {
    let fault = |finding: &&Finding| {
        !finding.from_user_space && !["log-incomplete", "counters"].contains(&finding.kind.as_str())
    };
    findings.iter().find(fault)?.text.lines().next()
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
