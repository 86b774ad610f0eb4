// SPDX-License-Identifier: GPL-2.0

//! `rnetns-study-report RESULTS ROOT`: writes the page of the study into a checkout.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rnetns_study_report::{FOLDER, PATCHED, write};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = env::args_os().skip(1).map(PathBuf::from);
    let results = words.next().context("the file with the results")?;
    let root = words.next().context("the root of the checkout")?;
    let text = fs::read_to_string(&results).with_context(|| results.display().to_string())?;
    let patched = root.join(FOLDER).join(PATCHED);
    let patched = match patched.exists() {
        true => Some(fs::read_to_string(&patched).with_context(|| patched.display().to_string())?),
        false => None,
    };
    write(&text, patched.as_deref(), &root)
}
