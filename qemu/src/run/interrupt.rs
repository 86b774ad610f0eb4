// SPDX-License-Identifier: GPL-2.0

//! Ctrl-C: children die, the stack unwinds, the caches stay whole.
//!
//! Children run in process groups of their own, so a terminal's Ctrl-C reaches
//! the lab alone. A thread takes the signal, notes it, and kills every group;
//! whoever waits for a child then gets an error, and destructors remove what is
//! half-finished. A second signal, or five seconds, ends the process at once.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Exit status after a signal, as shells have it for SIGINT.
pub const EXIT_CODE: u8 = 130;

/// How long unwinding may take before the process just ends.
const GRACE: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// The error that everything returns once a signal came.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Starts the thread that takes SIGINT, SIGTERM and SIGHUP.
pub fn install() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("take over SIGINT")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                give_up();
            }
            kill_all();
            std::thread::spawn(|| {
                std::thread::sleep(GRACE);
                give_up();
            });
        }
    });
    Ok(())
}

/// Whether a signal came.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error once a signal came: call it in loops that wait.
pub fn check() -> Result<()> {
    if requested() { Err(Interrupted.into()) } else { Ok(()) }
}

fn give_up() -> ! {
    kill_all();
    eprintln!("interrupted");
    std::process::exit(i32::from(EXIT_CODE))
}

fn groups() -> MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_all() {
    for group in groups().iter() {
        kill(*group);
    }
}

fn kill(group: i32) {
    if let Some(pid) = Pid::from_raw(group) {
        // Gone already is what we want; nothing else can be done about errors.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// A child in its own process group, killed with all its descendants when
/// dropped or when a signal comes.
#[derive(Debug)]
pub struct Running {
    /// The child; its pipes are for the taking.
    pub child: Child,
    group: i32,
    waited: bool,
}

/// Starts `command` in a process group of its own.
pub fn spawn(command: &mut Command) -> Result<Running> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Held over the start, so that a signal either comes before it (and the
    // check sees it) or finds the group in the list.
    let mut groups = groups();
    check()?;
    let child = command.process_group(0).spawn().with_context(|| format!("run {program}"))?;
    let group = child.id().cast_signed();
    groups.insert(group);
    Ok(Running { child, group, waited: false })
}

impl Running {
    /// Waits for the child. An error when a signal ended it.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("wait for a child")?;
        self.reaped();
        check()?;
        Ok(status)
    }

    /// Waits at most one poll: `None` while the child runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("wait for a child")?;
        if status.is_some() {
            self.reaped();
        }
        check()?;
        Ok(status)
    }

    /// Kills the child and all its descendants that stayed in its group.
    pub fn kill(&mut self) {
        kill(self.group);
    }

    /// From here on the number may belong to somebody else.
    fn reaped(&mut self) {
        self.waited = true;
        groups().remove(&self.group);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            self.kill();
            // Killed: this returns. Its status says nothing that we do not know.
            let _ = self.child.wait();
            self.reaped();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use std::time::Instant;

    #[test]
    fn dropping_kills_descendants_too() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]).stdout(Stdio::piped());
        let mut running = spawn(&mut command).unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(running.child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let grandchild = format!("/proc/{}/stat", line.trim());
        assert!(std::fs::exists(&grandchild).unwrap());
        drop(running);
        // An orphan is reaped by init, whenever that gets to it; a zombie is dead.
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_to_string(&grandchild).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "grandchild survived");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = spawn(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }
}
