// SPDX-License-Identifier: GPL-2.0

//! The memory of a guest that panicked, written by QEMU for crash or drgn.
//!
//! When the guest restarts, QEMU stops it and reports that over its monitor (QMP). A panic ends in
//! a restart, and so does a normal end; the kernel log shows which it was. The lab writes a mark to
//! the log's pipe after all that QEMU wrote. When the mark is read, the log is complete.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::{Context, Result};
use serde_json::json;

use crate::boot::qmp::Qmp;
use crate::run::progress::say;

/// The kernel's last message in a panic.
const PANIC: &str = "Kernel panic - not syncing";
/// Marks the end of the log.
const MARK: &str = "lab: the guest stands still";

/// Follows the kernel log up to the mark.
pub(super) struct LogEnd {
    panicked: bool,
    /// Receives whether there was a panic.
    end: Sender<bool>,
}

impl LogEnd {
    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str) {
        self.panicked |= line.contains(PANIC);
        if line == MARK {
            // If QEMU has died meanwhile, nobody receives this.
            let _ = self.end.send(self.panicked);
        }
    }
}

/// Starts a thread that waits for the guest's end, writes the memory to `file` if the guest
/// panicked, and ends QEMU. `marks` is QEMU's end of the pipe with the kernel log. The caller
/// passes the lines of the log to the returned value.
pub(super) fn on_panic(monitor: UnixStream, marks: OwnedFd, file: PathBuf) -> Result<LogEnd> {
    let (end, log) = mpsc::channel();
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
    Ok(LogEnd { panicked: false, end })
}

/// Whether there is a panic in the log. Waits until all of it is read.
fn has_panicked(marks: &mut fs::File, log: &Receiver<bool>) -> Result<bool> {
    writeln!(marks, "\n{MARK}").context("mark the kernel log")?;
    log.recv().context("the kernel log is not read to its end")
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

    /// Plays QEMU's side of a conversation. Returns the commands that QEMU was sent.
    fn converse(log: &str, words: &[&str]) -> Vec<String> {
        let (ours, qemu) = UnixStream::pair().unwrap();
        let (mark_reader, marks) = std::io::pipe().unwrap();
        let mut end = on_panic(ours, marks.into(), "/d/core".into()).unwrap();
        log.lines().for_each(|line| end.line(line));
        std::thread::spawn(move || {
            let marks = BufReader::new(mark_reader).lines().map_while(Result::ok);
            marks.for_each(|line| end.line(&line));
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
