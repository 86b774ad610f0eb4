// SPDX-License-Identifier: GPL-2.0

//! The report of a run: results.json, KTAP, and a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::boot::engine::Choice;
use crate::judge::kernel_log::Finding;
use crate::judge::ktap::{Case, TestResult};
use crate::judge::outcome::Outcome;
use crate::judge::tally::Tally;
use crate::run::files::write_whole;
use crate::run::phases::Phases;

/// A whole run. `Documentation/lab.md` documents its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, in one line, with the remedy; empty for a pass.
    pub message: String,
    /// The engine, if the run needed one.
    pub engine: Option<Choice>,
    /// Versions of everything that could make a difference.
    pub versions: BTreeMap<String, String>,
    /// How long each step took.
    pub phases: Phases,
    /// How long the whole run took; less than the sum of its steps, since some run side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// Each selftest.
    pub tests: Vec<TestReport>,
    /// Findings in the kernel logs.
    pub kernel_findings: Vec<Finding>,
    /// Other things worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A selftest, or whatever else is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// Its file name.
    pub name: String,
    /// What kind of check it is: `host test`, `lint`, …; empty for a selftest in a guest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The result; of several runs, the worst.
    pub result: TestResult,
    /// How long it ran; of several runs, the longest time.
    pub ms: u64,
    /// Why it failed or was skipped.
    pub reason: String,
    /// The numbered results in its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
    /// Notes about it that do not change the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The result of each run, if there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<TestResult>,
    /// What PID 1 found wrong when the test had ended, such as namespaces that are left. It is a part
    /// of the reason, too.
    #[serde(skip)]
    pub left: Vec<String>,
}

impl TestReport {
    /// A check that ended with `result`. The caller sets its group.
    pub fn of<T>(name: impl Into<String>, result: Result<T>) -> TestReport {
        let name = name.into();
        match result {
            Ok(_) => TestReport { name, result: TestResult::Pass, ..TestReport::default() },
            Err(error) => {
                TestReport { name, reason: format!("{error:#}"), ..TestReport::default() }
            }
        }
    }

    /// Whether it failed.
    pub fn failed(&self) -> bool {
        self.result == TestResult::Fail
    }

    /// Group and name, as shown in a table.
    pub fn title(&self) -> String {
        if self.group.is_empty() {
            self.name.clone()
        } else {
            format!("{}: {}", self.group, self.name)
        }
    }
}

impl Report {
    /// The report of a run that ended before a guest could boot.
    pub fn not_built(message: String, phases: Phases) -> Report {
        Report {
            outcome: Outcome::Build,
            message,
            engine: None,
            versions: BTreeMap::new(),
            phases,
            elapsed_ms: None,
            tests: Vec::new(),
            kernel_findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes the JSON, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("encode the report")? + "\n";
        write_whole(path, &text)
    }

    /// Tests whose result was not the same in every run.
    pub fn flaky(&self) -> Vec<&TestReport> {
        self.tests
            .iter()
            .filter(|test| test.repeats.windows(2).any(|pair| pair[0] != pair[1]))
            .collect()
    }

    /// The report as KTAP: a result for each test, its cases nested.
    pub fn ktap(&self) -> String {
        let others = self.other_failures();
        let mut text = format!("KTAP version 1\n1..{}\n", self.tests.len() + others.len());
        for (number, test) in (1..).zip(&self.tests) {
            if !test.cases.is_empty() {
                let _ = writeln!(text, "  KTAP version 1\n  1..{}", test.cases.len());
                for (number, case) in (1..).zip(&test.cases) {
                    let line = ktap_line(case.result, number, &case.name, &case.reason);
                    let _ = writeln!(text, "  {line}");
                }
            }
            for remark in remarks(test) {
                let _ = writeln!(text, "# {remark}");
            }
            let _ =
                writeln!(text, "{}", ktap_line(test.result, number, &test.title(), &test.reason));
        }
        for (number, name) in (self.tests.len() + 1..).zip(&others) {
            let _ = writeln!(text, "{}", ktap_line(TestResult::Fail, number, name, ""));
        }
        text
    }

    /// What is wrong besides failed tests. KTAP has no other place for it.
    fn other_failures(&self) -> Vec<String> {
        let finding = |finding: &Finding| {
            format!("kernel log: {}: {}", finding.kind, first_line(&finding.text))
        };
        let mut failures: Vec<String> = self.kernel_findings.iter().map(finding).collect();
        let told = self.tests.iter().any(|test| test.result == TestResult::Fail);
        if failures.is_empty() && !told && self.outcome != Outcome::Pass {
            failures.push(format!("{}: {}", self.outcome.describe(), first_line(&self.message)));
        }
        failures
    }

    /// The report as a table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let (listed, counted) = self.listed();
        let width = listed.iter().map(|test| test.title().len()).max().unwrap_or(0);
        for (group, number) in counted {
            let _ = writeln!(text, "{}  {number} of {group}", word(TestResult::Pass));
        }
        for test in listed {
            let word = word(test.result);
            let seconds = seconds(test.ms);
            let reason = first_line(&test.reason);
            let _ = writeln!(
                text,
                "{}",
                format!("{word}  {:width$} {seconds:>8}  {reason}", test.title()).trim_end()
            );
            if test.result == TestResult::Fail {
                for remark in remarks(test) {
                    let _ = writeln!(text, "        {remark}");
                }
            }
        }
        for finding in &self.kernel_findings {
            let _ = write!(text, "\n{}", finding.quote());
        }
        for test in self.flaky() {
            let words: Vec<&str> =
                test.repeats.iter().map(|verdict| word(*verdict).trim_end()).collect();
            let _ = writeln!(text, "not the same every time: {}: {}", test.name, words.join(" "));
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, self.summary());
        text
    }

    /// The tests that a table shows one by one: selftests, and all others that did not pass. For
    /// the rest, how many there are in each group.
    fn listed(&self) -> (Vec<&TestReport>, BTreeMap<&str, usize>) {
        let alone = |test: &&TestReport| test.group.is_empty() || test.result != TestResult::Pass;
        let (listed, others): (Vec<_>, Vec<_>) = self.tests.iter().partition(alone);
        let mut counted = BTreeMap::new();
        for test in others {
            *counted.entry(test.group.as_str()).or_default() += 1;
        }
        (listed, counted)
    }

    /// The numbers of the run. If something else than a test and the kernel log is wrong, it counts
    /// as a failure, so that no such run has none.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::of(&self.tests);
        tally.findings = self.kernel_findings.len() as u64;
        if self.outcome.is_failure() && tally.failed == 0 && tally.findings == 0 {
            tally.failed = 1;
        }
        tally
    }

    /// The last line: the outcome, counts of results, the engine and the time.
    pub fn summary(&self) -> String {
        let tally = self.tally();
        let mut parts = Vec::new();
        if !self.tests.is_empty() {
            parts.push(tally.numbers());
        }
        if let Some(engine) = &self.engine {
            parts.push(format!("{} ({})", engine.used.name(), engine.why));
        }
        let steps = || self.phases.0.iter().map(|phase| phase.ms).sum();
        parts.push(format!("{} in all", seconds(self.elapsed_ms.unwrap_or_else(steps))));
        let outcome = match (self.outcome, tally.skipped.len()) {
            (Outcome::Pass, 1..) => format!("passed, but {} did not run", tally.skipped.len()),
            (outcome, _) => outcome.describe().to_owned(),
        };
        let mut line = format!("{outcome}: {}", parts.join("; "));
        if !self.message.is_empty() {
            let _ = write!(line, "\n{}", self.message);
        }
        line
    }
}

fn ktap_line(result: TestResult, number: usize, name: &str, reason: &str) -> String {
    let ok = if result == TestResult::Fail { "not ok" } else { "ok" };
    // A name with `#` in it would be read as a directive.
    let name = name.replace('#', "");
    let skip = if result == TestResult::Skip {
        format!(" # SKIP {}", first_line(reason))
    } else {
        String::new()
    };
    format!("{ok} {number} {name}{skip}").trim_end().to_owned()
}

/// All lines about a failed test, without the first of its reason.
fn remarks(test: &TestReport) -> impl Iterator<Item = &str> {
    test.reason.lines().skip(1).chain(test.notes.iter().flat_map(|note| note.lines()))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The word for a result in a table.
pub fn word(verdict: TestResult) -> &'static str {
    match verdict {
        TestResult::Pass => "ok  ",
        TestResult::Skip => "skip",
        TestResult::Fail => "FAIL",
    }
}

/// Milliseconds as seconds with one digit.
pub fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::engine::Engine;
    use std::time::Duration;

    /// A report with one test of each result.
    pub(crate) fn example() -> Report {
        let test = |name: &str, result, reason: &str| TestReport {
            name: name.into(),
            result,
            ms: 1234,
            reason: reason.into(),
            ..TestReport::default()
        };
        let mut flaky = test("rlo.sh", TestResult::Fail, "v6: no route\nmore");
        flaky.repeats = vec![TestResult::Pass, TestResult::Fail];
        flaky.notes = vec!["killed what it left running: sleep (7)".into()];
        flaky.cases = vec![
            Case { name: "v4".into(), result: TestResult::Pass, reason: String::new() },
            Case { name: "v6".into(), result: TestResult::Fail, reason: "no route".into() },
        ];
        let mut phases = Phases::default();
        phases.add("boot to PID 1", Duration::from_millis(1400));
        Report {
            outcome: Outcome::KernelLog,
            message: "kernel log in rlo.sh: BUG: KASAN".into(),
            engine: Some(Choice { used: Engine::Tcg, why: "there is no /dev/kvm".into() }),
            versions: [("linux".to_owned(), "7.3.4".to_owned())].into(),
            phases,
            elapsed_ms: None,
            tests: vec![
                test("load.sh", TestResult::Pass, ""),
                flaky,
                test("veth.sh", TestResult::Skip, "no veth"),
            ],
            kernel_findings: vec![Finding {
                kind: "kasan".into(),
                text: "BUG: KASAN: double-free".into(),
                stack: vec!["sample::exit at rust/sample/lib.rs:9 [sample]".into()],
                test: Some("rlo.sh".into()),
                ..Default::default()
            }],
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_json_is_what_the_readme_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/results.json");
        example().write(&path).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["outcome"], "kernel-log");
        assert_eq!(json["engine"]["used"], "tcg");
        assert_eq!(json["engine"]["why"], "there is no /dev/kvm");
        assert_eq!(json["versions"]["linux"], "7.3.4");
        assert_eq!(json["phases"][0]["name"], "boot to PID 1");
        assert_eq!(json["phases"][0]["ms"], 1400);
        assert_eq!(json["tests"][1]["name"], "rlo.sh");
        assert_eq!(json["tests"][1]["result"], "fail");
        assert_eq!(json["tests"][2]["reason"], "no veth");
        assert_eq!(json["kernel_findings"][0]["kind"], "kasan");
        assert_eq!(
            json["kernel_findings"][0]["stack"][0],
            "sample::exit at rust/sample/lib.rs:9 [sample]"
        );
        let again: Report = serde_json::from_value(json).unwrap();
        assert_eq!(again, example());
    }

    #[test]
    fn a_report_that_cannot_be_written_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        std::fs::create_dir(&path).unwrap();
        assert!(example().write(&path).is_err());
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["results.json"]);
    }

    #[test]
    fn the_ktap_that_is_printed_is_ktap_that_is_understood() {
        let parsed = crate::judge::ktap::parse(example().ktap().as_bytes());
        assert_eq!(parsed.errors, [""; 0]);
        let told: Vec<(&str, TestResult)> =
            parsed.cases.iter().map(|case| (case.name.as_str(), case.result)).collect();
        let want = [
            ("load.sh", TestResult::Pass),
            ("rlo.sh/v4", TestResult::Pass),
            ("rlo.sh/v6", TestResult::Fail),
            ("rlo.sh", TestResult::Fail),
            ("veth.sh", TestResult::Skip),
            ("kernel log: kasan: BUG: KASAN: double-free", TestResult::Fail),
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn a_reader_of_ktap_alone_sees_that_nothing_could_be_built() {
        let report = Report::not_built("no disk".into(), Phases::default());
        assert_eq!(report.ktap(), "KTAP version 1\n1..1\nnot ok 1 could not build: no disk\n");
    }

    #[test]
    fn the_table_is_short_and_ends_with_the_verdict() {
        let want = "ok    load.sh    1.2 s\n\
                    FAIL  rlo.sh     1.2 s  v6: no route\n\
                    \x20       more\n\
                    \x20       killed what it left running: sleep (7)\n\
                    skip  veth.sh    1.2 s  no veth\n\
                    \nkernel log, kasan during rlo.sh:\n\
                    \x20 BUG: KASAN: double-free\n\
                    \x20   sample::exit at rust/sample/lib.rs:9 [sample]\n\
                    not the same every time: rlo.sh: ok FAIL\n\
                    \nthe kernel log has findings: 1 passed, 1 failed, 1 skipped, \
                    1 finding in the kernel log; tcg (there is no /dev/kvm); 1.4 s in all\n\
                    kernel log in rlo.sh: BUG: KASAN\n";
        assert_eq!(example().table(), want);
    }

    /// The table and the last line of `lab test` have the same numbers.
    #[test]
    fn a_run_that_went_wrong_never_counts_as_no_failure() {
        let finding = || vec![Finding { kind: "oops".into(), ..Finding::default() }];
        for (outcome, kernel_findings, want) in [
            (Outcome::Pass, Vec::new(), "0 passed, 0 failed, 0 skipped"),
            (Outcome::Skipped, Vec::new(), "0 passed, 0 failed, 0 skipped"),
            (Outcome::Build, Vec::new(), "0 passed, 1 failed, 0 skipped"),
            (Outcome::Panic, Vec::new(), "0 passed, 1 failed, 0 skipped"),
            (
                Outcome::KernelLog,
                finding(),
                "0 passed, 0 failed, 0 skipped, 1 finding in the kernel log",
            ),
        ] {
            let report = Report::not_built(String::new(), Phases::default());
            let report = Report { outcome, kernel_findings, ..report };
            assert_eq!(report.tally().to_string(), want, "{outcome:?}");
        }
        let with_a_test = Report { outcome: Outcome::Panic, ..example() };
        let tally = with_a_test.tally();
        assert!(with_a_test.summary().contains(&tally.numbers()), "{tally}");
    }

    #[test]
    fn a_pass_with_skips_is_no_plain_pass() {
        let mut report = example();
        (report.outcome, report.message) = (Outcome::Pass, String::new());
        (report.kernel_findings, report.tests[1].result) = (Vec::new(), TestResult::Pass);
        let want = "passed, but 1 did not run: 2 passed, 0 failed, 1 skipped; tcg";
        assert!(report.summary().starts_with(want), "{}", report.summary());
        report.tests.pop();
        assert!(report.summary().starts_with("passed: 2 passed, "), "{}", report.summary());
    }
}
