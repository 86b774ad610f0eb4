// SPDX-License-Identifier: GPL-2.0

//! The memory of a guest that panicked, written by QEMU for crash or drgn.
//!
//! QEMU stops the guest when it restarts, and says so over its monitor (QMP). A panic ends in a
//! restart, and so does a good end. The kernel log tells which it was. To know that all of the log is
//! there, a mark is written behind everything that QEMU has written.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::boot::qmp::Qmp;
use crate::run::progress::say;

/// The kernel's last message in a panic.
const PANIC: &str = "Kernel panic - not syncing";
/// Marks the end of the log.
const MARK: &str = "lab: the guest stands still";
/// How long the lab's own thread may take to write the log to its file.
const LOG_LIMIT: Duration = Duration::from_secs(60);

/// Waits for the guest's end, in a thread. Writes the memory to `file` if it panicked, and ends QEMU.
/// `marks` is QEMU's end of the pipe from which the lab writes `log`.
pub(super) fn on_panic(
    monitor: UnixStream,
    marks: OwnedFd,
    log: &Path,
    file: PathBuf,
) -> Result<()> {
    let log = log.to_owned();
    let mut marks = fs::File::from(marks);
    let mut qmp = Qmp::new(monitor)?;
    std::thread::spawn(move || {
        let stands_still = qmp.greet().and_then(|()| qmp.wait_for("SHUTDOWN"));
        let done = stands_still.and_then(|still| match still {
            true => has_panicked(&mut marks, &log)
                .and_then(|panicked| if panicked { dump(&mut qmp, &file) } else { Ok(()) })
                .and_then(|()| qmp.ask("quit", json!({}))),
            false => Ok(()),
        });
        if let Err(error) = done {
            say(&format!("no memory dump: {error:#}"));
            // Otherwise QEMU would wait for ever.
            let _ = qmp.ask("quit", json!({}));
        }
    });
    Ok(())
}

/// Whether there is a panic in the log. Waits until the log is complete.
fn has_panicked(marks: &mut fs::File, log: &Path) -> Result<bool> {
    writeln!(marks, "\n{MARK}").context("mark the kernel log")?;
    let deadline = Instant::now() + LOG_LIMIT;
    loop {
        let text = fs::read(log).with_context(|| format!("read {}", log.display()))?;
        let text = String::from_utf8_lossy(&text);
        if text.lines().any(|line| line == MARK) {
            return Ok(text.contains(PANIC));
        }
        if Instant::now() > deadline {
            bail!("the kernel log does not come to its end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn dump(qmp: &mut Qmp, file: &Path) -> Result<()> {
    say(&format!("writing the guest's memory to {}", file.display()));
    let protocol = format!("file:{}", file.display());
    qmp.ask("dump-guest-memory", json!({"paging": false, "protocol": protocol}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io::{BufRead, BufReader};

    /// QEMU's side of a conversation; what it was asked.
    fn converse(log: &str, words: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dmesg.log");
        fs::write(&path, log).unwrap();
        let (ours, qemu) = UnixStream::pair().unwrap();
        let (mark_reader, marks) = std::io::pipe().unwrap();
        on_panic(ours, marks.into(), &path, "/d/core".into()).unwrap();
        let writer = path.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(mark_reader).lines().map_while(Result::ok) {
                let mut file = fs::File::options().append(true).open(&writer).unwrap();
                writeln!(file, "{line}").unwrap();
            }
        });
        for word in words {
            writeln!(&qemu, "{word}").unwrap();
        }
        let mut asked = Vec::new();
        for line in BufReader::new(&qemu).lines().map_while(Result::ok) {
            let request: Value = serde_json::from_str(&line).unwrap();
            let command = request["execute"].as_str().unwrap().to_owned();
            let _ = writeln!(&qemu, "{{\"return\": {{}}}}");
            if command == "qmp_capabilities" {
                writeln!(&qemu, "{{\"event\": \"SHUTDOWN\"}}").unwrap();
            }
            let last = command == "quit";
            asked.push(command);
            if last {
                break;
            }
        }
        asked
    }

    #[test]
    fn the_memory_of_a_guest_that_panicked_is_asked_for() {
        let log = "[    1.0] Kernel panic - not syncing: x\n";
        let asked = converse(log, &["{\"QMP\": {}}"]);
        assert_eq!(asked, ["qmp_capabilities", "dump-guest-memory", "quit"]);
    }

    #[test]
    fn a_guest_that_ended_well_is_let_go() {
        assert_eq!(converse("[    1.0] fine\n", &["{\"QMP\": {}}"]), ["qmp_capabilities", "quit"]);
    }
}
