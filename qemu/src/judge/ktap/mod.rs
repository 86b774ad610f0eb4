// SPDX-License-Identifier: GPL-2.0

//! A test's output, read strictly.
//!
//! KTAP is specified in the kernel's Documentation/dev-tools/ktap.rst. A result counts only if
//! everything around it is in order: version, plan, numbers, the exit status. A test that prints
//! half of its results has not passed half.

mod line;
mod reader;

pub use reader::{Counts, Output, Reader, parse};

use serde::{Deserialize, Serialize};
use vmlab_init::protocol::Status;

/// The result of a test or of a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestResult {
    Pass,
    Skip,
    /// Failed, or has no result.
    #[default]
    Fail,
}

/// A case: one numbered result of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The name. A nested case has the names of its parents in front.
    pub name: String,
    /// How it ended. A failure that was expected counts as a pass.
    pub result: TestResult,
    /// The reason that the test printed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A test's verdict, from its output and its exit status together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// How it ended.
    pub result: TestResult,
    /// The reason, in one line. For a pass it is a remark, and mostly empty.
    pub reason: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// Reads a test's output and exit status together.
pub fn judge(output: Output, status: Status) -> Judged {
    let reason = ended_badly(status)
        .or_else(|| output.errors.first().cloned())
        .or_else(|| contradiction(&output, status))
        .or_else(|| failures(&output));
    let (result, reason) = match reason {
        Some(reason) => (TestResult::Fail, reason),
        None => match all_skipped(&output) {
            Some(why) => (TestResult::Skip, why),
            None => (TestResult::Pass, output.remarks.join("; ")),
        },
    };
    Judged { result, reason, cases: output.cases }
}

/// Why a test with this exit status has failed, whatever it printed; `None` if it may have passed.
pub(super) fn ended_badly(status: Status) -> Option<String> {
    match status {
        Status::Exited(0 | 1 | 2 | 4) => None,
        Status::Exited(126 | 127) => {
            Some("did not start: not executable, or its interpreter is missing".to_owned())
        }
        Status::Exited(code) => Some(format!("exit status {code} has no meaning in kselftest")),
        Status::Killed(signal) => Some(format!("killed by {}", signal_name(signal))),
        Status::TimedOut => Some("took too long and was killed".to_owned()),
        Status::Stuck => {
            Some("took too long and cannot be killed: it is stuck in the kernel".to_owned())
        }
        Status::NotStarted => Some("did not start".to_owned()),
    }
}

/// The name of a signal.
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

/// How the exit status contradicts the output. In kselftest, 0 is pass, 1 fail, 2 expected failure,
/// 4 skip.
fn contradiction(output: &Output, status: Status) -> Option<String> {
    let failed = output.counts.failed > 0;
    let skipped = output.skipped.is_some() || output.counts.skipped > 0;
    let what = match status {
        Status::Exited(0) if failed => "exit status 0, although a result failed",
        Status::Exited(0) if output.stopped_by_skip => "ends before its plan, with exit status 0",
        Status::Exited(1) if !failed => "exit status 1, although no result failed",
        Status::Exited(2) if output.expected.is_empty() || failed => {
            "exit status 2 (expected failure) does not fit its results"
        }
        Status::Exited(4) if !skipped || failed => "exit status 4 (skip) does not fit its results",
        _ => return None,
    };
    Some(what.to_owned())
}

/// The most failures that a reason lists.
const TOLD: usize = 20;

fn failures(output: &Output) -> Option<String> {
    let failed = output.cases.iter().filter(|case| case.result == TestResult::Fail);
    let mut told: Vec<String> = failed
        .take(TOLD)
        .map(|case| {
            if case.reason.is_empty() {
                case.name.clone()
            } else {
                format!("{}: {}", case.name, case.reason)
            }
        })
        .collect();
    if output.counts.failed > told.len() {
        told.push(format!("{} more", output.counts.failed - told.len()));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn all_skipped(output: &Output) -> Option<String> {
    if let Some(why) = &output.skipped {
        return Some(why.clone());
    }
    let all = output.leaves.skipped > 0 && output.leaves.skipped == output.leaves.all();
    let skipped = output.cases.iter().filter(|case| case.result == TestResult::Skip);
    let why = skipped.map(|case| &case.reason).find(|reason| !reason.is_empty());
    all.then(|| why.cloned().unwrap_or_default())
}

/// Reads a single result line, from output that is not complete KTAP.
pub fn result_line(text: &str) -> Option<(String, TestResult)> {
    let line::Line::Result(result) = line::understand(text.trim()) else { return None };
    let number = result.number?;
    let name = if result.name.is_empty() { number.to_string() } else { result.name.to_owned() };
    Some((name, reader::verdict(&result)))
}

/// Whether a line only says that it is KTAP, or how many results there are.
pub(super) fn is_heading(text: &str) -> bool {
    matches!(
        line::understand(text.trim()),
        line::Line::Version(_) | line::Line::Subtest | line::Line::Plan(..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse(text.as_bytes()).errors
    }

    fn results(text: &str) -> Vec<(String, TestResult)> {
        parse(text.as_bytes()).cases.into_iter().map(|case| (case.name, case.result)).collect()
    }

    #[test]
    fn results_are_read_with_their_directives() {
        let text = "TAP version 13\n1..7\nok 1 plain\nok 2 - dash\nnot ok 3 bad\nok 4 s # SKIP no veth\n\
                    not ok 5 t # TODO later\nok 6 x # XFAIL known\nnot ok 7 #42 # TIMEOUT 45 seconds\n";
        let output = parse(text.as_bytes());
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
            ("KTAP version 1\n", "no results, and no plan (`1..N`)"),
            ("KTAP version 1\n1..1\n", "1 results were planned, 0 came"),
            ("KTAP version 2\n1..1\nok 1 a\n", "an unknown version: `KTAP version 2`"),
            ("KTAP version 1\n1..-1\nok 1 a\n", "a plan without a number: `1..-1`"),
            ("KTAP version 1\n1..2\nok 2 a\nok 1 b\n", "result 2 where 1 was due: `ok 2 a`"),
            ("KTAP version 1\n1..1\n  bail out! why\nok 1 a\n", "bailed out: why"),
            (
                "KTAP version 1\n1..1\n    not ok 1 inner\nok 1 outer\n",
                "a failure that no KTAP header announces: `not ok 1 inner`",
            ),
            (
                "KTAP version 1\n1..1\n\tnot ok\nok 1 outer\n",
                "a failure that no KTAP header announces: `not ok`",
            ),
            (
                "KTAP version 1\n1..1\n\u{1b}[31m not ok 1 red\u{1b}[0m\nok 1 outer\n",
                "a failure that no KTAP header announces: `not ok 1 red`",
            ),
            (
                "KTAP version 1\n1..1\nbar 50%\rnot ok 2 b\nok 1 a\n",
                "result 2 where 1 was due: `not ok 2 b`",
            ),
            (
                "KTAP version 1\n1..3 # SKIP why\n",
                "a plan of tests that skips them: `1..3 # SKIP why`",
            ),
            ("KTAP version 1\n1..2\nok 1 a\n", "2 results were planned, 1 came"),
            ("KTAP version 1\n1..1\nok 1 a\nok 2 b\n", "1 results were planned, 2 came"),
            ("KTAP version 1\n1..2\nok 1 a\nok 3 b\n", "result 3 where 2 was due: `ok 3 b`"),
            ("KTAP version 1\n1..2\nok 1 a\nok 1 a\n", "result 1 where 2 was due: `ok 1 a`"),
            ("KTAP version 1\n1..1\nok a\n", "a result without a number: `ok a`"),
            ("KTAP version 1\n1..1\n1..1\nok 1 a\n", "a second plan: `1..1`"),
            ("KTAP version 1\nok 1 a\n1..2\nok 2 b\n", "the plan is in the middle of the results"),
            ("KTAP version 1\n1..x\nok 1 a\n", "a plan without a number: `1..x`"),
            ("KTAP version 1\n1..0\n", "a plan of no tests, and no reason to skip"),
            ("KTAP version 1\nKTAP version 1\n1..1\nok 1 a\n", "a second KTAP version line"),
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
                "subtests without their parent's result",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(errors(text).first().map(String::as_str), Some(want), "{text:?}");
        }
    }

    fn judged(text: &str, status: Status) -> (TestResult, String) {
        let judged = judge(parse(text.as_bytes()), status);
        (judged.result, judged.reason)
    }

    #[test]
    fn output_and_exit_status_must_agree() {
        const OK: &str = "KTAP version 1\n1..1\nok 1 a\n";
        const BAD: &str = "KTAP version 1\n1..1\n# no route\nnot ok 1 a\n";
        const SKIP: &str = "KTAP version 1\n1..0 # SKIP no veth\n";
        const XFAIL: &str = "KTAP version 1\n1..1\nok 1 a # XFAIL old\n";
        const TODO: &str = "KTAP version 1\n1..1\nnot ok 1 a # TODO old\n";
        const NO_PLAN: &str = "KTAP version 1\nok 1 a";
        const A_MISSING_RESULT: &str = "no plan (`1..N`): a missing result would not show";
        const SKIPS: &str = "KTAP version 1\nnot ok 1 a # SKIP no veth\n1..1\n";
        const INNER_SKIPS: &str =
            "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a # SKIP no veth\nok 1 b\n";
        const INNER_PLAN_SKIPS: &str =
            "KTAP version 1\n1..1\n  KTAP version 1\n  1..0 # SKIP no veth\nok 1 b\n";
        const EARLY: &str = "KTAP version 1\n1..3\nok 1 a\nok 2 b # SKIP no memory\n";
        let fail = |why: &str| (TestResult::Fail, why.to_owned());
        let cases = [
            (OK, Status::Exited(0), (TestResult::Pass, String::new())),
            (OK, Status::Exited(1), fail("exit status 1, although no result failed")),
            (
                OK,
                Status::Exited(2),
                fail("exit status 2 (expected failure) does not fit its results"),
            ),
            (OK, Status::Exited(4), fail("exit status 4 (skip) does not fit its results")),
            (OK, Status::Exited(3), fail("exit status 3 has no meaning in kselftest")),
            (
                OK,
                Status::Exited(127),
                fail("did not start: not executable, or its interpreter is missing"),
            ),
            (OK, Status::Killed(11), fail("killed by SIGSEGV")),
            (OK, Status::TimedOut, fail("took too long and was killed")),
            (BAD, Status::Exited(0), fail("exit status 0, although a result failed")),
            (BAD, Status::Exited(1), fail("a: no route")),
            (SKIP, Status::Exited(4), (TestResult::Skip, "no veth".to_owned())),
            (XFAIL, Status::Exited(2), (TestResult::Pass, "expected to fail: a".to_owned())),
            (TODO, Status::Exited(0), (TestResult::Pass, "expected to fail: a".to_owned())),
            (NO_PLAN, Status::Exited(0), (TestResult::Pass, A_MISSING_RESULT.to_owned())),
            (SKIPS, Status::Exited(0), (TestResult::Skip, "no veth".to_owned())),
            (INNER_SKIPS, Status::Exited(0), (TestResult::Skip, "no veth".to_owned())),
            (INNER_PLAN_SKIPS, Status::Exited(0), (TestResult::Skip, "no veth".to_owned())),
            (EARLY, Status::Exited(4), (TestResult::Pass, String::new())),
            (EARLY, Status::Exited(0), fail("ends before its plan, with exit status 0")),
            ("", Status::Exited(0), fail("no KTAP at all")),
        ];
        for (text, status, want) in cases {
            assert_eq!(judged(text, status), want, "{text:?} {status:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let text =
            b"\xef\xbb\xbfKTAP version 1\r\n1..3\r\nok 1 a\0b\r\nok 2 \xff\r\n\0not ok 3 c\r\n";
        let output = parse(text);
        assert_eq!(output.errors, [""; 0]);
        let names: Vec<_> =
            output.cases.iter().map(|case| (case.name.as_str(), case.result)).collect();
        let want =
            [("ab", TestResult::Pass), ("\u{fffd}", TestResult::Pass), ("c", TestResult::Fail)];
        assert_eq!(names, want);
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        let text =
            b"KTAP version 1\n1..2\n\tKTAP version 1\n\t1..1\n\tok 1 a\nok 1 b\n# no\nnot ok 2 c";
        let whole = parse(text);
        for size in 1..text.len() {
            let mut reader = Reader::default();
            text.chunks(size).for_each(|piece| reader.feed(piece));
            assert_eq!(reader.finish(), whole, "pieces of {size}");
        }
    }

    /// KTAP from the kernel log, with a time stamp before each line.
    #[test]
    fn results_out_of_the_kernel_log_are_read() {
        let text = "[    0.1][    T1] boot\n[    0.1][    T1] KTAP version 1\n[    0.1][    T1] 1..1\n\
                    [    0.1][   T10]     KTAP version 1\n[    0.1][   T10]     1..1\n\
                    [    0.2][   T10] usb: found\n[    0.2][   T10]     not ok 1 a\n[    0.2][    T1] not ok 1 b\n";
        assert_eq!(errors(text), [""; 0]);
        let want = [("b/a", TestResult::Fail), ("b", TestResult::Fail)];
        assert_eq!(results(text), want.map(|(name, result)| (name.to_owned(), result)));
    }

    #[test]
    fn a_skip_after_very_many_results_is_listed_or_an_error() {
        let text = |skips: usize, indent: &str| {
            let last = 10_000 + skips;
            let line = |number: usize| match number {
                ..=10_000 => format!("{indent}ok {number} a\n"),
                _ => format!("{indent}ok {number} b # SKIP why\n"),
            };
            let lines: String = (1..=last).map(line).collect();
            format!("{indent}KTAP version 1\n{indent}1..{last}\n{lines}")
        };
        let few = parse(text(1, "").as_bytes());
        assert_eq!((few.cases.len(), few.errors.len()), (10_001, 0));
        assert_eq!(few.cases[10_000].result, TestResult::Skip);
        let inner = format!("KTAP version 1\n1..1\n{}ok 1 all\n", text(1002, "  "));
        for many in [text(1002, ""), inner] {
            let want = ["2 skips are too many to list, so nobody can judge them"];
            assert_eq!(parse(many.as_bytes()).errors, want);
        }
    }

    #[test]
    fn a_million_results_and_endless_lines_take_bounded_memory() {
        let mut reader = Reader::default();
        reader.feed(b"KTAP version 1\n1..1000001\n");
        for number in 1..=1_000_000 {
            reader.feed(format!("ok {number} a\n").as_bytes());
        }
        reader.feed(b"not ok 1000001 ");
        (0..160).for_each(|_| reader.feed(&[b'x'; 65536]));
        let output = reader.finish();
        assert_eq!(output.counts, Counts { passed: 1_000_000, skipped: 0, failed: 1 });
        assert_eq!(output.cases.len(), 10_001);
        assert_eq!(output.cases[10_000].name.len(), 1000);
        assert!(output.errors[0].starts_with("a result in a line that is too long"));
        assert_eq!(output.remarks, ["1000001 results, 10001 of them are listed"]);
    }
}
