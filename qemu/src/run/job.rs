// SPDX-License-Identifier: GPL-2.0

//! What one boot of the guest is for, and how long it may take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vmlab_init::protocol;

use crate::boot::engine::{Choice, Engine};
use crate::boot::kernel::Kernel;
use crate::boot::vm;
use crate::run::process;

/// What one boot of the guest is for.
#[derive(Debug, Clone)]
pub struct Job {
    /// The work to do.
    pub work: Work,
    /// Modules for the guest's `/lab/modules`.
    pub modules: Vec<PathBuf>,
    /// File names of the modules to load first.
    pub load: Vec<String>,
    /// Whether these stay loaded while tests run.
    pub keep_loaded: bool,
    /// The program that is PID 1.
    pub init: PathBuf,
    /// Files for the guest's `/lab/selftests`: the folder, and built programs.
    pub selftests: Vec<PathBuf>,
    /// Programs for the guest's PATH.
    pub tools: Vec<PathBuf>,
    /// Where a command or a shell starts.
    pub directory: PathBuf,
    /// Variables for the guest's programs.
    pub env: Vec<(String, String)>,
    /// Whether emulated processors take turns in one thread of the host. With a thread each, they
    /// can race. That costs a third more of the host's time for a test that does one thing after
    /// another. Also, a processor may run into a breakpoint of another one that patches code
    /// ("Oops: int3"). While the kernel boots, it patches much code, so it boots on one processor
    /// (see PID 1's `processors`). After the boot this is rare, except in tests that switch many
    /// parts of the network on and off.
    pub turns: bool,
    /// Memory of the guest, in MiB.
    pub memory_mb: u32,
    /// The folder for snapshots of booted machines; if `None`, each guest boots.
    pub saved: Option<PathBuf>,
    /// The user's options for the machine.
    pub options: vm::Options,
    /// Lines of a test that begin with this text are shown at once, without the text.
    pub progress: Option<&'static str>,
    /// Whether a test's failures and the kernel's reports are shown at once.
    pub tells: bool,
    /// The folder for logs.
    pub logs: PathBuf,
    /// The checkout, to shorten paths in stacks.
    pub root: PathBuf,
}

/// The work of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Selftests, one after another.
    Tests(Vec<Test>),
    /// A line for a shell. The lab passes on its output.
    Command(String),
    /// A shell for a person.
    Shell,
}

impl Work {
    /// One test, in a guest of its own, so that no other test disturbs it.
    pub fn one(test: Test) -> Work {
        Work::Tests(vec![test])
    }
}

/// A selftest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its file name in the selftests folder.
    pub name: String,
    /// The time limit, from the folder's `settings`.
    pub timeout: Duration,
}

/// The time limit where a person decides when to end: practically none.
pub const NO_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Time limit of a test if its folder's `settings` have none: kselftest's own default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45);

/// Asks a selftests folder for its programs, and reads their time limits.
pub fn selftests(folder: &Path) -> Result<Vec<Test>> {
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "-s", "-C"]).arg(folder).arg("programs");
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let names = process::read(&mut make)
        .with_context(|| format!("list the tests of {}", folder.display()))?;
    let timeout = timeout(&folder.join("settings"))?;
    let tests: Vec<Test> =
        names.split_whitespace().map(|name| Test { name: name.to_owned(), timeout }).collect();
    if tests.is_empty() {
        bail!("{} lists no tests: nothing would have been tested", folder.display());
    }
    Ok(tests)
}

/// The time limit of the tests beside this file, kselftest's `settings`.
pub fn timeout(settings: &Path) -> Result<Duration> {
    let text = match fs::read_to_string(settings) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DEFAULT_TIMEOUT),
        Err(error) => return Err(error).with_context(|| format!("read {}", settings.display())),
    };
    parse_timeout(&text).with_context(|| format!("understand {}", settings.display()))
}

fn parse_timeout(settings: &str) -> Result<Duration> {
    let value = settings.lines().find_map(|line| line.trim().strip_prefix("timeout="));
    let Some(value) = value else { return Ok(DEFAULT_TIMEOUT) };
    let seconds = value.trim().parse().with_context(|| format!("timeout={value}"))?;
    Ok(Duration::from_secs(seconds))
}

/// The tests whose name contains one of the patterns, with `*` and `?` as in a shell; without
/// patterns, all. A pattern without a match is an error.
pub fn select(tests: Vec<Test>, patterns: &[String]) -> Result<Vec<Test>> {
    if patterns.is_empty() {
        return Ok(tests);
    }
    let wanted: Vec<String> = patterns.iter().map(|pattern| format!("*{pattern}*")).collect();
    for (pattern, wanted) in patterns.iter().zip(&wanted) {
        if !tests.iter().any(|test| fits(wanted, &test.name)) {
            let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
            bail!("no selftest is called `{pattern}`; there are: {}", names.join(", "));
        }
    }
    let is_wanted = |test: &Test| wanted.iter().any(|wanted| fits(wanted, &test.name));
    Ok(tests.into_iter().filter(is_wanted).collect())
}

/// Whether a name matches the pattern, with `*` and `?` as in a shell.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    let mut after = name.chars();
    match first {
        '*' => fits(rest, name) || (after.next().is_some() && fits(pattern, after.as_str())),
        '?' => after.next().is_some() && fits(rest, after.as_str()),
        c => after.next() == Some(c) && fits(rest, after.as_str()),
    }
}

/// Time limits of a guest. They are longer under emulation than with KVM, and longer again with a
/// debug kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// From QEMU's start until everything is mounted, and again from then until the job's files are
    /// unpacked.
    pub boot: Duration,
    /// Factor for a test's own limit.
    pub scale: u32,
    /// Whether tests are told that the machine is slow.
    pub slow: bool,
    /// How long namespaces may take to end after each test.
    pub settle: Duration,
    /// How long the lab waits beyond the limit of the current step before it gives up on the guest.
    pub grace: Duration,
}

impl Budget {
    /// The limits for this engine and kernel.
    pub fn of(engine: Engine, kernel: &Kernel) -> Budget {
        let translated = match engine {
            Engine::Kvm | Engine::UserMode => 1,
            Engine::Tcg => 3,
            Engine::Counting => 9,
        };
        let debug = if kernel.debug { 6 } else { 1 };
        let scale = translated * debug;
        Budget {
            // A boot takes a second or two, and twenty times as long on a host with ten times more
            // work than processors. Only a guest that hangs takes all of this.
            boot: Duration::from_secs(60) * scale,
            scale,
            slow: kernel.debug,
            // A little more than ten seconds: after ten seconds the kernel logs that references to
            // a device are left, so the log shows the reason.
            settle: Duration::from_secs(12) + Duration::from_secs(3) * scale,
            grace: Duration::from_secs(15) * scale,
        }
    }

    /// The limits for this job; with a debugger, boot and silence have none.
    pub fn for_job(job: &Job, kernel: &Kernel, engine: &Choice) -> Budget {
        let budget = Budget::of(engine.used, kernel);
        if job.options.gdb.is_some() { budget.without_limits() } else { budget }
    }

    /// The same, without limits for the boot and for silence: a debugger may stop the guest.
    pub fn without_limits(self) -> Budget {
        Budget { boot: NO_LIMIT, grace: NO_LIMIT, ..self }
    }

    /// The limit of one test.
    pub fn test(&self, test: &Test) -> Duration {
        test.timeout * self.scale
    }

    /// The limit of all tests together.
    pub fn run(&self, tests: &[Test]) -> Duration {
        let each = tests.iter().map(|test| self.test(test) + 2 * self.settle + self.grace);
        self.boot + self.grace + each.sum::<Duration>()
    }
}

impl Job {
    /// The job as PID 1 gets it.
    pub fn for_guest(
        &self,
        budget: &Budget,
        size: Option<protocol::Size>,
        key: u64,
        files: &Path,
    ) -> protocol::GuestJob {
        let work = match &self.work {
            Work::Tests(tests) => protocol::GuestWork::Tests(
                tests.iter().map(|test| guest_test(test, budget)).collect(),
            ),
            Work::Command(line) => protocol::GuestWork::Command(line.clone()),
            Work::Shell => {
                protocol::GuestWork::Shell(size.unwrap_or(protocol::Size { rows: 24, columns: 80 }))
            }
        };
        protocol::GuestJob {
            files: files.to_string_lossy().into_owned(),
            work,
            load: self.load.clone(),
            keep_loaded: self.keep_loaded,
            directory: self.directory.to_string_lossy().into_owned(),
            env: [environment(budget), self.env.clone()].concat(),
            writable: self
                .options
                .writable
                .iter()
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
            settle_ms: crate::run::phases::millis(budget.settle),
            key,
        }
    }
}

fn guest_test(test: &Test, budget: &Budget) -> protocol::GuestTest {
    protocol::GuestTest {
        name: test.name.clone(),
        program: test.name.clone(),
        timeout_ms: crate::run::phases::millis(budget.test(test)),
    }
}

/// Environment variables that the guest inherits from the host, and the one that tells the kernel's
/// own network tests that the machine is slow.
fn environment(budget: &Budget) -> Vec<(String, String)> {
    let pass = ["TERM", "COLORTERM"];
    let pass = pass.iter().filter_map(|&name| Some((name.to_owned(), std::env::var(name).ok()?)));
    let slow = budget.slow.then(|| ("KSFT_MACHINE_SLOW".to_owned(), "yes".to_owned()));
    pass.chain(slow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str) -> Test {
        Test { name: name.into(), timeout: Duration::from_secs(10) }
    }

    #[test]
    fn a_pattern_is_a_part_of_the_name() {
        let cases = [
            ("rlo", vec!["rlo_traffic.sh", "mv_rlo"]),
            ("rlo*.sh", vec!["rlo_traffic.sh"]),
            ("load_unload.sh", vec!["load_unload.sh"]),
            ("l?ad", vec!["load_unload.sh"]),
            ("mv load", vec!["load_unload.sh", "mv_rlo"]),
            ("mv rlo", vec!["rlo_traffic.sh", "mv_rlo"]),
        ];
        for (pattern, want) in cases {
            let all = ["rlo_traffic.sh", "load_unload.sh", "mv_rlo"].map(test).to_vec();
            let patterns: Vec<String> = pattern.split(' ').map(str::to_owned).collect();
            let found = select(all, &patterns).unwrap();
            let names: Vec<&str> = found.iter().map(|test| test.name.as_str()).collect();
            assert_eq!(names, want, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_without_a_test_is_an_error_that_lists_them() {
        let patterns = ["a", "c"].map(str::to_owned);
        let error = select(vec![test("a"), test("b")], &patterns).unwrap_err();
        assert_eq!(error.to_string(), "no selftest is called `c`; there are: a, b");
    }

    #[test]
    fn limits_come_from_settings_and_grow_with_slowness() {
        assert_eq!(parse_timeout("timeout=120\n").unwrap(), Duration::from_secs(120));
        assert_eq!(parse_timeout("# none\n").unwrap(), DEFAULT_TIMEOUT);
        assert!(parse_timeout("timeout=soon\n").is_err());

        let kernel = |debug| Kernel {
            build: PathBuf::new(),
            source: PathBuf::new(),
            image: PathBuf::new(),
            vmlinux: PathBuf::new(),
            release: String::new(),
            debug,
        };
        let limits = [
            Budget::of(Engine::Kvm, &kernel(false)),
            Budget::of(Engine::Tcg, &kernel(false)),
            Budget::of(Engine::Tcg, &kernel(true)),
        ]
        .map(|budget| (budget.boot, budget.test(&test("a")), budget.run(&[test("a")])));
        assert!(limits.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1 && a.2 < b.2), "{limits:?}");
    }

    #[test]
    fn a_folder_tells_its_tests_through_make() {
        let dir = tempfile::tempdir().unwrap();
        let makefile = "T := a.sh b\n.PHONY: programs\nprograms:\n\t@printf '%s\\n' $(T)\n";
        fs::write(dir.path().join("Makefile"), makefile).unwrap();
        fs::write(dir.path().join("settings"), "timeout=7\n").unwrap();
        let found = selftests(dir.path()).unwrap();
        let want =
            ["a.sh", "b"].map(|name| Test { name: name.into(), timeout: Duration::from_secs(7) });
        assert_eq!(found, want);
    }
}
