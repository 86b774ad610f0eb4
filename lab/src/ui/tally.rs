// SPDX-License-Identifier: GPL-2.0

//! Prints checks as they end, and counts them for the last line.

use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;
use vmlab::judge::tally::Tally;
use vmlab::run::print;

/// Prints checks that have ended, and counts them.
pub fn tell(tally: &mut Tally, checks: &[TestReport]) {
    checks.iter().for_each(|check| print::out(&entry(check)));
    tally.add(checks);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_pass_has_its_reason_below() {
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
        let told = checks.each_ref().map(entry);
        assert_eq!(
            told,
            ["ok      a\n", "FAIL    b\n        no\n", "skip    c\n        no tool\n"]
        );
    }
}
