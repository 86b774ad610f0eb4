// SPDX-License-Identifier: GPL-2.0

//! What a run may skip. All other skips are failures: otherwise tests would be skipped when a kernel
//! option, a tool or a mount is missing, and the run would pass.
//!
//! Each folder of selftests has a list of its own. Skips of checks are listed nowhere, since they
//! depend on the machine: a user may allow them for a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use glob::Pattern;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};
use vmlab::run::job;

use crate::build::kernel::Variant;
use crate::context::Lab;

/// The file in the folder of selftests. A folder without it allows every skip of its tests.
const NAME: &str = "expected-skips";

/// How a line begins that does not count on the kernel for debugging.
const NOT_DEBUG: &str = "[not on the debug kernel] ";

/// The group of the kernel tree's own network tests, which the lists name as `net/test`.
const NET: &str = "net";

/// What a run may skip.
#[derive(Debug, Default)]
pub struct ExpectedSkips {
    folders: Vec<Folder>,
    /// The names of tests and checks that the user allows to be skipped.
    allowed: Vec<Pattern>,
    /// Whether every skip is allowed.
    all: bool,
    /// Whether the tests run on the kernel for debugging.
    debug: bool,
}

/// A folder of selftests.
#[derive(Debug)]
struct Folder {
    tests: BTreeSet<String>,
    list: Option<SkipList>,
}

/// Names of tests, or `test/case`, each with the skips of it that are expected.
#[derive(Debug)]
pub struct SkipList(BTreeMap<String, Vec<Skip>>);

/// A skip that is expected.
#[derive(Debug)]
struct Skip {
    /// How the reason begins that the test gives. A test that skips for another reason, such as a
    /// program that is not installed, is not the one that is expected.
    reason: String,
    not_debug: bool,
}

impl SkipList {
    /// Whether it is listed that a test or case is skipped for this reason.
    fn has(&self, name: &str, reason: &str, debug: bool) -> bool {
        let fits = |skip: &Skip| reason.starts_with(&skip.reason) && !(debug && skip.not_debug);
        self.0.get(name).is_some_and(|skips| skips.iter().any(fits))
    }
}

/// Reads the list of a folder of selftests; `None` if there is no list.
pub fn load(selftests: &Path) -> Result<Option<SkipList>> {
    let path = selftests.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    parse(&text).map(Some).with_context(|| format!("understand {}", path.display()))
}

fn parse(text: &str) -> Result<SkipList> {
    let mut skips: BTreeMap<String, Vec<Skip>> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (rest, not_debug) = match line.strip_prefix(NOT_DEBUG) {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        match rest.split_once(": ") {
            Some((name, reason)) if !reason.trim().is_empty() => {
                let skip = Skip { reason: reason.trim().to_owned(), not_debug };
                skips.entry(name.to_owned()).or_default().push(skip);
            }
            _ => bail!("`{line}`: a line is `test: reason` or `test/case: reason`"),
        }
    }
    Ok(SkipList(skips))
}

/// How many results were skipped.
pub fn number(report: &Report) -> usize {
    let skipped = |test: &TestReport| {
        let cases = test.cases.iter().filter(|case| case.result == TestResult::Skip).count();
        cases.max(usize::from(test.result == TestResult::Skip))
    };
    report.tests.iter().map(skipped).sum()
}

impl ExpectedSkips {
    /// What the project and the user of this run allow. Another kernel than the lab's own may lack
    /// anything, so with it all skips are allowed.
    pub fn load(lab: &Lab, variant: Variant) -> Result<ExpectedSkips> {
        let folder = |folder| -> Result<Folder> {
            let path = lab.root.join(folder);
            let tests = job::selftests(&path)?.into_iter().map(|test| test.name).collect();
            Ok(Folder { tests, list: load(&path)? })
        };
        Ok(ExpectedSkips {
            folders: lab.project.selftests.folders.iter().map(folder).collect::<Result<_>>()?,
            debug: variant == Variant::Debug,
            ..ExpectedSkips::of_checks(lab)
        })
    }

    /// Without the lists of selftests, for runs that have only checks.
    pub fn of_checks(lab: &Lab) -> ExpectedSkips {
        let all = !lab.settings.own_kernel();
        ExpectedSkips { all, ..ExpectedSkips::allowing(lab.settings.may_skip.clone()) }
    }

    /// Nothing but what the user allows.
    pub fn allowing(allowed: Vec<Pattern>) -> ExpectedSkips {
        ExpectedSkips { allowed, ..ExpectedSkips::default() }
    }

    /// Turns all skips that are not allowed into failures.
    pub fn judge(&self, report: &mut Report) {
        for failed in self.judge_all(&mut report.tests) {
            if !report.outcome.is_failure() {
                report.outcome = Outcome::Test;
                report.message = format!("failed: {failed}");
            }
        }
    }

    /// The same for these tests alone. Returns the titles of those that fail now.
    pub fn judge_all(&self, tests: &mut [TestReport]) -> Vec<String> {
        let mut failed = Vec::new();
        for test in tests {
            let unexpected = self.unexpected(test);
            if unexpected.is_empty() || test.result == TestResult::Fail {
                continue;
            }
            test.result = TestResult::Fail;
            test.reason = match test.group.as_str() {
                "" | NET => format!(
                    "skipped, and {NAME} does not list that for this reason: {}",
                    unexpected.join("; ")
                ),
                _ => format!(
                    "could not run: {}\nto let it be skipped: MAY_SKIP='{}'",
                    unexpected.join("; "),
                    pattern_of(&test.name)
                ),
            };
            failed.push(test.title());
        }
        failed
    }

    fn unexpected(&self, test: &TestReport) -> Vec<String> {
        if self.allows(&test.name) || self.allows(&test.title()) {
            return Vec::new();
        }
        let lists: Vec<&SkipList> = match test.group.as_str() {
            "" => {
                let own = self.folders.iter().find(|folder| folder.tests.contains(&test.name));
                match own.map(|folder| &folder.list) {
                    Some(None) => return Vec::new(),
                    Some(Some(list)) => vec![list],
                    None => Vec::new(),
                }
            }
            NET => {
                let lists: Vec<_> = self.folders.iter().filter_map(|it| it.list.as_ref()).collect();
                if lists.is_empty() {
                    return Vec::new();
                }
                lists
            }
            _ => Vec::new(),
        };
        let is_listed =
            |name: &str, reason: &str| lists.iter().any(|list| list.has(name, reason, self.debug));
        let name = match test.group.as_str() {
            NET => format!("{NET}/{}", test.name),
            _ => test.name.clone(),
        };
        let skipped = test.cases.iter().filter(|case| case.result == TestResult::Skip);
        let mut found: Vec<String> = skipped
            .filter(|case| {
                let case_name = format!("{name}/{}", case.name);
                !is_listed(&name, &case.reason) && !is_listed(&case_name, &case.reason)
            })
            .map(|case| format!("{} ({})", case.name, case.reason))
            .collect();
        if test.result == TestResult::Skip
            && test.cases.is_empty()
            && !is_listed(&name, &test.reason)
        {
            found.push(test.reason.clone());
        }
        found
    }

    /// Whether a test or check of this name may be skipped, whatever the lists say.
    pub fn allows(&self, name: &str) -> bool {
        self.all || self.allowed.iter().any(|pattern| pattern.matches(name))
    }
}

/// A pattern for the check of this name. Of checks that differ only behind a colon, none can run
/// where one cannot.
fn pattern_of(name: &str) -> String {
    match name.split_once(": ") {
        Some((all, _)) => format!("{}: *", Pattern::escape(all)),
        None => Pattern::escape(name),
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

    fn folder(tests: &[&str], list: Option<&str>) -> Folder {
        let tests = tests.iter().map(|test| (*test).to_owned()).collect();
        Folder { tests, list: list.map(|list| parse(list).unwrap()) }
    }

    fn expected(folders: Vec<Folder>) -> ExpectedSkips {
        ExpectedSkips { folders, ..ExpectedSkips::default() }
    }

    #[test]
    fn a_skip_that_nobody_expects_is_a_failure() {
        use TestResult::{Pass, Skip};
        for (list, result, cases, outcome) in [
            ("", Pass, vec![("x", Pass)], Outcome::Pass),
            ("", Skip, vec![], Outcome::Test),
            ("a.sh: no veth", Skip, vec![], Outcome::Pass),
            ("a.sh: no", Skip, vec![], Outcome::Pass),
            ("a.sh: ip is not installed", Skip, vec![], Outcome::Test),
            ("a.sh: other\na.sh: no veth", Skip, vec![], Outcome::Pass),
            ("", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Test),
            ("a.sh/y: no veth", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Pass),
            ("a.sh/x: no veth", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Test),
            ("a.sh/y: no bridge", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Test),
            ("a.sh: no veth", Pass, vec![("x", Pass), ("y", Skip)], Outcome::Pass),
        ] {
            let mut report = report(result, &cases);
            expected(vec![folder(&["a.sh"], Some(list))]).judge(&mut report);
            assert_eq!(report.outcome, outcome, "{list}: {:?}", report.tests);
        }
    }

    #[test]
    fn what_the_debug_kernel_has_is_not_skipped_there() {
        let outcome = |list, debug| {
            let mut report = report(TestResult::Skip, &[]);
            let folders = vec![folder(&["a.sh"], Some(list))];
            ExpectedSkips { folders, debug, ..ExpectedSkips::default() }.judge(&mut report);
            report.outcome
        };
        let plain_alone = "[not on the debug kernel] a.sh: no veth";
        assert_eq!(outcome(plain_alone, false), Outcome::Pass);
        assert_eq!(outcome(plain_alone, true), Outcome::Test);
        assert_eq!(outcome("a.sh: no veth", true), Outcome::Pass);
    }

    #[test]
    fn a_list_counts_for_the_tests_of_its_own_folder() {
        let outcome = |folders| {
            let mut report = report(TestResult::Skip, &[]);
            expected(folders).judge(&mut report);
            report.outcome
        };
        let (lists_it, lists_nothing) = (Some("a.sh: no veth"), Some(""));
        let other = |list| folder(&["b.sh"], list);
        assert_eq!(outcome(vec![folder(&["a.sh"], lists_it), other(lists_nothing)]), Outcome::Pass);
        assert_eq!(outcome(vec![other(lists_it), folder(&["a.sh"], lists_nothing)]), Outcome::Test);
        // A folder without a list allows what its own tests skip.
        assert_eq!(outcome(vec![other(lists_nothing), folder(&["a.sh"], None)]), Outcome::Pass);
        assert_eq!(outcome(vec![other(None), folder(&["a.sh"], lists_nothing)]), Outcome::Test);
    }

    #[test]
    fn a_test_of_the_kernel_tree_may_be_on_any_list() {
        let outcome = |lists: &[Option<&str>]| {
            let mut report = report(TestResult::Skip, &[]);
            report.tests[0].group = NET.to_owned();
            expected(lists.iter().map(|list| folder(&[], *list)).collect()).judge(&mut report);
            report.outcome
        };
        assert_eq!(outcome(&[Some(""), Some("net/a.sh: no veth")]), Outcome::Pass);
        assert_eq!(outcome(&[Some(""), Some("a.sh: no veth")]), Outcome::Test);
        assert_eq!(outcome(&[None]), Outcome::Pass);
    }

    /// As on a machine that does not allow mounts: what the project wants to be checked was not.
    #[test]
    fn a_check_that_could_not_run_fails_unless_the_user_allows_it() {
        let outcome = |expected: ExpectedSkips| {
            let mut report = report(TestResult::Skip, &[]);
            report.tests[0].group = "lint".to_owned();
            report.tests[0].name = "in a [kernel] tree: a module".to_owned();
            expected.judge(&mut report);
            (report.outcome, report.tests[0].clone())
        };
        let allowing =
            |pattern: &str| ExpectedSkips::allowing(vec![Pattern::new(pattern).unwrap()]);
        let (red, check) = outcome(expected(vec![folder(&["a.sh"], None)]));
        assert_eq!((red, check.result), (Outcome::Test, TestResult::Fail));
        let (why, way_out) = check.reason.split_once('\n').unwrap();
        assert_eq!(why, "could not run: no veth");
        let way_out = way_out.strip_prefix("to let it be skipped: MAY_SKIP='").unwrap();
        for pattern in [way_out.strip_suffix('\'').unwrap(), "in a *tree*", "lint: in *"] {
            let (outcome, check) = outcome(allowing(pattern));
            assert_eq!((outcome, check.result), (Outcome::Pass, TestResult::Skip), "{pattern}");
        }
        assert_eq!(outcome(allowing("in a kernel")).0, Outcome::Test);
        let of_another_kernel = ExpectedSkips { all: true, ..ExpectedSkips::default() };
        assert_eq!(outcome(of_another_kernel).0, Outcome::Pass);
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
