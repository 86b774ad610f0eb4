// SPDX-License-Identifier: GPL-2.0

//! Standard output and standard error.
//!
//! The standard library's macros panic when nobody reads any more, as after `make test 2>&1 | head
//! -1`. A run goes on without its reader: the verdict is in its exit status and in its reports.

use std::io::{self, ErrorKind, Write};

/// Writes to standard output. If that fails, reports it on standard error, except when the reader
/// has closed the pipe.
pub fn out(text: &str) {
    let mut to = io::stdout().lock();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            err(&format!("error: write to standard output: {error}\n"));
        }
        _ => {}
    }
}

/// Writes to standard error. If that fails, there is no other place to report it.
pub fn err(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
