// SPDX-License-Identifier: GPL-2.0

//! QEMU's command line, and that of User Mode Linux.

use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::Command;

use vmlab_init::protocol::{HOST_TAG, INPUT, PORT, writable_tag};

use super::{Memory, Person, VmSpec};
use crate::boot::engine::{Engine, QEMU};

/// The most memory for User Mode Linux, in MiB. Modules are placed after the memory, and both must
/// be below 2 GiB for modules to reach the kernel.
const USER_MODE_MEMORY: u32 = 448;

/// A firmware that comes with QEMU. It starts the kernel at once. SeaBIOS would first look for boot
/// devices and assign addresses to all devices, which the kernel does again: 70 ms of 200.
pub(super) const QBOOT: &str = "/usr/share/qemu/qboot.rom";

/// QEMU's ends of the sockets and of the log's pipe.
pub(super) struct Ends {
    pub(super) log: OwnedFd,
    pub(super) port: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) monitor: Option<OwnedFd>,
}

/// QEMU's options for the other ends of its character devices.
pub(super) struct Channels {
    log: String,
    /// The file descriptor of the log, if the log is not a file with a name.
    log_fd: Option<RawFd>,
    port: String,
    terminal: Option<String>,
    monitor: Option<String>,
}

impl Ends {
    pub(super) fn channels(&self) -> Channels {
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
    qemu(spec, &Channels { log, log_fd: None, port: file("events"), terminal, monitor: None })
}

/// A path among QEMU's options, where a comma ends a value.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// QEMU with these channels.
pub(super) fn qemu(spec: &VmSpec, channels: &Channels) -> Command {
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

/// The command line of User Mode Linux with these ends. More than one processor needs `seccomp=on`.
/// The only channels are the kernel log and PID 1's port.
pub(super) fn user_mode(spec: &VmSpec, ends: &Ends) -> Command {
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

/// A machine to be saved has all its memory in a file. Its copies map that file privately: they
/// share the pages that they only read.
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
/// - `norandmaps`, for an emulated processor: QEMU translates a program anew for each address that
///   it is
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
        // A copy has its kernel, initramfs and command line in its memory.
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
        // A debugger takes addresses from vmlinux.
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

/// QEMU's monitor, to control it while it runs.
fn monitor(command: &mut Command, channel: &str) {
    command.arg("-chardev").arg(format!("{channel},id=monitor"));
    command.args(["-mon", "chardev=monitor,mode=control"]);
}

/// For [`dump::on_panic`]: a guest that restarts, as after a panic, stops instead.
fn stand_still(command: &mut Command) {
    command.args(["-action", "reboot=shutdown,shutdown=pause"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    use crate::boot::clock::Clock;
    use crate::boot::vm::output::log_pipe;
    use crate::boot::vm::{Options, pair};
    use crate::run::process;

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
        process::display(&qemu(spec, &Ends { log, port, terminal, monitor: None }.channels()))
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
}
