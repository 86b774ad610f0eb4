// SPDX-License-Identifier: GPL-2.0

//! PID 1 of the lab's guest: makes a system from an initramfs and the host's root, does one job for
//! the lab, and switches the power off.

mod boot;
mod child;
mod counters;
mod files;
mod kmsg;
mod leaks;
mod leftovers;
mod memory;
mod modules;
mod mounts;
mod port;
mod printk;
mod processors;
mod requests;
mod shell;
mod tests;
mod wake;

use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};
use vmlab_init::protocol::{Beginning, Event, GuestWork, LOG_DONE, LOG_PANIC, START_FILE, Start};

use crate::port::Port;
use crate::processors::Starting;
use crate::requests::Requests;

const PROCESSORS: &str = "start the other processors";

fn main() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        kmsg::write(&format!("{LOG_PANIC}{text}"));
    }));
    let (start, mut port, requests) = start();
    let mut heard = None;
    if let Err(error) = work(start, &mut port, requests, &mut heard) {
        port.event(&Event::GaveUp(format!("{error:#}")));
    }
    // QEMU ends with the machine, and output that a busy lab has not read by then would be lost.
    if let Some(heard) = heard {
        let _ = heard.recv();
    }
    boot::power_off();
}

/// Everything up to the first message. Without a port an error cannot be sent: then PID 1 panics,
/// and so does the kernel, and its log has the reason.
fn start() -> (Start, Port, Requests) {
    let started = mounts::kernel_filesystems().and_then(|()| {
        let beginning = read_beginning()?;
        let mut port = Port::open()?;
        let mut requests = port.requests()?;
        let (start, is_copy) = match beginning {
            Beginning::Start(start) => (start, false),
            Beginning::Save { key } => {
                port.key = key;
                processors::start().and_then(Starting::wait).context(PROCESSORS)?;
                port.event(&Event::Saveable);
                (wake::up(&mut requests)?, true)
            }
        };
        port.key = start.key;
        port.event(&boot::hello(is_copy));
        Ok((start, port, requests))
    });
    started.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Does the job. Sets `heard` to the channel that reports when the lab has read the last message,
/// if there is a lab that answers.
fn work(
    start: Start,
    port: &mut Port,
    mut requests: Requests,
    heard: &mut Option<Receiver<()>>,
) -> Result<()> {
    let processors = processors::start().context(PROCESSORS)?;
    let host = mounts::host_root(port)?;
    processors.wait().context(PROCESSORS)?;
    boot::loopback_up().context("bring lo up")?;
    port.event(&Event::Mounted);
    let job = match start.job {
        Some(job) => job,
        // The guest is idle until the lab sends the job.
        None => requests::wait_for(&mut requests, "the job")?,
    };
    files::unpack(&host, &job.files)?;
    drop(host);
    mounts::writable(&job.writable)?;
    boot::environment(&job);
    let console = printk::Settings::look();
    let log = kmsg::Stream::start(port.clone())?;
    let (terminal, last_word) = requests::listen(requests, port);
    *heard = start.answers.then_some(last_word);
    let input = match job.work {
        GuestWork::Command(_) => port::input().context("find the port with standard input")?,
        GuestWork::Tests(_) | GuestWork::Shell(_) => None,
    };
    port.event(&Event::Ready);
    match &job.work {
        GuestWork::Tests(list) => tests::run(list, &job, &log, port)?,
        GuestWork::Command(line) => shell::command(line, input, &job, port)?,
        GuestWork::Shell(size) => shell::interactive(*size, &job, &terminal, port)?,
    }
    console.restore(port);
    log.mark(&job.mark(LOG_DONE, "", 0), port);
    port.event(&Event::Done);
    Ok(())
}

/// Reads the instructions. If that fails, lab and guest have different versions, and the lab would
/// not understand an error message.
///
/// Removes the file: programs must not find the key in it.
fn read_beginning() -> Result<Beginning> {
    let text = std::fs::read(START_FILE).with_context(|| format!("read {START_FILE}"))?;
    std::fs::remove_file(START_FILE).with_context(|| format!("remove {START_FILE}"))?;
    serde_json::from_slice(&text).with_context(|| format!("understand {START_FILE}"))
}
