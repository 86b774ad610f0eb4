// SPDX-License-Identifier: GPL-2.0

//! The results of KUnit tests that are built into a kernel and run when it boots.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};
use vmlab::judge::ktap::{self, Case, TestResult};
use vmlab::judge::printk;

/// The kernel's line after it has run all KUnit tests.
const OVER: &str = "Run /init as init process";

/// Judges the log of a boot. Returns how many tests have passed, if none has failed.
pub fn judge(log: &str) -> Result<usize> {
    let mut text = String::new();
    for line in log.lines().map(printk::message) {
        if line == OVER {
            break;
        }
        // These are the totals of one suite. In KTAP, totals are those of all suites.
        if line.starts_with("# Totals: ") {
            continue;
        }
        if !text.is_empty() || line.starts_with("KTAP version ") {
            let _ = writeln!(text, "{line}");
        }
    }
    ensure!(!text.is_empty(), "the kernel ran no KUnit tests");
    let output = ktap::parse(text.as_bytes());
    let failed = output.cases.iter().filter(|case| case.result == TestResult::Fail);
    let failed: Vec<&str> = failed.map(|case| case.name.as_str()).collect();
    if !failed.is_empty() {
        bail!("KUnit: {}", failed.join(", "));
    }
    ensure!(output.errors.is_empty(), "KUnit: {}", output.errors.join("; "));
    let inner = |name: &str| {
        let inside = format!("{name}/");
        output.cases.iter().any(|other| other.name.starts_with(&inside))
    };
    let tests: Vec<&Case> = output.cases.iter().filter(|case| !inner(&case.name)).collect();
    let passed = tests.iter().filter(|case| case.result == TestResult::Pass).count();
    ensure!(passed > 0, "KUnit: all {} tests were skipped", tests.len());
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "\
[    0.000000] Linux version 7.3.4
[    0.700000] KTAP version 1
[    0.700001] 1..1
[    0.700002]     KTAP version 1
[    0.700003]     # Subtest: rust_demo
[    0.700004]     # speed: normal
[    0.700005]     1..2
[    0.700006] clocksource: something else
[    0.700007]     ok 1 one
[    0.700008]     ok 2 two # SKIP no reason
[    0.700009] # rust_demo: pass:1 fail:0 skip:1 total:2
[    0.700010] # Totals: pass:1 fail:0 skip:1 total:2
[    0.700011] ok 1 rust_demo
[    0.800000] Run /init as init process
[    0.900000] not ok 2 of somebody else
";

    #[test]
    fn cases_of_a_boot_that_passed_are_counted() {
        assert_eq!(judge(PASSED).unwrap(), 1);
        // As kernels print that have CONFIG_PRINTK_CALLER.
        let with_caller: String = PASSED
            .lines()
            .map(|line| format!("{}\n", line.replacen("] ", "][    T1] ", 1)))
            .collect();
        assert_eq!(judge(&with_caller).unwrap(), 1);
    }

    #[test]
    fn a_boot_that_skipped_all_is_an_error() {
        let skipped = PASSED.replace("ok 1 one", "ok 1 one # SKIP no device");
        let error = judge(&skipped).unwrap_err().to_string();
        assert_eq!(error, "KUnit: all 2 tests were skipped");
    }

    #[test]
    fn a_failed_case_is_named() {
        let failed = PASSED
            .replace("    ok 1 one", "    not ok 1 one")
            .replace(" ok 1 rust", " not ok 1 rust");
        let error = judge(&failed).unwrap_err().to_string();
        assert!(error.contains("rust_demo/one"), "{error}");
    }

    #[test]
    fn a_boot_that_ran_none_or_not_all_is_an_error() {
        judge("[    0.1] Linux version 7.3.4\n[    0.8] Run /init as init process\n").unwrap_err();
        let cut = PASSED.replace("[    0.700008]     ok 2 two # SKIP no reason\n", "");
        judge(&cut).unwrap_err();
        let cut = PASSED.replace("[    0.700011] ok 1 rust_demo\n", "");
        judge(&cut).unwrap_err();
    }
}
