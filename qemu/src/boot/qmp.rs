// SPDX-License-Identifier: GPL-2.0

//! QEMU's monitor (QMP): a line of JSON for each word.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// A conversation with QEMU.
pub(super) struct Qmp {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Qmp {
    /// On QEMU's monitor. Begins with [`Qmp::greet`].
    pub(super) fn new(socket: UnixStream) -> Result<Qmp> {
        let to = socket.try_clone().context("duplicate a socket")?;
        Ok(Qmp { to, from: BufReader::new(socket) })
    }

    /// Without it QEMU takes no command.
    pub(super) fn greet(&mut self) -> Result<()> {
        self.ask("qmp_capabilities", json!({}))
    }

    /// The next word; `None` when QEMU is gone.
    fn hear(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        if self.from.read_line(&mut line).context("listen to QEMU")? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).with_context(|| format!("understand QEMU: {line}"))
    }

    /// Waits for an event; not, when QEMU is gone.
    pub(super) fn wait_for(&mut self, event: &str) -> Result<bool> {
        while let Some(word) = self.hear()? {
            if word["event"] == event {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for the answer.
    pub(super) fn ask(&mut self, command: &str, arguments: Value) -> Result<()> {
        self.ask_for(command, arguments).map(drop)
    }

    /// What QEMU answers; null if it is gone: it was asked to, or dies in another way, of which the
    /// report tells.
    pub(super) fn ask_for(&mut self, command: &str, arguments: Value) -> Result<Value> {
        // In one piece: QEMU is gone before the end of the line when it is told to quit.
        let request = request(command, arguments);
        self.to.write_all(request.as_bytes()).context("write to QEMU")?;
        self.answer(command)
    }

    /// Gives QEMU an open file, which it knows by this name from now on.
    pub(super) fn give(&mut self, name: &str, file: impl AsFd) -> Result<()> {
        let request = request("getfd", json!({"fdname": name}));
        let files: [BorrowedFd<'_>; 1] = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        along.push(SendAncillaryMessage::ScmRights(&files));
        let bytes = [IoSlice::new(request.as_bytes())];
        // A socket has room for a line of this length, or QEMU is gone.
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
