// SPDX-License-Identifier: GPL-2.0

//! Programs of the system. They run in the namespace of the calling thread.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs a command; spaces separate its words. Returns its output.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_ascii_whitespace();
    let program = words.next().context("no command")?;
    let output =
        Command::new(program).args(words).output().with_context(|| format!("start {program}"))?;
    ensure!(
        output.status.success(),
        "'{line}' failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs commands of `ip` in one process, up to the first failure.
pub fn ip(lines: &[&str]) -> Result<()> {
    ip_with(&[], lines)
}

/// Like [`ip`], for the address family of an option: `-4`, `-6`.
pub fn ip_of(option: &str, lines: &[&str]) -> Result<()> {
    ip_with(&[option], lines)
}

fn ip_with(options: &[&str], lines: &[&str]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start ip")?;
    let mut stdin = child.stdin.take().context("no pipe to ip")?;
    stdin.write_all(lines.join("\n").as_bytes()).context("write to ip")?;
    drop(stdin);
    let output = child.wait_with_output().context("wait for ip")?;
    ensure!(
        output.status.success(),
        "ip failed: {} ({})",
        String::from_utf8_lossy(&output.stderr).trim(),
        lines.join("; ")
    );
    Ok(())
}

/// Makes the packets of the calling thread's namespace to its own addresses travel through `rlo`.
pub fn through_rlo() -> Result<()> {
    // Packets that come in have a source address of this machine.
    let accept_local = "/proc/sys/net/ipv4/conf/rlo/accept_local";
    fs::write(accept_local, "1").context(accept_local)?;
    // No router solicitation: its packets would be counted, too.
    let solicitations = "/proc/sys/net/ipv6/conf/rlo/router_solicitations";
    fs::write(solicitations, "0").context(solicitations)?;
    for family in [4, 6] {
        let batch = beside_the_program(&format!("through_rlo{family}.batch"))?;
        run(&format!("ip -{family} -batch {}", batch.display()))?;
    }
    Ok(())
}

/// The path of a file beside the tests.
fn beside_the_program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("where the test is")?;
    Ok(program.with_file_name(name))
}
