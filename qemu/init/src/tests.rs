// SPDX-License-Identifier: GPL-2.0

//! Runs tests one after another, and cleans up after each.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use vmlab_init::protocol::{Event, GuestJob, GuestTest, LOG_BEGIN, LOG_END, SELFTESTS_DIR, Status};

use crate::child::{Limit, Program, reap_orphans};
use crate::kmsg::Stream;
use crate::leftovers::{self, Before, Found};
use crate::port::Port;
use crate::{counters, leaks, modules};

/// Runs them all.
pub fn run(tests: &[GuestTest], job: &GuestJob, log: &Stream, port: &mut Port) -> Result<()> {
    let settle = Duration::from_millis(job.settle_ms);
    if job.keep_loaded {
        modules::load_all(&job.load, port);
    } else {
        try_modules(&job.load, settle, port);
    }
    leaks::forget(port);
    counters::note_missing(port);
    for (index, test) in tests.iter().enumerate() {
        let before = Before::look();
        port.event(&Event::Begin(index));
        log.mark(&job.mark(LOG_BEGIN, &test.name, index), port);
        let start = Instant::now();
        let status = one(test, settle, port);
        let ms = start.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let mut found = if matches!(status, Status::TimedOut) { hung() } else { Found::default() };
        reap_orphans();
        let left = before.restore(settle);
        found.problems.extend(left.problems);
        found.notes.extend(left.notes);
        let counters = counters::now();
        log.mark(&job.mark(LOG_END, &test.name, index), port);
        let Found { problems, notes } = found;
        port.event(&Event::End { index, status, ms, counters, problems, notes });
        if matches!(status, Status::Stuck) {
            // Other tests would wait for what it holds in the kernel.
            anyhow::bail!("{} is stuck in the kernel", test.name);
        }
    }
    if job.keep_loaded {
        unload(&job.load, settle, port);
    }
    leaks::look(job, log, port);
    Ok(())
}

/// Loads and unloads the modules once. A module that does not load would fail every test, so it is
/// reported once, before them.
fn try_modules(files: &[String], settle: Duration, port: &mut Port) {
    if modules::load_all(files, port) {
        unload(files, settle, port);
    }
}

fn unload(files: &[String], settle: Duration, port: &mut Port) {
    for problem in modules::unload_all(files, settle) {
        let module = files.join(", ");
        port.event(&Event::NotLoaded { module, reason: problem });
    }
}

fn one(test: &GuestTest, settle: Duration, port: &mut Port) -> Status {
    let mut command = Command::new(Path::new(SELFTESTS_DIR).join(&test.program));
    command.current_dir(SELFTESTS_DIR);
    let limit = Limit { running: Duration::from_millis(test.timeout_ms), dying: settle };
    let ended = Program::start(&mut command).and_then(|program| program.wait(Some(limit), port));
    match ended {
        Ok(status) => status,
        Err(error) => {
            port.note(format!("{}: {error:#}", test.name));
            Status::NotStarted
        }
    }
}

/// The stacks of all processes after a timeout: a child of the test may be the one that hangs.
fn hung() -> Found {
    Found { problems: Vec::new(), notes: leftovers::whereabouts() }
}
