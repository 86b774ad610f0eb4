// SPDX-License-Identifier: GPL-2.0

//! PID 1 of the lab's guest: makes a system from an initramfs and the host's root, does one job for
//! the lab, and switches the power off.

mod boot;
mod child;
mod counters;
mod kmsg;
mod leaks;
mod leftovers;
mod modules;
mod mounts;
mod port;
mod processors;
mod requests;
mod shell;
mod tests;

use anyhow::{Context, Result};
use vmlab_init::protocol::{Event, JOB_FILE, Job, LOG_DONE, LOG_PANIC, Work};

use crate::port::Port;

fn main() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        kmsg::write(&format!("{LOG_PANIC}{text}"));
    }));
    let (job, mut port) = start();
    if let Err(error) = work(&job, &mut port) {
        port.event(&Event::GaveUp(format!("{error:#}")));
    }
    boot::power_off();
}

/// Everything up to the first message. Without a port an error cannot be sent: then PID 1 panics,
/// and so does the kernel, and its log has the reason.
fn start() -> (Job, Port) {
    let started = mounts::kernel_filesystems().and_then(|()| {
        let job = read_job()?;
        let port = Port::open(job.key)?;
        Ok((job, port))
    });
    match started {
        Ok((job, port)) => {
            port.event(&boot::hello());
            (job, port)
        }
        Err(error) => panic!("{error:#}"),
    }
}

fn work(job: &Job, port: &mut Port) -> Result<()> {
    let processors = processors::start().context("start the other processors")?;
    mounts::host_root(port)?;
    mounts::writable(&job.writable)?;
    processors.wait().context("start the other processors")?;
    boot::loopback_up().context("bring lo up")?;
    boot::environment(job);
    let log = kmsg::Stream::start(port.clone())?;
    let terminal = requests::listen(port)?;
    port.event(&Event::Ready);
    match &job.work {
        Work::Tests(list) => tests::run(list, job, &log, port)?,
        Work::Command(line) => shell::command(line, job, port)?,
        Work::Shell(size) => shell::interactive(*size, job, &terminal, port)?,
    }
    log.mark(&job.mark(LOG_DONE, "", 0), port);
    port.event(&Event::Done);
    Ok(())
}

/// Reads the job. If that fails, lab and guest have different versions, and the lab would not
/// understand an answer.
///
/// Removes the job's file: programs must not find the key in it.
fn read_job() -> Result<Job> {
    let text = std::fs::read(JOB_FILE).with_context(|| format!("read {JOB_FILE}"))?;
    std::fs::remove_file(JOB_FILE).with_context(|| format!("remove {JOB_FILE}"))?;
    serde_json::from_slice(&text).with_context(|| format!("understand {JOB_FILE}"))
}
