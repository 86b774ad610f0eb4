// SPDX-License-Identifier: GPL-2.0

//! Snapshots of booted machines. A machine boots until PID 1 runs, and is saved. Each guest then
//! starts as a copy of this snapshot, in an eighth of the time of a boot.
//!
//! Copies do not affect each other. When the machine is saved, nothing of the host is mounted and
//! no test has run. PID 1 of a copy reseeds the kernel's random numbers and sets the clock, since a
//! snapshot has the same for all copies. The log of each copy begins with the log of the boot.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::json;
use vmlab_init::protocol::{Beginning, Event, Frame};

use crate::boot::archive::read;
use crate::boot::engine::{self, Engine};
use crate::boot::initramfs;
use crate::boot::kernel::Kernel;
use crate::boot::qmp::Qmp;
use crate::boot::vm::{self, Memory, VmSpec};
use crate::judge::guest_log::GuestLog;
use crate::run::files::{self, make_dir, remove_dir};
use crate::run::interrupt;
use crate::run::job::{Budget, Job};
use crate::run::process;

/// The name of the folder for snapshots in the user's cache.
pub const FOLDER: &str = "saved";

/// How many snapshots are kept. There is one for each kernel and each set of options.
const KEPT: usize = 8;

/// How long QEMU may be silent while it saves or loads.
const SILENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(2);

const MEMORY: &str = "memory";
const STATE: &str = "state";
const LOG: &str = "log";
const LOCK: &str = "lock";

/// QEMU's name for the open file with the machine's state.
const STATE_FD: &str = "state";

/// A snapshot: a folder with memory, state and kernel log of a booted machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    folder: PathBuf,
}

/// The snapshot for the guest of this job. Makes it if it does not exist. `None` if the guest must
/// boot:
///
/// - with KVM, where a boot takes no time, and with a processor that counts instructions;
/// - with a debugger, which wants to see the boot, and with a memory dump;
/// - with writable folders of the host;
/// - if the user asked for a boot.
pub fn for_job(job: &Job, kernel: &Kernel, engine: Engine) -> Result<Option<Saved>> {
    let options = &job.options;
    let special = options.boot
        || options.gdb.is_some()
        || options.dump.is_some()
        || !options.writable.is_empty();
    match &job.saved {
        Some(folder) if engine == Engine::Tcg && !special => {
            let limit = Budget::of(engine, kernel).boot / 4;
            find_or_make(job, kernel, folder, limit).map(Some)
        }
        _ => Ok(None),
    }
}

fn find_or_make(job: &Job, kernel: &Kernel, parent: &Path, limit: Duration) -> Result<Saved> {
    let saved = Saved { folder: parent.join(name(job, kernel)?) };
    loop {
        interrupt::check()?;
        // Another run may have removed the folder meanwhile.
        make_dir(&saved.folder)?;
        let path = saved.folder.join(LOCK);
        let open = File::options().create(true).append(true).open(&path);
        let lock = open.with_context(|| format!("open {}", path.display()))?;
        if saved.is_whole(job.memory_mb) {
            saved.mark_as_used();
            return Ok(saved);
        }
        match lock.try_lock() {
            Ok(()) if saved.is_whole(job.memory_mb) => {}
            Ok(()) => {
                forget(parent);
                if let Err(error) = make(job, kernel, &saved, limit) {
                    saved.remove()?;
                    return Err(error);
                }
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
    }
}

/// A name made of all that a boot depends on. A snapshot depends on the host's clock (TSC), so it
/// is valid until the host reboots.
fn name(job: &Job, kernel: &Kernel) -> Result<String> {
    let boot = engine::boot_id()?;
    // The clock's frequency is measured, and differs a little each time.
    let spec = VmSpec { clock: None, ..spec(job, kernel, Path::new("")) };
    let machine = format!("{spec:?} {}", process::display(&vm::pasteable(&spec, Path::new("/"))));
    let (qemu, image, init) = (engine::qemu_version()?, stamp(&kernel.image)?, read(&job.init)?);
    Ok(files::key([boot.as_bytes(), qemu.as_bytes(), machine.as_bytes(), image.as_bytes(), &init]))
}

/// A text that changes when another file takes the place of this one. It is faster than to read the
/// whole kernel.
fn stamp(path: &Path) -> Result<String> {
    let meta = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    let (place, time) = (meta.ino(), (meta.mtime(), meta.mtime_nsec()));
    Ok(format!("{} {place} {time:?} {}", path.display(), meta.len()))
}

/// The machine to save. Its processors take turns; those of its copies need not.
fn spec(job: &Job, kernel: &Kernel, folder: &Path) -> VmSpec {
    let spec = VmSpec::new(job, kernel, Engine::Tcg, folder.join("initrd"), KEY);
    VmSpec { memory: Memory::File(folder.join(MEMORY)), turns: true, ..spec }
}

/// The key of PID 1 until the machine is saved. It need not be secret, since no test has run yet.
const KEY: u64 = 0;

fn make(job: &Job, kernel: &Kernel, saved: &Saved, limit: Duration) -> Result<()> {
    let folder = &saved.folder;
    // Left over from a run that was killed.
    for left in fs::read_dir(folder).into_iter().flatten().flatten() {
        if left.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_dir(&left.path())?;
        }
    }
    let scratch = tempfile::tempdir_in(folder);
    let scratch = scratch.with_context(|| format!("create a folder in {}", folder.display()))?;
    let spec = spec(job, kernel, scratch.path());
    initramfs::write(&spec.initrd, &job.init, &Beginning::Save { key: KEY })?;
    save(&spec, scratch.path(), limit).context("save a machine that has booted")?;
    let log = scratch.path().join(LOG);
    let log = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    check_boot(&String::from_utf8_lossy(&log))?;
    // STATE comes last: when it exists, all files exist.
    for name in [MEMORY, LOG, STATE] {
        let to = folder.join(name);
        fs::rename(scratch.path().join(name), &to)
            .with_context(|| format!("create {}", to.display()))?;
    }
    Ok(())
}

/// Refuses a boot with a kernel report in its log: all copies would have that report, though it may
/// have happened in this boot only, on a busy host. The guest then boots instead, and if each boot
/// has the fault, its log will show it.
fn check_boot(log: &str) -> Result<()> {
    let mut heard = GuestLog::new(KEY, Vec::new());
    log.lines().for_each(|line| heard.console(line));
    match heard.finish().0.first() {
        Some(finding) => bail!("the kernel reported a fault while it booted: {}", finding.text),
        None => Ok(()),
    }
}

/// Boots a machine, and saves it once PID 1 runs.
fn save(spec: &VmSpec, folder: &Path, limit: Duration) -> Result<()> {
    let stderr = folder.join("stderr");
    let mut machine = vm::spawn(spec, &stderr)?;
    let path = folder.join(LOG);
    let mut log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut from = machine.log;
    let written = std::thread::spawn(move || std::io::copy(&mut from, &mut log));

    machine.port.set_read_timeout(Some(limit)).context("limit a boot")?;
    match Frame::read(&mut machine.port, spec.key).context("wait for PID 1")? {
        Some(Frame::Event(Event::Saveable)) => {}
        Some(_) => bail!("PID 1 did not say that it is ready to be saved"),
        None => bail!("the machine ended before PID 1 ran"),
    }
    let mut qmp = begin(machine.monitor)?;
    let path = folder.join(STATE);
    let state = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    qmp.give(STATE_FD, &state)?;
    qmp.ask("migrate", json!({"uri": format!("fd:{STATE_FD}")}))?;
    loop {
        interrupt::check()?;
        let answer = qmp.ask_for("query-migrate", json!({}))?;
        match answer["status"].as_str() {
            Some("completed") => break,
            Some("failed") | None => bail!("QEMU cannot save: {answer}"),
            Some(_) => std::thread::sleep(POLL),
        }
    }
    qmp.ask("quit", json!({}))?;
    let written = written.join().ok().context("the thread that writes the log panicked")?;
    written.with_context(|| format!("write {}", folder.join(LOG).display()))?;
    Ok(())
}

/// Opens the monitor of a machine to save or to load. The memory stays in its file and is not part
/// of the saved state.
fn begin(monitor: Option<UnixStream>) -> Result<Qmp> {
    let monitor = monitor.context("a machine without a monitor")?;
    monitor.set_read_timeout(Some(SILENCE)).context("limit QEMU's silence")?;
    let mut qmp = Qmp::new(monitor)?;
    qmp.greet()?;
    let in_file = json!([{"capability": "x-ignore-shared", "state": true}]);
    qmp.ask("migrate-set-capabilities", json!({"capabilities": in_file}))?;
    Ok(qmp)
}

impl Saved {
    /// Whether all files are complete. If the memory file were missing, QEMU would create one full
    /// of zeros, without an error.
    fn is_whole(&self, memory_mb: u32) -> bool {
        let length = |name| fs::metadata(self.folder.join(name)).map_or(0, |meta| meta.len());
        let memory = u64::from(memory_mb) << 20;
        length(MEMORY) == memory && length(LOG) > 0 && length(STATE) > 0
    }

    fn mark_as_used(&self) {
        // If this fails, the snapshot is only removed sooner.
        let _ = File::open(&self.folder).and_then(|it| it.set_modified(SystemTime::now()));
    }

    /// The file with the machine's memory.
    pub(super) fn memory(&self) -> PathBuf {
        self.folder.join(MEMORY)
    }

    /// The same machine, but started from this snapshot.
    pub(crate) fn copy(&self, of: &VmSpec) -> VmSpec {
        VmSpec { memory: Memory::Saved(self.clone()), ..of.clone() }
    }

    /// The kernel log of the boot.
    pub(super) fn log(&self) -> Result<impl Read + Send + use<>> {
        let path = self.folder.join(LOG);
        File::open(&path).with_context(|| format!("open {}", path.display()))
    }

    /// Loads the snapshot into a QEMU that waits for it. The guest then runs.
    pub(super) fn load(&self, monitor: UnixStream) -> Result<()> {
        let mut qmp = begin(Some(monitor))?;
        let path = self.folder.join(STATE);
        let state = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        qmp.give(STATE_FD, &state)?;
        qmp.ask("migrate-incoming", json!({"uri": format!("fd:{STATE_FD}")}))?;
        if !qmp.wait_for("RESUME")? {
            bail!("QEMU ended");
        }
        Ok(())
    }

    /// Removes a snapshot that may be damaged.
    pub fn remove(&self) -> Result<()> {
        remove_dir(&self.folder)
    }
}

/// Removes all but the most recently used snapshots. Running copies keep their open files.
fn forget(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let used = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let mut all: Vec<_> =
        entries.filter_map(|entry| Some((used(&entry.path())?, entry.path()))).collect();
    all.sort();
    for (_, folder) in all.iter().rev().skip(KEPT) {
        // If this fails, a later run removes it.
        let _ = remove_dir(folder);
    }
}

/// Random bytes.
pub(crate) fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    let mut from = File::open("/dev/urandom").context("open /dev/urandom")?;
    from.read_exact(&mut seed).context("read /dev/urandom")?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_machine_is_whole_with_all_of_its_memory() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved { folder: folder.path().to_owned() };
        for name in [MEMORY, LOG, STATE] {
            assert!(!saved.is_whole(1), "without {name}");
            fs::write(folder.path().join(name), "text").unwrap();
        }
        let memory = File::options().write(true).open(saved.memory()).unwrap();
        for (length, whole) in [(0, false), (1 << 20, true), ((1 << 20) - 1, false)] {
            memory.set_len(length).unwrap();
            assert_eq!(saved.is_whole(1), whole, "{length} bytes");
        }
        fs::write(folder.path().join(LOG), "").unwrap();
        memory.set_len(1 << 20).unwrap();
        assert!(!saved.is_whole(1), "without its log");
    }

    #[test]
    fn a_boot_with_a_report_of_the_kernel_is_not_saved() {
        let good = "[    0.000000] Linux version 7.3.4\r\n[    0.100000] Run /init as init process";
        check_boot(good).unwrap();
        let bad =
            format!("{good}\r\n[    0.200000] WARNING: kernel/time/timer.c:1 at f+0x1/0x2\r\n");
        let refused = check_boot(&bad).unwrap_err().to_string();
        assert!(refused.contains("WARNING"), "{refused}");
    }
}
