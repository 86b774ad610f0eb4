// SPDX-License-Identifier: GPL-2.0

//! The results of host tests, from the output of `cargo test` with one test at a time.
//!
//! A test's name is printed when it begins, and its result when it ends. If a program that the test
//! starts prints something in between, the result is not on the same line as the name. Such a test
//! is judged by the end of the output, which lists the names of failed tests and counts all
//! results. A test without a result has failed.

use std::path::Path;

use anyhow::anyhow;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;

/// A test program's output so far.
#[derive(Default)]
struct Program {
    /// How many tests were announced.
    announced: usize,
    found: Vec<(String, Option<HostResult>)>,
    /// The names that are listed as failures at the end.
    failures: Vec<String>,
    lists_failures: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostResult {
    Ok,
    Failed,
    Ignored(String),
}

/// The counts at the end of a program's output.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Summary {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// A check for each test. `log` has the whole output.
pub fn checks(lines: &[String], log: &Path) -> Vec<TestReport> {
    let mut checks = Vec::new();
    let mut program: Option<Program> = None;
    for line in lines {
        if let Some(announced) = announced(line) {
            checks.extend(program.take().into_iter().flat_map(|it| it.judge(None, log)));
            program = Some(Program { announced, ..Program::default() });
        } else if let Some(summary) = summary(line) {
            checks.extend(program.take().into_iter().flat_map(|it| it.judge(Some(summary), log)));
        } else if let Some(program) = &mut program {
            program.line(line);
        }
    }
    checks.extend(program.into_iter().flat_map(|it| it.judge(None, log)));
    checks
}

impl Program {
    fn line(&mut self, line: &str) {
        if line == "failures:" {
            // There are two lists with this heading. The second one has the names.
            self.lists_failures = true;
            self.failures.clear();
        } else if let Some((name, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            self.found.push((name.to_owned(), outcome(result)));
        } else if let Some(name) = line.strip_prefix("    ").filter(|_| self.lists_failures) {
            self.failures.push(name.to_owned());
        }
    }

    fn judge(mut self, summary: Option<Summary>, log: &Path) -> Vec<TestReport> {
        let failures = std::mem::take(&mut self.failures);
        if let Some(summary) = summary {
            self.fill(summary, &failures);
        }
        let counted = Summary {
            passed: self.count(|it| *it == HostResult::Ok),
            failed: self.count(|it| *it == HostResult::Failed),
            ignored: self.count(|it| matches!(it, HostResult::Ignored(_))),
        };
        let complete = summary == Some(counted) && self.found.len() == self.announced;
        let log = log.display();
        let mut checks: Vec<TestReport> = self
            .found
            .into_iter()
            .map(|(name, outcome)| {
                let (result, reason) = match outcome {
                    Some(HostResult::Ok) => (TestResult::Pass, String::new()),
                    Some(HostResult::Failed) => (TestResult::Fail, format!("log in {log}")),
                    Some(HostResult::Ignored(why)) => (TestResult::Skip, why),
                    None => (TestResult::Fail, format!("the test has no result; log in {log}")),
                };
                TestReport { name, result, reason, ..TestReport::default() }
            })
            .collect();
        let failed = checks.iter().any(TestReport::failed);
        if !complete && !failed {
            let why = anyhow!(
                "of {} tests in a program, not all have one result; log in {log}",
                self.announced
            );
            checks.push(TestReport::of::<()>("all", Err(why)));
        }
        checks
    }

    /// Fills in the results that were not on the line of their names: they passed, unless they are
    /// listed as failures.
    fn fill(&mut self, summary: Summary, failures: &[String]) {
        let missing = self.found.iter_mut().filter(|(_, outcome)| outcome.is_none());
        for (name, outcome) in missing {
            let failed = failures.iter().any(|it| it == name);
            *outcome = Some(if failed { HostResult::Failed } else { HostResult::Ok });
        }
        // If the counts contradict that, none of these results counts.
        if self.count(|it| *it == HostResult::Ok) != summary.passed {
            let torn = self.found.iter_mut().filter(|(_, it)| *it == Some(HostResult::Ok));
            torn.for_each(|(_, outcome)| *outcome = None);
        }
    }

    fn count(&self, is: impl Fn(&HostResult) -> bool) -> usize {
        self.found.iter().filter(|(_, outcome)| outcome.as_ref().is_some_and(&is)).count()
    }
}

fn outcome(result: &str) -> Option<HostResult> {
    match result.split_once(", ").unwrap_or((result, "no reason given")) {
        ("ok", _) => Some(HostResult::Ok),
        ("FAILED", _) => Some(HostResult::Failed),
        ("ignored", why) => Some(HostResult::Ignored(why.to_owned())),
        _ => None,
    }
}

/// `running 3 tests`
fn announced(line: &str) -> Option<usize> {
    let (number, word) = line.strip_prefix("running ")?.split_once(' ')?;
    matches!(word, "test" | "tests").then(|| number.parse().ok())?
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; ...`
fn summary(line: &str) -> Option<Summary> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut summary = Summary::default();
    for count in counts.split("; ") {
        let (number, word) = count.split_once(' ')?;
        match word {
            "passed" => summary.passed = number.parse().ok()?,
            "failed" => summary.failed = number.parse().ok()?,
            "ignored" => summary.ignored = number.parse().ok()?,
            _ => {}
        }
    }
    Some(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first letter of each result, by name.
    fn told(text: &str) -> Vec<String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let word = |check: TestReport| match check.result {
            TestResult::Pass => format!("ok {}", check.name),
            TestResult::Fail => format!("FAILED {}", check.name),
            TestResult::Skip => format!("skip {} {}", check.name, check.reason),
        };
        checks(&lines, Path::new("/l")).into_iter().map(word).collect()
    }

    const OK: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";

    #[test]
    fn each_host_test_is_a_check() {
        let text = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
                    test a::d ... ignored, needs a guest\n\nfailures:\n\n---- a::c stdout ----\n\
                    panicked\n\n\nfailures:\n    a::c\n\n\
                    test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n\
                    \nrunning 2 tests\ntest e ... ok\ntest f ... ok\n\n";
        let want = ["ok a::b", "FAILED a::c", "skip a::d needs a guest", "ok e", "ok f"];
        assert_eq!(told(&format!("{text}{OK}")), want);
        assert_eq!(told("running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n"), [""; 0]);
    }

    #[test]
    fn a_result_behind_the_words_of_a_child_counts() {
        let torn = "running 2 tests\ntest a ... a child says\nthis and that\nok\ntest b ... ok\n";
        assert_eq!(told(&format!("{torn}{OK}")), ["ok a", "ok b"]);
        let failed = "running 2 tests\ntest a ... a child says\nthis\nFAILED\ntest b ... noise\nok\n\
                      failures:\n\n---- a stdout ----\n    not a name\n\nfailures:\n    a\n\n\
                      test result: FAILED. 1 passed; 1 failed; 0 ignored\n";
        assert_eq!(told(failed), ["FAILED a", "ok b"]);
    }

    #[test]
    fn what_has_no_result_has_failed() {
        // The program died; the counts do not fit; a name is lost.
        let died = "running 2 tests\ntest a ... ok\ntest b ... ";
        assert_eq!(told(died), ["ok a", "FAILED b"]);
        assert_eq!(told("running 2 tests\ntest a ... ok\n"), ["ok a", "FAILED all"]);
        let other = "running 2 tests\ntest a ... ok\ntest b ... noise\n\
                     test result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert!(told(other).contains(&"FAILED b".to_owned()));
        let lost = format!("running 2 tests\ntest a ... ok\nnoisetest b ... ok\n{OK}");
        assert_eq!(told(&lost)[0], "FAILED a");
        // A program within a program.
        let within =
            format!("running 2 tests\ntest a ... \ntest x ... ok\nok\ntest b ... ok\n{OK}");
        assert!(told(&within).iter().any(|line| line.starts_with("FAILED")));
    }
}
