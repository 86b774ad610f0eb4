// SPDX-License-Identifier: GPL-2.0

//! Requests of the lab during the work.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use rustix::termios::{Winsize, tcsetwinsize};
use vmlab_init::protocol::{Event, Request, Size};

use crate::leftovers;
use crate::port::Port;

/// The person's terminal, if there is one.
pub type Terminal = Arc<Mutex<Option<File>>>;

/// Answers requests until the machine ends.
pub fn listen(port: &Port) -> Result<Terminal> {
    let requests = port.listener()?;
    let (port, terminal) = (port.clone(), Terminal::default());
    let shared = terminal.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(requests).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Request::Resize(size)) => {
                    let terminal = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    terminal.iter().for_each(|terminal| resize(terminal, size));
                }
                Ok(Request::Whereabouts) => {
                    port.event(&Event::Whereabouts(leftovers::everywhere()));
                }
                Err(error) => port.note(format!("a request that nobody understands: {error}")),
            }
        }
    });
    Ok(terminal)
}

/// Sets the terminal's size. A wrong size is only ugly.
pub fn resize(terminal: &File, size: Size) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(terminal, size);
}
