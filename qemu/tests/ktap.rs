// SPDX-License-Identifier: GPL-2.0

//! Compares the KTAP reader with the kernel's own reader, and tests it with random input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use vmlab::judge::ktap::{self, TestResult};
use vmlab_init::protocol::Status;

/// Reads a log with the kernel tree's own reader. Returns the results without subtests, and whether
/// the reader reported no error.
const KUNIT_PARSER: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import kunit_parser, kunit_printer

class Silent(kunit_printer.Printer):
    def print(self, message): pass
    def print_with_timestamp(self, message): pass

def leaves(test, path):
    if not test.subtests:
        yield [path, test.status.name]
    for number, sub in enumerate(test.subtests, 1):
        name = sub.name or str(number)
        yield from leaves(sub, path + "/" + name if path else name)

with open(sys.argv[2], errors="replace") as log:
    test = kunit_parser.parse_run_tests(log.readlines(), Silent())
content = test.counts.errors == 0 and test.ok_status()
print(json.dumps({"content": content, "leaves": list(leaves(test, ""))}))
"#;

struct Theirs {
    content: bool,
    leaves: Vec<(String, String)>,
}

fn kunit_parser(tools: &Path, log: &Path) -> Theirs {
    let mut python = Command::new("python3");
    python.args(["-B", "-c", KUNIT_PARSER]).arg(tools).arg(log);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let leaves = said["leaves"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    Theirs {
        content: said["content"].as_bool().unwrap(),
        leaves: leaves.map(|leaf| (text(&leaf[0]), text(&leaf[1]))).collect(),
    }
}

/// The results without subtests.
fn leaves(output: &ktap::Output) -> Vec<(String, String)> {
    let mut leaves: Vec<(String, String)> = Vec::new();
    for case in &output.cases {
        let inner = format!("{}/", case.name);
        if leaves.iter().any(|(name, _)| name.starts_with(&inner)) {
            continue;
        }
        let word = match case.result {
            TestResult::Pass => "SUCCESS",
            TestResult::Skip => "SKIPPED",
            TestResult::Fail => "FAILURE",
        };
        leaves.push((case.name.clone(), word.to_owned()));
    }
    leaves
}

#[test]
#[ignore = "needs a kernel tree; make test runs it"]
fn the_kernels_own_reader_says_the_same() {
    let source = std::env::var_os("LAB_TEST_SOURCE").expect("LAB_TEST_SOURCE names a kernel tree");
    let tools = PathBuf::from(source).join("tools/testing/kunit");
    let logs = fs::read_dir(tools.join("test_data")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> =
        logs.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    assert!(logs.len() >= 24, "{} logs", logs.len());
    for log in logs {
        let theirs = kunit_parser(&tools, &log);
        let output = ktap::parse(&fs::read(&log).unwrap());
        let told = leaves(&output);
        let status = Status::Exited(i32::from(output.counts.failed > 0));
        let ours = ktap::judge(output, status);
        let name = log.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(ours.result != TestResult::Fail, theirs.content, "{name}: {}", ours.reason);
        if theirs.content {
            assert_eq!(told, theirs.leaves, "{name}");
        }
    }
}

/// A random line that is KTAP, or nearly so.
fn line() -> impl Strategy<Value = String> {
    let indent = prop_oneof![Just(""), Just("  "), Just("    "), Just("\t"), Just(" \t")];
    let word = prop_oneof![
        Just("KTAP version 1".to_owned()),
        Just("TAP version 13".to_owned()),
        Just("# Subtest: a".to_owned()),
        (0..4usize).prop_map(|n| format!("1..{n}")),
        (0..4usize, 0..10usize).prop_map(|(n, d)| format!("ok {n} a{}", DIRECTIVES[d])),
        (0..4usize, 0..10usize).prop_map(|(n, d)| format!("not ok {n} a{}", DIRECTIVES[d])),
        Just("not ok".to_owned()),
        Just("# not ok 1 a".to_owned()),
        Just("# Totals: pass:1 fail:0".to_owned()),
        Just("Bail out!".to_owned()),
        ".*",
    ];
    (indent, word).prop_map(|(indent, word)| format!("{indent}{word}"))
}

const DIRECTIVES: [&str; 10] = [
    "",
    "",
    " # SKIP b",
    " # TODO",
    " # XFAIL",
    " # TIMEOUT",
    " # skip",
    r" \# SKIP",
    " #42",
    " # b # SKIP",
];

/// Whether a line says that something failed. This does not use the reader's code.
fn says_failure(line: &str) -> bool {
    let Some(rest) = line.trim_start_matches([' ', '\t']).strip_prefix("not ok") else {
        return false;
    };
    let known = ["# SKIP", "# TODO", "# XFAIL"].iter().any(|word| rest.contains(word));
    (rest.is_empty() || rest.starts_with(' ')) && !known
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_failure_is_passed_over(lines in proptest::collection::vec(line(), 0..14), status in 0..5i32) {
        let text = lines.join("\n");
        let judged = ktap::judge(ktap::parse(text.as_bytes()), Status::Exited(status));
        if lines.iter().any(|line| says_failure(line)) {
            prop_assert_eq!(judged.result, TestResult::Fail);
        }
        if !lines.iter().any(|line| line.trim_start().starts_with("ok ") || line.contains("# ")) {
            prop_assert!(judged.result != TestResult::Pass);
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400), size in 1..50usize) {
        let mut reader = ktap::Reader::default();
        bytes.chunks(size).for_each(|piece| reader.feed(piece));
        prop_assert_eq!(reader.finish(), ktap::parse(&bytes));
    }

    #[test]
    fn a_result_that_is_lost_is_missed(count in 1..20usize, lost in 0..20usize) {
        let lost = lost % count;
        let mut text = format!("KTAP version 1\n1..{count}\n");
        for number in (0..count).filter(|number| *number != lost) {
            text += &format!("ok {} a\n", number + 1);
        }
        let judged = ktap::judge(ktap::parse(text.as_bytes()), Status::Exited(0));
        prop_assert_eq!(judged.result, TestResult::Fail);
    }
}
