// SPDX-License-Identifier: GPL-2.0

//! `lib.sh`, which all tests in shell share: no failure of a case is lost.

use std::process::Command;

/// What these cases print, and whether they passed.
fn run(cases: &str, names: &str) -> (String, bool) {
    let lib = concat!(env!("CARGO_MANIFEST_DIR"), "/lib.sh");
    let script = format!(". '{lib}'\n{cases}\nrun_cases {names}\n");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn a_case_passes_and_one_with_a_failed_claim_does_not() {
    let cases = "good() { true; }\nbad() { fail 'no route'; }";
    let (said, passed) = run(cases, "good bad");
    assert_eq!(said, "KTAP version 1\n1..2\nok 1 good\n# no route\nnot ok 2 bad\n");
    assert!(!passed);
    let (said, passed) = run(cases, "good");
    assert!(passed, "{said}");
}

#[test]
fn a_claim_that_fails_in_a_subshell_fails_the_case() {
    for case in [
        "echo x | fail 'lost'",
        "fail 'lost' | cat >/dev/null",
        "(fail 'lost')",
        "said=$(fail 'lost')",
        "fail 'lost' & wait",
    ] {
        let (said, passed) = run(&format!("one() {{ {case}; }}\ntwo() {{ true; }}"), "one two");
        assert_eq!(said, "KTAP version 1\n1..2\n# lost\nnot ok 1 one\nok 2 two\n", "{case}");
        assert!(!passed, "{case}");
    }
}

#[test]
fn a_case_that_does_not_exist_fails() {
    let (said, passed) = run("one() { true; }", "one tow");
    assert!(said.contains("ok 1 one\n# there is no such case\nnot ok 2 tow\n"), "{said}");
    assert!(!passed);
}
