// SPDX-License-Identifier: GPL-2.0

//! What a machine says: the messages of PID 1 and the kernel log.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::pipe::fcntl_setpipe_size;
use vmlab_init::protocol::Frame;

use crate::boot::dump::LogEnd;
use crate::boot::engine::QEMU;

/// How many messages of the guest are queued. After that, the guest waits.
pub(super) const AHEAD: usize = 2000;

/// The most bytes that are kept of a line of the kernel log.
const LONGEST_LINE: u64 = 8 << 10;

/// The most bytes that are kept of the kernel log on disk.
const LONGEST_LOG: usize = 64 << 20;

/// The output of a running machine.
#[derive(Debug)]
pub enum VmEvent {
    /// A message from PID 1.
    Frame(Frame),
    /// PID 1 has closed its port. If it stopped inside a message, this has the error.
    FramesEnd(Option<String>),
    /// A line of the kernel log.
    Log(String),
    /// The end of the kernel log.
    LogEnd,
    /// The log cannot be written to disk.
    LogLost(String),
    /// The log is too long; the rest of it is not kept.
    LogCut,
}

/// An event, and when it came. It may be read later than that.
pub(super) type Said = (Instant, VmEvent);

/// The largest pipe of an unprivileged user.
const LOG_ROOM: usize = 1 << 20;

/// A pipe, because QEMU writes a serial port's bytes one by one, and a socket has room for less
/// than 300 such writes. Without room, the guest spins for at most ten milliseconds and then
/// overwrites the byte: on a busy machine, lines of the log were torn.
pub(super) fn log_pipe() -> Result<(PipeReader, OwnedFd)> {
    let (ours, theirs) = std::io::pipe().context("create a pipe")?;
    // On failure it keeps its default of 64 KiB, which is nearly always enough.
    let _ = fcntl_setpipe_size(&theirs, LOG_ROOM);
    Ok((ours, theirs.into()))
}

/// Returns whether there is still somebody to hear it.
fn tell(to: &SyncSender<Said>, event: VmEvent) -> bool {
    to.send((Instant::now(), event)).is_ok()
}

pub(super) fn read_frames(socket: UnixStream, key: u64, to: &SyncSender<Said>) {
    let mut socket = BufReader::new(socket);
    let end = loop {
        match Frame::read(&mut socket, key) {
            Ok(Some(frame)) => {
                if !tell(to, VmEvent::Frame(frame)) {
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    tell(to, VmEvent::FramesEnd(end));
}

/// Reads the kernel log and writes it to its file. Continues to read if the file cannot be written:
/// otherwise the guest would block.
pub(super) fn read_log(
    from: impl Read,
    mut file: File,
    path: &Path,
    to: &SyncSender<Said>,
    mut end: Option<LogEnd>,
) {
    let (mut lost, mut length) = (false, 0);
    let mut from = BufReader::new(from);
    while let Some(line) = read_line(&mut from) {
        let room = length <= LONGEST_LOG;
        length += line.len() + 1;
        if room && length > LONGEST_LOG {
            tell(to, VmEvent::LogCut);
        } else if room
            && !lost
            && let Err(error) = writeln!(file, "{line}")
        {
            lost = true;
            tell(to, VmEvent::LogLost(format!("write {}: {error}", path.display())));
        }
        if let Some(end) = &mut end {
            end.line(&line);
        }
        if !tell(to, VmEvent::Log(line)) {
            return;
        }
    }
    tell(to, VmEvent::LogEnd);
}

/// A line without its end of line, or the beginning of a line that is too long.
fn read_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    match from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
        Ok(1..) => {}
        Ok(0) | Err(_) => return None,
    }
    let line = String::from_utf8_lossy(&line);
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

pub(super) fn complaint(stderr: &Path) -> Option<String> {
    let text = std::fs::read_to_string(stderr).ok()?;
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim_start_matches(QEMU).trim_start_matches(": ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_log_that_nobody_reads_for_a_while_has_room_for_a_whole_boot() {
        let (_ours, log) = log_pipe().unwrap();
        rustix::fs::fcntl_setfl(&log, rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut log = File::from(log);
        // One byte at a time, as QEMU writes.
        let written = std::iter::repeat_with(|| log.write(b"x")).take_while(Result::is_ok).count();
        assert!(written >= 64 << 10, "{written} bytes");
    }

    fn log_of(file: File, bytes: &[u8]) -> Vec<String> {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        guest.write_all(bytes).unwrap();
        drop(guest);
        let (sender, said) = mpsc::sync_channel(AHEAD);
        read_log(ours, file, Path::new("/logs/kernel.log"), &sender, None);
        drop(sender);
        said.iter().map(|(_, said)| format!("{said:?}")).collect()
    }

    #[test]
    fn a_log_is_kept_whole_even_when_it_ends_in_mid_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = log_of(file.reopen().unwrap(), b"one\r\ntw\xffo");
        assert_eq!(said, ["Log(\"one\")", "Log(\"tw\u{fffd}o\")", "LogEnd"]);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "one\ntw\u{fffd}o\n");
    }

    #[test]
    fn a_full_disk_is_reported_once_and_the_guest_goes_on() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let said = log_of(full, b"one\ntwo\n");
        let lost = "LogLost(\"write /logs/kernel.log: No space left on device (os error 28)\")";
        assert_eq!(said, [lost, "Log(\"one\")", "Log(\"two\")", "LogEnd"]);
    }
}
