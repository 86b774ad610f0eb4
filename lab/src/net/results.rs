// SPDX-License-Identifier: GPL-2.0

//! The results in the output of the kernel tree's own network tests, and the differences between
//! two runs of a test.
//!
//! Some of these tests print KTAP. Most print other lines, of three kinds. Unlike
//! [`vmlab::judge::ktap`], this does not judge the output. It reads all results that it can find,
//! since a run is only compared with another run of the same test.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vmlab::judge::ktap::{self, Counts, TestResult};

/// The beginning of the line with the exit status, which the script around the test prints.
pub const EXIT_STATUS: &str = "lab: exit status ";
/// The name of the exit status among the results.
const EXIT: &str = "exit status";
/// kselftest's name for the exit status "skipped".
const SKIPPED: u32 = 4;

/// Each result of a run by its name.
pub type Results = BTreeMap<String, TestResult>;

/// Reads the output of one run. Results with the same name are numbered.
pub fn parse(output: &str) -> Results {
    let mut results = Results::new();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for line in output.lines() {
        let line = plain(line);
        let Some((name, verdict)) = result(line.trim()) else { continue };
        let name = same_every_time(&name);
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        let name = if *times > 1 { format!("{name} ({times})") } else { name };
        results.insert(name, verdict);
    }
    results.insert(EXIT.to_owned(), exit_status(output));
    results
}

/// The exit status as a result. A program that was killed has no exit status, and has failed.
fn exit_status(output: &str) -> TestResult {
    let status = output.lines().rev().find_map(|line| line.strip_prefix(EXIT_STATUS));
    match status.and_then(|status| status.trim().parse().ok()) {
        Some(0) => TestResult::Pass,
        Some(SKIPPED) => TestResult::Skip,
        _ => TestResult::Fail,
    }
}

/// Removes the colours of a terminal.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        text.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        rest = after.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &after[end + 1..]);
    }
    text + rest
}

fn result(line: &str) -> Option<(String, TestResult)> {
    ktap::result_line(line).or_else(|| word_behind(line)).or_else(|| word_in_front(line))
}

/// Reads `TEST: name    [ OK ]`, or the same without `TEST:`. After a line with `TEST:`, other text
/// may follow.
fn word_behind(line: &str) -> Option<(String, TestResult)> {
    let (name, rest) = line.rsplit_once('[')?;
    let (word, more) = rest.split_once(']')?;
    if !more.is_empty() && !name.starts_with("TEST:") {
        return None;
    }
    let verdict = verdict(word.trim())?;
    let name = name.trim().trim_start_matches("TEST:").trim_end_matches("...");
    Some((name.trim().to_owned(), verdict))
}

/// Reads `PASS: name`.
fn word_in_front(line: &str) -> Option<(String, TestResult)> {
    let (word, name) = line.split_once(':')?;
    // Only these words: "ok: " and the like begin ordinary sentences, too.
    matches!(word, "PASS" | "FAIL" | "SKIP" | "XFAIL")
        .then(|| Some((name.trim().to_owned(), verdict(word)?)))
        .flatten()
}

fn verdict(word: &str) -> Option<TestResult> {
    Some(match word {
        "OK" | "PASS" | "XFAIL" | "ok" | "pass" => TestResult::Pass,
        "FAIL" | "FAILED" | "fail" => TestResult::Fail,
        "SKIP" | "skip" | "IGN" => TestResult::Skip,
        _ => return None,
    })
}

/// Removes everything that differs from run to run: the six random characters in names of
/// namespaces, numbers of packets, and padding.
fn same_every_time(name: &str) -> String {
    let random =
        |word: &str| -> bool { word.len() == 6 && word.chars().all(|c| c.is_ascii_alphanumeric()) };
    let number = |word: &str| word.parse::<u32>().is_ok();
    let counted = |word: &str| word.split_once('/').is_some_and(|(a, b)| number(a) && number(b));
    let words = name.split_whitespace().map(|word| {
        if counted(word.trim_end_matches(')')) {
            return "*".to_owned();
        }
        let bare = word.trim_end_matches([':', ',', ';']);
        match bare.rsplit_once('-') {
            Some((name, end)) if random(end) => format!("{name}-*{}", &word[bare.len()..]),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Counts the results of a run, without its exit status.
pub fn count(results: &Results) -> Counts {
    // A test without other results has only its exit status.
    let alone = results.len() == 1;
    let counts = |name: &str| alone || name != EXIT;
    let count = |wanted| {
        results.iter().filter(|(name, verdict)| **verdict == wanted && counts(name)).count()
    };
    Counts {
        passed: count(TestResult::Pass),
        failed: count(TestResult::Fail),
        skipped: count(TestResult::Skip),
    }
}

/// The results that pass in the first run but not in the second. A missing result counts as not
/// passed.
pub fn worse(without: &Results, with: &Results) -> Vec<String> {
    let passes = |results: &Results, name: &str| results.get(name) == Some(&TestResult::Pass);
    without.keys().filter(|name| passes(without, name) && !passes(with, name)).cloned().collect()
}

/// Results of a test that differ between its runs, grouped by the likely cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Always passes without the module, and fails with it in most runs.
    pub worse: Vec<String>,
    /// Always passes without the module, and failed with it in some run, perhaps by chance.
    pub suspect: Vec<String>,
    /// Fails now and then without the module, too.
    pub flaky: Vec<String>,
}

/// Compares pairs of runs without and with the module: the first pair and its repeats.
pub fn differences(pairs: &[(Results, Results)]) -> Differences {
    let mut found = Differences::default();
    let names: BTreeSet<String> =
        pairs.iter().flat_map(|(without, with)| worse(without, with)).collect();
    for name in names {
        let passes = |results: &Results| results.get(&name) == Some(&TestResult::Pass);
        let steady = pairs.iter().all(|(without, _)| passes(without));
        let failed = pairs.iter().filter(|(_, with)| !passes(with)).count();
        let list = match steady {
            true if 2 * failed > pairs.len() => &mut found.worse,
            true => &mut found.suspect,
            false => &mut found.flaky,
        };
        list.push(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(list: &[(&str, TestResult)]) -> Results {
        list.iter().map(|(name, verdict)| ((*name).to_owned(), *verdict)).collect()
    }

    /// Lines as the tests of Linux 7.3 print them.
    #[test]
    fn every_way_to_print_a_result_is_read() {
        let text = "\
IPv4 rp_filter tests\n\
    TEST: rp_filter passes local packets                                [ OK ]\n\
    TEST: rp_filter passes loopback packets                             [FAIL]\n\
TEST: ping local, no VRF                                        [ OK ]\n\
TEST: IPv6: link local                                              [SKIP]\n\
TEST: address from ns1-Ab3dEf                                       [XFAIL]\n\
TEST: path MTU of a router                                    [ FAIL ]  mtu_r\n\
TEST: testns-Ab3dEf: add vrf (received 101/100)                     [ OK ]\n\
PASS: policy routing\n\
FAIL: ipv6 addrlabel\n\
  ok 2 name of it # SKIP no tool\n\
not ok 3 other\n\
ok 4\n\
\u{1b}[1mTEST: in colour\u{1b}[0m   [ OK ]\n\
RTNETLINK answers: No such process\n\
ok: that is fine\n\
lab: exit status 1\n";
        let want = results(&[
            ("rp_filter passes local packets", TestResult::Pass),
            ("rp_filter passes loopback packets", TestResult::Fail),
            ("ping local, no VRF", TestResult::Pass),
            ("IPv6: link local", TestResult::Skip),
            ("address from ns1-*", TestResult::Pass),
            ("path MTU of a router", TestResult::Fail),
            ("testns-*: add vrf (received *", TestResult::Pass),
            ("policy routing", TestResult::Pass),
            ("ipv6 addrlabel", TestResult::Fail),
            ("name of it", TestResult::Skip),
            ("other", TestResult::Fail),
            ("4", TestResult::Pass),
            ("in colour", TestResult::Pass),
            (EXIT, TestResult::Fail),
        ]);
        assert_eq!(parse(text), want);
        assert_eq!(count(&parse(text)), Counts { passed: 7, failed: 4, skipped: 2 });
    }

    #[test]
    fn a_test_without_subtests_counts_by_its_exit_status() {
        let counts = |status: u32| count(&parse(&format!("OK\n{EXIT_STATUS}{status}\n")));
        assert_eq!(counts(0), Counts { passed: 1, failed: 0, skipped: 0 });
        assert_eq!(counts(1), Counts { passed: 0, failed: 1, skipped: 0 });
        assert_eq!(counts(SKIPPED), Counts { passed: 0, failed: 0, skipped: 1 });
    }

    #[test]
    fn results_of_one_name_stay_apart() {
        let text = "TEST: ping [ OK ]\nTEST: ping [FAIL]\nlab: exit status 0\n";
        let want = results(&[
            ("ping", TestResult::Pass),
            ("ping (2)", TestResult::Fail),
            (EXIT, TestResult::Pass),
        ]);
        assert_eq!(parse(text), want);
    }

    #[test]
    fn a_program_without_an_end_has_failed() {
        for (text, want) in [
            ("ok 1 a\n", TestResult::Fail),
            ("lab: exit status 0\n", TestResult::Pass),
            ("lab: exit status 4\n", TestResult::Skip),
            ("lab: exit status 1\n", TestResult::Fail),
        ] {
            assert_eq!(parse(text)[EXIT], want, "{text}");
        }
    }

    #[test]
    fn only_what_passed_can_become_worse() {
        use TestResult::{Fail, Pass, Skip};
        let without = results(&[
            ("a", Pass),
            ("b", Fail),
            ("c", Pass),
            ("d", Pass),
            ("e", Skip),
            ("f", Pass),
        ]);
        let with = results(&[("a", Pass), ("b", Fail), ("c", Fail), ("e", Fail), ("f", Skip)]);
        assert_eq!(worse(&without, &with), ["c", "d", "f"]);
        assert!(worse(&with, &with).is_empty());
    }

    #[test]
    fn a_difference_counts_when_it_comes_back() {
        use TestResult::{Fail, Pass};
        let run = |verdict| results(&[("a", verdict)]);
        let differs = || (run(Pass), run(Fail));
        let same = || (run(Pass), run(Pass));
        let unsteady = || (run(Fail), run(Fail));
        for (pairs, counts) in [
            (vec![differs()], (1, 0, 0)),
            (vec![differs(), differs(), differs()], (1, 0, 0)),
            (vec![differs(), differs(), same()], (1, 0, 0)),
            (vec![differs(), same(), same()], (0, 1, 0)),
            (vec![same(), differs(), same()], (0, 1, 0)),
            (vec![differs(), unsteady(), differs()], (0, 0, 1)),
            (vec![same()], (0, 0, 0)),
            (Vec::new(), (0, 0, 0)),
        ] {
            let found = differences(&pairs);
            let found = (found.worse.len(), found.suspect.len(), found.flaky.len());
            assert_eq!(found, counts, "{pairs:?}");
        }
    }
}
