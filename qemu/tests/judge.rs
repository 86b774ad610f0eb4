// SPDX-License-Identifier: GPL-2.0

//! Tests of the judge with messages that a guest may send, in order and out of order. No guest is
//! booted.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use proptest::prelude::*;
use vmlab::judge::judge::{Heard, Judge, Order, Plan, PlannedTest, PlannedWork};
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::verdict::{Exit, Verdict};
use vmlab_init::protocol::{Counters, Event, Frame, LOG_BEGIN, LOG_DONE, LOG_END, Status, mark};

const KEY: u64 = 7;
const NAMES: [&str; 2] = ["a", "b"];
const GOOD: &str = "KTAP version 1\n1..1\nok 1 it\n";

fn plan() -> Plan {
    let test = |name: &str| PlannedTest { name: name.into(), limit: Duration::from_secs(20) };
    Plan {
        work: PlannedWork::Tests(NAMES.map(test).to_vec()),
        key: KEY,
        boot: Duration::from_secs(10),
        told: Duration::ZERO,
        settle: Duration::from_secs(5),
        grace: Duration::from_secs(5),
        whole: Duration::from_secs(100),
        real_time: true,
        memory_mb: 512,
        log: "dmesg.log".into(),
    }
}

fn event(event: Event) -> Heard {
    Heard::Frame(Frame::Event(event))
}

fn end(index: usize, status: Status) -> Event {
    let counters =
        Counters { warnings: Some(0), oopses: Some(0), taint: Some(1 << 12), lockdep: Some(true) };
    Event::End { index, status, ms: 5, counters, problems: Vec::new(), notes: Vec::new() }
}

fn out(text: &str) -> Heard {
    Heard::Frame(Frame::Out(text.as_bytes().to_vec()))
}

fn record(sequence: u64, priority: u32, text: &str) -> Heard {
    Heard::Frame(Frame::Kernel(
        format!("{priority},{sequence},{},-;{text}\n", 1000 * sequence).into_bytes(),
    ))
}

fn begin_mark(index: usize) -> String {
    mark(KEY, LOG_BEGIN, NAMES[index], index)
}

fn end_mark(index: usize) -> String {
    mark(KEY, LOG_END, NAMES[index], index)
}

/// All messages of a healthy guest.
fn healthy() -> Vec<Heard> {
    let mut heard = vec![
        Heard::Console("[    0.000000] Linux".into()),
        event(Event::Hello { release: "7.3.4".into(), uptime_ms: Some(1) }),
        record(0, 6, "Linux"),
        event(Event::Mounted),
        event(Event::Ready),
    ];
    for index in 0..NAMES.len() {
        heard.push(event(Event::Begin(index)));
        heard.push(record(1 + 2 * index as u64, 14, &begin_mark(index)));
        heard.push(out(GOOD));
        heard.push(record(2 + 2 * index as u64, 14, &end_mark(index)));
        heard.push(event(end(index, Status::Exited(0))));
    }
    heard.push(record(5, 14, &mark(KEY, LOG_DONE, "", 0)));
    heard.push(event(Event::Done));
    heard.push(Heard::FramesEnd(None));
    heard.push(Heard::Console("[    0.006000] reboot: Restarting system".into()));
    heard
}

fn clean() -> Exit {
    Exit { status: Some(ExitStatus::from_raw(0)), ..Exit::default() }
}

/// Judges these inputs, one every 10 ms.
fn judge(heard: &[Heard], exit: Exit) -> (Verdict, Vec<Order>) {
    let mut judge = Judge::new(plan());
    let mut orders = Vec::new();
    for (number, heard) in (1..).zip(heard) {
        orders.extend(judge.feed(Duration::from_millis(10) * number, heard.clone()));
    }
    (judge.verdict(exit), orders)
}

fn verdict(heard: &[Heard]) -> Verdict {
    judge(heard, clean()).0
}

#[test]
fn a_healthy_guest_passes() {
    let (verdict, orders) = judge(&healthy(), clean());
    assert_eq!((verdict.outcome, verdict.message.as_str()), (Outcome::Pass, ""));
    assert!(verdict.tests.iter().all(|test| test.result == TestResult::Pass));
    assert_eq!(orders[..3], [Order::Connect, Order::Began(0), Order::Keep(0, GOOD.into())]);
    let names: Vec<_> = verdict.phases.0.iter().map(|phase| phase.name.as_str()).collect();
    let want = ["QEMU to kernel", "kernel to PID 1", "mounts", "files", "tests", "power off"];
    assert_eq!(names, want);
}

/// QEMU ends with its guest, and output that the lab has not read by then is lost.
#[test]
fn a_guest_may_end_when_its_last_word_is_heard() {
    let releases = |heard: &[Heard]| {
        let orders = judge(heard, clean()).1;
        orders.iter().filter(|order| **order == Order::Release).count()
    };
    let heard = healthy();
    let done = heard.iter().position(|it| *it == event(Event::Done)).unwrap();
    assert_eq!(releases(&heard[..done]), 0);
    assert_eq!(releases(&heard[..=done]), 1);
    let mut given_up = heard[..done].to_vec();
    given_up.push(event(Event::GaveUp("no memory".into())));
    assert_eq!(releases(&given_up), 1);
}

/// If a test prints very much, a busy lab reads it late. The guest's last message comes after that
/// output, and the guest waits for the answer.
#[test]
fn a_guest_has_time_to_end_from_when_it_is_answered() {
    let heard = healthy();
    let done = heard.iter().position(|it| *it == event(Event::Done)).unwrap();
    let verdict = |answered: Duration, ended: Duration| {
        let mut judge = Judge::new(plan());
        for (number, heard) in (1..).zip(&heard[..=done]) {
            judge.feed(Duration::from_millis(10) * number, heard.clone());
        }
        judge.answered(answered);
        for heard in &heard[done + 1..] {
            judge.feed(ended, heard.clone());
        }
        judge.verdict(clean())
    };
    let (late, grace) = (Duration::from_secs(3000), plan().grace);
    assert_eq!(verdict(late, late + grace / 2).outcome, Outcome::Pass);
    let never = verdict(late, late + grace * 2);
    assert_eq!(never.outcome, Outcome::Timeout);
    assert!(never.message.contains("did not switch off"), "{}", never.message);
}

/// If any message of a healthy guest is missing or comes twice, the run does not pass.
#[test]
fn every_word_counts_and_only_once() {
    let all = healthy();
    for at in 0..all.len() {
        // The console repeats what PID 1 streams.
        if matches!(all[at], Heard::Console(_) | Heard::FramesEnd(_)) {
            continue;
        }
        let mut missing = all.clone();
        missing.remove(at);
        assert_ne!(verdict(&missing).outcome, Outcome::Pass, "without {:?}", all[at]);
        let mut twice = all.clone();
        twice.insert(at, all[at].clone());
        assert_ne!(verdict(&twice).outcome, Outcome::Pass, "twice {:?}", all[at]);
    }
}

#[test]
fn words_that_make_no_sense_are_told_and_never_believed() {
    let all = healthy();
    let place = |wanted: &Heard| all.iter().position(|heard| heard == wanted).unwrap();
    let done = place(&event(Event::Done));
    let first = place(&event(Event::Begin(0)));
    for (at, extra, what) in [
        (first, event(Event::Begin(999)), "the beginning of test 999"),
        (first, event(Event::Begin(1)), "the beginning of test 1"),
        (first, event(end(0, Status::Exited(0))), "the end of test 0, which did not run"),
        (first, event(end(usize::MAX, Status::Exited(0))), "which did not run"),
        (first, event(Event::Done), "a message after its last one"),
        (first + 1, event(Event::Done), "the event `Done`, out of order"),
        (first + 1, event(Event::Begin(1)), "the beginning of test 1"),
        (first, out("ok 1 a\n"), "output when no program ran"),
        (first, event(Event::Finished(Status::Exited(0))), "a command that did not run"),
        (done, event(end(1, Status::Exited(0))), "the end of test 1, which did not run"),
        (done + 1, event(Event::Note("late".into())), "a message after its last one"),
        (done + 2, event(Event::Note("late".into())), "a message after its last one"),
        (0, event(Event::Mounted), "the event `Mounted`, out of order"),
        (0, event(Event::Ready), "the event `Ready`, out of order"),
        (1, event(Event::Whereabouts(Vec::new())), "which the lab did not ask for"),
    ] {
        let mut heard = all.clone();
        heard.insert(at, extra.clone());
        let verdict = verdict(&heard);
        assert!(
            verdict.outcome > Outcome::Pass && verdict.message.contains(what),
            "{extra:?}: {:?} {}",
            verdict.outcome,
            verdict.message
        );
    }
}

/// The messages of a healthy guest, with `other` in place of `wanted`.
fn with(wanted: &Heard, other: Heard) -> Vec<Heard> {
    healthy().into_iter().map(|it| if it == *wanted { other.clone() } else { it }).collect()
}

#[test]
fn every_other_way_to_end_is_its_own_outcome() {
    let good = event(end(0, Status::Exited(0)));
    let counted = |counters| counted(0, Status::Exited(0), counters);
    let warned = Counters { warnings: Some(1), ..Counters::default() };
    let tainted = Counters { taint: Some(1 << 9), ..Counters::default() };
    let blind = Counters { lockdep: Some(false), ..Counters::default() };
    let bug = record(3, 4, "BUG: it");
    let done_mark = record(5, 14, &mark(KEY, LOG_DONE, "", 0));
    let torn = Heard::FramesEnd(Some("mid-word".into()));
    let gave_up = [&healthy()[..3], &[event(Event::GaveUp("no 9p".into()))]].concat();
    for (heard, outcome, what) in [
        (with(&good, event(end(0, Status::Exited(1)))), Outcome::Test, "failed: a"),
        (with(&good, event(end(0, Status::TimedOut))), Outcome::Timeout, "a took longer than 20 s"),
        (with(&good, counted(warned)), Outcome::KernelLog, "the kernel counts 1 warnings"),
        (with(&good, counted(tainted)), Outcome::KernelLog, "the kernel is tainted (0x200)"),
        (with(&good, counted(blind)), Outcome::KernelLog, "lockdep has switched itself off"),
        (with(&record(3, 14, &begin_mark(1)), bug), Outcome::KernelLog, "BUG: it"),
        (
            with(&done_mark, record(5, 14, "vmlab-init: done ")),
            Outcome::KernelLog,
            "the end of all",
        ),
        (with(&record(4, 14, &end_mark(1)), record(4, 6, "a")), Outcome::KernelLog, "the end of b"),
        (with(&Heard::FramesEnd(None), torn), Outcome::Panic, "within a message (mid-word)"),
        (gave_up, Outcome::Boot, "no 9p"),
    ] {
        let verdict = verdict(&heard);
        assert_eq!(verdict.outcome, outcome, "{}", verdict.message);
        assert!(verdict.message.contains(what), "{}", verdict.message);
    }
    let killed = Exit { status: Some(ExitStatus::from_raw(9)), ..Exit::default() };
    assert_eq!(judge(&healthy(), killed).0.outcome, Outcome::Panic);
    let cut = [healthy(), vec![Heard::ConsoleCut]].concat();
    assert_eq!(verdict(&cut).outcome, Outcome::KernelLog);
}

#[test]
fn all_skipped_is_not_passed() {
    let skip = |heard: Heard| match heard {
        Heard::Frame(Frame::Out(_)) => out("KTAP version 1\n1..0 # SKIP no veth\n"),
        other => other,
    };
    let all: Vec<Heard> = healthy().into_iter().map(skip).collect();
    let verdict = verdict(&all);
    assert_eq!((verdict.outcome, verdict.outcome.exit_code()), (Outcome::Skipped, 8));
    assert_eq!(verdict.message, "skipped: a, b");
    // If another test passed, a skipped test is no problem.
    let one = [healthy()[..10].to_vec(), all[10..].to_vec()].concat();
    assert_eq!(judge(&one, clean()).0.outcome, Outcome::Pass);
}

#[test]
fn who_is_late_is_asked_where_it_hangs_and_then_ended() {
    let mut judge = Judge::new(plan());
    for heard in healthy().into_iter().take_while(|it| *it != out(GOOD)) {
        judge.feed(Duration::from_secs(1), heard);
    }
    let at = |seconds| Duration::from_secs(seconds);
    assert_eq!(judge.feed(at(36), Heard::Silence), []);
    assert_eq!(judge.feed(at(37), Heard::Silence), [Order::Ask]);
    assert_eq!(judge.feed(at(38), Heard::Silence), []);
    // A message that comes too late does not change the verdict.
    judge.feed(at(38), event(end(0, Status::Exited(0))));
    let places = vec!["sh (7) is in:\n  do_wait".to_owned()];
    assert_eq!(judge.feed(at(39), event(Event::Whereabouts(places.clone()))), [Order::Kill]);
    assert_eq!(judge.feed(at(99), Heard::Silence), []);
    let verdict = judge.verdict(clean());
    assert_eq!(verdict.outcome, Outcome::Timeout);
    assert!(verdict.message.starts_with("the guest stopped talking in a: "), "{}", verdict.message);
    assert_eq!(verdict.notes, places);
}

#[test]
fn a_guest_that_hangs_after_an_oops_is_told_from_one_that_is_slow() {
    let mut judge = Judge::new(plan());
    for heard in healthy().into_iter().take_while(|it| *it != out(GOOD)) {
        judge.feed(Duration::from_secs(1), heard);
    }
    for line in ["BUG: kernel NULL pointer dereference, address: 8", "Oops: 0000 [#1] SMP"] {
        judge.feed(Duration::from_secs(2), Heard::Console(format!("[    2.0] {line}")));
    }
    for seconds in 31..100 {
        judge.feed(Duration::from_secs(seconds), Heard::Silence);
    }
    let verdict = judge.verdict(clean());
    assert_eq!(verdict.outcome, Outcome::KernelLog, "{}", verdict.message);
    assert!(verdict.message.contains("NULL pointer"), "{}", verdict.message);
    assert!(verdict.message.contains("; then the guest stopped talking"), "{}", verdict.message);
}

#[test]
fn who_does_not_even_answer_is_ended() {
    let mut judge = Judge::new(plan());
    judge.feed(Duration::from_secs(1), Heard::Console("[    0.1] Linux".into()));
    assert_eq!(judge.feed(Duration::from_secs(11), Heard::Silence), [Order::Kill]);
    let verdict = judge.verdict(clean());
    assert_eq!(verdict.outcome, Outcome::Boot);
}

#[test]
fn a_guest_whose_clock_is_wrong_is_told_from_a_slow_test() {
    let slow = |heard: Heard| match heard {
        Heard::Frame(Frame::Event(Event::End { index: 0, counters, problems, notes, .. })) => {
            let status = Status::TimedOut;
            event(Event::End { index: 0, status, ms: 60_000, counters, problems, notes })
        }
        other => other,
    };
    let verdict = verdict(&healthy().into_iter().map(slow).collect::<Vec<_>>());
    assert_eq!(verdict.outcome, Outcome::Timeout);
    let want = "a took longer than 20 s; the guest's clock is wrong: a took 60000 ms by it, and 40 ms by ours";
    assert_eq!(verdict.message, want);
}

/// Whether the run may pass. This is a second implementation of the rules, which sees all inputs at
/// once.
fn may_pass(heard: &[Heard], exit_code: i32) -> bool {
    let (mut words, mut stream, mut outputs) = (Vec::new(), Vec::new(), vec![String::new(); 2]);
    let mut running = None;
    let end = heard.iter().position(|it| matches!(it, Heard::FramesEnd(_)));
    for (number, heard) in heard.iter().enumerate() {
        let Heard::Frame(frame) = heard else { continue };
        if end.is_some_and(|end| number > end) {
            return false;
        }
        match frame {
            Frame::Kernel(bytes) => stream.extend(bytes),
            Frame::Event(Event::Note(_)) if words.last() != Some(&"done".to_owned()) => {}
            Frame::Event(Event::Begin(index)) => {
                running = Some(*index);
                words.push(format!("begin {index}"));
            }
            Frame::Event(Event::End { index, status, counters, problems, .. }) => {
                let well =
                    *status == Status::Exited(0) && problems.is_empty() && fits_no_report(counters);
                running = None;
                words.push(format!("end {index} {well}"));
            }
            Frame::Event(Event::Hello { .. }) => words.push("hello".into()),
            Frame::Event(Event::Mounted) => words.push("mounted".into()),
            Frame::Event(Event::Ready) => words.push("ready".into()),
            Frame::Event(Event::Done) => words.push("done".into()),
            Frame::Out(bytes) if running.is_some_and(|index| index < 2) => {
                outputs[running.unwrap()] += str::from_utf8(bytes).unwrap();
            }
            _ => return false,
        }
    }
    let want =
        ["hello", "mounted", "ready", "begin 0", "end 0 true", "begin 1", "end 1 true", "done"];
    let stream = String::from_utf8_lossy(&stream).into_owned();
    let log_is_whole = stream.ends_with('\n') && kernel_log_is_whole(&stream);
    let torn = heard.iter().any(|it| matches!(it, Heard::FramesEnd(Some(_)) | Heard::ConsoleCut));
    let loud = heard.iter().any(
        |it| matches!(it, Heard::Console(line) if line.contains("BUG") || line.contains("panic")),
    );
    words == want
        && outputs.iter().all(|it| it == GOOD)
        && log_is_whole
        && !torn
        && !loud
        && exit_code == 0
}

/// Whether the kernel's counters fit a log without a report.
fn fits_no_report(counters: &Counters) -> bool {
    // A proprietary module, a processor out of specification, a workaround for firmware, a module
    // from outside of the tree, one without a signature, a distribution's mark, a randomized
    // layout, a KUnit test.
    let harmless = [0, 2, 11, 12, 13, 16, 17, 18].map(|bit| 1u64 << bit);
    let faults = harmless.iter().fold(counters.taint.unwrap_or(0), |taint, bit| taint & !bit);
    counters.warnings.unwrap_or(0) == 0
        && counters.oopses.unwrap_or(0) == 0
        && faults == 0
        && counters.lockdep.unwrap_or(true)
}

/// Any counters, mostly such as a healthy guest has.
fn counters() -> impl Strategy<Value = Counters> {
    let count = || prop_oneof![4 => Just(Some(0)), 1 => Just(None), 1 => (1..4u64).prop_map(Some)];
    let taint = prop_oneof![
        2 => Just(None),
        2 => Just(Some(1 << 12)),
        4 => (0..20u32).prop_map(|bit| Some(1 << bit)),
        2 => (0..1u64 << 20).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
    ];
    let lockdep = prop_oneof![4 => Just(Some(true)), 1 => Just(None), 1 => Just(Some(false))];
    (count(), count(), taint, lockdep).prop_map(|(warnings, oopses, taint, lockdep)| Counters {
        warnings,
        oopses,
        taint,
        lockdep,
    })
}

/// The end of a test, with these counters.
fn counted(index: usize, status: Status, counted: Counters) -> Heard {
    match end(index, status) {
        Event::End { index, status, ms, problems, notes, .. } => {
            event(Event::End { index, status, ms, counters: counted, problems, notes })
        }
        _ => unreachable!(),
    }
}

/// Whether the log has numbers without a gap, PID 1's marks in their order, and no finding.
fn kernel_log_is_whole(stream: &str) -> bool {
    let due = [begin_mark(0), end_mark(0), begin_mark(1), end_mark(1), mark(KEY, LOG_DONE, "", 0)];
    let mut marks = Vec::new();
    let records = stream.lines().filter(|line| !line.starts_with(' '));
    for (number, record) in records.enumerate() {
        let Some((head, text)) = record.split_once(';') else { return false };
        let mut fields = head.split(',');
        let priority = fields.next();
        if fields.next() != Some(number.to_string().as_str()) {
            return false;
        }
        match (priority, text) {
            (Some("14"), text) if due.iter().any(|mark| mark == text) => marks.push(text),
            (_, "Linux") => {}
            _ => return false,
        }
    }
    marks == due
}

/// Any message of a guest, or a forged one.
fn anything() -> impl Strategy<Value = Heard> {
    let status = prop_oneof![
        3 => Just(Status::Exited(0)),
        1 => Just(Status::Exited(1)),
        1 => Just(Status::Exited(4)),
        1 => Just(Status::TimedOut),
    ];
    let healthy = healthy();
    prop_oneof![
        4 => (0..healthy.len()).prop_map(move |at| healthy[at].clone()),
        1 => (0..1000usize).prop_map(|index| event(Event::Begin(index))),
        2 => (0..4usize, status, counters()).prop_map(|(index, status, of)| counted(index, status, of)),
        1 => Just(event(Event::Done)),
        1 => Just(event(Event::Note("note".into()))),
        1 => Just(event(Event::GaveUp("why".into()))),
        1 => Just(event(Event::Finished(Status::Exited(0)))),
        1 => Just(event(Event::NotLoaded { module: "m".into(), reason: "r".into() })),
        1 => Just(Heard::FramesEnd(None)),
        1 => Just(Heard::FramesEnd(Some("torn".into()))),
        1 => Just(Heard::ConsoleCut),
        1 => Just(Heard::Console("[    9.000000] BUG: it".into())),
        1 => (0..7u64).prop_map(|number| record(number, 6, "Linux")),
        1 => (0..7u64, 0..2usize).prop_map(|(number, index)| record(number, 14, &end_mark(index))),
        1 => (0..7u64).prop_map(|number| record(number, 4, "WARNING: it")),
        1 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(|it| Heard::Frame(Frame::Kernel(it))),
        1 => "(ok|not ok) [0-3] x\n".prop_map(|text| out(&text)),
    ]
}

/// A change to the messages of a healthy guest.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, Heard),
    Remove(usize),
    Swap(usize, usize),
    CutOff(usize),
    /// Other counters at the end of this test.
    Count(usize, Counters),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0..20usize;
    prop_oneof![
        3 => (at(), anything()).prop_map(|(at, heard)| Edit::Insert(at, heard)),
        2 => at().prop_map(Edit::Remove),
        2 => (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => at().prop_map(Edit::CutOff),
        3 => (0..2usize, counters()).prop_map(|(index, of)| Edit::Count(index, of)),
    ]
}

fn edited(edits: &[Edit]) -> Vec<Heard> {
    let mut heard = healthy();
    for edit in edits {
        let length = heard.len().max(1);
        match edit {
            Edit::Insert(at, it) => heard.insert(at % length, it.clone()),
            Edit::Remove(at) if at % length < heard.len() => drop(heard.remove(at % length)),
            Edit::Swap(a, b) if !heard.is_empty() => heard.swap(a % length, b % length),
            Edit::CutOff(at) => heard.truncate(*at),
            Edit::Count(test, of) => {
                let good = event(end(*test, Status::Exited(0)));
                let now = counted(*test, Status::Exited(0), *of);
                heard.iter_mut().filter(|it| **it == good).for_each(|it| *it = now.clone());
            }
            Edit::Remove(_) | Edit::Swap(..) => {}
        }
        if heard.is_empty() {
            heard.push(Heard::Silence);
        }
    }
    heard
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn there_is_one_way_to_pass(edits in proptest::collection::vec(edit(), 0..4), code in prop_oneof![6 => Just(0), 1 => Just(1)]) {
        let heard = edited(&edits);
        let exit = Exit { status: Some(ExitStatus::from_raw(code << 8)), ..Exit::default() };
        let passed = judge(&heard, exit).0.outcome == Outcome::Pass;
        if passed {
            prop_assert!(may_pass(&heard, code), "passed: {heard:?}");
        }
    }

    #[test]
    fn counters_pass_if_and_only_if_they_fit_a_log_without_a_report(of in [counters(), counters()]) {
        let edits = [Edit::Count(0, of[0]), Edit::Count(1, of[1])];
        let passed = verdict(&edited(&edits)).outcome == Outcome::Pass;
        prop_assert_eq!(passed, of.iter().all(fits_no_report));
    }

    #[test]
    fn no_sequence_of_words_harms_the_judge(heard in proptest::collection::vec(anything(), 0..40), seconds in 0..200u64) {
        let mut judge = Judge::new(plan());
        for heard in &heard {
            judge.feed(Duration::from_secs(1), heard.clone());
        }
        judge.feed(Duration::from_secs(seconds), Heard::Silence);
        let verdict = judge.verdict(clean());
        prop_assert!(verdict.outcome != Outcome::Pass || may_pass(&heard, 0));
    }
}
