// SPDX-License-Identifier: GPL-2.0

//! A person's terminal: connected to the guest, and restored afterwards.

use std::io::{Read, Write, stdin, stdout};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use vmlab_init::protocol::Size;

use crate::run::interrupt;
use crate::run::print;

/// Ctrl-], the escape key of telnet and `virsh console`, too. It works even if the guest hangs.
const LEAVE: u8 = 0x1d;

/// How many keys are kept for a guest that does not read them.
const MOST_KEYS: usize = 1 << 16;

/// The terminal's previous mode, while it is in raw mode.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal in raw mode: every key goes to the guest, Ctrl-C included. Dropping
/// it restores the mode.
#[derive(Debug)]
pub struct Raw(());

/// An error if standard input is not a terminal.
pub fn require() -> Result<()> {
    if !isatty(stdin()) || !isatty(stdout()) {
        bail!("a shell needs a terminal; for a command, use `lab run -- COMMAND`");
    }
    Ok(())
}

/// The terminal's size, if standard input is a terminal.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0).then_some(Size { rows: size.ws_row, columns: size.ws_col })
}

impl Raw {
    /// Switches to raw mode.
    pub fn enter() -> Result<Raw> {
        print::err("Ctrl-] leaves the shell at any time, also when the guest hangs\n");
        let before = tcgetattr(stdin()).context("read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let set = tcsetattr(stdin(), OptionalActions::Flush, &raw);
        set.context("set the terminal's mode").map(|()| Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal's mode, for a process that ends without unwinding.
pub fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // The terminal may be gone; then its mode does not matter.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

/// Copies bytes both ways until the guest's side ends.
pub fn connect(guest: UnixStream) -> Result<()> {
    let to = guest.try_clone().context("duplicate a socket")?;
    // This thread ends with the process: a read from a terminal cannot be cancelled.
    std::thread::spawn(move || keys(stdin(), &to, interrupt::request));
    std::thread::spawn(move || output(guest, &mut stdout()));
    Ok(())
}

/// Carries standard input to a command in the guest, up to its end.
pub fn feed(guest: UnixStream) {
    // Ends with the process, as above.
    std::thread::spawn(move || {
        if may_read() {
            output(stdin(), &mut &guest);
        }
        // Only this direction: if the whole socket were closed, QEMU would drop what it has not
        // read yet.
        let _ = guest.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut &guest, &mut std::io::sink());
    });
}

/// Whether this process may read standard input: a terminal stops background processes that read.
fn may_read() -> bool {
    !isatty(stdin()) || tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp())
}

/// Copies output until either side ends.
fn output(mut from: impl Read, to: &mut impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..length]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// Passes keys on until they end, or one of them is [`LEAVE`]. That key must be seen even if the
/// guest does not read, so this always waits for both sides at once.
fn keys(from: impl AsFd, to: &UnixStream, leave: impl FnOnce()) {
    let mut pending = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let Ok((pressed, writable)) = wait(&from, to, !pending.is_empty()) else { return };
        if pressed {
            // Reads the file itself: bytes in the standard library's buffer would be invisible to
            // poll.
            let Ok(length @ 1..) = rustix::io::read(&from, &mut bytes) else { return };
            if bytes[..length].contains(&LEAVE) {
                return leave();
            }
            pending.extend(&bytes[..length]);
            pending.truncate(MOST_KEYS);
        }
        if pressed || writable {
            match send(to, &pending, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(pending.drain(..sent)),
                Err(Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
    }
}

/// Waits for a key, or for room when there is something to send.
fn wait(from: impl AsFd, to: &UnixStream, sending: bool) -> Result<(bool, bool), Errno> {
    let wanted = if sending { PollFlags::OUT } else { PollFlags::empty() };
    let mut fds = [
        PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(to.as_fd(), wanted),
    ];
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    Ok((!fds[0].revents().is_empty(), !fds[1].revents().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user's end, the guest's end, and a thread that returns whether the user left the shell.
    fn shell() -> (UnixStream, UnixStream, std::thread::JoinHandle<bool>) {
        let (person, from) = UnixStream::pair().unwrap();
        let (to, guest) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut left = false;
            keys(from, &to, || left = true);
            left
        });
        (person, guest, thread)
    }

    #[test]
    fn keys_reach_the_guest_as_they_are() {
        let (mut person, mut guest, shell) = shell();
        let typed = b"ls\r\x01\x03~.\x04";
        person.write_all(typed).unwrap();
        let mut got = [0; 8];
        guest.read_exact(&mut got).unwrap();
        assert_eq!(&got, typed);
        drop(person);
        assert!(!shell.join().unwrap());
    }

    #[test]
    fn a_guest_that_reads_nothing_can_be_left() {
        let (mut person, _guest, shell) = shell();
        // More than the sockets hold, and more than is kept.
        person.write_all(&vec![b'x'; 1 << 20]).unwrap();
        person.write_all(&[LEAVE]).unwrap();
        assert!(shell.join().unwrap());
    }

    #[test]
    fn a_paste_that_the_guest_takes_slowly_arrives_whole() {
        let (mut person, mut guest, _shell) = shell();
        let text = vec![b'y'; MOST_KEYS / 2];
        person.write_all(&text).unwrap();
        let mut got = vec![0; text.len()];
        guest.read_exact(&mut got).unwrap();
        assert_eq!(got, text);
    }
}
