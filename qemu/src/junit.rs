// SPDX-License-Identifier: GPL-2.0

//! The report as JUnit XML, which continuous integration systems show.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use crate::ktap::Verdict;
use crate::report::{Report, TestReport, write_whole};

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
        case(&format!("kernel log: {}", finding.kind), Verdict::Fail, &finding.quote())
    }));
    let mut document = Document::new("rnetns");
    document.add_test_suites([selftests, machine]);
    document.to_string().context("write JUnit XML")
}

fn test_case(test: &TestReport) -> TestCase {
    let mut case = case(&test.name, test.result, &test.reason);
    case.set_time(Duration::from_millis(test.ms));
    let lines =
        test.cases.iter().map(|case| format!("{:?} {} {}", case.result, case.name, case.reason));
    case.set_system_out(lines.collect::<Vec<_>>().join("\n"));
    case
}

/// That the guest came up and went down as it should.
fn run_case(report: &Report) -> TestCase {
    use crate::outcome::Outcome;
    let ran = matches!(report.outcome, Outcome::Pass | Outcome::Test | Outcome::KernelLog);
    let verdict = if ran { Verdict::Pass } else { Verdict::Fail };
    case("boot, run, power off", verdict, &report.message)
}

fn case(name: &str, verdict: Verdict, why: &str) -> TestCase {
    let mut status = match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skip => TestCaseStatus::skipped(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if verdict != Verdict::Pass {
        status.set_message(why.lines().next().unwrap_or_default());
        if verdict == Verdict::Fail {
            status.set_description(why);
        }
    }
    TestCase::new(name, status)
}
