// SPDX-License-Identifier: GPL-2.0

//! A test's output, read strictly.
//!
//! KTAP is Documentation/dev-tools/ktap.rst of the kernel. A result counts only
//! when everything around it is in order: version, plan, numbers, the exit
//! status. A test that prints half of its results has not passed half.

use serde::{Deserialize, Serialize};
use vmlab_init::protocol::Status;

/// A result in a few words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestResult {
    /// As it should be.
    Pass,
    /// It could not tell.
    Skip,
    /// Not as it should be. What nobody has judged is no pass.
    #[default]
    Fail,
}

/// One numbered result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its name; of a nested one, with that of its parents.
    pub name: String,
    /// How it ended. A failure that was expected counts as a pass.
    pub result: TestResult,
    /// What the test said about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a test's output says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// All results, nested ones before the one that they make up.
    pub cases: Vec<Case>,
    /// Why the whole of it was skipped.
    pub skipped: Option<String>,
    /// What is wrong with the output itself.
    pub errors: Vec<String>,
    /// Whether it marks a failure as expected.
    expected_failure: bool,
    /// Whether it ended with a skip ahead of its plan, as `ksft_exit_skip()` does.
    stopped_by_skip: bool,
}

/// A test's verdict, from its output and its exit status together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// How it ended.
    pub result: TestResult,
    /// Why, in a line; empty for a pass.
    pub reason: String,
    /// Its results.
    pub cases: Vec<Case>,
}

/// A line that means something.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Version,
    Subtest,
    Plan(Result<usize, ()>, Option<&'a str>),
    Result(Numbered<'a>),
    BailOut(&'a str),
    Totals(&'a str),
    Diagnostic(&'a str),
    Other,
}

#[derive(Debug, PartialEq, Eq)]
struct Numbered<'a> {
    ok: bool,
    number: Option<usize>,
    name: &'a str,
    directive: Option<(Directive, &'a str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Skip,
    /// TODO and XFAIL: it fails, and that is known.
    Expected,
    /// TIMEOUT and ERROR: it fails whatever it says.
    Broken,
}

fn understand(line: &str) -> Line<'_> {
    if line.starts_with("KTAP version ") || line.starts_with("TAP version ") {
        return Line::Version;
    }
    if line.starts_with("# Subtest: ") {
        return Line::Subtest;
    }
    if let Some(rest) = line.strip_prefix("# Totals: ") {
        return Line::Totals(rest);
    }
    if let Some(rest) = line.strip_prefix("Bail out!") {
        return Line::BailOut(rest.trim());
    }
    if let Some(rest) = line.strip_prefix("1..") {
        let (count, directive) = match rest.split_once(" #") {
            Some((count, directive)) => (count, Some(directive.trim())),
            None => (rest, None),
        };
        return Line::Plan(count.trim().parse().map_err(|_| ()), directive);
    }
    if let Some(result) = result(line) {
        return Line::Result(result);
    }
    line.strip_prefix('#').map_or(Line::Other, |rest| Line::Diagnostic(rest.trim()))
}

fn result(line: &str) -> Option<Numbered<'_>> {
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = rest[..digits].parse().ok();
    let rest = rest[digits..].trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) = split_directive(rest);
    Some(Numbered { ok, number, name: name.trim(), directive })
}

/// A `#` may be part of a name; it starts a directive only before one of these
/// words.
fn split_directive(text: &str) -> (&str, Option<(Directive, &str)>) {
    for (at, _) in text.match_indices('#') {
        let after = text[at + 1..].trim_start();
        let word = after.split([' ', ':']).next().unwrap_or_default();
        let directive = match word.to_ascii_uppercase().as_str() {
            "SKIP" => Directive::Skip,
            "TODO" | "XFAIL" => Directive::Expected,
            "TIMEOUT" | "ERROR" => Directive::Broken,
            _ => continue,
        };
        return (
            &text[..at],
            Some((directive, after[word.len()..].trim_start_matches([' ', ':']))),
        );
    }
    (text, None)
}

/// One level of results.
#[derive(Debug, Default)]
struct Document {
    indent: usize,
    version: bool,
    plan: Option<usize>,
    /// A plan must come before the first result or after the last.
    plan_at: usize,
    skipped: Option<String>,
    cases: Vec<Case>,
    /// Those of deeper levels that wait for the result that they make up.
    nested: Vec<Case>,
    direct: Vec<TestResult>,
    diagnostics: Vec<String>,
    last_is_skip: bool,
}

/// Reads a test's standard output.
pub fn parse(text: &str) -> Output {
    let mut parser = Parser::default();
    for line in text.lines() {
        parser.line(line);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        let last = text.lines().last().unwrap_or_default().trim();
        if !matches!(understand(last), Line::Other | Line::Diagnostic(_)) {
            parser.errors.push(format!("output ends in mid-line: `{last}`"));
        }
    }
    parser.finish()
}

#[derive(Debug, Default)]
struct Parser {
    /// From the outermost in.
    open: Vec<Document>,
    errors: Vec<String>,
    expected_failure: bool,
    totals: Option<String>,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        match understand(text.trim_end()) {
            Line::Version => self.header(indent, true),
            Line::Subtest => self.header(indent, false),
            Line::Plan(count, directive) => self.plan(indent, count, directive, text),
            Line::Result(result) => self.result(indent, &result, text),
            Line::BailOut(why) => self.errors.push(format!("bailed out: {why}")),
            Line::Totals(totals) if indent == 0 => self.totals = Some(totals.to_owned()),
            Line::Diagnostic(said) => self.diagnostic(said),
            Line::Totals(_) | Line::Other => {}
        }
    }

    fn header(&mut self, indent: usize, version: bool) {
        match self.open.last_mut() {
            None => {
                if !version || indent > 0 {
                    self.errors.push("no KTAP version line before the first subtest".to_owned());
                }
                self.open.push(Document { indent, version, ..Document::default() });
            }
            Some(top) if indent > top.indent => {
                self.open.push(Document { indent, version, ..Document::default() });
            }
            // KUnit prints both a version and a "# Subtest:" line; the latter may
            // also stand on the level of the results, where it is a remark.
            Some(_) if !version => {}
            Some(_) => {
                self.close_to(indent);
                if self.open.last().is_some_and(|top| top.indent == indent) {
                    self.errors.push("a second KTAP version line".to_owned());
                }
            }
        }
    }

    fn diagnostic(&mut self, said: &str) {
        if let Some(top) = self.open.last_mut()
            && !said.is_empty()
        {
            top.diagnostics.push(said.to_owned());
        }
    }

    /// Ends the levels that are deeper than this.
    fn close_to(&mut self, indent: usize) {
        while self.open.len() > 1 && self.open.last().is_some_and(|top| top.indent > indent) {
            if let Some(document) = self.open.pop() {
                let cases = self.complete(document, false);
                if let Some(parent) = self.open.last_mut() {
                    parent.nested.extend(cases.cases);
                }
            }
        }
    }

    /// The level that a line belongs to. A deeper one that nobody announced is
    /// just something that the test printed.
    fn level(&mut self, indent: usize, text: &str) -> Option<&mut Document> {
        if self.open.is_empty() {
            self.errors.push(format!("no KTAP version line before `{text}`"));
            self.open.push(Document { indent, ..Document::default() });
        }
        self.close_to(indent);
        self.open.last_mut().filter(|top| top.indent == indent)
    }

    fn plan(
        &mut self,
        indent: usize,
        count: Result<usize, ()>,
        directive: Option<&str>,
        text: &str,
    ) {
        let mut wrong = None;
        let Some(document) = self.level(indent, text) else { return };
        match count {
            Err(()) => wrong = Some(format!("a plan without a number: `{text}`")),
            Ok(_) if document.plan.is_some() => wrong = Some(format!("a second plan: `{text}`")),
            Ok(count) => {
                document.plan = Some(count);
                document.plan_at = document.direct.len();
                let skip = directive.filter(|d| d.to_ascii_uppercase().starts_with("SKIP"));
                if count == 0 {
                    match skip {
                        Some(why) => {
                            document.skipped =
                                Some(why[4..].trim_start_matches([' ', ':']).to_owned())
                        }
                        None => {
                            wrong = Some("a plan of no tests, and no reason to skip".to_owned())
                        }
                    }
                }
            }
        }
        self.errors.extend(wrong);
    }

    fn result(&mut self, indent: usize, result: &Numbered, text: &str) {
        let mut wrong = Vec::new();
        let Some(document) = self.level(indent, text) else { return };
        let expected = document.direct.len() + 1;
        match result.number {
            None => wrong.push(format!("a result without a number: `{text}`")),
            Some(number) if number != expected => {
                wrong.push(format!("result {number} where {expected} was due: `{text}`"));
            }
            Some(_) => {}
        }
        let verdict = verdict(result);
        let said = document.diagnostics.drain(..).collect::<Vec<_>>();
        let reason = match (result.directive, verdict) {
            (Some((_, why)), _) if !why.is_empty() => why.to_owned(),
            (_, TestResult::Fail) => said.join("; "),
            _ => String::new(),
        };
        let name =
            if result.name.is_empty() { format!("{expected}") } else { result.name.to_owned() };
        let nested = std::mem::take(&mut document.nested);
        if verdict != TestResult::Fail && result.directive.is_none() {
            let failed = nested.iter().find(|case| case.result == TestResult::Fail);
            if let Some(case) = failed {
                wrong.push(format!("`{name}` is ok although its subtest `{}` is not", case.name));
            }
        }
        document.cases.extend(
            nested.into_iter().map(|case| Case { name: format!("{name}/{}", case.name), ..case }),
        );
        document.cases.push(Case { name, result: verdict, reason });
        document.direct.push(verdict);
        document.last_is_skip = verdict == TestResult::Skip;
        self.expected_failure |= matches!(result.directive, Some((Directive::Expected, _)));
        self.errors.extend(wrong);
    }

    /// Checks a level that has ended.
    fn complete(&mut self, document: Document, outermost: bool) -> Document {
        let count = document.direct.len();
        let stopped = outermost && document.last_is_skip;
        match document.plan {
            None => self.errors.push("no plan (`1..N`)".to_owned()),
            Some(plan) if plan != count && !(stopped && count < plan) => {
                self.errors.push(format!("{plan} results were planned, {count} came"));
            }
            Some(_) if document.plan_at != 0 && document.plan_at != count => {
                self.errors.push("the plan is in the midst of the results".to_owned());
            }
            Some(_) => {}
        }
        if !document.nested.is_empty() {
            self.errors.push("subtests without the result that they make up".to_owned());
        }
        document
    }

    fn finish(mut self) -> Output {
        if let Some(outermost) = self.open.first().map(|document| document.indent) {
            self.close_to(outermost);
        }
        let Some(document) = self.open.pop() else {
            return Output { errors: vec!["no KTAP at all".to_owned()], ..Output::default() };
        };
        let plan = document.plan;
        let document = self.complete(document, true);
        if !document.version && self.errors.is_empty() {
            self.errors.push("no KTAP version line".to_owned());
        }
        if let Some(totals) = self.totals.take() {
            self.errors.extend(check_totals(&totals, &document.direct));
        }
        Output {
            stopped_by_skip: document.last_is_skip
                && plan.is_some_and(|plan| plan > document.direct.len()),
            cases: document.cases,
            skipped: document.skipped,
            errors: self.errors,
            expected_failure: self.expected_failure,
        }
    }
}

fn verdict(result: &Numbered) -> TestResult {
    match (result.ok, result.directive.map(|(directive, _)| directive)) {
        (_, Some(Directive::Broken)) => TestResult::Fail,
        (_, Some(Directive::Expected)) => TestResult::Pass,
        (true, Some(Directive::Skip)) => TestResult::Skip,
        (true, None) => TestResult::Pass,
        // What did not run cannot have failed: one of the two words is wrong.
        (false, Some(Directive::Skip) | None) => TestResult::Fail,
    }
}

/// `pass:2 fail:0 xfail:0 xpass:0 skip:1 error:0` against what was counted.
fn check_totals(totals: &str, results: &[TestResult]) -> Option<String> {
    let of = |name: &str| -> usize {
        let fields = totals.split_whitespace().filter_map(|field| field.split_once(':'));
        fields
            .filter(|(key, _)| *key == name)
            .filter_map(|(_, count)| count.parse::<usize>().ok())
            .sum()
    };
    let said = [of("pass") + of("xfail") + of("xpass"), of("skip"), of("fail") + of("error")];
    let counted = [TestResult::Pass, TestResult::Skip, TestResult::Fail]
        .map(|verdict| results.iter().filter(|result| **result == verdict).count());
    (said != counted).then(|| format!("its totals (`{totals}`) are not what it printed"))
}

/// Reads a test's output and exit status together.
pub fn judge(stdout: &str, status: Status) -> Judged {
    let output = parse(stdout);
    let reason = ended_badly(status)
        .or_else(|| output.errors.first().cloned())
        .or_else(|| contradiction(&output, status))
        .or_else(|| failures(&output));
    let (result, reason) = match reason {
        Some(reason) => (TestResult::Fail, reason),
        None => match all_skipped(&output) {
            Some(why) => (TestResult::Skip, why),
            None => (TestResult::Pass, String::new()),
        },
    };
    Judged { result, reason, cases: output.cases }
}

fn ended_badly(status: Status) -> Option<String> {
    match status {
        Status::Exited(0 | 1 | 2 | 4) => None,
        Status::Exited(126 | 127) => {
            Some("did not start: not executable, or its interpreter is missing".to_owned())
        }
        Status::Exited(code) => Some(format!("exit status {code} is none that kselftest knows")),
        Status::Killed(signal) => Some(format!("killed by {}", signal_name(signal))),
        Status::TimedOut => Some("took too long and was killed".to_owned()),
        Status::Stuck => {
            Some("took too long and cannot be killed: it is stuck in the kernel".to_owned())
        }
        Status::NotStarted => Some("did not start".to_owned()),
    }
}

/// A signal as people call it.
pub fn signal_name(signal: i32) -> String {
    let names = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (31, "SIGSYS"),
    ];
    let known = names.iter().find(|(number, _)| *number == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// kselftest: 0 pass, 1 fail, 2 expected failure, 4 skip.
fn contradiction(output: &Output, status: Status) -> Option<String> {
    let any = |verdict| output.cases.iter().any(|case| case.result == verdict);
    let skipped = output.skipped.is_some() || any(TestResult::Skip);
    match status {
        Status::Exited(0) if any(TestResult::Fail) => {
            Some("exit status 0 although results are not ok".to_owned())
        }
        Status::Exited(0) if output.stopped_by_skip => {
            Some("ends before its plan, with exit status 0".to_owned())
        }
        Status::Exited(1) if !any(TestResult::Fail) => {
            Some("exit status 1 although no result is not ok".to_owned())
        }
        Status::Exited(2) if !output.expected_failure || any(TestResult::Fail) => {
            Some("exit status 2 (expected failure) does not fit its results".to_owned())
        }
        Status::Exited(4) if !skipped || any(TestResult::Fail) => {
            Some("exit status 4 (skip) does not fit its results".to_owned())
        }
        _ => None,
    }
}

fn failures(output: &Output) -> Option<String> {
    let failed = output.cases.iter().filter(|case| case.result == TestResult::Fail);
    let told: Vec<String> = failed
        .map(|case| {
            if case.reason.is_empty() {
                case.name.clone()
            } else {
                format!("{}: {}", case.name, case.reason)
            }
        })
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn all_skipped(output: &Output) -> Option<String> {
    if let Some(why) = &output.skipped {
        return Some(why.clone());
    }
    let all =
        !output.cases.is_empty() && output.cases.iter().all(|case| case.result == TestResult::Skip);
    all.then(|| output.cases[0].reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse(text).errors
    }

    fn results(text: &str) -> Vec<(String, TestResult)> {
        parse(text).cases.into_iter().map(|case| (case.name, case.result)).collect()
    }

    #[test]
    fn results_are_read_with_their_directives() {
        let text = "TAP version 13\n1..7\nok 1 plain\nok 2 - dash\nnot ok 3 bad\nok 4 s # SKIP no veth\n\
                    not ok 5 t # TODO later\nok 6 x # XFAIL known\nnot ok 7 #42 # TIMEOUT 45 seconds\n";
        let output = parse(text);
        assert_eq!(output.errors, [""; 0]);
        let want = [
            ("plain", TestResult::Pass),
            ("dash", TestResult::Pass),
            ("bad", TestResult::Fail),
            ("s", TestResult::Skip),
            ("t", TestResult::Pass),
            ("x", TestResult::Pass),
            ("#42", TestResult::Fail),
        ];
        assert_eq!(results(text), want.map(|(name, verdict)| (name.to_owned(), verdict)));
        assert_eq!(output.cases[3].reason, "no veth");
    }

    #[test]
    fn whatever_is_out_of_order_is_an_error() {
        let cases = [
            ("", "no KTAP at all"),
            ("hello\n", "no KTAP at all"),
            ("1..1\nok 1 a\n", "no KTAP version line before `1..1`"),
            ("KTAP version 1\nok 1 a\n", "no plan (`1..N`)"),
            ("KTAP version 1\n", "no plan (`1..N`)"),
            ("KTAP version 1\n1..2\nok 1 a\n", "2 results were planned, 1 came"),
            ("KTAP version 1\n1..1\nok 1 a\nok 2 b\n", "1 results were planned, 2 came"),
            ("KTAP version 1\n1..2\nok 1 a\nok 3 b\n", "result 3 where 2 was due: `ok 3 b`"),
            ("KTAP version 1\n1..2\nok 1 a\nok 1 a\n", "result 1 where 2 was due: `ok 1 a`"),
            ("KTAP version 1\n1..1\nok a\n", "a result without a number: `ok a`"),
            ("KTAP version 1\n1..1\n1..1\nok 1 a\n", "a second plan: `1..1`"),
            ("KTAP version 1\nok 1 a\n1..2\nok 2 b\n", "the plan is in the midst of the results"),
            ("KTAP version 1\n1..x\nok 1 a\n", "a plan without a number: `1..x`"),
            ("KTAP version 1\n1..0\n", "a plan of no tests, and no reason to skip"),
            ("KTAP version 1\nKTAP version 1\n1..1\nok 1 a\n", "a second KTAP version line"),
            ("KTAP version 1\n1..1\nok 1 a", "output ends in mid-line: `ok 1 a`"),
            ("KTAP version 1\n1..2\nok 1 a\nBail out! no disk\n", "bailed out: no disk"),
            (
                "KTAP version 1\n1..1\nok 1 a\n# Totals: pass:2 fail:0 skip:0\n",
                "its totals (`pass:2 fail:0 skip:0`) are not what it printed",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(errors(text).first().map(String::as_str), Some(want), "{text:?}");
        }
    }

    #[test]
    fn other_output_is_no_result() {
        let text = "KTAP version 1\n1..1\n# ok 2 in a remark\nokay\nnot okay\n  ok 9 printed by a tool\nok 1 a\n";
        assert_eq!(errors(text), [""; 0]);
        assert_eq!(results(text), [("a".to_owned(), TestResult::Pass)]);
    }

    #[test]
    fn nested_results_belong_to_their_parent() {
        let text = "KTAP version 1\n1..2\n  KTAP version 1\n  # Subtest: v4\n  1..2\n  ok 1 small\n\
                    \x20 not ok 2 large\nnot ok 1 v4\n  KTAP version 1\n  1..1\n    KTAP version 1\n    1..1\n\
                    \x20   ok 1 deep\n  ok 1 mid\nok 2 v6\n";
        assert_eq!(errors(text), [""; 0]);
        let names: Vec<String> = results(text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["v4/small", "v4/large", "v4", "v6/mid/deep", "v6/mid", "v6"]);
    }

    #[test]
    fn nested_results_are_read_as_strictly() {
        let cases = [
            (
                "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 p\n",
                "2 results were planned, 1 came",
            ),
            (
                "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 a\nok 1 p\n",
                "`p` is ok although its subtest `a` is not",
            ),
            (
                "KTAP version 1\n1..1\nok 1 p\n  KTAP version 1\n  1..1\n  ok 1 a\n",
                "subtests without the result that they make up",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(errors(text).first().map(String::as_str), Some(want), "{text:?}");
        }
    }

    fn judged(text: &str, status: Status) -> (TestResult, String) {
        let judged = judge(text, status);
        (judged.result, judged.reason)
    }

    #[test]
    fn output_and_exit_status_must_agree() {
        const OK: &str = "KTAP version 1\n1..1\nok 1 a\n";
        const BAD: &str = "KTAP version 1\n1..1\n# no route\nnot ok 1 a\n";
        const SKIP: &str = "KTAP version 1\n1..0 # SKIP no veth\n";
        const XFAIL: &str = "KTAP version 1\n1..1\nok 1 a # XFAIL old\n";
        const EARLY: &str = "KTAP version 1\n1..3\nok 1 a\nok 2 b # SKIP no memory\n";
        let fail = |why: &str| (TestResult::Fail, why.to_owned());
        let cases = [
            (OK, Status::Exited(0), (TestResult::Pass, String::new())),
            (OK, Status::Exited(1), fail("exit status 1 although no result is not ok")),
            (
                OK,
                Status::Exited(2),
                fail("exit status 2 (expected failure) does not fit its results"),
            ),
            (OK, Status::Exited(4), fail("exit status 4 (skip) does not fit its results")),
            (OK, Status::Exited(3), fail("exit status 3 is none that kselftest knows")),
            (
                OK,
                Status::Exited(127),
                fail("did not start: not executable, or its interpreter is missing"),
            ),
            (OK, Status::Killed(11), fail("killed by SIGSEGV")),
            (OK, Status::TimedOut, fail("took too long and was killed")),
            (BAD, Status::Exited(0), fail("exit status 0 although results are not ok")),
            (BAD, Status::Exited(1), fail("a: no route")),
            (SKIP, Status::Exited(4), (TestResult::Skip, "no veth".to_owned())),
            (XFAIL, Status::Exited(2), (TestResult::Pass, String::new())),
            (EARLY, Status::Exited(4), (TestResult::Pass, String::new())),
            (EARLY, Status::Exited(0), fail("ends before its plan, with exit status 0")),
            ("", Status::Exited(0), fail("no KTAP at all")),
        ];
        for (text, status, want) in cases {
            assert_eq!(judged(text, status), want, "{text:?} {status:?}");
        }
    }
}
