// SPDX-License-Identifier: GPL-2.0

//! Decides whether to use KVM, by booting something and not by opening `/dev/kvm`.
//!
//! In a nested cloud, `/dev/kvm` can open, make a virtual machine, and then never execute an
//! instruction of it. The probe is a firmware of a dozen instructions. If it runs, it ends QEMU
//! with a special exit status. The finding holds until the machine restarts, so it is cached.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::run::files;
use crate::run::interrupt;
use crate::run::process;

pub const QEMU: &str = "qemu-system-x86_64";

const KVM: &str = "/dev/kvm";

/// Time limit of the probe. Where KVM works, the probe takes a fifth of a second.
const LIMIT: Duration = Duration::from_secs(5);

/// The smallest firmware that QEMU accepts. It is mapped at the end of 32-bit addresses.
const ROM: usize = 64 << 10;

/// QEMU's exit status when the guest ran: `(0x10 << 1) | 1`.
const RAN: i32 = 33;

/// The firmware: bytes and their places in the ROM. It enters protected mode before it ends QEMU,
/// since KVM may interpret real mode without using the processor's virtualisation.
const CODE: [(usize, &[u8]); 4] = [
    // A processor's first instruction: jmp 0xff00
    (0xfff0, &[0xe9, 0x0d, 0xff]),
    (
        0xff00,
        &[
            0xfa, // cli
            0x2e, 0x66, 0x0f, 0x01, 0x16, 0x40, 0xff, // lgdt cs:[0xff40]
            0x0f, 0x20, 0xc0, // mov eax, cr0
            0x0c, 0x01, // or al, 1
            0x0f, 0x22, 0xc0, // mov cr0, eax
            0x66, 0xea, 0x80, 0xff, 0xff, 0xff, 0x08, 0x00, // jmp 8:0xffffff80
        ],
    ),
    (
        0xff40,
        &[
            0x0f, 0x00, 0x48, 0xff, 0xff, 0xff, 0, 0, // 16 bytes at 0xffffff48:
            0, 0, 0, 0, 0, 0, 0, 0, // no segment,
            0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0, // and 4 GiB of 32-bit code
        ],
    ),
    (
        0xff80,
        &[
            0xba, 0xf4, 0x00, 0x00, 0x00, // mov edx, 0xf4: the port of isa-debug-exit
            0xb0, 0x10, // mov al, 0x10
            0xee, // out dx, al
            0xf4, // hlt
            0xeb, 0xfd, // jmp back to hlt
        ],
    ),
];

/// What runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU translates every instruction.
    Tcg,
    /// TCG with one processor whose clock ticks once for each instruction, to count them.
    #[serde(rename = "tcg-icount")]
    Counting,
    /// User Mode Linux: the kernel is a program of the host.
    #[serde(rename = "uml")]
    UserMode,
}

impl Engine {
    /// Whether the guest's code runs directly on the host's processor.
    pub fn is_native(self) -> bool {
        !matches!(self, Engine::Tcg | Engine::Counting)
    }

    /// The engine's name, as in results and in `--accel`.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Kvm => "kvm",
            Engine::Tcg => "tcg",
            Engine::Counting => "tcg-icount",
            Engine::UserMode => "uml",
        }
    }
}

/// The engine that a run used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub used: Engine,
    /// Why it was chosen, as a text for people.
    pub why: String,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Probed {
    Works,
    Hangs,
    /// QEMU did not start, with its error message.
    Refused(String),
}

/// Chooses the requested engine; without a request, KVM if it works.
pub fn choose(forced: Option<Engine>, remember_in: &Path) -> Result<Choice> {
    if forced == Some(Engine::UserMode) {
        let why = "ENGINE=uml asks for it: kernel code at this machine's own speed".to_owned();
        return Ok(Choice { used: Engine::UserMode, why });
    }
    if let Some(used) = forced {
        return Ok(Choice { used, why: format!("ACCEL={} asks for it", used.name()) });
    }
    // Not cached: it is cheap to check, and a person can fix it without a restart.
    if let Some(why) = unusable(Path::new(KVM)) {
        return Ok(Choice { used: Engine::Tcg, why });
    }
    Ok(verdict(&remembered(remember_in)?))
}

fn unusable(device: &Path) -> Option<String> {
    let error = fs::File::options().read(true).write(true).open(device).err()?;
    let device = device.display();
    Some(match error.kind() {
        ErrorKind::NotFound => format!("there is no {device}"),
        ErrorKind::PermissionDenied => {
            format!("no permission for {device}; joining its group (`kvm`) gives it")
        }
        _ => format!("{device} does not open: {error}"),
    })
}

fn verdict(finding: &Probed) -> Choice {
    let seconds = LIMIT.as_secs();
    let (used, why) = match finding {
        Probed::Works => (Engine::Kvm, "a probe guest ran with KVM".to_owned()),
        Probed::Hangs => {
            (Engine::Tcg, format!("{KVM} opens, but a probe guest hung for {seconds} s"))
        }
        Probed::Refused(why) => (Engine::Tcg, format!("KVM refuses to run a probe guest: {why}")),
    };
    Choice { used, why }
}

/// Forgets what a probe has found, so that the next choice probes anew.
pub fn forget(remember_in: &Path) -> Result<()> {
    files::remove_file(&remember_in.join(format!("{}.json", machine()?)))
}

/// The result of the probe since the host's boot: from the cache, else from a new probe. That KVM
/// refuses is not remembered: to ask takes no time, and a person can mend it.
fn remembered(remember_in: &Path) -> Result<Probed> {
    let path = remember_in.join(format!("{}.json", machine()?));
    if let Some(finding) = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok())
    {
        return Ok(finding);
    }
    let finding = probe(Engine::Kvm, LIMIT)?;
    if !matches!(finding, Probed::Refused(_)) {
        store(&path, &finding)?;
    }
    Ok(finding)
}

/// Changes when this machine starts again.
pub(super) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// A name for this host, its boot, QEMU and the probe.
fn machine() -> Result<String> {
    let boot = boot_id()?;
    // A container may lack this file. The id of the boot is unique enough.
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let qemu = process::read(Command::new(QEMU).arg("--version"))?;
    // Another version of the probe may have another result.
    let probe =
        format!("{CODE:?} {}", process::display(&probe_command(Engine::Kvm, Path::new("rom"))));
    Ok(files::key([boot, id, qemu, probe]))
}

fn store(path: &Path, finding: &Probed) -> Result<()> {
    files::make_dir(path.parent().context("a cache entry without a folder")?)?;
    files::write_whole(path, &serde_json::to_string(finding).context("encode a finding")?)
}

/// Starts a guest whose firmware is [`CODE`].
fn probe(engine: Engine, limit: Duration) -> Result<Probed> {
    let dir = tempfile::tempdir().context("create a scratch folder")?;
    let firmware = firmware(dir.path())?;
    let log = dir.path().join("stderr");
    let mut command = probe_command(engine, &firmware);
    process::announce(&command);
    command.stderr(fs::File::create(&log).with_context(|| format!("create {}", log.display()))?);
    let mut running = interrupt::spawn(&mut command)?;
    let deadline = Instant::now() + limit;
    loop {
        match running.try_wait()? {
            Some(status) if status.code() == Some(RAN) => return Ok(Probed::Works),
            Some(status) => return Ok(Probed::Refused(complaint(&log, status))),
            None if Instant::now() > deadline => return Ok(Probed::Hangs),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn firmware(dir: &Path) -> Result<PathBuf> {
    let mut rom = vec![0; ROM];
    for (place, code) in CODE {
        rom[place..][..code.len()].copy_from_slice(code);
    }
    let path = dir.join("firmware.bin");
    fs::write(&path, rom).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn probe_command(engine: Engine, firmware: &Path) -> Command {
    let mut command = Command::new(QEMU);
    command
        .args(["-accel", engine.name(), "-machine", "q35", "-m", "16"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x01", "-bios"])
        .arg(firmware)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn complaint(log: &Path, status: std::process::ExitStatus) -> String {
    let said = fs::read_to_string(log).unwrap_or_default();
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.trim_start_matches(QEMU).trim_start_matches(": ").to_owned(),
        None => format!("QEMU ended with {status}"),
    }
}

/// QEMU's version. An error if QEMU does not run.
pub fn qemu_version() -> Result<String> {
    // Asked for once, since each guest's report contains it.
    static SAID: OnceLock<String> = OnceLock::new();
    if let Some(said) = SAID.get() {
        return Ok(said.clone());
    }
    let said = process::read(Command::new(QEMU).arg("--version"));
    let said = said.context("QEMU does not run: install the package qemu-system-x86")?;
    match said.lines().next() {
        Some(line) => {
            let version = line.trim_start_matches("QEMU emulator version ").to_owned();
            Ok(SAID.get_or_init(|| version).clone())
        }
        None => bail!("{QEMU} --version prints nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_used_without_a_probe() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        for engine in [Engine::Kvm, Engine::Tcg] {
            let verdict = choose(Some(engine), &cache).unwrap();
            assert_eq!(
                (verdict.used, verdict.why),
                (engine, format!("ACCEL={} asks for it", engine.name()))
            );
        }
        assert!(!dir.path().join("cache").exists());
    }

    #[test]
    fn an_engine_has_one_name() {
        for engine in [Engine::Kvm, Engine::Tcg, Engine::Counting, Engine::UserMode] {
            assert_eq!(serde_json::to_value(engine).unwrap(), engine.name());
        }
    }

    #[test]
    fn each_reason_against_kvm_is_told_apart() {
        assert_eq!(unusable(Path::new("/dev/no-kvm")).unwrap(), "there is no /dev/no-kvm");
        // A folder opens for nobody, not even for root, to write.
        assert!(unusable(Path::new("/dev")).unwrap().starts_with("/dev does not open: "));
        assert_eq!(unusable(Path::new("/dev/null")), None);
        let hangs = verdict(&Probed::Hangs);
        assert_eq!(hangs.used, Engine::Tcg);
        assert_eq!(hangs.why, "/dev/kvm opens, but a probe guest hung for 5 s");
        assert_eq!(verdict(&Probed::Works).used, Engine::Kvm);
        let refused = verdict(&Probed::Refused("no nested VMX".into()));
        assert!(refused.used == Engine::Tcg && refused.why.ends_with("no nested VMX"));
    }

    /// If the probe did not even run under emulation, its failure under KVM would mean nothing.
    #[test]
    fn the_probe_runs_where_guests_run() {
        assert_eq!(probe(Engine::Tcg, Duration::from_secs(60)).unwrap(), Probed::Works);
    }

    #[test]
    fn a_guest_that_does_nothing_is_a_hang() {
        assert_eq!(probe(Engine::Tcg, Duration::ZERO).unwrap(), Probed::Hangs);
    }

    #[test]
    fn a_finding_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().to_owned();
        let path = cache.join(format!("{}.json", machine().unwrap()));
        let finding = Probed::Refused("from an earlier probe".into());
        store(&path, &finding).unwrap();
        assert_eq!(remembered(&cache).unwrap(), finding);
        forget(&cache).unwrap();
        assert!(!path.exists());
    }
}
