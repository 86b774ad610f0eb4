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
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]);
    feed(command, &lines.join("\n")).with_context(|| lines.join("; "))
}

/// Reads rules of netfilter from a text, all or none.
pub fn nft(rules: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]);
    feed(command, rules)
}

/// Runs a command with this text as its input.
fn feed(mut command: Command, text: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().with_context(|| format!("no pipe to {program}"))?;
    stdin.write_all(text.as_bytes()).with_context(|| format!("write to {program}"))?;
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", said.trim());
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
