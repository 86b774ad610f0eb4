// SPDX-License-Identifier: GPL-2.0

//! A person's terminal, lent to the guest and given back as it was.

use std::io::{Read, Write, stdin, stdout};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use vmlab_init::protocol::Size;

/// A terminal in raw mode: every key goes to the guest, Ctrl-C included. Dropping
/// it restores the mode.
#[derive(Debug)]
pub struct Raw(Termios);

/// Whether there is a person at a terminal.
pub fn require() -> Result<()> {
    if !isatty(stdin()) || !isatty(stdout()) {
        bail!("a shell needs a terminal; for a command, use `make run CMD='...'`");
    }
    Ok(())
}

/// Its size, if it has one.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0).then_some(Size { rows: size.ws_row, columns: size.ws_col })
}

impl Raw {
    /// Switches to raw mode.
    pub fn enter() -> Result<Raw> {
        let before = tcgetattr(stdin()).context("read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Flush, &raw).context("set the terminal's mode")?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone, and then nobody minds its mode.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Carries bytes both ways until the guest's side ends.
pub fn connect(guest: UnixStream) -> Result<()> {
    let mut keys = guest.try_clone().context("duplicate a socket")?;
    // Ends with the process: a read from a terminal cannot be called off.
    std::thread::spawn(move || pump(stdin(), &mut keys));
    std::thread::spawn(move || pump(guest, &mut stdout()));
    Ok(())
}

fn pump(mut from: impl Read, to: &mut impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..length]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
