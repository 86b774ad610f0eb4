// SPDX-License-Identifier: GPL-2.0

//! Merges the reports of all guests and checks of a run.

use std::collections::BTreeMap;

use crate::judge::ktap::TestResult;
use crate::judge::outcome::Outcome;
use crate::judge::report::{Report, TestReport};
use crate::run::phases::{Phase, Phases};

/// The mark of steps that are timed in every guest.
const OF_EACH_GUEST: &str = "of each guest, median";

impl Report {
    /// A report of checks without a guest.
    pub fn of_checks(tests: Vec<TestReport>) -> Report {
        let failed = tests.iter().find(|test| test.result == TestResult::Fail);
        let (outcome, message) = match failed {
            Some(test) => (Outcome::Test, format!("failed: {}", test.title())),
            None => (Outcome::Pass, String::new()),
        };
        Report { outcome, tests, ..Report::not_built(message, Phases::default()) }
    }

    /// Merges all parts of a run. `phases` has the steps that were timed outside of the parts.
    ///
    /// The outcome of the whole is the worst of all outcomes; where every selftest was skipped, lint and
    /// host tests do not make it a pass. A test that ran several times is one
    /// entry, which shows its worst run.
    pub fn whole(parts: Vec<Report>, phases: Phases) -> Report {
        let mut whole = Report::not_built(String::new(), phases);
        (whole.outcome, whole.message) = gravest(&parts);
        whole.phases.0.extend(medians(&parts));
        let mut runs: Vec<TestReport> = Vec::new();
        for part in parts {
            whole.engine = whole.engine.or(part.engine);
            whole.versions.extend(part.versions);
            whole.kernel_findings.extend(part.kernel_findings);
            runs.extend(part.tests);
            let new: Vec<_> =
                part.notes.into_iter().filter(|note| !whole.notes.contains(note)).collect();
            whole.notes.extend(new);
        }
        whole.tests = by_test(runs);
        let is = |result| move |test: &&TestReport| test.group.is_empty() && test.result == result;
        let any = |result| whole.tests.iter().any(|test| is(result)(&test));
        if whole.outcome == Outcome::Pass && any(TestResult::Skip) && !any(TestResult::Pass) {
            whole.outcome = Outcome::Skipped;
            whole.message = "every selftest was skipped".to_owned();
        }
        whole
    }
}

/// The worst outcome, with the message of the first part that has it.
fn gravest(parts: &[Report]) -> (Outcome, String) {
    let Some(outcome) = parts.iter().map(|part| part.outcome).max() else {
        return (Outcome::Build, "nothing ran".to_owned());
    };
    let mut messages =
        parts.iter().filter(|part| part.outcome == outcome && !part.message.is_empty());
    let first = messages.next().map(|part| part.message.clone()).unwrap_or_default();
    let others = messages.count();
    let message = if others > 0 { format!("{first} (and {others} more)") } else { first };
    (outcome, message)
}

/// The median time of each step over all guests.
fn medians(parts: &[Report]) -> Vec<Phase> {
    let mut names: Vec<&str> = Vec::new();
    let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for phase in parts.iter().flat_map(|part| &part.phases.0) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
        times.entry(&phase.name).or_default().push(phase.ms);
    }
    let median = |name: &str| {
        let times = times.get_mut(name)?;
        times.sort_unstable();
        let ms = *times.get(times.len() / 2)?;
        Some(Phase { name: format!("{name} ({OF_EACH_GUEST})"), ms })
    };
    names.into_iter().filter_map(median).collect()
}

/// Runs of one test become one entry, at the place of the first.
fn by_test(runs: Vec<TestReport>) -> Vec<TestReport> {
    let mut tests: Vec<Vec<TestReport>> = Vec::new();
    for run in runs {
        // Host tests of different programs may have the same name, so only tests in guests merge.
        let same = tests.iter_mut().find(|test| {
            run.group.is_empty() && test[0].group.is_empty() && test[0].name == run.name
        });
        match same {
            Some(test) => test.push(run),
            None => tests.push(vec![run]),
        }
    }
    tests.into_iter().filter_map(worst).collect()
}

/// The worst of several runs, with all results and the longest time.
fn worst(mut runs: Vec<TestReport>) -> Option<TestReport> {
    let results: Vec<TestResult> = runs.iter().map(|run| run.result).collect();
    let longest = runs.iter().map(|run| run.ms).max()?;
    let gravest = results.iter().max()?;
    let shown = results.iter().position(|result| result == gravest)?;
    let mut report = runs.swap_remove(shown);
    report.ms = longest;
    if results.len() > 1 {
        report.repeats = results;
    }
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn test(name: &str, result: TestResult, ms: u64) -> TestReport {
        TestReport { name: name.into(), result, ms, ..TestReport::default() }
    }

    fn part(outcome: Outcome, message: &str, tests: Vec<TestReport>) -> Report {
        Report { outcome, tests, ..Report::not_built(message.into(), Phases::default()) }
    }

    #[test]
    fn a_run_is_as_bad_as_its_worst_part() {
        let parts = vec![
            part(Outcome::Pass, "", vec![test("a", TestResult::Pass, 1)]),
            part(Outcome::KernelLog, "BUG in b", vec![test("b", TestResult::Pass, 1)]),
            part(Outcome::Test, "failed: c", vec![test("c", TestResult::Fail, 1)]),
            part(Outcome::KernelLog, "BUG in d", Vec::new()),
        ];
        let whole = Report::whole(parts, Phases::default());
        assert_eq!(whole.outcome, Outcome::KernelLog);
        assert_eq!(whole.message, "BUG in b (and 1 more)");
        assert_eq!(whole.tests.len(), 3);
    }

    #[test]
    fn lint_does_not_make_a_pass_of_skipped_selftests() {
        let lint = TestReport { group: "lint".into(), ..test("l", TestResult::Pass, 0) };
        let of = |second| {
            let first = part(Outcome::Skipped, "", vec![test("a", TestResult::Skip, 1)]);
            let second = part(Outcome::Pass, "", vec![test("b", second, 1)]);
            let parts = vec![Report::of_checks(vec![lint.clone()]), first, second];
            Report::whole(parts, Phases::default()).outcome
        };
        assert_eq!(of(TestResult::Skip), Outcome::Skipped);
        assert_eq!(of(TestResult::Pass), Outcome::Pass);
    }

    #[test]
    fn a_run_of_nothing_is_no_pass() {
        assert_eq!(Report::whole(Vec::new(), Phases::default()).outcome, Outcome::Build);
    }

    #[test]
    fn of_several_runs_of_a_test_the_worst_is_shown() {
        let run = |result, ms| part(Outcome::Pass, "", vec![test("a", result, ms)]);
        let parts =
            vec![run(TestResult::Pass, 5), run(TestResult::Fail, 3), run(TestResult::Skip, 9)];
        let whole = Report::whole(parts, Phases::default());
        assert_eq!(whole.tests.len(), 1);
        assert_eq!((whole.tests[0].result, whole.tests[0].ms), (TestResult::Fail, 9));
        assert_eq!(whole.tests[0].repeats, [TestResult::Pass, TestResult::Fail, TestResult::Skip]);
    }

    #[test]
    fn host_tests_of_the_same_name_are_two() {
        let host = |result| TestReport { group: "host test".into(), ..test("a", result, 0) };
        let parts = vec![Report::of_checks(vec![host(TestResult::Pass), host(TestResult::Fail)])];
        assert_eq!(parts[0].outcome, Outcome::Test);
        assert_eq!(Report::whole(parts, Phases::default()).tests.len(), 2);
    }

    #[test]
    fn what_every_guest_takes_is_given_once_as_the_median() {
        let boot = |ms| {
            let mut part = part(Outcome::Pass, "", Vec::new());
            part.phases.add("boot", Duration::from_millis(ms));
            part
        };
        let mut outside = Phases::default();
        outside.add("kernel", Duration::from_millis(7));
        let whole = Report::whole(vec![boot(900), boot(700), boot(800)], outside);
        let phases: Vec<_> = whole.phases.0.iter().map(|it| (it.name.as_str(), it.ms)).collect();
        assert_eq!(phases, [("kernel", 7), ("boot (of each guest, median)", 800)]);
    }
}
