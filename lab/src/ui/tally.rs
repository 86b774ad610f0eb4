// SPDX-License-Identifier: GPL-2.0

//! The counts in the last line of a run: checks, host tests, selftests.

use std::fmt;

use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What it came to.
    pub status: CheckStatus,
}

/// The result of a check; all except success have a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckStatus {
    Passed,
    Failed(String),
    /// Skipped.
    Skipped(String),
}

impl Check {
    /// A check that ended in `result`.
    pub fn of<T>(name: impl Into<String>, result: anyhow::Result<T>) -> Check {
        let status = match result {
            Ok(_) => CheckStatus::Passed,
            Err(error) => CheckStatus::Failed(format!("{error:#}")),
        };
        Check { name: name.into(), status }
    }

    /// The entry for a report.
    pub fn into_report(self, group: &str) -> TestReport {
        let (result, reason) = match self.status {
            CheckStatus::Passed => (TestResult::Pass, String::new()),
            CheckStatus::Failed(why) => (TestResult::Fail, why),
            CheckStatus::Skipped(why) => (TestResult::Skip, why),
        };
        let name = self.name.strip_prefix(&format!("{group}: ")).unwrap_or(&self.name).to_owned();
        TestReport { group: group.to_owned(), name, result, reason, ..TestReport::default() }
    }
}

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// Each has a printed reason.
    pub skipped: u64,
}

impl Tally {
    /// Counts checks, and passes a line for each to `tell`.
    pub fn count(verdicts: &[Check], mut tell: impl FnMut(&str)) -> Tally {
        let mut tally = Tally::default();
        for verdict in verdicts {
            let name = &verdict.name;
            match &verdict.status {
                CheckStatus::Passed => {
                    tally.passed += 1;
                    tell(&format!("ok      {name}"));
                }
                CheckStatus::Failed(why) => {
                    tally.failed += 1;
                    tell(&format!("FAILED  {name}\n{}", indent(why)));
                }
                CheckStatus::Skipped(why) => {
                    tally.skipped += 1;
                    tell(&format!("skip    {name}\n{}", indent(why)));
                }
            }
        }
        tally
    }

    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Prints checks as they end, and counts them.
#[derive(Debug, Default)]
pub struct Checked {
    pub tally: Tally,
}

impl Checked {
    pub fn tell(&mut self, checks: &[Check]) {
        self.tally.add(Tally::count(checks, |line| println!("{line}")));
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
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
        let mut tally = Tally { passed: 3, failed: 1, skipped: 0 };
        assert_eq!(tally.to_string(), "3 passed, 1 failed");
        tally.add(Tally { passed: 1, failed: 0, skipped: 2 });
        assert_eq!(tally.to_string(), "4 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn verdicts_are_counted_by_what_they_came_to() {
        let verdicts = [
            Check::of("a", Ok(())),
            Check::of::<()>("b", Err(anyhow::anyhow!("no"))),
            Check { name: "c".into(), status: CheckStatus::Skipped("no tool".into()) },
        ];
        let mut told = Vec::new();
        let tally = Tally::count(&verdicts, |line| told.push(line.to_owned()));
        assert_eq!(tally, Tally { passed: 1, failed: 1, skipped: 1 });
        assert_eq!(told, ["ok      a", "FAILED  b\n        no", "skip    c\n        no tool"]);
    }
}
