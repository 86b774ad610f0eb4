// SPDX-License-Identifier: GPL-2.0

//! Ctrl-C: ends the children, unwinds the stack, and leaves no half-written files in the caches.
//!
//! Children run in their own process groups, so that a terminal's Ctrl-C reaches only the lab. A
//! thread takes the signal, notes it, and asks every group to end; make then removes half-written
//! files. Groups that are still there after a grace period are killed. Functions that wait for a
//! child return an error, and destructors remove unfinished files. After a second signal, or
//! another grace period, the process ends at once.
//!
//! A package manager is never killed, since that would leave packages half-installed. It is asked
//! to end once, and then waited for.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::boot::terminal;
use crate::run::print;

/// Exit status after a signal, as in shells for SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Time for a child to end, and then the same for unwinding.
const GRACE: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<BTreeMap<i32, Care>> = Mutex::new(BTreeMap::new());

/// How to end a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// SIGTERM, then SIGKILL.
    Usual,
    /// SIGINT to the child and not to its own children; nothing else.
    Gentle,
}

/// The error that all waiting functions return after a signal.
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
            if requested() {
                give_up();
            }
            request();
        }
    });
    Ok(())
}

/// Ends this run, as a signal does.
pub fn request() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    groups().iter().for_each(|(group, care)| ask(*group, *care));
    if is_gentle_running() {
        print::err("waiting for apt: killed, it would leave packages half-installed\n");
    }
    std::thread::spawn(|| {
        std::thread::sleep(GRACE);
        kill_all();
        std::thread::sleep(GRACE);
        give_up();
    });
}

/// Whether a signal came.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error after a signal. Loops that wait call this.
pub fn check() -> Result<()> {
    if requested() { Err(Interrupted.into()) } else { Ok(()) }
}

fn give_up() -> ! {
    kill_all();
    while is_gentle_running() {
        std::thread::sleep(Duration::from_millis(100));
    }
    terminal::restore();
    print::err("interrupted\n");
    std::process::exit(i32::from(EXIT_CODE))
}

fn is_gentle_running() -> bool {
    groups().values().any(|care| *care == Care::Gentle)
}

fn groups() -> MutexGuard<'static, BTreeMap<i32, Care>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_all() {
    for (group, _) in groups().iter().filter(|(_, care)| **care == Care::Usual) {
        kill(*group);
    }
}

/// Sends a signal to a group. The group may have ended already. A program that sudo started as root
/// cannot be signalled; it is waited for.
fn ask(group: i32, care: Care) {
    let Some(pid) = Pid::from_raw(group) else { return };
    let _ = match care {
        Care::Usual => kill_process_group(pid, Signal::TERM),
        Care::Gentle => kill_process(pid, Signal::INT),
    };
}

fn kill(group: i32) {
    if let Some(pid) = Pid::from_raw(group) {
        // As above.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// A child in its own process group, ended with all its descendants when dropped
/// or when a signal comes.
#[derive(Debug)]
pub struct Running {
    /// The child. The caller may take its pipes.
    pub child: Child,
    group: i32,
    care: Care,
    waited: bool,
}

/// Starts `command` in its own process group.
pub fn spawn(command: &mut Command) -> Result<Running> {
    start(command, Care::Usual)
}

/// Starts a package manager: it is never killed.
pub fn spawn_gently(command: &mut Command) -> Result<Running> {
    start(command, Care::Gentle)
}

fn start(command: &mut Command, care: Care) -> Result<Running> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Locked while the child starts: a signal either comes before that, and the check sees it, or
    // it finds the group in the list.
    let mut groups = groups();
    check()?;
    let child = command.process_group(0).spawn().with_context(|| format!("run {program}"))?;
    let group = child.id().cast_signed();
    groups.insert(group, care);
    Ok(Running { child, group, care, waited: false })
}

impl Running {
    /// Waits for the child. An error after a signal to the lab.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("wait for a child")?;
        self.reaped();
        check()?;
        Ok(status)
    }

    /// Does not wait: `None` while the child runs.
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

    /// Removes the group from the list: from now on its number may belong to another process.
    fn reaped(&mut self) {
        self.waited = true;
        groups().remove(&self.group);
    }

    /// Asks it to end, and kills the rest of the group after `grace`.
    fn end(&mut self, grace: Duration) {
        ask(self.group, self.care);
        if self.care == Care::Usual {
            self.wait_for(grace);
            // Not reaped yet, so the number is still its own.
            kill(self.group);
        }
        // We ended it ourselves, so its status tells nothing new.
        let _ = self.child.wait();
        self.reaped();
    }

    /// Waits for its end without taking its status.
    fn wait_for(&self, grace: Duration) {
        let Ok(pidfd) = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()) else {
            return;
        };
        let deadline = Instant::now() + grace;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            self.end(GRACE);
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

    /// A shell that has said that it is ready.
    fn ready(care: Care, script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::piped());
        let mut running = start(&mut command, care).unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(running.child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        running
    }

    #[test]
    fn a_child_is_asked_before_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let tidied = dir.path().join("tidied");
        let script =
            "trap 'echo TERM > \"$F\"; exit' TERM; echo ready; while :; do read x || :; done";
        let script = format!("F='{}'; {script}", tidied.display());
        drop(ready(Care::Usual, &script));
        assert_eq!(std::fs::read_to_string(tidied).unwrap(), "TERM\n");
    }

    #[test]
    fn a_child_that_does_not_listen_is_killed_after_the_grace() {
        let mut running =
            ready(Care::Usual, "trap '' TERM INT; echo ready; while :; do sleep 60; done");
        running.end(Duration::from_millis(100));
        assert!(running.waited);
    }

    #[test]
    fn a_package_manager_ends_by_itself_and_what_it_runs_is_not_disturbed() {
        let dir = tempfile::tempdir().unwrap();
        let (asked, whole) = (dir.path().join("asked"), dir.path().join("whole"));
        // What it runs would die of a SIGINT to the group.
        let script = format!(
            "trap 'echo INT > {}' INT; echo ready; sh -c 'read line; echo $line > {}'; exit 3",
            asked.display(),
            whole.display(),
        );
        let mut running = ready(Care::Gentle, &script);
        let mut input = running.child.stdin.take().unwrap();
        // Before it can end by itself: from a thread, the signal could come too late for the trap.
        ask(running.child.id().cast_signed(), Care::Gentle);
        kill_all();
        let ending = std::thread::spawn(move || running.end(Duration::ZERO));
        std::io::Write::write_all(&mut input, b"unpacked\n").unwrap();
        ending.join().unwrap();
        assert_eq!(std::fs::read_to_string(whole).unwrap(), "unpacked\n");
        assert_eq!(std::fs::read_to_string(asked).unwrap(), "INT\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = spawn(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }
}
