// SPDX-License-Identifier: GPL-2.0

//! The kernel log: writes lines to it, sends it to the lab, and reads its new messages.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use vmlab_init::protocol::Frame;

use crate::port::Port;

const KMSG: &str = "/dev/kmsg";

/// Writes a line into the kernel log. An error is ignored here: the lab will report that the line
/// is missing.
pub fn write(line: &str) {
    if let Ok(mut file) = File::options().write(true).open(KMSG) {
        // Priority 6, info. One write is one record.
        let _ = file.write_all(format!("<6>{line}\n").as_bytes());
    }
}

/// Larger than any record. Each read returns one record.
const RECORD: usize = 8192;

/// The most that a virtio port takes at once.
const BATCH: usize = 24 << 10;

/// How long to wait until a mark was read back from the log. This does not decide the verdict: the
/// lab itself checks that each mark came.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends the whole kernel log, from the boot on, to the lab. The serial line has it as well, unless
/// a test turns the console down.
pub struct Stream(Arc<Progress>);

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The mark to wait for.
    awaited: Option<String>,
    /// Whether records were lost, or cannot be read any more.
    lost: bool,
}

impl Stream {
    /// Starts a thread that reads the log until the guest ends.
    pub fn start(port: Port) -> Result<Stream> {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(KMSG).with_context(|| format!("open {KMSG}"))?;
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        std::thread::spawn(move || {
            let error = forward(file, &port, &shared);
            port.note(format!("read {KMSG}: {error}"));
            shared.update(|state| state.lost = true);
        });
        Ok(Stream(progress))
    }

    /// Writes a mark, and waits until it was sent to the lab, with everything before it.
    pub fn mark(&self, mark: &str, port: &Port) {
        self.0.update(|state| *state = State { awaited: Some(mark.to_owned()), lost: state.lost });
        write(mark);
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut State| state.awaited.is_some() && !state.lost;
        let waited = self.0.changed.wait_timeout_while(state, PATIENCE, waiting);
        if waited.is_ok_and(|(_, result)| result.timed_out()) {
            port.note(format!("the mark `{mark}` does not come back out of the kernel log"));
        }
    }
}

impl Progress {
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Notes that records were sent, and wakes the waiter for a mark.
    fn sent(&self, frame: &Frame) {
        let Frame::Kernel(records) = frame else { return };
        self.update(|state| {
            // The kernel escapes some characters of a name, but none of the number behind it.
            let number = |mark: &String| mark.rsplit(' ').next().unwrap_or_default().to_owned();
            let sent = |mark: &String| String::from_utf8_lossy(records).contains(&number(mark));
            if state.awaited.as_ref().is_some_and(sent) {
                state.awaited = None;
            }
        });
    }
}

/// Sends records, several at once when they come fast. Returns the error that ends it.
fn forward(mut file: File, port: &Port, progress: &Progress) -> std::io::Error {
    let mut record = vec![0; RECORD];
    let mut batch = Vec::new();
    loop {
        let result = file.read(&mut record);
        let more = match &result {
            Ok(length) => {
                batch.extend(&record[..*length]);
                batch.len() + RECORD <= BATCH
            }
            Err(_) => false,
        };
        if more {
            continue;
        }
        if !batch.is_empty() {
            let frame = Frame::Kernel(std::mem::take(&mut batch));
            port.send(&frame);
            progress.sent(&frame);
        }
        match result {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(&file, PollFlags::IN)];
                // An interrupted poll does no harm: the next read finds out what there is.
                let _ = poll(&mut fds, None);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Records were overwritten before they were read. The lab notices the gap in the
            // numbers.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                progress.update(|state| state.lost = true);
            }
            Err(error) => return error,
        }
    }
}

/// Reads what the kernel logs from now on.
pub struct Since(File);

impl Since {
    /// Skips what is there already.
    pub fn now() -> Result<Since> {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open(KMSG).with_context(|| format!("open {KMSG}"))?;
        file.seek(SeekFrom::End(0)).with_context(|| format!("seek in {KMSG}"))?;
        Ok(Since(file))
    }

    /// The messages since [`Since::now`].
    pub fn lines(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut record = vec![0; RECORD];
        while let Ok(length) = self.0.read(&mut record) {
            lines.extend(message(&String::from_utf8_lossy(&record[..length])));
        }
        lines
    }
}

/// The text of a record: `priority,sequence,time,flags;text\n KEY=value...`.
fn message(record: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    Some(text.lines().next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_reduced_to_its_text() {
        let record = "6,339,5140900,-;sample: Unknown symbol x; (err -2)\n SUBSYSTEM=module\n";
        assert_eq!(message(record).as_deref(), Some("sample: Unknown symbol x; (err -2)"));
        assert_eq!(message("nonsense"), None);
    }
}
