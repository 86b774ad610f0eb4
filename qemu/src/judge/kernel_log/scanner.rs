// SPDX-License-Identifier: GPL-2.0

//! Finds reports in a log, line by line, in bounded memory.

use std::collections::{HashMap, VecDeque};

use super::patterns::{self, CUT, End};
use super::{Finding, StackFrame};
use crate::judge::printk;

/// The most lines of a report. A longer one is cut off.
const LONGEST: usize = 300;

/// The most lines of a report before its stack.
const LONGEST_WITHOUT_STACK: usize = 100;

/// The most characters that are kept of a line.
const LONGEST_LINE: usize = 1000;

/// The most lines that are quoted of a report. Registers and stack are not quoted.
const QUOTED: usize = 8;

/// The most findings that are kept. Others are only counted.
const MOST_FINDINGS: usize = 200;

/// The most callers that are tracked at the same time.
const MOST_CALLERS: usize = 64;

/// How many of a caller's last lines are kept: one may be the headline of a stack trace.
const RECENT: usize = 8;

/// A message in the log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Which task or processor wrote it, if the kernel notes that.
    pub caller: Option<&'a str>,
    /// Whether it came from a program, through /dev/kmsg.
    pub from_user_space: bool,
    /// The text, without stamps.
    pub message: &'a str,
}

/// Where a message comes from. Two processors may report at once, and programs may write in
/// between.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Source {
    caller: Option<String>,
    from_user_space: bool,
}

/// Finds reports in a log.
#[derive(Debug, Default)]
pub struct Scanner {
    found: Vec<Finding>,
    omitted: usize,
    from_kernel: usize,
    test: Option<String>,
    streams: HashMap<Source, Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    open: Option<OpenReport>,
    recent: VecDeque<String>,
    /// Frames in a row outside of a report.
    frames: usize,
}

/// A report that has not ended yet.
#[derive(Debug)]
struct OpenReport {
    lines: Vec<String>,
    end: End,
    test: Option<String>,
    frames: usize,
    /// Whether fault injection announced it. Then it is not a finding.
    announced: bool,
}

impl Scanner {
    /// A test begins: reports from now on are attributed to it.
    pub fn begin(&mut self, test: &str) {
        self.close_all();
        self.test = Some(test.to_owned());
    }

    /// The test has ended.
    pub fn end(&mut self) {
        self.close_all();
        self.test = None;
    }

    /// Takes the next message, which may have several lines.
    pub fn record(&mut self, record: Record) {
        let source = Source {
            caller: record.caller.map(str::to_owned),
            from_user_space: record.from_user_space,
        };
        if self.streams.len() >= MOST_CALLERS && !self.streams.contains_key(&source) {
            self.make_room();
        }
        let mut stream = self.streams.remove(&source).unwrap_or_default();
        for line in record.message.split('\n') {
            let line: String = line.chars().take(LONGEST_LINE).collect();
            for report in stream.line(line, self.test.as_ref()) {
                self.keep(report, record.from_user_space);
            }
        }
        self.streams.insert(source, stream);
    }

    /// Takes a line of the console.
    pub fn console_line(&mut self, line: &str) {
        for piece in printk::glued(line) {
            let stamped = printk::stamped(piece);
            self.record(Record {
                caller: stamped.caller,
                from_user_space: false,
                message: stamped.message,
            });
        }
    }

    fn make_room(&mut self) {
        self.streams.retain(|_, stream| stream.open.is_some());
        if self.streams.len() >= MOST_CALLERS {
            self.close_all();
        }
    }

    fn close_all(&mut self) {
        let mut streams: Vec<_> = std::mem::take(&mut self.streams).into_iter().collect();
        // The order of a hash table differs each time.
        streams.sort_by(|(a, _), (b, _)| a.caller.cmp(&b.caller));
        for (source, mut stream) in streams {
            if let Some(report) = stream.open.take() {
                self.keep(report, source.from_user_space);
            }
        }
    }

    /// Adds a finding of the lab itself.
    pub fn add(&mut self, finding: Finding) {
        if self.found.len() < MOST_FINDINGS {
            self.found.push(finding);
        } else {
            self.omitted += 1;
        }
    }

    fn keep(&mut self, report: OpenReport, from_user_space: bool) {
        if !report.announced {
            self.from_kernel += usize::from(!from_user_space);
            self.add(report.finding(from_user_space));
        }
    }

    /// The findings whose reports are complete.
    pub fn found(&self) -> &[Finding] {
        &self.found
    }

    /// How many reports the kernel has made so far, including those that are not complete.
    pub fn from_kernel(&self) -> usize {
        let open = self.streams.iter().filter(|(source, stream)| {
            !source.from_user_space && stream.open.as_ref().is_some_and(|it| !it.announced)
        });
        self.from_kernel + open.count()
    }

    /// All findings that were kept, and how many others there were.
    pub fn finish(mut self) -> (Vec<Finding>, usize) {
        self.close_all();
        (self.found, self.omitted)
    }
}

impl Stream {
    /// Takes a line. Returns the reports that it completes.
    fn line(&mut self, line: String, test: Option<&String>) -> Vec<OpenReport> {
        let mut over = Vec::new();
        match self.open.take() {
            Some(report) => self.go_on(report, &line, test, &mut over),
            None => over.extend(self.look(&line, test)),
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
        over
    }

    /// Handles a line outside of any report. If it begins a report of several lines, that becomes
    /// the open one. Returns a report that is only this line.
    fn look(&mut self, line: &str, test: Option<&String>) -> Option<OpenReport> {
        let report = |end, lines| OpenReport {
            lines,
            end,
            test: test.cloned(),
            frames: 0,
            announced: patterns::announces_a_fault(line),
        };
        let frames = if StackFrame::parse(line).is_some() { self.frames + 1 } else { 0 };
        self.frames = frames;
        if patterns::announces_a_fault(line) {
            self.open = Some(report(End::Stack, vec![line.to_owned()]));
        } else if let Some(pattern) = patterns::headline(line) {
            let report = report(pattern.end, vec![line.to_owned()]);
            if pattern.end == End::Line {
                return Some(report);
            }
            self.open = Some(report);
        } else if patterns::begins_a_stack(line) && !self.is_after_report() || frames >= 2 {
            let mut lines: Vec<String> = self.headline_above().into_iter().collect();
            lines.push(line.to_owned());
            self.open = Some(OpenReport { frames, ..report(End::Stack, lines) });
            self.frames = 0;
        }
        None
    }

    /// Whether the last line was the end of a report. An oops then prints the place and the
    /// registers once more.
    fn is_after_report(&self) -> bool {
        self.recent.back().is_some_and(|line| line.starts_with("---[ end "))
    }

    /// The last line before the stack that may say what it is about.
    fn headline_above(&self) -> Option<String> {
        let telling = |line: &&String| {
            !is_noise(line) && !line.trim().is_empty() && StackFrame::parse(line).is_none()
        };
        self.recent.iter().rev().find(telling).cloned()
    }

    fn go_on(
        &mut self,
        mut report: OpenReport,
        line: &str,
        test: Option<&String>,
        over: &mut Vec<OpenReport>,
    ) {
        if report.is_ended_by(line) {
            over.push(report);
            over.extend(self.look(line, test));
            return;
        }
        let own = patterns::headline(line).filter(|own| own.end == End::Line);
        if own.is_some() && report.lines[0] != CUT {
            let lines = vec![line.to_owned()];
            let test = test.cloned();
            over.push(OpenReport { lines, end: End::Line, test, frames: 0, announced: false });
            self.open = Some(report);
            return;
        }
        report.frames += usize::from(StackFrame::parse(line).is_some());
        report.lines.push(line.to_owned());
        if report.ends_with(line) { over.push(report) } else { self.open = Some(report) }
    }
}

impl OpenReport {
    /// Whether the line begins another report, so that this one ends without its usual last line. A
    /// headline before the stack mostly belongs to this report: an oops has up to three.
    fn is_ended_by(&self, line: &str) -> bool {
        let headline = patterns::headline(line);
        if headline.is_some_and(|own| own.end == End::Line) {
            return false;
        }
        let panic = line.starts_with("Kernel panic - not syncing");
        let own_stack = self.frames > 0 || self.announced;
        panic
            || own_stack && (headline.is_some() || patterns::announces_a_fault(line))
            || self.announced && self.frames == 0 && !patterns::leads_to_an_announced_stack(line)
    }

    fn ends_with(&self, line: &str) -> bool {
        let over = match self.end {
            End::Line => true,
            End::Stack => line.trim() == "</TASK>" || line.trim() == "</IRQ>" && self.frames > 40,
            End::Trace => line.starts_with("---[ end "),
            End::Rule => line.starts_with("======"),
        };
        over || self.lines.len() >= LONGEST
            || self.frames == 0 && self.lines.len() >= LONGEST_WITHOUT_STACK
    }

    fn finding(self, from_user_space: bool) -> Finding {
        let named = patterns::name(&self.lines).map(|pattern| pattern.kind);
        let frames = self.lines.iter().filter_map(|line| StackFrame::parse(line));
        Finding {
            kind: named.unwrap_or("stack-trace").to_owned(),
            text: quote(&self.lines),
            stack: frames.map(|frame| frame.to_string()).collect(),
            test: self.test,
            from_user_space,
        }
    }
}

/// Lines that say where something happened, and not what.
fn is_noise(line: &str) -> bool {
    let starts = [
        "Modules linked in:",
        "CPU:",
        "CPU#",
        "Call Trace:",
        "Call trace:",
        "Hardware name:",
        "Workqueue:",
        "RIP:",
        "Tainted:",
    ];
    starts.iter().any(|start| line.trim_start().starts_with(start))
}

/// The lines that say what happened.
fn quote(lines: &[String]) -> String {
    let told: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .take_while(|line| !is_noise(line) && StackFrame::parse(line).is_none())
        .filter(|line| *line != CUT && !line.trim().is_empty() && !line.starts_with("====="))
        .take(QUOTED)
        .collect();
    if told.is_empty() { lines.first().cloned().unwrap_or_default() } else { told.join("\n") }
}
