// SPDX-License-Identifier: GPL-2.0

//! Reads a test's output as it comes, in bounded memory.

use serde::Serialize;

use super::line::{self, Directive, Line, Numbered, indented, understand};
use super::{Case, TestResult};
use crate::judge::printk;

/// The most bytes that are kept of a line. A result does not need more.
const LONGEST_LINE: usize = 64 << 10;
/// The most bytes that are kept of a name or reason.
const LONGEST_TEXT: usize = 1000;
/// How many results are kept by name. Others are counted.
const MOST_CASES: usize = 10_000;
/// How many more results are kept by name if they are failures, and how many if they are skips.
const MOST_FAILURES: usize = 1000;
const MOST_SKIPS: usize = 1000;
/// The most messages about errors in the output.
const MOST_ERRORS: usize = 50;
/// How many remarks are kept for the next result.
const MOST_REMARKS: usize = 40;
/// The deepest level of subtests.
const DEEPEST: usize = 32;

/// What a test's output says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its results; nested ones come before their parent's.
    pub cases: Vec<Case>,
    /// How many results passed, failed and were skipped. If there are very many, not all of them
    /// are in `cases`.
    pub counts: Counts,
    /// The same, only of results without subtests.
    pub(super) leaves: Counts,
    /// Why the whole test was skipped.
    pub skipped: Option<String>,
    /// Errors in the output itself.
    pub errors: Vec<String>,
    /// Remarks that do not fail the test.
    pub remarks: Vec<String>,
    /// Whether it ended with a skip before the end of its plan, like `ksft_exit_skip()`.
    pub(super) stopped_by_skip: bool,
    /// Results that were expected to fail.
    pub(super) expected: Vec<String>,
}

/// Numbers of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub passed: usize,
    pub skipped: usize,
    pub failed: usize,
}

impl Counts {
    fn add(&mut self, result: TestResult) {
        *match result {
            TestResult::Pass => &mut self.passed,
            TestResult::Skip => &mut self.skipped,
            TestResult::Fail => &mut self.failed,
        } += 1;
    }

    pub(super) fn all(self) -> usize {
        self.passed + self.skipped + self.failed
    }
}

/// Results by name, as many as there is room for.
#[derive(Debug, Default)]
struct Cases {
    kept: Vec<Case>,
    failures: usize,
    skips: usize,
    /// How many skips had no room.
    lost_skips: usize,
}

impl Cases {
    fn push(&mut self, case: Case) {
        let failed = case.result == TestResult::Fail;
        let skipped = case.result == TestResult::Skip;
        let room = failed && self.failures < MOST_FAILURES || skipped && self.skips < MOST_SKIPS;
        if self.kept.len() < MOST_CASES || room {
            self.failures += usize::from(failed);
            self.skips += usize::from(skipped);
            self.kept.push(case);
        } else {
            self.lost_skips += usize::from(skipped);
        }
    }

    fn append(&mut self, others: Cases) {
        self.lost_skips += others.lost_skips;
        others.kept.into_iter().for_each(|case| self.push(case));
    }
}

/// One level of results.
#[derive(Debug, Default)]
struct Document {
    indent: usize,
    plan: Option<usize>,
    /// How many results came before the plan. It must be the first or the last line of its level.
    plan_at: usize,
    skipped: Option<String>,
    cases: Cases,
    /// Results of deeper levels that wait for their parent's result.
    nested: Cases,
    has_nested: bool,
    direct: Counts,
    diagnostics: Vec<String>,
    last_is_skip: bool,
}

/// Reads a test's standard output.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    cut: bool,
    /// Whether each line starts with a time stamp of the kernel log.
    stamped: bool,
    /// The open levels, the outermost first.
    open: Vec<Document>,
    all: Counts,
    leaves: Counts,
    errors: Vec<String>,
    expected: Vec<String>,
    totals: Option<String>,
    no_plan: bool,
}

/// Reads a complete output.
pub fn parse(text: &[u8]) -> Output {
    let mut reader = Reader::default();
    reader.feed(text);
    reader.finish()
}

impl Reader {
    /// Takes the next bytes. A carriage return also ends a line: so a result counts even if a
    /// progress bar would overwrite it on a terminal.
    pub fn feed(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n' || byte == b'\r') {
            let text =
                part.strip_suffix(b"\n").or_else(|| part.strip_suffix(b"\r")).unwrap_or(part);
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend(&text[..text.len().min(room)]);
            self.cut |= text.len() > room;
            if text.len() < part.len() {
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        if !may_mean_something(&self.line) {
            self.line.clear();
            return;
        }
        let line = std::mem::take(&mut self.line);
        let line = printk::plain(&String::from_utf8_lossy(&line));
        if cut && matches!(understand(indented(&line).1), Line::Result(_)) {
            self.error(format!("a result in a line that is too long: `{}...`", shorten(&line, 60)));
        }
        self.line(&line);
    }

    fn error(&mut self, what: String) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(what);
        }
    }

    fn line(&mut self, line: &str) {
        let unstamped = printk::message(line);
        if self.open.is_empty() && unstamped.len() < line.len() {
            self.stamped = matches!(understand(indented(unstamped).1), Line::Version(_));
        }
        let (indent, text) = indented(if self.stamped { unstamped } else { line });
        match understand(text) {
            Line::Version(known) => {
                if !known {
                    self.error(format!("an unknown version: `{}`", shorten(text, 60)));
                }
                self.header(indent, true);
            }
            Line::Subtest => self.header(indent, false),
            Line::Plan(count, directive) => self.plan(indent, count, directive, text),
            Line::Result(result) => self.result(indent, &result, text),
            Line::BailOut(why) => self.error(format!("bailed out: {}", shorten(why, LONGEST_TEXT))),
            Line::Totals(totals) if self.is_outermost(indent) => {
                self.totals = Some(shorten(totals, LONGEST_TEXT));
            }
            Line::Diagnostic(said) => self.diagnostic(said),
            Line::Totals(_) | Line::Other => {}
        }
    }

    fn is_outermost(&self, indent: usize) -> bool {
        self.open.first().is_none_or(|first| indent <= first.indent)
    }

    fn header(&mut self, indent: usize, version: bool) {
        match self.open.last() {
            None => {
                if !version {
                    self.error("no KTAP version line before the first subtest".to_owned());
                }
                self.open.push(Document { indent, ..Document::default() });
            }
            Some(top) if indent > top.indent => {
                if self.open.len() >= DEEPEST {
                    self.error("subtests are nested too deeply".to_owned());
                } else {
                    self.open.push(Document { indent, ..Document::default() });
                }
            }
            // KUnit prints a version line and a "# Subtest:" line. The latter may also be on the
            // level of the results; there it is a remark.
            Some(_) if !version => {}
            Some(_) => {
                self.close_to(indent);
                if self.open.last().is_some_and(|top| top.indent >= indent) {
                    self.error("a second KTAP version line".to_owned());
                }
            }
        }
    }

    fn diagnostic(&mut self, said: &str) {
        if let Some(top) = self.open.last_mut()
            && !said.is_empty()
            && top.diagnostics.len() < MOST_REMARKS
        {
            top.diagnostics.push(shorten(said, LONGEST_TEXT));
        }
    }

    /// Ends all levels deeper than this.
    fn close_to(&mut self, indent: usize) {
        while self.open.len() > 1 && self.open.last().is_some_and(|top| top.indent > indent) {
            if let Some(document) = self.open.pop() {
                let document = self.complete(document, false);
                if let Some(parent) = self.open.last_mut() {
                    // Its parent's `ok` does not tell that nothing ran.
                    if let Some(reason) = document.skipped {
                        let (name, result) = ("all".to_owned(), TestResult::Skip);
                        parent.nested.push(Case { name, result, reason });
                        self.leaves.add(result);
                    }
                    parent.nested.append(document.cases);
                    parent.has_nested = true;
                }
            }
        }
    }

    /// The level that a line belongs to. A deeper line without a header is only text of the test.
    fn level(&mut self, indent: usize, text: &str) -> Option<&mut Document> {
        if self.open.is_empty() {
            self.error(format!("no KTAP version line before `{}`", shorten(text, 60)));
            self.open.push(Document { indent, ..Document::default() });
        }
        self.close_to(indent);
        self.open.last_mut().filter(|top| top.indent == indent)
    }

    fn plan(&mut self, indent: usize, count: Option<usize>, directive: Option<&str>, text: &str) {
        let Some(document) = self.level(indent, text) else { return };
        let text = shorten(text, 60);
        let wrong = match count {
            None => Some(format!("a plan without a number: `{text}`")),
            Some(_) if document.plan.is_some() => Some(format!("a second plan: `{text}`")),
            Some(count) => {
                document.plan = Some(count);
                document.plan_at = document.direct.all();
                let skip = directive.and_then(line::skip_of_plan);
                document.skipped = skip.map(|why| shorten(why, LONGEST_TEXT));
                match (count, skip) {
                    (0, None) => Some("a plan of no tests, and no reason to skip".to_owned()),
                    (1.., Some(_)) => Some(format!("a plan of tests that skips them: `{text}`")),
                    _ => None,
                }
            }
        };
        wrong.into_iter().for_each(|wrong| self.error(wrong));
    }

    /// Adjusts the level's indentation: some programs indent the results further than their header.
    fn follow_indent(&mut self, indent: usize, result: &Numbered) {
        if self.open.len() > 1
            && result.number == Some(1)
            && let Some(top) = self.open.last_mut()
            && indent > top.indent
            && top.direct.all() == 0
        {
            top.indent = indent;
        }
    }

    fn result(&mut self, indent: usize, result: &Numbered, text: &str) {
        self.follow_indent(indent, result);
        let Some(document) = self.level(indent, text) else {
            self.unannounced(result, text);
            return;
        };
        let mut wrong = Vec::new();
        let expected = document.direct.all() + 1;
        match result.number {
            None => wrong.push(format!("a result without a number: `{}`", shorten(text, 60))),
            Some(number) if number != expected => wrong
                .push(format!("result {number} where {expected} was due: `{}`", shorten(text, 60))),
            Some(_) => {}
        }
        let verdict = verdict(result);
        let case = case(document, result, expected);
        let nested = std::mem::take(&mut document.nested);
        let leaf = !std::mem::take(&mut document.has_nested);
        let failed = nested.kept.iter().find(|case| case.result == TestResult::Fail);
        if let (TestResult::Pass, None, Some(inner)) = (verdict, result.directive, failed) {
            wrong.push(format!(
                "`{}` is ok although its subtest `{}` is not",
                case.name, inner.name
            ));
        }
        document.cases.lost_skips += nested.lost_skips;
        for inner in nested.kept {
            let name = shorten(&format!("{}/{}", case.name, inner.name), LONGEST_TEXT);
            document.cases.push(Case { name, ..inner });
        }
        let expected_to_fail =
            (result.directive == Some(Directive::Expected)).then(|| case.name.clone());
        document.cases.push(case);
        document.direct.add(verdict);
        document.last_is_skip = verdict == TestResult::Skip;
        if self.expected.len() < MOST_REMARKS {
            self.expected.extend(expected_to_fail);
        }
        self.all.add(verdict);
        if leaf {
            self.leaves.add(verdict);
        }
        wrong.into_iter().for_each(|wrong| self.error(wrong));
    }

    /// Handles a result on a level without a header. It may be the output of some tool, so `ok`
    /// does not count, but `not ok` does.
    fn unannounced(&mut self, result: &Numbered, text: &str) {
        if verdict(result) == TestResult::Fail {
            self.error(format!(
                "a failure that no KTAP header announces: `{}`",
                shorten(text, 200)
            ));
        }
    }

    /// Checks a level that has ended.
    fn complete(&mut self, document: Document, outermost: bool) -> Document {
        let count = document.direct.all();
        let stopped = outermost && document.last_is_skip;
        match document.plan {
            None if count == 0 => self.error("no results, and no plan (`1..N`)".to_owned()),
            None => self.no_plan = true,
            Some(plan) if plan != count && !(stopped && count < plan) => {
                self.error(format!("{plan} results were planned, {count} came"));
            }
            Some(_) if document.plan_at != 0 && document.plan_at != count => {
                self.error("the plan is in the middle of the results".to_owned());
            }
            Some(_) => {}
        }
        if document.has_nested {
            self.error("subtests without their parent's result".to_owned());
        }
        document
    }

    /// Ends the output. The last line need not end with a newline: the exit status tells whether
    /// the program was killed.
    pub fn finish(mut self) -> Output {
        if !self.line.is_empty() {
            self.end_of_line();
        }
        if let Some(outermost) = self.open.first().map(|document| document.indent) {
            self.close_to(outermost);
        }
        let Some(document) = self.open.pop() else {
            self.errors.insert(0, "no KTAP at all".to_owned());
            return Output { errors: self.errors, ..Output::default() };
        };
        let document = self.complete(document, true);
        if let Some(totals) = self.totals.take() {
            check_totals(&totals, document.direct).into_iter().for_each(|wrong| self.error(wrong));
        }
        let lost = document.cases.lost_skips;
        if lost > 0 {
            self.error(format!("{lost} skips are too many to list, so nobody can judge them"));
        }
        let mut remarks = Vec::new();
        if self.no_plan {
            remarks.push("no plan (`1..N`): a missing result would not show".to_owned());
        }
        let listed = document.cases.kept.len();
        if self.all.all() > listed {
            remarks.push(format!("{} results, {listed} of them are listed", self.all.all()));
        }
        if !self.expected.is_empty() {
            remarks.push(format!("expected to fail: {}", self.expected.join(", ")));
        }
        let planned = document.plan.is_some_and(|plan| plan > document.direct.all());
        Output {
            stopped_by_skip: document.last_is_skip && planned,
            cases: document.cases.kept,
            counts: self.all,
            leaves: self.leaves,
            skipped: document.skipped,
            errors: self.errors,
            remarks,
            expected: self.expected,
        }
    }
}

/// A quick check whether a line can mean something. It sorts out most lines of a test that prints
/// much.
fn may_mean_something(line: &[u8]) -> bool {
    let first = line.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    first.is_some_and(|byte| b"KT#Bb1on[<".contains(byte) || !(b' '..=b'~').contains(byte))
}

fn case(document: &mut Document, result: &Numbered, number: usize) -> Case {
    let result_is = verdict(result);
    let said = document.diagnostics.drain(..).collect::<Vec<_>>();
    let reason = match result_is {
        _ if !result.data.is_empty() => result.data.to_owned(),
        TestResult::Fail => said.join("; "),
        _ => String::new(),
    };
    let name = if result.name.is_empty() { number.to_string() } else { result.name.to_owned() };
    let (name, reason) = (shorten(&name, LONGEST_TEXT), shorten(&reason, LONGEST_TEXT));
    Case { name, result: result_is, reason }
}

pub(super) fn verdict(result: &Numbered) -> TestResult {
    match (result.ok, result.directive) {
        (_, Some(Directive::Broken)) => TestResult::Fail,
        (_, Some(Directive::Expected)) => TestResult::Pass,
        (_, Some(Directive::Skip)) => TestResult::Skip,
        (true, None) => TestResult::Pass,
        (false, None) => TestResult::Fail,
    }
}

/// The beginning of a text, up to `most` bytes.
fn shorten(text: &str, most: usize) -> String {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= most;
    text.char_indices().take_while(fits).map(|(_, c)| c).collect()
}

/// Compares `pass:2 fail:0 xfail:0 xpass:0 skip:1 error:0` with the counted results.
fn check_totals(totals: &str, counted: Counts) -> Option<String> {
    let of = |name: &str| -> usize {
        let fields = totals.split_whitespace().filter_map(|field| field.split_once(':'));
        fields
            .filter(|(key, _)| *key == name)
            .filter_map(|(_, count)| count.parse::<usize>().ok())
            .fold(0, usize::saturating_add)
    };
    let sum = |names: &[&str]| names.iter().map(|name| of(name)).fold(0, usize::saturating_add);
    let said = Counts {
        passed: sum(&["pass", "xfail", "xpass"]),
        skipped: of("skip"),
        failed: sum(&["fail", "error"]),
    };
    (said != counted).then(|| format!("its totals (`{totals}`) are not what it printed"))
}
