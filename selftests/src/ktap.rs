// SPDX-License-Identifier: GPL-2.0

//! Cases and their results, printed as KTAP.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

/// kselftest's exit status for a skipped test.
const SKIP: u8 = 4;

/// How a case ends if it does not fail.
pub enum Outcome {
    /// Every claim holds.
    Pass,
    /// The machine lacks something that the case needs; the reason.
    Skip(String),
}

/// A behaviour, and the function that checks it.
pub type Case = (&'static str, fn() -> Result<Outcome>);

/// Runs the cases one after another and prints their results.
pub fn run(cases: &[Case]) -> ExitCode {
    run_each(cases.iter().map(|(name, case)| ((*name).to_owned(), *case)))
}

/// The same, for cases that were made while the program runs.
pub fn run_each<T: FnOnce() -> Result<Outcome>>(
    cases: impl ExactSizeIterator<Item = (String, T)>,
) -> ExitCode {
    println!("KTAP version 1\n1..{}", cases.len());
    let mut failed = false;
    for (number, (name, case)) in (1..).zip(cases) {
        match checked(case) {
            Ok(Outcome::Pass) => println!("ok {number} {name}"),
            // A result is one line, so the reason must be one, too.
            Ok(Outcome::Skip(why)) => {
                println!("ok {number} {name} # SKIP {}", why.replace('\n', " "))
            }
            Err(error) => {
                failed = true;
                comment(&format!("{error:#}"));
                println!("not ok {number} {name}");
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Ends the whole test before its first case.
pub fn skip_all(why: &str) -> ExitCode {
    println!("KTAP version 1\n1..0 # SKIP {why}");
    ExitCode::from(SKIP)
}

/// Prints a comment: not a result, but useful to people.
pub fn comment(text: &str) {
    for line in text.lines() {
        println!("# {line}");
    }
}

fn checked(case: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
    let before = taint()?;
    let outcome = case()?;
    ensure!(taint()? == before, "the kernel has warned: see its log");
    Ok(outcome)
}

/// The taint bits that show a warning, an oops or a bad page since boot.
fn taint() -> Result<u64> {
    const BAD_PAGE: u64 = 1 << 5;
    const DIE: u64 = 1 << 7;
    const WARN: u64 = 1 << 9;
    let path = "/proc/sys/kernel/tainted";
    let text = fs::read_to_string(path).context(path)?;
    let taint: u64 = text.trim().parse().context(path)?;
    Ok(taint & (BAD_PAGE | DIE | WARN))
}
