// SPDX-License-Identifier: GPL-2.0

//! Memory leaks that kmemleak finds, if the kernel has it. They go into the kernel log, where the
//! lab looks for reports.

use std::fs;
use std::path::Path;
use std::time::Duration;

use vmlab_init::protocol::{GuestJob, LEAKS, LOG_BEGIN, LOG_END};

use crate::kmsg::{self, Stream};
use crate::port::Port;

const FILE: &str = "/sys/kernel/debug/kmemleak";
/// kmemleak does not count younger objects: somebody may be about to store their address.
const OLD_ENOUGH: Duration = Duration::from_secs(6);
/// The most lines to print: nobody reads more, and the log's buffer is small.
const MOST_LINES: usize = 400;

/// Forgets leaks from before the tests.
pub fn forget(port: &mut Port) {
    if scan(port) {
        tell(port, "clear");
    }
}

/// Looks for leaks since [`forget`]. Scans twice: an object counts as leaked when its content did
/// not change between two scans.
pub fn look(job: &GuestJob, log: &Stream, port: &mut Port) {
    if !Path::new(FILE).exists() {
        return;
    }
    log.mark(&job.mark(LOG_BEGIN, LEAKS, 0), port);
    std::thread::sleep(OLD_ENOUGH);
    if scan(port) && scan(port) {
        match fs::read_to_string(FILE) {
            Ok(text) => text.lines().take(MOST_LINES).for_each(kmsg::write),
            Err(error) => port.note(format!("read {FILE}: {error}")),
        }
    }
    log.mark(&job.mark(LOG_END, LEAKS, 0), port);
}

fn scan(port: &mut Port) -> bool {
    Path::new(FILE).exists() && tell(port, "scan")
}

fn tell(port: &mut Port, word: &str) -> bool {
    let told = fs::write(FILE, word);
    if let Err(error) = &told {
        port.note(format!("write {word} to {FILE}: {error}"));
    }
    told.is_ok()
}
