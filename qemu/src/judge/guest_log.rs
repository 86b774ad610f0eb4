// SPDX-License-Identifier: GPL-2.0

//! The kernel log of a guest, from two sources.
//!
//! PID 1 streams the records with their sequence numbers. While it lives, that is the log, and a
//! missing number is a finding. The console has the rest: the log of a guest without PID 1, and
//! everything after PID 1's last message, which shows how the kernel died.

use std::collections::{HashSet, VecDeque};

use vmlab_init::protocol::{self, LEAKS, LOG_BEGIN, LOG_DONE, LOG_END};

use crate::judge::kernel_log::{Finding, Record, Scanner};
use crate::judge::kmsg::{KernelRecord, Records};
use crate::judge::printk;

/// How many lines of the console are kept for a comparison with PID 1's last record.
const TAIL: usize = 4000;

/// The most bytes that are kept of a line.
const LONGEST_LINE: usize = 1000;

/// How many missing pieces are reported one by one.
const MOST_GAPS: usize = 5;

/// A place in the log that PID 1 marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin(usize),
    End(usize),
    LeaksBegin,
    LeaksEnd,
    Done,
}

/// The kernel log of a guest; see the [module](self).
#[derive(Debug)]
pub struct GuestLog {
    names: Vec<String>,
    /// PID 1's marks. Tests cannot know them.
    marks: Vec<(String, Place)>,
    seen: Vec<Place>,
    stream: Records,
    records: Scanner,
    /// The next expected sequence number.
    next: u64,
    any: bool,
    last: Option<(u64, String)>,
    in_leaks: bool,
    gaps: usize,
    console: Scanner,
    tail: VecDeque<String>,
    /// How many findings of PID 1's stream, and how many of the console, [`GuestLog::news`] has
    /// returned.
    told: [usize; 2],
    /// The kinds and texts of these findings.
    told_of: HashSet<(String, String)>,
}

impl GuestLog {
    /// The log of a guest that runs these tests in this order.
    pub fn new(key: u64, names: Vec<String>) -> GuestLog {
        let mark = |start, name: &str, index| protocol::mark(key, start, name, index);
        let mut marks = vec![
            (mark(LOG_BEGIN, LEAKS, 0), Place::LeaksBegin),
            (mark(LOG_END, LEAKS, 0), Place::LeaksEnd),
            (mark(LOG_DONE, "", 0), Place::Done),
        ];
        for (index, name) in names.iter().enumerate() {
            marks.push((mark(LOG_BEGIN, name, index), Place::Begin(index)));
            marks.push((mark(LOG_END, name, index), Place::End(index)));
        }
        GuestLog {
            names,
            marks,
            seen: Vec::new(),
            stream: Records::default(),
            records: Scanner::default(),
            next: 0,
            any: false,
            last: None,
            in_leaks: false,
            gaps: 0,
            console: Scanner::default(),
            tail: VecDeque::new(),
            told: [0; 2],
            told_of: HashSet::new(),
        }
    }

    /// Takes the next bytes of PID 1's stream.
    pub fn stream(&mut self, bytes: &[u8]) {
        for record in self.stream.feed(bytes) {
            match record {
                Ok(record) => self.record(record),
                Err(line) => {
                    self.incomplete(format!("PID 1 sent a line that is no record: {line}"))
                }
            }
        }
    }

    fn record(&mut self, record: KernelRecord) {
        self.any = true;
        if record.sequence != self.next {
            self.gap(record.sequence);
        }
        self.next = record.sequence.saturating_add(1);
        match self.place(&record.text).filter(|_| record.from_user_space) {
            Some(place) => self.mark(place),
            None => self.records.record(Record {
                caller: record.caller.as_deref(),
                from_user_space: record.from_user_space && !self.in_leaks,
                message: &record.text,
            }),
        }
        let last_line = record.text.rsplit('\n').next().unwrap_or_default().to_owned();
        self.last = Some((record.time, last_line));
    }

    fn gap(&mut self, found: u64) {
        self.gaps += 1;
        if self.gaps <= MOST_GAPS {
            let due = self.next;
            let what = match found.checked_sub(due) {
                Some(lost) => format!("{lost} records before number {found} were lost"),
                None => format!("record {found} came where {due} was due"),
            };
            self.incomplete(what);
        }
    }

    fn incomplete(&mut self, text: String) {
        let text = format!("the kernel log is incomplete: {text}");
        self.records.add(Finding { kind: "log-incomplete".into(), text, ..Finding::default() });
    }

    fn place(&self, text: &str) -> Option<Place> {
        self.marks.iter().find(|(mark, _)| mark == text).map(|(_, place)| *place)
    }

    fn mark(&mut self, place: Place) {
        self.seen.push(place);
        self.in_leaks = place == Place::LeaksBegin;
        match place {
            Place::Begin(index) => self.records.begin(&self.names[index]),
            Place::LeaksBegin => self.records.begin(LEAKS),
            Place::End(_) | Place::LeaksEnd | Place::Done => self.records.end(),
        }
    }

    /// Takes the next line of the console.
    pub fn console(&mut self, line: &str) {
        let line: String = line.chars().take(LONGEST_LINE).collect();
        match self.place(printk::message(&line)) {
            Some(Place::Begin(index)) => self.console.begin(&self.names[index]),
            Some(_) => self.console.end(),
            None => self.console.console_line(&line),
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last line of the console.
    pub fn last_line(&self) -> Option<&str> {
        self.tail.back().map(|line| line.trim())
    }

    /// The text after these words in one of the console's last lines.
    pub fn after_words(&self, words: &str) -> Option<&str> {
        self.tail.iter().find_map(|line| line.split_once(words)).map(|(_, after)| after)
    }

    /// The findings since the last call, each only once. They come from the console until PID 1
    /// sends its stream, which repeats the log of the boot. When PID 1 dies, so does the guest, and
    /// no more findings are needed.
    pub fn news(&mut self) -> Vec<Finding> {
        let (source, told) = match &mut self.told {
            [told, _] if self.any => (&self.records, told),
            [_, told] => (&self.console, told),
        };
        let mut news = source.found()[*told..].to_vec();
        *told = source.found().len();
        news.retain(|it| self.told_of.insert((it.kind.clone(), it.text.clone())));
        news
    }

    /// How many reports the kernel has made so far.
    pub fn reports(&self) -> usize {
        self.records.from_kernel()
    }

    /// Adds a finding: the log contradicts something else that is known about the guest.
    pub fn add(&mut self, kind: &str, text: String, test: Option<&str>) {
        let test = test.map(str::to_owned);
        self.records.add(Finding { kind: kind.into(), text, test, ..Finding::default() });
    }

    /// Checks that the log has the marks of all tests that ended, and the last mark if PID 1 is
    /// `done`.
    pub fn check_marks(&mut self, ended: &[usize], done: bool) {
        if self.gaps > MOST_GAPS {
            self.incomplete(format!("{} more pieces are missing", self.gaps - MOST_GAPS));
        }
        let mut wrong = Vec::new();
        if done && self.stream.is_torn() {
            wrong.push("its last record is cut off".to_owned());
        }
        if done && !self.any {
            wrong.push("PID 1 has sent nothing of it".to_owned());
        } else {
            for &index in ended {
                let name = &self.names[index];
                let of = [(Place::Begin(index), "begin"), (Place::End(index), "end")];
                for (place, word) in of {
                    wrong.extend(self.check_mark(place, &format!("the {word} of {name}")));
                }
            }
            if done {
                wrong.extend(self.check_mark(Place::Done, "the end of all work"));
            }
            if !self.seen.is_sorted_by_key(|place| self.rank(*place)) {
                wrong.push("the marks of tests are out of order".to_owned());
            }
        }
        wrong.into_iter().for_each(|wrong| self.incomplete(wrong));
    }

    fn rank(&self, place: Place) -> usize {
        let tests = 2 * self.names.len();
        match place {
            Place::Begin(index) => 2 * index,
            Place::End(index) => 2 * index + 1,
            Place::LeaksBegin => tests,
            Place::LeaksEnd => tests + 1,
            Place::Done => tests + 2,
        }
    }

    fn check_mark(&self, place: Place, what: &str) -> Option<String> {
        match self.seen.iter().filter(|seen| **seen == place).count() {
            1 => None,
            0 => Some(format!("the mark for {what} is missing")),
            times => Some(format!("the mark for {what} is there {times} times")),
        }
    }

    /// All findings that were kept, and how many others there were.
    pub fn finish(mut self) -> (Vec<Finding>, usize) {
        let Some((time, text)) = self.last.take() else {
            let own = self.records.finish();
            let (mut found, omitted) = self.console.finish();
            found.extend(own.0);
            return (found, omitted + own.1);
        };
        let after = self.after(time, &text);
        for line in self.tail.range(after..) {
            match self.place(printk::message(line)) {
                Some(_) => self.records.end(),
                None => self.records.console_line(line),
            }
        }
        self.records.finish()
    }

    /// The first line of the console after PID 1's last record. If this is not certain, it returns
    /// an earlier line: a report that is read twice does no harm, but a lost one does.
    fn after(&self, time: u64, text: &str) -> usize {
        let same = |message: &str| message.trim_end() == text.trim_end();
        let stamped = |line: &String| printk::stamped(line).time;
        let last = |is: &dyn Fn(&String) -> bool| {
            self.tail.iter().rposition(is).map_or(0, |place| place + 1)
        };
        let known = match last(&|line| stamped(line) == Some(time) && same(printk::message(line))) {
            // The record is not on the console, since a test turned the console down or switched
            // the time stamps off. PID 1 has sent all lines with an earlier stamp, and all lines
            // before one of its marks.
            0 => {
                let earlier = last(&|line| stamped(line).is_some_and(|at| at <= time));
                let marked = last(&|line| {
                    self.place(printk::message(line))
                        .is_some_and(|place| self.seen.contains(&place))
                });
                let without = last(&|line| stamped(line).is_none() && same(line));
                earlier.max(marked).max(without)
            }
            found => found,
        };
        // PID 1 has not sent any line with a later stamp.
        let later = self.tail.iter().position(|line| stamped(line).is_some_and(|at| at > time));
        later.map_or(known, |later| known.min(later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> GuestLog {
        GuestLog::new(7, vec!["a".into(), "b".into()])
    }

    fn mark(start: &str, name: &str, index: usize) -> String {
        protocol::mark(7, start, name, index)
    }

    fn stream(log: &mut GuestLog, records: &[(u32, u64, &str)]) {
        for (priority, sequence, text) in records {
            log.stream(format!("{priority},{sequence},{}000,-;{text}\n", sequence + 1).as_bytes());
        }
    }

    fn told(log: GuestLog) -> Vec<(String, Option<String>)> {
        log.finish().0.into_iter().map(|it| (it.kind, it.test)).collect()
    }

    const BUG: &str = "BUG: KASAN: use-after-free in f+0x1/0x2";

    #[test]
    fn a_report_belongs_to_the_test_between_whose_marks_it_is() {
        let (mut log, begin, end) = (log(), mark(LOG_BEGIN, "a", 0), mark(LOG_END, "a", 0));
        let forged = "vmlab-init: end a";
        stream(
            &mut log,
            &[(6, 0, "Linux"), (14, 1, &begin), (12, 2, forged), (4, 3, BUG), (14, 4, &end)],
        );
        log.check_marks(&[0], false);
        assert_eq!(told(log), [("kasan".to_owned(), Some("a".to_owned()))]);
    }

    #[test]
    fn a_mark_is_not_believed_of_the_kernel_or_twice() {
        let (mut log, begin, end) = (log(), mark(LOG_BEGIN, "a", 0), mark(LOG_END, "a", 0));
        stream(&mut log, &[(6, 0, &begin), (14, 1, &end), (14, 2, &end)]);
        log.check_marks(&[0], false);
        assert_eq!(told(log).len(), 2);
    }

    #[test]
    fn a_report_is_news_once_as_soon_as_it_is_complete() {
        let (mut log, mut news) = (log(), Vec::new());
        log.console("[    0.000500] dst_release: dst:a refcnt:-1");
        news.push(log.news().len());
        let lines = ["dst_release: dst:a refcnt:-1", "BUG: a", " f+0x1/0x2", " </TASK>", "more"];
        for (number, text) in (0..).zip(lines) {
            log.console(&format!("[    0.00{number}000] {text}"));
            stream(&mut log, &[(6, number, text)]);
            news.push(log.news().len());
        }
        assert_eq!(news, [1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn what_is_missing_is_a_finding() {
        let complete = |records: &[(u32, u64, &str)], done| {
            let mut log = log();
            stream(&mut log, records);
            log.check_marks(&[], done);
            log.finish().0.into_iter().map(|it| it.text).collect::<Vec<_>>()
        };
        let done = mark(LOG_DONE, "", 0);
        assert_eq!(complete(&[(6, 0, "a"), (6, 1, "b"), (14, 2, &done)], true), [""; 0]);
        for (records, what) in [
            (vec![(6, 0, "a"), (6, 3, "b"), (14, 4, done.as_str())], "2 records before number 3"),
            (vec![(6, 1, "a"), (14, 2, &done)], "1 records before number 1"),
            (vec![(6, 0, "a"), (6, 0, "a"), (14, 1, &done)], "record 0 came where 1 was due"),
            (vec![(6, 0, "a")], "the mark for the end of all work is missing"),
            (vec![], "PID 1 has sent nothing of it"),
        ] {
            let texts = complete(&records, true);
            assert!(texts.len() == 1 && texts[0].contains(what), "{what}: {texts:?}");
        }
    }

    #[test]
    fn the_console_tells_how_it_ended_and_nothing_twice() {
        let mut log = log();
        for line in
            ["[    0.001000] Linux", &format!("[    0.002000] {BUG}"), "[    0.003000] more"]
        {
            log.console(line);
        }
        stream(&mut log, &[(6, 0, "Linux"), (4, 1, BUG), (6, 2, "more")]);
        log.console("[    0.003000] Kernel panic - not syncing: oh");
        let kinds: Vec<_> = told(log).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["kasan", "panic"]);
    }

    #[test]
    fn a_console_that_was_turned_down_is_followed_by_the_time() {
        let mut log = log();
        log.console("[    0.001000] Linux");
        stream(&mut log, &[(6, 0, "Linux"), (4, 1, BUG)]);
        log.console("[    0.009000] Kernel panic - not syncing: oh");
        assert_eq!(told(log).len(), 2);
    }

    #[test]
    fn a_console_without_stamps_is_followed_by_its_words() {
        for (console, streamed) in [
            (vec![], vec!["Linux", "more"]),
            (vec!["more"], vec!["Linux", "more"]),
            (vec!["other"], vec!["Linux", "other", "more"]),
        ] {
            let mut log = log();
            log.console("[    0.000001] Linux");
            console.iter().for_each(|line| log.console(line));
            let numbered: Vec<(u32, u64, &str)> =
                (0..).zip(&streamed).map(|(number, text)| (6, number, *text)).collect();
            stream(&mut log, &numbered);
            log.console("Kernel panic - not syncing: oh");
            assert_eq!(told(log), [("panic".to_owned(), None)], "{console:?}");
        }
    }

    #[test]
    fn what_the_kernel_says_after_all_work_is_found_without_stamps() {
        let (mut log, done) = (log(), mark(LOG_DONE, "", 0));
        log.console("[    0.001000] Linux");
        stream(&mut log, &[(6, 0, "Linux"), (4, 1, "not on the console"), (14, 2, &done)]);
        stream(&mut log, &[(6, 3, "nor is this")]);
        for line in [BUG, &done, "unregister_netdevice: waiting for lo to become free"] {
            log.console(line);
        }
        let kinds: Vec<_> = told(log).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["netdevice-leak"]);
    }

    #[test]
    fn without_pid_1_the_console_is_the_log() {
        let mut log = log();
        log.console("[    0.001000] BUG: a");
        assert_eq!(told(log).len(), 1);
    }
}
