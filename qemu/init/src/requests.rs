// SPDX-License-Identifier: GPL-2.0

//! What the lab sends: the job, and requests during the work.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::termios::{Winsize, tcsetwinsize};
use serde::de::DeserializeOwned;
use vmlab_init::protocol::{Event, Request, Size};

use crate::leftovers;
use crate::port::Port;

/// The person's terminal, if there is one.
pub type Terminal = Arc<Mutex<Option<File>>>;

/// What the lab sends, line by line.
pub type Requests = BufReader<File>;

/// Waits for the next line, whose type the caller knows: the job, or the wake-up message of a copy.
pub fn wait_for<T: DeserializeOwned>(requests: &mut Requests, what: &str) -> Result<T> {
    let mut line = String::new();
    requests.read_line(&mut line).with_context(|| format!("wait for {what}"))?;
    if line.is_empty() {
        bail!("the lab is gone");
    }
    serde_json::from_str(&line).with_context(|| format!("understand {what}"))
}

/// Answers requests until the machine ends. The receiver gets a message when the lab has read the
/// last event. If the lab is gone, it is closed without a message.
pub fn listen(requests: Requests, port: &Port) -> (Terminal, Receiver<()>) {
    let (port, terminal) = (port.clone(), Terminal::default());
    let shared = terminal.clone();
    let (heard, last_word) = mpsc::channel();
    std::thread::spawn(move || {
        for line in requests.lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Request::Resize(size)) => {
                    let terminal = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    terminal.iter().for_each(|terminal| resize(terminal, size));
                }
                Ok(Request::Whereabouts) => {
                    port.event(&Event::Whereabouts(leftovers::everywhere()));
                }
                // If PID 1 does not wait for it, nobody receives this.
                Ok(Request::Heard) => drop(heard.send(())),
                Err(error) => port.note(format!("a request that nobody understands: {error}")),
            }
        }
    });
    (terminal, last_word)
}

/// Sets the terminal's size. A wrong size is only ugly.
pub fn resize(terminal: &File, size: Size) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(terminal, size);
}
