// SPDX-License-Identifier: GPL-2.0

//! What a test leaves behind: a fault of the test or of the module.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

use crate::boot::read;
use crate::child::reap_orphans;
use crate::modules;

/// How long to wait between two looks at namespaces.
const LOOK: Duration = Duration::from_millis(5);

/// How long a look and the wait after it take at most on an idle host.
const TURN: Duration = Duration::from_millis(25);

/// The state of the machine before a test.
pub struct Before {
    namespaces: Option<usize>,
    devices: BTreeSet<String>,
    modules: BTreeSet<String>,
}

/// Left-overs that were found and removed.
#[derive(Debug, Default)]
pub struct Found {
    /// Problems that fail the test.
    pub problems: Vec<String>,
    /// Notes that do not fail it.
    pub notes: Vec<String>,
}

impl Before {
    /// Looks at the machine.
    pub fn look() -> Before {
        Before {
            namespaces: network_namespaces(),
            devices: devices(),
            modules: modules::loaded().into_iter().collect(),
        }
    }

    /// Removes everything that was not there before. It must have ended within `settle`, which is
    /// so long that only things that will never end take longer.
    pub fn restore(&self, settle: Duration) -> Found {
        let deadline = Instant::now() + settle;
        let mut found = Found::default();
        self.processes(deadline, &mut found);
        fault_injection(&mut found);
        named_namespaces(&mut found);
        self.namespaces(deadline, &mut found);
        self.modules(deadline, &mut found);
        self.devices(&mut found);
        found
    }

    fn processes(&self, deadline: Instant, found: &mut Found) {
        let left: Vec<String> =
            processes().into_iter().map(|(pid, name)| format!("{name} ({pid})")).collect();
        if left.is_empty() {
            return;
        }
        found.notes.push(format!("killed what it left running: {}", left.join(", ")));
        kill_all();
        while !processes().is_empty() && Instant::now() < deadline {
            reap_orphans();
            std::thread::sleep(Duration::from_millis(2));
        }
        reap_orphans();
        for (pid, name) in processes() {
            found.problems.push(format!("process {name} ({pid}) cannot be killed:{}", stack(pid)));
        }
    }

    /// Waits until namespaces have ended. They end in the background, and that is where a forgotten
    /// reference shows.
    fn namespaces(&self, deadline: Instant, found: &mut Found) {
        let gone = || match (self.namespaces, network_namespaces()) {
            (Some(before), Some(now)) => now <= before,
            _ => true,
        };
        // On a busy host the guest may not run for a while, nor do the workers that end
        // namespaces. So the time alone does not decide: the number of looks must also be reached.
        let mut looks = deadline.saturating_duration_since(Instant::now()).div_duration_f32(TURN);
        while !(gone() && cleanup_workers().is_empty()) {
            if Instant::now() > deadline && looks <= 0.0 {
                break;
            }
            std::thread::sleep(LOOK);
            looks -= 1.0;
        }
        if !gone() {
            let (before, now) = (self.namespaces.unwrap_or(0), network_namespaces().unwrap_or(0));
            found
                .problems
                .push(format!("left {} network namespaces behind", now.saturating_sub(before)));
        }
        for pid in cleanup_workers() {
            found.problems.push(format!("the end of a network namespace hangs:{}", stack(pid)));
        }
    }

    fn modules(&self, deadline: Instant, found: &mut Found) {
        for name in modules::loaded() {
            if self.modules.contains(&name) {
                continue;
            }
            let unloaded = match modules::unload(&name, deadline) {
                Ok(()) => String::new(),
                Err(error) => format!(", and it does not unload: {error}"),
            };
            found.problems.push(format!("left module {name} loaded{unloaded}"));
        }
    }

    fn devices(&self, found: &mut Found) {
        let now = devices();
        let left: Vec<&str> = now.difference(&self.devices).map(String::as_str).collect();
        if !left.is_empty() {
            let names = left.join(", ");
            found.problems.push(format!("left network devices in the initial namespace: {names}"));
        }
    }
}

/// All user processes except us: number and name.
fn processes() -> Vec<(u32, String)> {
    numbers("/proc")
        .filter_map(|pid| Some((pid, user_process(&read(&format!("/proc/{pid}/stat"))?)?)))
        .collect()
}

fn numbers(dir: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The name in a `/proc/PID/stat`, unless it is PID 1, a kernel thread or dead.
fn user_process(stat: &str) -> Option<String> {
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let (head, tail) = stat.rsplit_once(") ")?;
    let (pid, name) = head.split_once(" (")?;
    let mut fields = tail.split(' ');
    let state = fields.next()?;
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    let counts = pid != "1" && state != "Z" && state != "X" && flags & KERNEL_THREAD == 0;
    counts.then(|| name.to_owned())
}

/// Kills every process except us and the kernel's.
pub fn kill_all() {
    // SAFETY: a plain system call; PID 1 itself is not among its targets.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// The kernel stack of a process, one frame a line.
pub fn stack(pid: u32) -> String {
    let text = read(&format!("/proc/{pid}/stack")).unwrap_or_default();
    text.lines().take(8).map(|line| format!("\n  {}", line.trim_start_matches("[<0>] "))).collect()
}

/// The kernel stack of every user process, for a test that took too long.
pub fn whereabouts() -> Vec<String> {
    processes()
        .into_iter()
        .map(|(pid, name)| format!("{name} ({pid}) is in:{}", stack(pid)))
        .collect()
}

/// Where every process waits, the kernel's own among them, for a guest that takes too long.
pub fn everywhere() -> Vec<String> {
    let place = |pid| {
        let name = read(&format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{name} ({pid}) is in:{}", stack(pid))
    };
    numbers("/proc").filter(|&pid| !is_idle(pid)).map(place).collect()
}

/// A worker of the kernel that waits for work.
fn is_idle(pid: u32) -> bool {
    let stat = read(&format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('I' | 'Z')) || user_process(&stat).is_none() && state == Some('S')
}

/// Kernel workers that end network namespaces right now: `kworker/u4:1+netns`.
fn cleanup_workers() -> Vec<u32> {
    let busy =
        |pid: &u32| read(&format!("/proc/{pid}/comm")).is_some_and(|name| name.ends_with("+netns"));
    numbers("/proc").filter(busy).collect()
}

/// The number of network namespaces in use, by listns(2). `None` if the kernel is older than that
/// call.
fn network_namespaces() -> Option<usize> {
    #[repr(C)]
    struct Request {
        size: u32,
        spare: u32,
        after: u64,
        kind: u32,
        spare2: u32,
        user_namespace: u64,
    }
    const LISTNS: libc::c_long = 470;
    const ROOM: usize = 4096;
    let mut ids = vec![0u64; ROOM];
    let mut count = 0;
    let mut after = 0;
    loop {
        let kind = libc::CLONE_NEWNET.cast_unsigned();
        let size = u32::try_from(size_of::<Request>()).ok()?;
        let request = Request { size, spare: 0, after, kind, spare2: 0, user_namespace: 0 };
        // SAFETY: the request is complete and its size says so; the kernel writes at most
        // ROOM ids to `ids`, which has that room.
        let got = unsafe { libc::syscall(LISTNS, &raw const request, ids.as_mut_ptr(), ROOM, 0) };
        let got = usize::try_from(got).ok()?;
        count += got;
        if got < ROOM {
            return Some(count);
        }
        after = ids[ROOM - 1];
    }
}

/// Removes files that hold a namespace, such as those of `ip netns add`.
fn named_namespaces(found: &mut Found) {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let held = namespace_mounts(&mounts);
    if held.is_empty() {
        return;
    }
    for path in &held {
        let result = unmount(path.as_str(), UnmountFlags::DETACH);
        // A file that cannot be removed does not hold the namespace any more.
        let _ = fs::remove_file(path);
        if let Err(error) = result {
            found.notes.push(format!("unmount {path}: {error}"));
        }
    }
    let names: BTreeSet<&str> =
        held.iter().filter_map(|path| Path::new(path).file_name()?.to_str()).collect();
    let names: Vec<&str> = names.into_iter().take(10).collect();
    found.problems.push(format!("left named namespaces behind: {}", names.join(", ")));
}

fn namespace_mounts(mountinfo: &str) -> Vec<String> {
    let line = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        tail.starts_with("nsfs ").then(|| head.split(' ').nth(4).map(str::to_owned))?
    };
    mountinfo.lines().filter_map(line).collect()
}

/// Switches fault injection off.
fn fault_injection(found: &mut Found) {
    for entry in fs::read_dir("/sys/kernel/debug").into_iter().flatten().flatten() {
        let probability = entry.path().join("probability");
        let on = fs::read_to_string(&probability).is_ok_and(|text| text.trim() != "0");
        if on {
            let name = entry.file_name().to_string_lossy().into_owned();
            let off = fs::write(&probability, "0")
                .map_or_else(|error| format!(" (not switched off: {error})"), |()| String::new());
            found.notes.push(format!("left fault injection on: {name}{off}"));
        }
    }
}

fn devices() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_living_user_processes_count() {
        let cases = [
            ("120 (sleep) S 1 120 120 0 -1 4194304 87", Some("sleep")),
            ("121 (a) b) (c) R 1 1 1 0 -1 4194304 1", Some("a) b) (c")),
            ("1 (init) S 0 1 1 0 -1 4194560 1", None),
            ("12 (kworker/0:1) I 2 0 0 0 -1 69238880 0", None),
            ("130 (sh) Z 1 120 120 0 -1 4194304 87", None),
            ("", None),
        ];
        for (stat, want) in cases {
            assert_eq!(user_process(stat).as_deref(), want, "{stat}");
        }
    }

    #[test]
    fn namespace_files_are_found_among_the_mounts() {
        let mounts = "25 1 0:22 / /proc rw - proc proc rw\n\
                      40 30 0:4 net:[4026532200] /run/netns/a rw shared:5 - nsfs nsfs rw\n";
        assert_eq!(namespace_mounts(mounts), ["/run/netns/a"]);
    }
}
