// SPDX-License-Identifier: GPL-2.0

//! The virtual machine and its process. User Mode Linux is treated
//! like any other machine, except that the kernel is the program.
//!
//! QEMU gets connected sockets and a pipe instead of paths to listen on. So there is nothing to
//! clean up, nobody else can connect, and there is an end of file as soon as QEMU ends, for any
//! reason.

mod command_line;
mod output;

pub use self::command_line::pasteable;
pub use self::output::VmEvent;

use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::num::{NonZeroU16, NonZeroU32};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use vmlab_init::protocol::{self, Request};

use self::command_line::Ends;
use self::output::{AHEAD, Said};
use crate::boot::clock::Clock;
use crate::boot::dump;
use crate::boot::engine::Engine;
use crate::boot::kernel::Kernel;
use crate::boot::saved::Saved;
use crate::run::interrupt::{self, Running};
use crate::run::job::{Job, Work};
use crate::run::process;

/// The user's options for a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The number of processors; two by default.
    pub processors: Option<NonZeroU32>,
    /// Words for the kernel's command line.
    pub append: Vec<String>,
    /// Folders of the host that the guest may write to, by their absolute paths.
    pub writable: Vec<PathBuf>,
    /// The port at which the guest waits for gdb before its first instruction.
    pub gdb: Option<NonZeroU16>,
    /// The file for the guest's memory if the guest panics.
    pub dump: Option<PathBuf>,
    /// Whether the guest must boot, and not start from a snapshot.
    pub boot: bool,
}

/// The connection between the user and the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// There is none: the guest runs tests.
    Absent,
    /// The user's standard input goes to the command in the guest.
    Feeds,
    /// The user's terminal is the guest's second console.
    Types,
}

impl Person {
    /// The connection that a job needs.
    pub fn of(work: &Work) -> Person {
        match work {
            Work::Tests(_) => Person::Absent,
            Work::Command(_) => Person::Feeds,
            Work::Shell => Person::Types,
        }
    }
}

/// The content of a machine's memory at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// Empty: the machine boots.
    Empty,
    /// Empty: the machine boots, with its memory in this file, and will be saved.
    File(PathBuf),
    /// That of a snapshot.
    Saved(Saved),
}

/// The machine that QEMU makes.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// What executes the guest's code.
    pub engine: Engine,
    /// Memory in MiB.
    pub memory_mb: u32,
    pub memory: Memory,
    /// vmlinux with a PVH note.
    pub image: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// A firmware that only starts kernels; if `None`, QEMU's default one.
    pub firmware: Option<PathBuf>,
    pub person: Person,
    /// Whether emulated processors take turns, in one thread of the host.
    pub turns: bool,
    pub options: Options,
    /// The clock's frequency, for kernels on an emulated processor: on a busy host they would
    /// measure it wrongly.
    pub clock: Option<Clock>,
    /// The key that PID 1's events carry.
    pub key: u64,
}

impl VmSpec {
    /// Whether the lab uses QEMU's monitor.
    fn is_asked(&self) -> bool {
        self.options.dump.is_some() || self.memory != Memory::Empty
    }

    /// The machine for a job.
    pub fn new(job: &Job, kernel: &Kernel, engine: Engine, initrd: PathBuf, key: u64) -> VmSpec {
        VmSpec {
            engine,
            memory_mb: job.memory_mb,
            memory: Memory::Empty,
            image: kernel.image.clone(),
            initrd,
            firmware: Some(PathBuf::from(command_line::QBOOT)).filter(|file| file.exists()),
            person: Person::of(&job.work),
            turns: job.turns,
            options: job.options.clone(),
            clock: Some(Clock::of(kernel)),
            key,
        }
    }
}

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Vm {
    started: Instant,
    running: Running,
    said: Receiver<Said>,
    port: UnixStream,
    terminal: Option<UnixStream>,
    stderr: PathBuf,
}

/// QEMU, and our ends of its channels.
pub(super) struct Process {
    pub running: Running,
    started: Instant,
    pub log: PipeReader,
    /// QEMU's end of the log, for the mark that [`dump`] writes after QEMU's output.
    marks: Option<OwnedFd>,
    pub port: UnixStream,
    terminal: Option<UnixStream>,
    pub monitor: Option<UnixStream>,
}

/// Starts QEMU. Its error messages go to the file `stderr`.
pub(super) fn spawn(spec: &VmSpec, stderr: &Path) -> Result<Process> {
    let complaints =
        File::create(stderr).with_context(|| format!("create {}", stderr.display()))?;
    let (log, log_end) = output::log_pipe()?;
    let (our_port, port) = pair()?;
    let (our_terminal, terminal) = match spec.person {
        Person::Absent => (None, None),
        Person::Feeds | Person::Types => pair().map(|(a, b)| (Some(a), Some(b)))?,
    };
    let (our_monitor, monitor) =
        if spec.is_asked() { pair().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
    let ends = Ends { log: log_end, port, terminal, monitor };

    let mut command = if spec.engine == Engine::UserMode {
        command_line::user_mode(spec, &ends)
    } else {
        command_line::qemu(spec, &ends.channels())
    };
    process::announce(&command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints);
    tie(&mut command, &ends);
    let started = Instant::now();
    let running = interrupt::spawn(&mut command)?;
    let marks = match spec.options.dump {
        Some(_) => Some(ends.log.try_clone().context("duplicate a socket")?),
        None => None,
    };
    // If QEMU's ends stayed open here, there would never be an end of file.
    drop(ends);
    let (port, terminal, monitor) = (our_port, our_terminal, our_monitor);
    Ok(Process { running, started, log, marks, port, terminal, monitor })
}

/// Starts a machine. Its kernel log goes to the file `log`, and QEMU's error messages to `stderr`.
pub fn start(spec: &VmSpec, log: &Path, stderr: &Path) -> Result<Vm> {
    let Process { running, started, log: said_now, marks, port, terminal, monitor } =
        spawn(spec, stderr)?;
    // The log of the boot, if the machine starts from a snapshot.
    let mut said_before: Box<dyn Read + Send> = Box::new(std::io::empty());
    let mut log_end = None;
    match (&spec.memory, &spec.options.dump, monitor, marks) {
        (Memory::Saved(saved), _, Some(monitor), _) => {
            saved
                .load(monitor)
                .with_context(|| std::fs::read_to_string(stderr).unwrap_or_default())?;
            said_before = Box::new(saved.log()?);
        }
        (_, Some(file), Some(monitor), Some(marks)) => {
            log_end = Some(dump::on_panic(monitor, marks, file.clone())?);
        }
        _ => {}
    }
    let kernel_log = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let (sender, said) = mpsc::sync_channel(AHEAD);
    let frames = port.try_clone().context("duplicate a socket")?;
    let to = sender.clone();
    let key = spec.key;
    std::thread::spawn(move || output::read_frames(frames, key, &to));
    let log = log.to_owned();
    let text = said_before.chain(said_now);
    std::thread::spawn(move || output::read_log(text, kernel_log, &log, &sender, log_end));
    Ok(Vm { started, running, said, port, terminal, stderr: stderr.to_owned() })
}

fn pair() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair().context("create a pair of sockets")?;
    Ok((ours, theirs.into()))
}

/// Makes QEMU die with this process, however that dies. QEMU inherits its ends of the sockets and
/// nothing else.
fn tie(command: &mut Command, ends: &Ends) {
    let mut inherit: Vec<RawFd> = vec![ends.log.as_raw_fd(), ends.port.as_raw_fd()];
    inherit.extend(ends.terminal.iter().chain(&ends.monitor).map(AsRawFd::as_raw_fd));
    // SAFETY: between fork and exec there are only system calls, and no allocation. The descriptors
    // are open: the caller keeps `ends` until the child has started.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            for fd in &inherit {
                fcntl_setfd(rustix::fd::BorrowedFd::borrow_raw(*fd), FdFlags::empty())?;
            }
            Ok(())
        });
    }
}

impl Vm {
    /// The next event and its time since QEMU's start. The event is `None` if none came within
    /// `patience`.
    pub fn listen(&self, patience: Duration) -> (Duration, Option<VmEvent>) {
        match self.said.recv_timeout(patience) {
            Ok((at, event)) => (at - self.started, Some(event)),
            Err(_) => (self.age(), None),
        }
    }

    /// The time since QEMU's start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// QEMU's exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.running.try_wait()
    }

    /// QEMU's error messages.
    pub fn complaint(&self) -> Option<String> {
        output::complaint(&self.stderr)
    }

    /// Sends a request to PID 1.
    pub fn request(&self, request: Request) -> Result<()> {
        self.send(&request)
    }

    /// Sends PID 1 of a copy its instructions.
    pub fn wake(&self, wake: &protocol::Wake) -> Result<()> {
        self.send(wake)
    }

    /// Sends the job to PID 1, which waits for it.
    pub fn give(&self, job: &protocol::GuestJob) -> Result<()> {
        self.send(job)
    }

    fn send(&self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(what).context("encode a request")?;
        line.push(b'\n');
        (&self.port).write_all(&line).context("write to the guest")
    }

    /// The connection to the guest's console, or to the input of its command. It can be taken once.
    pub fn take_terminal(&mut self) -> Option<UnixStream> {
        self.terminal.take()
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// The id of QEMU's process, for tests that kill it as the out-of-memory killer would.
    pub fn id(&self) -> u32 {
        self.running.child.id()
    }
}
