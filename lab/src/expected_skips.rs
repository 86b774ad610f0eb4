// SPDX-License-Identifier: GPL-2.0

//! The list of expected skips. All other skips are failures: otherwise tests would be skipped when
//! a kernel option, a tool or a mount is missing, and the run would pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};

/// The file in the folder of selftests. A project without it allows every skip.
const NAME: &str = "expected-skips";

/// The group of the kernel tree's own network tests, which the list names as `net/test`.
const NET: &str = "net";

/// Names of tests, or `test/case`, each with the reason for its skip.
#[derive(Debug)]
pub struct ExpectedSkips(BTreeMap<String, String>);

/// Reads the list of a folder of selftests; `None` if there is no list.
pub fn load(selftests: &Path) -> Result<Option<ExpectedSkips>> {
    let path = selftests.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    parse(&text).map(Some).with_context(|| format!("understand {}", path.display()))
}

fn parse(text: &str) -> Result<ExpectedSkips> {
    let mut skips = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(": ") {
            Some((name, reason)) if !reason.trim().is_empty() => {
                skips.insert(name.to_owned(), reason.trim().to_owned());
            }
            _ => bail!("`{line}`: a line is `test: reason` or `test/case: reason`"),
        }
    }
    Ok(ExpectedSkips(skips))
}

/// How many results of selftests were skipped.
pub fn number(report: &Report) -> usize {
    let skipped = |test: &TestReport| {
        let cases = test.cases.iter().filter(|case| case.result == TestResult::Skip).count();
        cases.max(usize::from(test.result == TestResult::Skip))
    };
    report.tests.iter().filter(is_selftest).map(skipped).sum()
}

fn is_selftest(test: &&TestReport) -> bool {
    test.group.is_empty() || test.group == NET
}

impl ExpectedSkips {
    /// Turns all skips of selftests that are not on the list into failures.
    pub fn judge(&self, report: &mut Report) {
        for test in report.tests.iter_mut().filter(|test| is_selftest(&&**test)) {
            let unexpected = self.unexpected(test);
            if unexpected.is_empty() || test.result == TestResult::Fail {
                continue;
            }
            test.result = TestResult::Fail;
            test.reason = format!("skipped, but not listed in {NAME}: {}", unexpected.join("; "));
            if !report.outcome.is_failure() {
                report.outcome = Outcome::Test;
                report.message = format!("failed: {}", test.name);
            }
        }
    }

    fn unexpected(&self, test: &TestReport) -> Vec<String> {
        let listed = match test.group.as_str() {
            NET => self.0.contains_key(&format!("{NET}/{}", test.name)),
            _ => self.0.contains_key(&test.name),
        };
        if listed {
            return Vec::new();
        }
        let skipped = test.cases.iter().filter(|case| case.result == TestResult::Skip);
        let mut found: Vec<String> = skipped
            .filter(|case| !self.0.contains_key(&format!("{}/{}", test.name, case.name)))
            .map(|case| format!("{} ({})", case.name, case.reason))
            .collect();
        if test.result == TestResult::Skip && test.cases.is_empty() {
            found.push(test.reason.clone());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab::judge::ktap::Case;
    use vmlab::run::phases::Phases;

    fn report(result: TestResult, cases: &[(&str, TestResult)]) -> Report {
        let case = |(name, result): &(&str, TestResult)| Case {
            name: (*name).to_owned(),
            result: *result,
            reason: "no veth".to_owned(),
        };
        let test = TestReport {
            name: "a.sh".to_owned(),
            result,
            reason: "no veth".to_owned(),
            cases: cases.iter().map(case).collect(),
            ..TestReport::default()
        };
        let report = Report::not_built(String::new(), Phases::default());
        Report { outcome: Outcome::Pass, tests: vec![test], ..report }
    }

    #[test]
    fn a_skip_that_nobody_expects_is_a_failure() {
        use TestResult::{Pass, Skip};
        for (list, result, cases, outcome) in [
            ("", Pass, vec![("x", Pass)], Outcome::Pass),
            ("", Skip, vec![], Outcome::Test),
            ("a.sh: no veth in small kernels", Skip, vec![], Outcome::Pass),
            ("", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Test),
            ("a.sh/y: no veth", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Pass),
            ("a.sh/x: no veth", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Test),
        ] {
            let mut report = report(result, &cases);
            parse(list).unwrap().judge(&mut report);
            assert_eq!(report.outcome, outcome, "{list}: {:?}", report.tests);
        }
    }

    #[test]
    fn skips_are_counted_by_cases() {
        use TestResult::{Pass, Skip};
        assert_eq!(number(&report(Pass, &[("x", Pass), ("y", Skip), ("z", Skip)])), 2);
        assert_eq!(number(&report(Skip, &[])), 1);
        assert_eq!(number(&report(Pass, &[("x", Pass)])), 0);
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        for text in ["a.sh", "a.sh:", "a.sh: "] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("# why\n\na: b\n").unwrap().0.len(), 1);
    }
}
