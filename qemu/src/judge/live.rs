// SPDX-License-Identifier: GPL-2.0

//! Shows failures of a test while the guest still runs.
//!
//! Nothing is judged here: the verdict needs the whole output. But a person who waits wants to see
//! failures early.

use std::collections::VecDeque;

use crate::judge::ktap::{self, TestResult};
use crate::judge::printk;

/// The most lines that are shown before a failure: what the test printed about it.
const LINES: usize = 8;

/// The most bytes that are kept of a line.
const LONGEST_LINE: usize = 1000;

/// The most failures of one test that are shown.
const MOST_FAILURES: usize = 20;

/// The output of one test, as it comes.
#[derive(Debug, Default)]
pub(super) struct Live {
    out: Vec<u8>,
    err: Vec<u8>,
    /// The last lines since the last result.
    recent: VecDeque<String>,
    failures: usize,
}

impl Live {
    /// Takes output. Returns each failure, with the lines before it.
    pub fn output(&mut self, bytes: &[u8], is_out: bool) -> Vec<String> {
        let mut failures = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let line = if is_out { &mut self.out } else { &mut self.err };
            let room = LONGEST_LINE.saturating_sub(line.len());
            line.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(line);
                failures.extend(self.line(&printk::plain(&String::from_utf8_lossy(&line)), is_out));
            }
        }
        failures
    }

    fn line(&mut self, line: &str, is_out: bool) -> Option<String> {
        let line = line.trim_end();
        if line.is_empty() || ktap::is_heading(line) {
            return None;
        }
        let result = ktap::result_line(line).filter(|_| is_out);
        match result {
            Some((_, TestResult::Fail)) => {
                self.remember(line);
                self.failures += 1;
                let told = self.told();
                (self.failures <= MOST_FAILURES).then_some(told)
            }
            Some(_) => {
                self.recent.clear();
                None
            }
            None => {
                self.remember(line);
                None
            }
        }
    }

    fn remember(&mut self, line: &str) {
        if self.recent.len() > LINES {
            self.recent.pop_front();
        }
        self.recent.push_back(line.to_owned());
    }

    fn told(&mut self) -> String {
        let lines: Vec<String> = std::mem::take(&mut self.recent).into();
        lines.join("\n")
    }

    /// The last lines of a test that failed without `not ok` in its output.
    pub fn end(mut self, why: &str) -> Option<String> {
        if self.failures > 0 {
            return None;
        }
        for line in [std::mem::take(&mut self.out), std::mem::take(&mut self.err)] {
            self.line(&printk::plain(&String::from_utf8_lossy(&line)), false);
        }
        self.remember(why);
        Some(self.told())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_what_was_said_about_it() {
        let mut live = Live::default();
        assert_eq!(live.output(b"KTAP version 1\n1..3\nok 1 a\n# no route\n", true), [""; 0]);
        assert_eq!(live.output(b"ping: unreachable\n", false), [""; 0]);
        assert_eq!(live.output(b"not ok 2", true), [""; 0]);
        let told = live.output(b" b\nok 3 c\n    not ok 4 d # SKIP no\n", true);
        assert_eq!(told, ["# no route\nping: unreachable\nnot ok 2 b"]);
        assert_eq!(live.output(b"    not ok 5 e # skipped\n", true).len(), 1);
        assert_eq!(live.end("exit status 1"), None);
    }

    #[test]
    fn a_known_failure_and_a_remark_are_none() {
        let mut live = Live::default();
        let text = b"not ok 1 a # TODO later\n# not ok 2 b\nok 3 c\n";
        assert_eq!(live.output(text, true), [""; 0]);
        assert_eq!(live.output(b"not ok 3 in its errors\n", false), [""; 0]);
    }

    #[test]
    fn the_last_lines_of_a_test_that_dies_are_told() {
        let mut live = Live::default();
        live.output(b"ok 1 a\nstarting\n", true);
        live.output(b"panicked", false);
        assert_eq!(live.end("killed by SIGSEGV").unwrap(), "starting\npanicked\nkilled by SIGSEGV");
    }

    #[test]
    fn a_flood_is_cut_off() {
        let mut live = Live::default();
        let lines = "x\n".repeat(5000) + &"not ok 1 a\n".repeat(100);
        let told = live.output(lines.as_bytes(), true);
        assert_eq!((told.len(), told[0].lines().count()), (MOST_FAILURES, LINES + 1));
    }
}
