// SPDX-License-Identifier: GPL-2.0

//! The report as JUnit XML, which continuous integration systems show.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use crate::judge::ktap::TestResult;
use crate::judge::report::{Report, TestReport};
use crate::run::files::write_whole;

/// Writes the XML, whole or not at all.
pub fn write(report: &Report, path: &Path) -> Result<()> {
    write_whole(path, &xml(report)?)
}

/// A suite for the selftests and one for the kernel log.
pub fn xml(report: &Report) -> Result<String> {
    let mut selftests = TestSuite::new("selftests");
    selftests.add_test_cases(report.tests.iter().map(test_case));
    let mut machine = TestSuite::new("guest");
    machine.add_test_case(run_case(report));
    machine.add_test_cases(report.kernel_findings.iter().map(|finding| {
        case(&format!("kernel log: {}", finding.kind), TestResult::Fail, &finding.quote())
    }));
    let mut document = Document::new("lab");
    document.add_test_suites([selftests, machine]);
    document.to_string().context("write JUnit XML")
}

fn test_case(test: &TestReport) -> TestCase {
    let mut case = case(&test.title(), test.result, &test.reason);
    case.set_time(Duration::from_millis(test.ms));
    let lines =
        test.cases.iter().map(|case| format!("{:?} {} {}", case.result, case.name, case.reason));
    case.set_system_out(lines.collect::<Vec<_>>().join("\n"));
    case
}

/// A case for the guest itself: it must have booted and ended normally.
fn run_case(report: &Report) -> TestCase {
    use crate::judge::outcome::Outcome;
    let ran = matches!(report.outcome, Outcome::Pass | Outcome::Test | Outcome::KernelLog);
    let verdict = if ran { TestResult::Pass } else { TestResult::Fail };
    let why = format!("{}: {}", report.outcome.describe(), report.message);
    case("boot, run, power off", verdict, &why)
}

fn case(name: &str, verdict: TestResult, why: &str) -> TestCase {
    let mut status = match verdict {
        TestResult::Pass => TestCaseStatus::success(),
        TestResult::Skip => TestCaseStatus::skipped(),
        TestResult::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if verdict != TestResult::Pass {
        status.set_message(why.lines().next().unwrap_or_default());
        if verdict == TestResult::Fail {
            status.set_description(why);
        }
    }
    TestCase::new(name, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::outcome::Outcome;
    use crate::run::phases::Phases;

    fn test(name: &str, result: TestResult, reason: &str) -> TestReport {
        TestReport {
            name: name.into(),
            result,
            ms: 1500,
            reason: reason.into(),
            ..TestReport::default()
        }
    }

    #[test]
    fn failures_skips_and_findings_are_cases() {
        let mut report = Report::not_built("no rust-src".into(), Phases::default());
        report.tests = vec![
            test("a.sh", TestResult::Pass, ""),
            test("b.sh", TestResult::Fail, "v6 < v4\nmore"),
            test("c.sh", TestResult::Skip, "no veth"),
        ];
        report.kernel_findings = vec![crate::judge::kernel_log::Finding {
            kind: "oops".into(),
            text: "Oops: 0000".into(),
            stack: Vec::new(),
            ..Default::default()
        }];
        let text = xml(&report).unwrap();
        for part in [
            "<testsuite name=\"selftests\" tests=\"3\" skipped=\"1\" errors=\"0\" failures=\"1\"",
            "<testcase name=\"a.sh\" time=\"1.500\"",
            "<failure message=\"v6 &lt; v4\">",
            "<skipped message=\"no veth\"/>",
            "<testsuite name=\"guest\" tests=\"2\"",
            "<failure message=\"could not build: no rust-src\">",
            "kernel log: oops",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_guest_that_ran_to_its_end_is_a_pass_even_if_tests_failed() {
        let mut report = Report::not_built(String::new(), Phases::default());
        report.outcome = Outcome::Test;
        assert!(!xml(&report).unwrap().contains("<failure"));
    }

    /// XML cannot contain control characters.
    #[test]
    fn control_characters_are_left_out() {
        let mut report = Report::not_built(String::new(), Phases::default());
        report.tests = vec![test("a\0b", TestResult::Fail, "\u{1b}[31m\u{1}why\u{b}")];
        let text = xml(&report).unwrap();
        assert!(text.contains("name=\"ab\"") && text.contains("message=\"why\""), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}
