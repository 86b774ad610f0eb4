// SPDX-License-Identifier: GPL-2.0

//! The virtual machine: QEMU's command line, its process and its output. User Mode Linux is treated
//! like any other machine, except that the kernel is the program.
//!
//! QEMU gets connected sockets and a pipe instead of paths to listen on. So there is nothing to
//! clean up, nobody else can connect, and there is an end of file as soon as QEMU ends, for any
//! reason.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::num::{NonZeroU16, NonZeroU32};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use vmlab_init::protocol::{self, Frame, HOST_TAG, INPUT, PORT, Request, writable_tag};

use crate::boot::clock::Clock;
use crate::boot::dump::{self, LogEnd};
use crate::boot::engine::{Engine, QEMU};
use crate::boot::kernel::Kernel;
use crate::boot::saved::Saved;
use crate::run::interrupt::{self, Running};
use crate::run::job::{Job, Work};
use crate::run::process;

/// The most memory for User Mode Linux, in MiB. Modules lie behind the memory, and both must be
/// below 2 GiB for modules to reach the kernel.
const USER_MODE_MEMORY: u32 = 448;

/// Comes with QEMU. It starts the kernel at once: SeaBIOS looks for something to boot from first, and
/// gives each device a place, which the kernel does as well. 70 ms of 200.
const QBOOT: &str = "/usr/share/qemu/qboot.rom";

/// How many messages of the guest are queued. Then it waits.
const AHEAD: usize = 2000;

/// The most bytes that are kept of a line of the kernel log.
const LONGEST_LINE: u64 = 8 << 10;

/// The most bytes that are kept of the kernel log on disk.
const LONGEST_LOG: usize = 64 << 20;

/// A person's options for a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Two by default.
    pub processors: Option<NonZeroU32>,
    /// Words for the kernel's command line.
    pub append: Vec<String>,
    /// Folders of the host that the guest may write to, by their absolute paths.
    pub writable: Vec<PathBuf>,
    /// The port at which it waits for gdb before the first instruction.
    pub gdb: Option<NonZeroU16>,
    /// The file for its memory if it panics.
    pub dump: Option<PathBuf>,
    /// Whether it boots, and is not a copy of a machine that has.
    pub boot: bool,
}

/// The connection between the user and the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// None, for tests.
    Absent,
    /// The user's standard input is that of a command.
    Feeds,
    /// The user's terminal is a second console.
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

/// What a machine's memory begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// Nothing: it boots.
    Empty,
    /// Nothing: it boots, with this file as its memory, to be saved.
    File(PathBuf),
    /// That of a saved machine, of which it is a copy.
    Saved(Saved),
}

/// The machine that QEMU makes.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// How its processor is made.
    pub engine: Engine,
    /// MiB.
    pub memory_mb: u32,
    pub memory: Memory,
    /// vmlinux with a PVH note.
    pub image: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// A firmware that only starts kernels; without, QEMU's usual one.
    pub firmware: Option<PathBuf>,
    pub person: Person,
    /// Whether emulated processors take turns, in one thread of the host.
    pub turns: bool,
    pub options: Options,
    /// For the kernel on an emulated processor, which measures it wrongly on a busy host.
    pub clock: Option<Clock>,
    /// What PID 1's events carry.
    pub key: u64,
}

impl VmSpec {
    /// Whether QEMU is told and asked things while it runs.
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
            firmware: Some(PathBuf::from(QBOOT)).filter(|file| file.exists()),
            person: Person::of(&job.work),
            turns: job.turns,
            options: job.options.clone(),
            clock: Some(Clock::of(kernel)),
            key,
        }
    }
}

/// The output of a running machine.
#[derive(Debug)]
pub enum VmEvent {
    /// A message from PID 1.
    Frame(Frame),
    /// PID 1 has closed its port; with the reason if it stopped inside of a message.
    FramesEnd(Option<String>),
    /// A line of the kernel log.
    Log(String),
    /// The end of the kernel log.
    LogEnd,
    /// The log cannot be written to disk.
    LogLost(String),
    /// The log is too long, and its end is not kept.
    LogCut,
}

/// An event, and when it came: others may have to wait until somebody listens.
type Said = (Instant, VmEvent);

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

/// QEMU's ends of the sockets and of the log's pipe.
struct Ends {
    log: OwnedFd,
    port: OwnedFd,
    terminal: Option<OwnedFd>,
    monitor: Option<OwnedFd>,
}

/// QEMU's options for the other ends of its character devices.
struct Channels {
    log: String,
    /// What the log's file is, when it is none with a name.
    log_fd: Option<RawFd>,
    port: String,
    terminal: Option<String>,
    monitor: Option<String>,
}

impl Ends {
    fn channels(&self) -> Channels {
        let socket = |fd: &OwnedFd| format!("socket,fd={}", fd.as_raw_fd());
        Channels {
            log: "file,path=/dev/fdset/1,append=on".to_owned(),
            log_fd: Some(self.log.as_raw_fd()),
            port: socket(&self.port),
            terminal: self.terminal.as_ref().map(socket),
            monitor: self.monitor.as_ref().map(socket),
        }
    }
}

/// A command line for a person to paste: kernel log or shell on the terminal, the rest in files in
/// `folder`.
pub fn pasteable(spec: &VmSpec, folder: &Path) -> Command {
    let file = |name: &str| format!("file,path={}", escape(&folder.join(name)));
    let stdio = "stdio,signal=off".to_owned();
    let (log, terminal) = match spec.person {
        Person::Types => (file("dmesg.log"), Some(stdio)),
        Person::Feeds | Person::Absent => (stdio, None),
    };
    command(spec, &Channels { log, log_fd: None, port: file("events"), terminal, monitor: None })
}

/// A path among QEMU's options, where a comma ends a value.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// QEMU, and our ends of its channels.
pub(super) struct Process {
    pub running: Running,
    started: Instant,
    pub log: PipeReader,
    /// QEMU's end of the log, to write something behind what it wrote.
    marks: Option<OwnedFd>,
    pub port: UnixStream,
    terminal: Option<UnixStream>,
    pub monitor: Option<UnixStream>,
}

/// Starts QEMU. Its own complaints go to the file `stderr`.
pub(super) fn spawn(spec: &VmSpec, stderr: &Path) -> Result<Process> {
    let complaints =
        File::create(stderr).with_context(|| format!("create {}", stderr.display()))?;
    let (log, log_end) = log_pipe()?;
    let (our_port, port) = pair()?;
    let (our_terminal, terminal) = match spec.person {
        Person::Absent => (None, None),
        Person::Feeds | Person::Types => pair().map(|(a, b)| (Some(a), Some(b)))?,
    };
    let (our_monitor, monitor) =
        if spec.is_asked() { pair().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
    let ends = Ends { log: log_end, port, terminal, monitor };

    let mut command = if spec.engine == Engine::UserMode {
        user_mode(spec, &ends)
    } else {
        command(spec, &ends.channels())
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

/// Starts a machine. Its kernel log goes to the file `log`, and QEMU's own complaints to `stderr`.
pub fn start(spec: &VmSpec, log: &Path, stderr: &Path) -> Result<Vm> {
    let Process { running, started, log: said_now, marks, port, terminal, monitor } =
        spawn(spec, stderr)?;
    // A copy has said this before it was one.
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
    std::thread::spawn(move || read_frames(frames, key, &to));
    let log = log.to_owned();
    let text = said_before.chain(said_now);
    std::thread::spawn(move || read_log(text, kernel_log, &log, &sender, log_end));
    Ok(Vm { started, running, said, port, terminal, stderr: stderr.to_owned() })
}

fn pair() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair().context("create a pair of sockets")?;
    Ok((ours, theirs.into()))
}

/// The largest pipe of an unprivileged user.
const LOG_ROOM: usize = 1 << 20;

/// A pipe, because QEMU writes a serial port's bytes one by one, and a socket has room for less
/// than 300 such writes. Without room, the guest spins for at most ten milliseconds and then
/// overwrites the byte: on a busy machine, lines of the log were torn.
fn log_pipe() -> Result<(PipeReader, OwnedFd)> {
    let (ours, theirs) = std::io::pipe().context("create a pipe")?;
    // On failure it keeps its default of 64 KiB, which is nearly always enough.
    let _ = fcntl_setpipe_size(&theirs, LOG_ROOM);
    Ok((ours, theirs.into()))
}

/// QEMU dies with us, however we die. It inherits its ends of the sockets and nothing else.
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

fn command(spec: &VmSpec, channels: &Channels) -> Command {
    let mut command = Command::new(QEMU);
    processor(&mut command, spec);
    bare(&mut command);
    kernel(&mut command, spec);
    kernel_log(&mut command, channels);
    port(&mut command, &channels.port);
    if let Some(channel) = &channels.terminal {
        match spec.person {
            Person::Types => terminal(&mut command, channel),
            Person::Feeds | Person::Absent => input(&mut command, channel),
        }
    }
    host_root(&mut command);
    for (number, folder) in spec.options.writable.iter().enumerate() {
        writable(&mut command, number, folder);
    }
    if let Some(port) = spec.options.gdb {
        command.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{port}")]);
    }
    if let Some(channel) = &channels.monitor {
        monitor(&mut command, channel);
    }
    if spec.options.dump.is_some() {
        stand_still(&mut command);
    }
    command
}

/// The kernel as a program. More than one processor needs `seccomp=on`. Its only channels are the
/// kernel log and PID 1's port; its memory file is in memory.
fn user_mode(spec: &VmSpec, ends: &Ends) -> Command {
    let mut command = Command::new(&spec.image);
    let memory = spec.memory_mb.min(USER_MODE_MEMORY);
    let processors = spec.options.processors.map_or(2, NonZeroU32::get);
    command.arg(format!("mem={memory}M")).arg(format!("ncpus={processors}")).arg("seccomp=on");
    command.arg(format!("initrd={}", spec.initrd.display()));
    command.args(["con=null", "ssl=null", "console=tty0"]);
    command.arg(format!("con0=null,fd:{}", ends.log.as_raw_fd()));
    let port = ends.port.as_raw_fd();
    command.arg(format!("ssl0=fd:{port},fd:{port}"));
    command.args(["ignore_loglevel", "printk.devkmsg=on", "panic=-1"]);
    command.args(spec.options.append.iter().flat_map(|text| text.split_whitespace()));
    command
}

/// q35 has PCI Express, so virtio devices are modern ones. Two processors, since most races need
/// two and most machines have them. `max` under TCG is everything that it can translate; the
/// default processor is one of 2003.
fn processor(command: &mut Command, spec: &VmSpec) {
    let (engine, cpu, number) = match spec.engine {
        Engine::Kvm => ("kvm", "host", "2"),
        Engine::Tcg if spec.turns => ("tcg,thread=single", "max", "2"),
        Engine::Tcg => ("tcg,thread=multi", "max", "2"),
        Engine::Counting | Engine::UserMode => ("tcg,thread=single", "max", "1"),
    };
    let number = spec.options.processors.map_or(number.to_owned(), |wanted| wanted.to_string());
    command.args(["-accel", engine, "-cpu", cpu, "-smp", &number]);
    if spec.engine == Engine::Counting {
        // A nanosecond for each instruction. Idle time is skipped.
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    memory(command, spec);
}

/// A machine that is saved has all its memory in a file. Its copies map that file: what they read
/// of it they share, and what they write is theirs alone.
fn memory(command: &mut Command, spec: &VmSpec) {
    let (file, share) = match &spec.memory {
        Memory::Empty => {
            command.args(["-machine", "q35"]).arg("-m").arg(spec.memory_mb.to_string());
            return;
        }
        Memory::File(file) => (file.clone(), "on"),
        Memory::Saved(saved) => (saved.memory(), "off"),
    };
    let (size, path) = (spec.memory_mb, escape(&file));
    command.args(["-machine", "q35,memory-backend=memory"]).arg("-m").arg(size.to_string());
    command
        .arg("-object")
        .arg(format!("memory-backend-file,id=memory,size={size}M,mem-path={path},share={share}"));
    if matches!(spec.memory, Memory::Saved(_)) {
        command.args(["-incoming", "defer"]);
    }
}

/// No devices except those that we name. QEMU ends when the guest restarts or panics.
fn bare(command: &mut Command) {
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
}

/// The kernel's parameters:
///
/// - `ignore_loglevel`: a test that turns the console down does not hide the kernel's messages.
/// - `printk.devkmsg=on`: the rate limit does not drop markers of tests.
/// - `log_buf_len`: a flood does not overwrite records that PID 1 has not read yet.
/// - `panic=-1`: restart at once, which ends QEMU.
/// - `no_timer_check`, as a KVM guest does by itself: on a busy host ten ticks can be late, and the
///   kernel would panic ("IO-APIC + timer doesn't work!").
/// - `tsc=reliable`: all processors read the host's one clock, and a late watchdog would be wrong.
/// - `maxcpus=1`: PID 1 starts the other processors; see there for the reason.
/// - `norandmaps`, for an emulated processor: QEMU translates a program anew for each address that it is
///   loaded at. Without randomised addresses a process starts four times as fast (QEMU 7.2).
/// - `rcutree.jiffies_till_first_fqs=0`: a grace period looks for idle processors at once, and not
///   first after a tick. Loading and unloading a module waits for a dozen of them. They are as strict
///   as before, unlike expedited ones. Not for measurements.
///
/// Without `quiet`, the log is complete.
fn kernel(command: &mut Command, spec: &VmSpec) {
    if let Some(firmware) = &spec.firmware {
        command.arg("-bios").arg(firmware);
    }
    if matches!(spec.memory, Memory::Saved(_)) {
        // It is in its memory.
        return;
    }
    command.arg("-kernel").arg(&spec.image).arg("-initrd").arg(&spec.initrd);
    let append = "console=ttyS0 ignore_loglevel printk.devkmsg=on log_buf_len=1M panic=-1 \
                  no_timer_check tsc=reliable maxcpus=1";
    let mut words = vec![append.to_owned()];
    if spec.engine != Engine::Counting {
        words.push("rcutree.jiffies_till_first_fqs=0".to_owned());
    }
    // A counting processor's clock is its instructions, and KVM has a better way.
    if let (Engine::Tcg, Some(clock)) = (spec.engine, spec.clock) {
        words.extend(clock.loops_per_jiffy.map(|loops| format!("lpj={loops}")));
        words.push(format!("tsc_early_khz={}", clock.kilohertz));
    }
    if spec.engine != Engine::Kvm {
        words.push("norandmaps".to_owned());
    }
    if spec.options.gdb.is_some() {
        // A debugger knows the addresses of vmlinux.
        words.push("nokaslr".to_owned());
    }
    words.extend_from_slice(&spec.options.append);
    command.arg("-append").arg(words.join(" "));
}

/// A plain serial port: the only console that works from the kernel's first to its last moment.
fn kernel_log(command: &mut Command, channels: &Channels) {
    if let Some(fd) = channels.log_fd {
        command.arg("-add-fd").arg(format!("fd={fd},set=1"));
    }
    command.arg("-chardev").arg(format!("{},id=log", channels.log));
    command.args(["-serial", "chardev:log"]);
}

/// PID 1's port to the lab.
fn port(command: &mut Command, channel: &str) {
    command.arg("-chardev").arg(format!("{channel},id=port"));
    command.args(["-device", "virtio-serial-pci"]);
    command.arg("-device").arg(format!("virtserialport,chardev=port,name={PORT}"));
}

/// A console with line editing and job control for a person.
fn terminal(command: &mut Command, channel: &str) {
    command.arg("-chardev").arg(format!("{channel},id=terminal"));
    command.args(["-device", "virtconsole,chardev=terminal"]);
}

/// A command's standard input, byte by byte as it comes.
fn input(command: &mut Command, channel: &str) {
    command.arg("-chardev").arg(format!("{channel},id=input"));
    command.arg("-device").arg(format!("virtserialport,chardev=input,name={INPUT}"));
}

/// The host's whole file system, read-only. `multidevs=remap`: files of two file systems never look
/// like the same file.
fn host_root(command: &mut Command) {
    command
        .args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
    command.arg("-device").arg(format!("virtio-9p-pci,fsdev=host,mount_tag={HOST_TAG}"));
}

/// A folder that the guest may write to. Its files belong to the user who runs QEMU.
fn writable(command: &mut Command, number: usize, folder: &Path) {
    let (tag, path) = (writable_tag(number), escape(folder));
    let options = "security_model=none,multidevs=remap";
    command.arg("-fsdev").arg(format!("local,id={tag},path={path},{options}"));
    command.arg("-device").arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
}

/// To tell QEMU something while it runs.
fn monitor(command: &mut Command, channel: &str) {
    command.arg("-chardev").arg(format!("{channel},id=monitor"));
    command.args(["-mon", "chardev=monitor,mode=control"]);
}

/// For [`dump::on_panic`]: a guest that restarts, which a panic does, stands still instead.
fn stand_still(command: &mut Command) {
    command.args(["-action", "reboot=shutdown,shutdown=pause"]);
}

/// Returns whether there is still somebody to hear it.
fn tell(to: &SyncSender<Said>, event: VmEvent) -> bool {
    to.send((Instant::now(), event)).is_ok()
}

fn read_frames(socket: UnixStream, key: u64, to: &SyncSender<Said>) {
    let mut socket = BufReader::new(socket);
    let end = loop {
        match Frame::read(&mut socket, key) {
            Ok(Some(frame)) => {
                if !tell(to, VmEvent::Frame(frame)) {
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    tell(to, VmEvent::FramesEnd(end));
}

/// Goes on reading if the file cannot be written: otherwise the guest would stand still.
fn read_log(
    from: impl Read,
    mut file: File,
    path: &Path,
    to: &SyncSender<Said>,
    mut end: Option<LogEnd>,
) {
    let (mut lost, mut length) = (false, 0);
    let mut from = BufReader::new(from);
    while let Some(line) = read_line(&mut from) {
        let room = length <= LONGEST_LOG;
        length += line.len() + 1;
        if room && length > LONGEST_LOG {
            tell(to, VmEvent::LogCut);
        } else if room
            && !lost
            && let Err(error) = writeln!(file, "{line}")
        {
            lost = true;
            tell(to, VmEvent::LogLost(format!("write {}: {error}", path.display())));
        }
        if let Some(end) = &mut end {
            end.line(&line);
        }
        if !tell(to, VmEvent::Log(line)) {
            return;
        }
    }
    tell(to, VmEvent::LogEnd);
}

/// A line without its end of line, or the beginning of a line that is too long.
fn read_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    match from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
        Ok(1..) => {}
        Ok(0) | Err(_) => return None,
    }
    let line = String::from_utf8_lossy(&line);
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn complaint(stderr: &Path) -> Option<String> {
    let text = std::fs::read_to_string(stderr).ok()?;
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim_start_matches(QEMU).trim_start_matches(": ").to_owned())
}

impl Vm {
    /// The next event; `None` after this time without one. With the time of it since QEMU's start.
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

    /// QEMU's own complaint.
    pub fn complaint(&self) -> Option<String> {
        complaint(&self.stderr)
    }

    /// Sends a request to PID 1.
    pub fn request(&self, request: Request) -> Result<()> {
        self.send(&request)
    }

    /// Tells PID 1 of a copy what it must know.
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

    /// The user's console, or the input of a command. It can be taken once.
    pub fn take_terminal(&mut self) -> Option<UnixStream> {
        self.terminal.take()
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// The process, for tests that kill it like the out-of-memory killer.
    pub fn id(&self) -> u32 {
        self.running.child.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(engine: Engine, terminal: bool) -> VmSpec {
        VmSpec {
            engine,
            memory_mb: 1024,
            memory: Memory::Empty,
            image: "/k/vmlinux".into(),
            initrd: "/t/initrd".into(),
            firmware: Some("/f/qboot.rom".into()),
            person: if terminal { Person::Types } else { Person::Absent },
            turns: false,
            options: Options::default(),
            clock: Some(Clock { loops_per_jiffy: Some(9_200_000), kilohertz: 2_300_000 }),
            key: 0,
        }
    }

    fn arguments(spec: &VmSpec) -> String {
        let (_a, log) = log_pipe().unwrap();
        let (_b, port) = pair().unwrap();
        let terminal = (spec.person != Person::Absent).then(|| pair().unwrap().1);
        process::display(&command(spec, &Ends { log, port, terminal, monitor: None }.channels()))
    }

    #[test]
    fn the_command_line_fits_the_machine() {
        let tcg = arguments(&spec(Engine::Tcg, false));
        for part in [
            "-accel tcg,thread=multi -cpu max",
            "-m 1024",
            "-bios /f/qboot.rom",
            "-kernel /k/vmlinux",
            "-initrd /t/initrd",
            "-no-reboot",
            "panic=-1",
            " lpj=9200000",
            " tsc_early_khz=2300000",
            " norandmaps",
            " rcutree.jiffies_till_first_fqs=0",
            "readonly=on",
            "-serial chardev:log",
            "virtserialport,chardev=port,name=lab.events",
        ] {
            assert!(tcg.contains(part), "{part} in {tcg}");
        }
        assert!(!tcg.contains("virtconsole"));
        let kvm = arguments(&spec(Engine::Kvm, false));
        assert!(kvm.contains("-accel kvm -cpu host") && !kvm.contains("norandmaps"), "{kvm}");
        let counting = arguments(&spec(Engine::Counting, false));
        assert!(counting.contains("-smp 1 -icount shift=0,sleep=off"), "{counting}");
        assert!(!counting.contains("lpj=") && !counting.contains("tsc_early"), "{counting}");
        assert!(counting.contains(" norandmaps"), "{counting}");
        assert!(!counting.contains("rcutree"), "{counting}");
        assert!(arguments(&spec(Engine::Tcg, true)).contains("virtconsole,chardev=terminal"));
        let fed = VmSpec { person: Person::Feeds, ..spec(Engine::Tcg, false) };
        assert!(arguments(&fed).contains("virtserialport,chardev=input,name=lab.input"));
    }

    #[test]
    fn what_a_person_wants_is_on_the_command_line() {
        let options = Options {
            processors: NonZeroU32::new(4),
            append: vec!["quiet".into(), "a=b c".into()],
            writable: vec!["/d,e".into()],
            gdb: NonZeroU16::new(1234),
            dump: None,
            boot: false,
        };
        let line = arguments(&VmSpec { options, ..spec(Engine::Tcg, false) });
        for part in [
            "-smp 4",
            "nokaslr quiet a=b c'",
            "local,id=writable0,path=/d,,e,security_model=none,multidevs=remap",
            "virtio-9p-pci,fsdev=writable0,mount_tag=writable0",
            "-S -gdb tcp:127.0.0.1:1234",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_line_to_paste_has_no_descriptors() {
        let line = process::display(&pasteable(&spec(Engine::Tcg, false), Path::new("/t")));
        assert!(!line.contains("fd="), "{line}");
        assert!(line.contains("stdio,signal=off,id=log"), "{line}");
        let line = process::display(&pasteable(&spec(Engine::Tcg, true), Path::new("/t")));
        assert!(line.contains("file,path=/t/dmesg.log,id=log"), "{line}");
        assert!(line.contains("stdio,signal=off,id=terminal"), "{line}");
    }

    #[test]
    fn a_kernel_in_user_mode_is_the_program_itself() {
        let (_a, log) = log_pipe().unwrap();
        let (_b, port) = pair().unwrap();
        let spec = spec(Engine::UserMode, false);
        let line =
            process::display(&user_mode(&spec, &Ends { log, port, terminal: None, monitor: None }));
        assert!(line.starts_with("/k/vmlinux mem=448M ncpus=2 seccomp=on"), "{line}");
        assert!(line.contains("initrd=/t/initrd") && line.contains("con0=null,fd:"), "{line}");
    }

    #[test]
    fn a_log_that_nobody_reads_for_a_while_has_room_for_a_whole_boot() {
        let (_ours, log) = log_pipe().unwrap();
        rustix::fs::fcntl_setfl(&log, rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut log = File::from(log);
        // As QEMU does it: a byte at a time.
        let written = std::iter::repeat_with(|| log.write(b"x")).take_while(Result::is_ok).count();
        assert!(written >= 64 << 10, "{written} bytes");
    }

    fn log_of(file: File, bytes: &[u8]) -> Vec<String> {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        guest.write_all(bytes).unwrap();
        drop(guest);
        let (sender, said) = mpsc::sync_channel(AHEAD);
        read_log(ours, file, Path::new("/logs/kernel.log"), &sender, None);
        drop(sender);
        said.iter().map(|(_, said)| format!("{said:?}")).collect()
    }

    #[test]
    fn a_log_is_kept_whole_even_when_it_ends_in_mid_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = log_of(file.reopen().unwrap(), b"one\r\ntw\xffo");
        assert_eq!(said, ["Log(\"one\")", "Log(\"tw\u{fffd}o\")", "LogEnd"]);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "one\ntw\u{fffd}o\n");
    }

    #[test]
    fn a_full_disk_is_reported_once_and_the_guest_goes_on() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let said = log_of(full, b"one\ntwo\n");
        let lost = "LogLost(\"write /logs/kernel.log: No space left on device (os error 28)\")";
        assert_eq!(said, [lost, "Log(\"one\")", "Log(\"two\")", "LogEnd"]);
    }
}
