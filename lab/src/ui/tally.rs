// SPDX-License-Identifier: GPL-2.0

//! The counts in the last line of a run: checks, host tests, selftests.

use std::fmt;

use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;
use vmlab::run::print;

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// The number of skipped tests. The reason of each is printed.
    pub skipped: u64,
}

impl Tally {
    /// Counts tests by their results.
    pub fn of(tests: &[TestReport]) -> Tally {
        let number = |result| tests.iter().filter(|test| test.result == result).count() as u64;
        Tally {
            passed: number(TestResult::Pass),
            failed: number(TestResult::Fail),
            skipped: number(TestResult::Skip),
        }
    }

    /// Prints checks that have ended, and counts them.
    pub fn tell(&mut self, checks: &[TestReport]) {
        checks.iter().for_each(|check| print::out(&entry(check)));
        let more = Tally::of(checks);
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

/// A line for a check and, unless it passed, the reason below.
fn entry(check: &TestReport) -> String {
    let word = match check.result {
        TestResult::Pass => "ok    ",
        TestResult::Fail => "FAIL  ",
        TestResult::Skip => "skip  ",
    };
    let reason: String = check.reason.lines().map(|line| format!("        {line}\n")).collect();
    format!("{word}  {}\n{reason}", check.name)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_skips_only_when_there_are_any() {
        let tally = Tally { passed: 3, failed: 1, skipped: 0 };
        assert_eq!(tally.to_string(), "3 passed, 1 failed");
        let tally = Tally { skipped: 2, ..tally };
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn checks_are_counted_by_how_they_ended() {
        let skipped = TestReport {
            name: "c".into(),
            result: TestResult::Skip,
            reason: "no tool".into(),
            ..TestReport::default()
        };
        let checks = [
            TestReport::of("a", Ok(())),
            TestReport::of::<()>("b", Err(anyhow::anyhow!("no"))),
            skipped,
        ];
        assert_eq!(Tally::of(&checks), Tally { passed: 1, failed: 1, skipped: 1 });
        let told = checks.each_ref().map(entry);
        assert_eq!(
            told,
            ["ok      a\n", "FAIL    b\n        no\n", "skip    c\n        no tool\n"]
        );
    }
}
