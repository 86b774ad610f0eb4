// SPDX-License-Identifier: GPL-2.0

//! Runs one command, or a shell for a person.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::PoisonError;

use anyhow::{Context, Result};
use rustix::process::{WaitOptions, ioctl_tiocsctty, setsid, wait};
use vmlab_init::protocol::{Event, GuestJob, Size, Status};

use crate::child::{Program, status};
use crate::modules;
use crate::port::Port;
use crate::requests::{Terminal, resize};

/// The person's terminal: a virtio console, which the lab connects to its own.
const TERMINAL: &str = "/dev/hvc0";

/// Runs a line in a shell.
pub fn command(line: &str, input: Option<File>, job: &GuestJob, port: &mut Port) -> Result<()> {
    if !modules::load_all(&job.load, port) {
        return Ok(());
    }
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]).current_dir(&job.directory);
    let input = input.map_or_else(Stdio::null, Stdio::from);
    let status = Program::start_with(&mut shell, input)?.wait(None, port)?;
    port.event(&Event::Finished(status));
    Ok(())
}

/// Runs a shell for a person. A module that does not load is only reported: that may be what the
/// person wants to look at.
pub fn interactive(size: Size, job: &GuestJob, shown: &Terminal, port: &mut Port) -> Result<()> {
    modules::load_all(&job.load, port);
    let terminal = File::options().read(true).write(true).open(TERMINAL);
    let terminal = terminal.with_context(|| format!("open {TERMINAL}"))?;
    resize(&terminal, size);
    let copy = terminal.try_clone().context("duplicate the terminal")?;
    *shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    let status = wait_for_shell(terminal, &job.directory)?;
    port.event(&Event::Finished(status));
    Ok(())
}

fn wait_for_shell(terminal: File, directory: &str) -> Result<Status> {
    let (program, arguments): (_, &[&str]) = if Path::new("/bin/bash").exists() {
        ("/bin/bash", &["--norc", "-i"])
    } else {
        ("/bin/sh", &["-i"])
    };
    let mut shell = Command::new(program);
    shell.args(arguments).current_dir(directory).env("PS1", r"vm:\w# ");
    let copy = || terminal.try_clone().context("duplicate the terminal");
    shell.stdin(copy()?).stdout(copy()?).stderr(copy()?);
    // SAFETY: between fork and exec there are only two system calls. They make the terminal, which
    // is standard input by then, the controlling terminal: job control and Ctrl-C need that.
    unsafe {
        shell.pre_exec(|| {
            setsid()?;
            Ok(ioctl_tiocsctty(rustix::stdio::stdin())?)
        });
    }
    let child = shell.spawn().with_context(|| format!("start {program}"))?;
    let id = child.id();
    // PID 1 also reaps orphans during the whole session.
    loop {
        let ended = wait(WaitOptions::empty()).context("wait for the shell")?;
        if let Some((pid, ended)) = ended
            && pid.as_raw_nonzero().get().cast_unsigned() == id
        {
            return Ok(status(ExitStatus::from_raw(ended.as_raw())));
        }
    }
}
