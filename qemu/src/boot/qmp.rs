// SPDX-License-Identifier: GPL-2.0

//! QEMU's monitor (QMP): each message is a line of JSON.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// A connection to QEMU's monitor.
pub(super) struct Qmp {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Qmp {
    /// Uses this connection to the monitor. Call [`Qmp::greet`] first.
    pub(super) fn new(socket: UnixStream) -> Result<Qmp> {
        let to = socket.try_clone().context("duplicate a socket")?;
        Ok(Qmp { to, from: BufReader::new(socket) })
    }

    /// Negotiates capabilities. Before that, QEMU accepts no other command.
    pub(super) fn greet(&mut self) -> Result<()> {
        self.ask("qmp_capabilities", json!({}))
    }

    /// The next message; `None` when QEMU has ended.
    fn hear(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        if self.from.read_line(&mut line).context("listen to QEMU")? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).with_context(|| format!("understand QEMU: {line}"))
    }

    /// Waits for an event. Returns whether it came; false if QEMU ended first.
    pub(super) fn wait_for(&mut self, event: &str) -> Result<bool> {
        while let Some(word) = self.hear()? {
            if word["event"] == event {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends a command and waits for the answer.
    pub(super) fn ask(&mut self, command: &str, arguments: Value) -> Result<()> {
        self.ask_for(command, arguments).map(drop)
    }

    /// Sends a command and returns the answer. The answer is null if QEMU has ended: either the
    /// command was to end, or the report will say why it died.
    pub(super) fn ask_for(&mut self, command: &str, arguments: Value) -> Result<Value> {
        // A single write: after `quit`, QEMU may end before a second write of the line's end.
        let request = request(command, arguments);
        self.to.write_all(request.as_bytes()).context("write to QEMU")?;
        self.answer(command)
    }

    /// Passes an open file to QEMU, under this name.
    pub(super) fn give(&mut self, name: &str, file: impl AsFd) -> Result<()> {
        let request = request("getfd", json!({"fdname": name}));
        let files: [BorrowedFd<'_>; 1] = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        along.push(SendAncillaryMessage::ScmRights(&files));
        let bytes = [IoSlice::new(request.as_bytes())];
        // The line fits into the socket's buffer, so it is sent whole, unless QEMU has ended.
        sendmsg(&self.to, &bytes, &mut along, SendFlags::empty()).context("write to QEMU")?;
        self.answer("getfd").map(drop)
    }

    fn answer(&mut self, command: &str) -> Result<Value> {
        while let Some(mut word) = self.hear()? {
            if let Some(why) = word["error"]["desc"].as_str() {
                bail!("QEMU refuses {command}: {why}");
            }
            if let Some(answer) = word.get_mut("return") {
                return Ok(answer.take());
            }
        }
        Ok(Value::Null)
    }
}

fn request(command: &str, arguments: Value) -> String {
    format!("{}\n", json!({"execute": command, "arguments": arguments}))
}
