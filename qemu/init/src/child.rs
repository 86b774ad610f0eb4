// SPDX-License-Identifier: GPL-2.0

//! Runs one program at a time: sends its output to the lab, and ends it if it takes too long.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, wait};
use vmlab_init::protocol::{Frame, Status};

use crate::memory::Asker;
use crate::port::Port;

/// How long a program may take.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// How long it may run before it is killed.
    pub running: Duration,
    /// How long it may take to die then. If it takes longer, it is stuck in the kernel.
    pub dying: Duration,
}

/// How long a program may print nothing before PID 1 checks whether memory is short.
const SILENCE: Duration = Duration::from_secs(1);

/// How much is read from one pipe at once. A program that writes without end must not keep PID 1
/// from checking the time limit.
const AT_ONCE: usize = 64 << 10;

/// The most that a pipe can hold. After a program has ended, only this much is read: what it wrote
/// before it ended.
const PIPE: usize = 1 << 20;

/// A pipe from the program and the frame that its bytes travel in.
struct Pipe {
    file: File,
    frame: fn(Vec<u8>) -> Frame,
    open: bool,
}

/// A started program.
pub struct Program {
    child: Child,
    pidfd: OwnedFd,
    pipes: [Pipe; 2],
}

impl Program {
    /// Starts a program in a process group of its own, without input.
    pub fn start(command: &mut Command) -> Result<Program> {
        Program::start_with(command, Stdio::null())
    }

    /// Like [`Program::start`], with this standard input.
    pub fn start_with(command: &mut Command, input: Stdio) -> Result<Program> {
        let what = command.get_program().to_string_lossy().into_owned();
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.process_group(0).spawn().with_context(|| format!("start {what}"))?;
        let pidfd = pidfd_open(pid(&child), PidfdFlags::empty()).context("open a pidfd")?;
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        let pipes = [pipe(out.into(), Frame::Out)?, pipe(err.into(), Frame::Err)?];
        Ok(Program { child, pidfd, pipes })
    }

    /// Sends output to the lab until the program ends or its time is over.
    pub fn wait(mut self, limit: Option<Limit>, port: &mut Port) -> Result<Status> {
        let deadline = limit.map(|limit| Instant::now() + limit.running);
        let ended = self.follow(deadline, port)?;
        if let (false, Some(limit)) = (ended, limit) {
            kill(&self.child);
            let dead = self.follow(Some(Instant::now() + limit.dying), port)?;
            return Ok(if dead {
                self.reap(port)?;
                Status::TimedOut
            } else {
                Status::Stuck
            });
        }
        Ok(status(self.reap(port)?))
    }

    /// Whether the program ended before the deadline.
    fn follow(&mut self, deadline: Option<Instant>, port: &mut Port) -> Result<bool> {
        let mut asker = Asker::default();
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let (ended, silent) = self.poll(left.map_or(SILENCE, |left| left.min(SILENCE)))?;
            if silent {
                asker.ask();
            }
            for pipe in &mut self.pipes {
                pipe.drain(AT_ONCE, port);
            }
            if ended {
                return Ok(true);
            }
        }
    }

    /// Waits until the program prints something or ends, at most this long. Returns whether it
    /// ended, and whether nothing happened.
    fn poll(&self, most: Duration) -> Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        for pipe in self.pipes.iter().filter(|pipe| pipe.open) {
            fds.push(PollFd::from_borrowed_fd(pipe.file.as_fd(), PollFlags::IN));
        }
        let most = Timespec::try_from(most).context("convert a timeout")?;
        let ready = match poll(&mut fds, Some(&most)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            Err(error) => return Err(error).context("wait for a program"),
        };
        Ok((!fds[0].revents().is_empty(), ready == 0))
    }

    /// Takes the exit status and the last output. Other processes of the group may hold the pipes
    /// open. They are killed, and only what is in the pipes already is read.
    fn reap(&mut self, port: &mut Port) -> Result<ExitStatus> {
        let status = self.child.wait().context("wait for a program")?;
        kill(&self.child);
        for pipe in &mut self.pipes {
            pipe.drain(PIPE, port);
        }
        Ok(status)
    }
}

impl Pipe {
    /// Sends what is in the pipe now, at most `most` bytes.
    fn drain(&mut self, most: usize, port: &mut Port) {
        let mut bytes = vec![0; AT_ONCE];
        let mut read = 0;
        while self.open && read < most {
            match self.file.read(&mut bytes) {
                Ok(0) => self.open = false,
                Ok(length) => {
                    read += length;
                    port.send(&(self.frame)(bytes[..length].to_vec()));
                }
                // The pipe is empty.
                Err(_) => return,
            }
        }
    }
}

fn pipe(fd: OwnedFd, frame: fn(Vec<u8>) -> Frame) -> Result<Pipe> {
    fcntl_setfl(&fd, OFlags::NONBLOCK).context("make a pipe non-blocking")?;
    Ok(Pipe { file: fd.into(), frame, open: true })
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn kill(child: &Child) {
    // No such group: all of it has ended, which is what we want.
    let _ = kill_process_group(pid(child), Signal::KILL);
}

/// The protocol's word for an exit status.
pub fn status(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Exited(code),
        (None, Some(signal)) => Status::Killed(signal),
        (None, None) => Status::NotStarted,
    }
}

/// Reaps every orphan that has ended. To be called only while no program of PID 1's own runs: the
/// status of that program would be lost.
pub fn reap_orphans() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
