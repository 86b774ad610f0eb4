// SPDX-License-Identifier: GPL-2.0

//! Programs of the system. They run in the namespace of the calling thread.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a command, the words of which are separated by spaces. Its output.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_ascii_whitespace();
    let program = words.next().context("no command")?;
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("start {program}"))?;
    ensure!(
        output.status.success(),
        "'{line}' failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs several, up to the first that fails.
pub fn run_all(lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| run(line).map(drop))
}
