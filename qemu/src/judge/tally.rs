// SPDX-License-Identifier: GPL-2.0

//! The numbers in the last line of a run.

use std::fmt;

use crate::judge::ktap::TestResult;
use crate::judge::outcome::Outcome;
use crate::judge::report::TestReport;

/// The most names that the last line has.
const NAMED: usize = 10;

/// How many checks and tests ended how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// What did not run. The reason of each is printed elsewhere.
    pub skipped: Vec<String>,
    /// The number of findings in the kernel log.
    pub findings: u64,
}

impl Tally {
    /// Counts tests by their results.
    pub fn of(tests: &[TestReport]) -> Tally {
        let mut tally = Tally::default();
        tally.add(tests);
        tally
    }

    /// Counts more tests.
    pub fn add(&mut self, tests: &[TestReport]) {
        for test in tests {
            match test.result {
                TestResult::Pass => self.passed += 1,
                TestResult::Fail => self.failed += 1,
                TestResult::Skip => self.skipped.push(test.title()),
            }
        }
    }

    /// How a run with these numbers ends. If nothing failed and nothing passed, it says nothing.
    pub fn outcome(&self) -> Outcome {
        match (self.failed, self.passed) {
            (1.., _) => Outcome::Test,
            (0, 0) => Outcome::Skipped,
            (0, _) => Outcome::Pass,
        }
    }

    /// The numbers alone.
    pub fn numbers(&self) -> String {
        let Tally { passed, failed, skipped, findings } = self;
        let log = match findings {
            0 => String::new(),
            1 => ", 1 finding in the kernel log".to_owned(),
            many => format!(", {many} findings in the kernel log"),
        };
        format!("{passed} passed, {failed} failed, {} skipped{log}", skipped.len())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.numbers())?;
        if self.skipped.is_empty() {
            return Ok(());
        }
        let named = &self.skipped[..self.skipped.len().min(NAMED)];
        write!(f, "; did not run: {}", named.join("; "))?;
        match self.skipped.len() - named.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, result: TestResult) -> TestReport {
        TestReport { name: name.into(), group: "lint".into(), result, ..TestReport::default() }
    }

    #[test]
    fn checks_are_counted_by_how_they_ended() {
        use TestResult::{Fail, Pass, Skip};
        let checks = [check("a", Pass), check("b", Fail), check("c", Skip)];
        let want = Tally { passed: 1, failed: 1, skipped: vec!["lint: c".into()], findings: 0 };
        assert_eq!(Tally::of(&checks), want);
    }

    #[test]
    fn the_last_line_says_what_did_not_run() {
        let tally = Tally { passed: 3, failed: 1, ..Tally::default() };
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 0 skipped");
        let skipped = |number: usize| (0..number).map(|it| it.to_string()).collect();
        let of = |number| Tally { skipped: skipped(number), ..tally.clone() }.to_string();
        assert_eq!(of(2), "3 passed, 1 failed, 2 skipped; did not run: 0; 1");
        assert!(of(12).ends_with("; 8; 9; and 2 more"), "{}", of(12));
    }

    #[test]
    fn a_run_in_which_everything_was_skipped_has_not_passed() {
        let outcome = |passed, failed| Tally { passed, failed, ..Tally::default() }.outcome();
        assert_eq!(outcome(0, 0), Outcome::Skipped);
        assert_eq!(outcome(1, 0), Outcome::Pass);
        assert_eq!(outcome(1, 1), Outcome::Test);
        assert_eq!(outcome(0, 1), Outcome::Test);
    }

    #[test]
    fn findings_are_counted_when_there_are_any() {
        let tally = Tally { findings: 1, ..Tally::default() };
        let want = "0 passed, 0 failed, 0 skipped, 1 finding in the kernel log";
        assert_eq!(tally.to_string(), want);
    }
}
