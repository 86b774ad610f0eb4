// SPDX-License-Identifier: GPL-2.0

//! Real guests: what the lab says about those that work, and about those that
//! fail in each way that can be made.
//!
//! They need a kernel and the guest's PID 1. `lab test` builds both and names
//! them in the variables below; a bare `cargo test` has neither.

use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use vmlab::boot::accel::{Choice, Engine};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::vm;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::job::{Budget, Job, Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::session::{self, Ended};
use vmlab_init::protocol::Status;

/// A guest to be.
struct Bench {
    dir: TempDir,
    kernel: Kernel,
    job: Job,
    budget: Budget,
}

/// The kernel and PID 1 that `lab test` built. Says why a test does nothing
/// without them.
fn bench() -> Option<Bench> {
    let get = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(image), Some(vmlinux), Some(init)) =
        (get("LAB_TEST_IMAGE"), get("LAB_TEST_VMLINUX"), get("LAB_TEST_INIT"))
    else {
        eprintln!(
            "skipped: no LAB_TEST_IMAGE, LAB_TEST_VMLINUX and LAB_TEST_INIT; `make test` sets them"
        );
        return None;
    };
    let build = vmlinux.parent().unwrap().to_owned();
    let kernel =
        Kernel { source: build.clone(), build, image, vmlinux, release: "?".into(), debug: false };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tests")).unwrap();
    let job = Job {
        work: Work::Tests { tests: Vec::new(), repeat: NonZeroU32::MIN },
        modules: Vec::new(),
        load: Vec::new(),
        keep_loaded: false,
        env: Vec::new(),
        init,
        tools: Vec::new(),
        selftests: vec![dir.path().join("tests")],
        directory: dir.path().to_owned(),
        turns: false,
        memory_mb: 512,
        options: vm::Options::default(),
        progress: None,
        logs: dir.path().join("logs"),
        root: dir.path().to_owned(),
    };
    let budget = Budget::of(Engine::Tcg, &kernel);
    Some(Bench { dir, kernel, job, budget })
}

impl Bench {
    /// Adds a selftest.
    fn test(&mut self, name: &str, script: &str) -> &mut Bench {
        let path = self.dir.path().join("tests").join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        if let Work::Tests { tests, .. } = &mut self.job.work {
            tests.push(Test { name: name.into(), timeout: Duration::from_secs(20) });
        }
        self
    }

    fn run(&mut self) -> Ended {
        let ended = self.run_once();
        // Not the lab's doing: the emulator shows one processor the breakpoint that another puts
        // where it patches code.
        let is_emulators = ended.report.kernel_findings.iter().any(|it| it.text.contains("int3"));
        if is_emulators { self.run_once() } else { ended }
    }

    fn run_once(&mut self) -> Ended {
        let accel = Choice { used: Engine::Tcg, why: "these tests are about the lab".into() };
        let mut phases = Phases::default();
        let ended = session::run_within(&self.budget, &self.job, &self.kernel, &accel, &mut phases)
            .unwrap();
        // Shown when a test fails.
        println!("{}: {:?}", ended.report.message, ended.report.kernel_findings);
        ended
    }

    fn report(&mut self) -> Report {
        let report = self.run().report;
        println!("{}", report.table());
        for phase in &report.phases.0 {
            println!("{:>6} ms {}", phase.ms, phase.name);
        }
        report
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.job.logs.join(name)).unwrap()
    }
}

const GOOD: &str = "echo KTAP version 1; echo 1..1; echo ok 1 good";

fn result(report: &Report, name: &str) -> (TestResult, String) {
    let test = report.tests.iter().find(|test| test.name == name).unwrap();
    (test.result, test.reason.clone())
}

#[test]
fn tests_run_in_a_guest_that_sees_the_hosts_tools() {
    let Some(mut bench) = bench() else { return };
    bench.test(
        "good.sh",
        "echo KTAP version 1; echo 1..2; ip link show lo | grep -q UP && echo ok 1 lo; \
         echo noise >&2; ping -c1 -W1 127.0.0.1 >/dev/null && echo ok 2 ping",
    );
    bench.test(
        "bad.sh",
        "echo KTAP version 1; echo 1..1; echo '# no route'; echo not ok 1 a; exit 1",
    );
    bench.test("skip.sh", "echo KTAP version 1; echo '1..0 # SKIP no veth'; exit 4");
    bench.test(
        "readonly.sh",
        "touch /lab-was-here && ls /lab-was-here; echo KTAP version 1; echo 1..1; echo ok 1 a",
    );
    bench
        .test("processors.sh", "echo KTAP version 1; echo 1..1; [ $(nproc) = 2 ] && echo ok 1 two");
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Test);
    assert_eq!(result(&report, "good.sh"), (TestResult::Pass, String::new()));
    assert_eq!(result(&report, "processors.sh"), (TestResult::Pass, String::new()));
    assert_eq!(result(&report, "bad.sh"), (TestResult::Fail, "a: no route".into()));
    assert_eq!(result(&report, "skip.sh"), (TestResult::Skip, "no veth".into()));
    assert_eq!(result(&report, "readonly.sh"), (TestResult::Pass, String::new()));
    assert!(!Path::new("/lab-was-here").exists(), "the guest wrote to the host");
    assert_eq!(bench.log("tests/good.sh.log"), "KTAP version 1\n1..2\nok 1 lo\nok 2 ping\nnoise\n");
    assert!(bench.log("dmesg.log").contains("Linux version "));
}

#[test]
fn what_a_test_leaves_behind_fails_it_and_is_gone_for_the_next() {
    let Some(mut bench) = bench() else { return };
    bench.test("namespace.sh", &format!("ip netns add left; {GOOD}"));
    bench.test("device.sh", &format!("ip link add left type dummy; {GOOD}"));
    bench.test(
        "process.sh",
        &format!("setsid sleep 600 <&- >&- 2>&- & unshare -n sleep 600 & sleep 0.5; {GOOD}"),
    );
    bench.test(
        "clean.sh",
        "echo KTAP version 1; echo 1..2; [ -z \"$(ip netns list)\" ] && echo ok 1 no namespace; \
         pgrep sleep >&2 || echo ok 2 no process",
    );
    let report = bench.report();
    let namespace = result(&report, "namespace.sh");
    assert_eq!(namespace, (TestResult::Fail, "left named namespaces behind: left".into()));
    let device = result(&report, "device.sh");
    assert_eq!(device.1, "left network devices in the initial namespace: left");
    assert_eq!(result(&report, "process.sh").0, TestResult::Pass);
    let process = report.tests.iter().find(|test| test.name == "process.sh").unwrap();
    assert!(
        process.notes[0].starts_with("killed what it left running: sleep "),
        "{:?}",
        process.notes
    );
    assert_eq!(result(&report, "clean.sh"), (TestResult::Pass, String::new()));
}

#[test]
fn a_test_that_hangs_is_named_and_the_others_count() {
    let Some(mut bench) = bench() else { return };
    bench.test("before.sh", GOOD);
    bench.test("hangs.sh", "echo KTAP version 1; echo 1..2; echo ok 1 so far; sleep 600");
    bench.test("after.sh", GOOD);
    limit(&mut bench, Duration::from_secs(1));
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Timeout);
    assert_eq!(report.message, "hangs.sh took longer than 3 s");
    assert_eq!(result(&report, "hangs.sh").1, "took too long and was killed");
    let hangs = report.tests.iter().find(|test| test.name == "hangs.sh").unwrap();
    assert_eq!(hangs.cases[0].name, "so far");
    assert_eq!(result(&report, "before.sh").0, TestResult::Pass);
    assert_eq!(result(&report, "after.sh").0, TestResult::Pass);
}

fn limit(bench: &mut Bench, timeout: Duration) {
    if let Work::Tests { tests, .. } = &mut bench.job.work {
        tests.iter_mut().for_each(|test| test.timeout = timeout);
    }
}

#[test]
fn a_test_that_is_not_the_same_every_time_is_named() {
    let Some(mut bench) = bench() else { return };
    bench.test("steady.sh", GOOD);
    bench.test(
        "flaky.sh",
        &format!("[ -e /tmp/lab-second ] && exit 1; touch /tmp/lab-second; {GOOD}"),
    );
    if let Work::Tests { repeat, .. } = &mut bench.job.work {
        *repeat = NonZeroU32::new(2).unwrap();
    }
    let report = bench.report();
    let flaky: Vec<&str> = report.flaky().iter().map(|test| test.name.as_str()).collect();
    assert_eq!(flaky, ["flaky.sh"]);
    assert!(report.table().contains("not the same every time: flaky.sh: ok FAIL"));
    assert_eq!(bench.log("tests/steady.sh.2.log"), "KTAP version 1\n1..1\nok 1 good\n");
}

/// Written by a test, since a kernel without a fault does not fail by itself: the
/// way from the console to the verdict is the same.
#[test]
fn a_report_in_the_kernel_log_fails_tests_that_passed() {
    let Some(mut bench) = bench() else { return };
    let say = "dmesg -n 1; echo '<3>unregister_netdevice: waiting for rlo to become free. Usage count = 2' > /dev/kmsg";
    bench.test("quiet.sh", GOOD);
    bench.test("loud.sh", &format!("{say}; {GOOD}"));
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::KernelLog);
    assert_eq!(result(&report, "loud.sh").0, TestResult::Pass);
    let finding = &report.kernel_findings[0];
    assert_eq!(
        (finding.kind.as_str(), finding.test.as_deref()),
        ("netdevice-leak", Some("loud.sh"))
    );
    assert!(
        report.message.starts_with("kernel log in loud.sh: unregister_netdevice: waiting for rlo")
    );
}

/// The QEMU whose guest has exactly this much memory: each test that looks for
/// its own takes another size.
fn qemu_with(memory_mb: u32) -> Option<Pid> {
    let mark = format!("\0-m\0{memory_mb}\0");
    let ours = fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"qemu") && String::from_utf8_lossy(&line).contains(&mark)
    });
    Pid::from_raw(ours?.file_name().to_str()?.parse().ok()?)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited a minute for {what}");
}

/// Signals this test's own QEMU, once the guest has begun its first test.
fn signal_qemu(bench: &Bench, signal: Signal) -> std::thread::JoinHandle<()> {
    let memory_mb = bench.job.memory_mb;
    let log = bench.job.logs.join("dmesg.log");
    std::thread::spawn(move || {
        wait_for("the first test", || {
            fs::read_to_string(&log).ok().filter(|text| text.contains("vmlab-init: begin"))
        });
        let qemu = wait_for("QEMU", || qemu_with(memory_mb));
        rustix::process::kill_process(qemu, signal).unwrap();
    })
}

#[test]
fn a_killed_qemu_is_told_from_a_guest_that_died() {
    let Some(mut bench) = bench() else { return };
    bench.job.memory_mb = 517;
    bench.test("long.sh", "sleep 600").test("next.sh", GOOD);
    limit(&mut bench, Duration::from_secs(100));
    let killer = signal_qemu(&bench, Signal::KILL);
    let report = bench.report();
    killer.join().unwrap();
    assert_eq!(report.outcome, Outcome::Panic);
    assert!(
        report.message.starts_with("QEMU was killed by SIGKILL in long.sh"),
        "{}",
        report.message
    );
    assert_eq!(result(&report, "long.sh").1, "was running when the guest ended");
    assert_eq!(result(&report, "next.sh").1, "did not run");
}

#[test]
fn a_guest_that_stops_talking_is_given_up_on() {
    let Some(mut bench) = bench() else { return };
    bench.job.memory_mb = 518;
    bench.budget.grace = Duration::from_secs(1);
    bench.budget.settle = Duration::from_secs(1);
    bench.test("long.sh", "sleep 600");
    limit(&mut bench, Duration::from_secs(5));
    let stopper = signal_qemu(&bench, Signal::STOP);
    let report = bench.report();
    stopper.join().unwrap();
    assert_eq!(report.outcome, Outcome::Timeout);
    assert!(
        report.message.starts_with("the guest stopped talking in long.sh: "),
        "{}",
        report.message
    );
}

#[test]
fn a_kernel_that_never_starts_pid_1_did_not_boot() {
    let Some(mut bench) = bench() else { return };
    bench.budget.boot = Duration::from_millis(200);
    bench.test("good.sh", GOOD);
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Boot);
    assert!(report.message.starts_with("PID 1 did not start: "), "{}", report.message);
    assert_eq!(result(&report, "good.sh").1, "did not run");
}

#[test]
fn an_image_that_qemu_refuses_is_named_by_qemus_own_words() {
    let Some(mut bench) = bench() else { return };
    bench.kernel.image = bench.dir.path().join("no-such-image");
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Boot);
    assert!(report.message.contains("QEMU ended with exit status: 1"), "{}", report.message);
    assert!(report.message.contains("no-such-image"), "{}", report.message);
}

#[test]
fn an_init_that_dies_is_a_panic() {
    let Some(mut bench) = bench() else { return };
    let source = bench.dir.path().join("init.rs");
    let init = bench.dir.path().join("init");
    fs::write(&source, "fn main() { panic!(\"no disk today\") }").unwrap();
    let mut rustc = std::process::Command::new("rustc");
    rustc.args(["-Ctarget-feature=+crt-static", "--target", "x86_64-unknown-linux-gnu", "-o"]);
    assert!(rustc.arg(&init).arg(&source).status().unwrap().success());
    bench.job.init = init;
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Panic);
    let want = "the guest's init died: Kernel panic - not syncing: Attempted to kill init!";
    assert!(report.message.starts_with(want), "{}", report.message);
    assert!(bench.log("dmesg.log").contains("no disk today"));
}

#[test]
fn a_guest_without_memory_for_its_files_says_so() {
    let Some(mut bench) = bench() else { return };
    let large = bench.dir.path().join("tests/large");
    fs::write(large, vec![b'x'; 100 << 20]).unwrap();
    bench.job.memory_mb = 150;
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Boot);
    assert!(report.message.contains("ran out of its 150 MiB of memory"), "{}", report.message);
    assert!(report.message.contains("MEMORY="), "{}", report.message);
}

#[test]
fn a_test_that_eats_all_memory_is_named() {
    let Some(mut bench) = bench() else { return };
    bench.job.memory_mb = 128;
    bench.test("eater.sh", "tail /dev/zero");
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::KernelLog);
    let finding = &report.kernel_findings[0];
    assert_eq!(
        (finding.kind.as_str(), finding.test.as_deref()),
        ("out-of-memory", Some("eater.sh"))
    );
    assert!(report.message.contains("MEMORY="), "{}", report.message);
}

#[test]
fn a_full_disk_ends_the_run_with_the_reason() {
    let Some(bench) = bench() else { return };
    fs::create_dir(&bench.job.logs).unwrap();
    std::os::unix::fs::symlink("/dev/full", bench.job.logs.join("dmesg.log")).unwrap();
    let accel = Choice { used: Engine::Tcg, why: String::new() };
    let run = session::run(&bench.job, &bench.kernel, &accel, Phases::default());
    let error = format!("{:#}", run.unwrap_err());
    assert!(error.contains("dmesg.log: No space left on device"), "{error}");
    assert!(error.contains("make room"), "{error}");
}

#[test]
fn a_commands_exit_status_comes_through() {
    let Some(mut bench) = bench() else { return };
    fs::write(bench.dir.path().join("here"), "").unwrap();
    let cases = [
        ("[ -e here ] && exit 7", Status::Exited(7)),
        ("kill -SEGV $$", Status::Killed(11)),
        ("true", Status::Exited(0)),
    ];
    for (line, want) in cases {
        bench.job.work = Work::Command(line.into());
        let ended = bench.run();
        assert_eq!((ended.report.outcome, ended.status), (Outcome::Pass, Some(want)), "{line}");
    }
}

/// A module of the kernel under test, with some bytes of it replaced.
fn broken_module(bench: &mut Bench, from: &[u8], to: &[u8]) -> bool {
    let Some(module) = std::env::var_os("LAB_TEST_MODULE") else {
        eprintln!("skipped: no LAB_TEST_MODULE; `make test` sets it");
        return false;
    };
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(module).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "nothing to replace");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    let path = bench.dir.path().join("rnetns.ko");
    fs::write(&path, bytes).unwrap();
    bench.job.modules = vec![path];
    bench.job.load = vec!["rnetns.ko".into()];
    true
}

#[test]
fn a_module_for_another_kernel_is_refused_in_the_kernels_words() {
    let Some(mut bench) = bench() else { return };
    if broken_module(&mut bench, b"vermagic=7.", b"vermagic=1.") {
        let report = bench.report();
        let (_, reason) = result(&report, "load rnetns.ko");
        assert!(reason.contains("version magic '1.") && reason.contains("make clean"), "{reason}");
        assert_eq!(report.outcome, Outcome::Test);
    }
}

#[test]
fn a_module_with_an_unknown_symbol_is_refused_by_its_name() {
    let Some(mut bench) = bench() else { return };
    if broken_module(&mut bench, b"\0register_pernet_device\0", b"\0register_pernet_devil_\0") {
        let report = bench.report();
        let (_, reason) = result(&report, "load rnetns.ko");
        assert!(reason.contains("Unknown symbol register_pernet_devil_"), "{reason}");
        assert_eq!(report.outcome, Outcome::Test);
    }
}

/// Set for a copy of this program that runs under a terminal.
const IN_TERMINAL: &str = "LAB_TEST_IN_TERMINAL";

/// The other half of the next test.
#[test]
fn shell_in_a_terminal() {
    if std::env::var_os(IN_TERMINAL).is_none() {
        return;
    }
    let mut bench = bench().unwrap();
    bench.job.work = Work::Shell;
    println!("ended with {:?}", bench.run().status);
}

/// A program in a terminal, driven by what it shows.
struct Screen {
    script: std::process::Child,
    keys: std::process::ChildStdin,
    shown: mpsc::Receiver<Vec<u8>>,
    /// What was shown and not waited for yet.
    text: String,
}

impl Screen {
    fn of(command: &str) -> Screen {
        let mut script = std::process::Command::new("script");
        script.args(["-qfec", command, "/dev/null"]).env(IN_TERMINAL, "1");
        script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut script = script.spawn().unwrap();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(length @ 1..) = out.read(&mut bytes) {
                let _ = sender.send(bytes[..length].to_vec());
            }
        });
        Screen { script, keys, shown, text: String::new() }
    }

    /// Waits until this is shown after what was waited for before.
    fn wait_for(&mut self, what: &str) {
        while !self.text.contains(what) {
            match self.shown.recv_timeout(Duration::from_secs(60)) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => {
                    self.script.kill().unwrap();
                    panic!("no `{what}` in:\n{}", self.text);
                }
            }
        }
        let end = self.text.find(what).unwrap() + what.len();
        self.text.drain(..end);
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_shell_has_a_terminal_with_job_control() {
    if bench().is_none() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let program = program.display();
    let command =
        format!("stty rows 33 cols 99; {program} --exact shell_in_a_terminal --nocapture");
    let mut screen = Screen::of(&command);
    // The quotes keep what is typed, which is shown as well, apart from its result.
    for (line, result) in [
        ("tty; stty size", "/dev/hvc0\r\n33 99\r\n"),
        ("case $- in *m*) echo job''-control;; esac", "job-control\r\n"),
    ] {
        screen.wait_for("# ");
        screen.type_in(&format!("{line}\n"));
        screen.wait_for(result);
    }
    screen.wait_for("# ");
    screen.type_in("sh -c 'echo started-$((1+1)); sleep 600'\n");
    screen.wait_for("started-2");
    screen.type_in("\x03");
    screen.wait_for("# ");
    screen.type_in("echo status-$?; exit 3\n");
    screen.wait_for("status-130\r\n");
    screen.wait_for("ended with Some(Exited(3))");
    assert!(screen.script.wait().unwrap().success());
}

/// Set for a copy of this program that is going to be ended.
const TO_BE_ENDED: &str = "LAB_TEST_TO_BE_ENDED";

/// The other half of the next test.
#[test]
fn lab_to_be_ended() {
    let Some(memory_mb) = std::env::var_os(TO_BE_ENDED) else { return };
    vmlab::run::interrupt::install().unwrap();
    let mut bench = bench().unwrap();
    bench.job.memory_mb = memory_mb.to_str().unwrap().parse().unwrap();
    bench.test("long.sh", "sleep 600");
    let accel = Choice { used: Engine::Tcg, why: String::new() };
    let run = session::run(&bench.job, &bench.kernel, &accel, Phases::default());
    assert_eq!(run.unwrap_err().to_string(), "interrupted");
    println!("ended in good order");
}

#[test]
fn a_lab_that_ends_leaves_no_qemu() {
    if bench().is_none() {
        return;
    }
    for (signal, memory_mb, last_words) in
        [(Signal::INT, 521, "ended in good order"), (Signal::KILL, 522, "")]
    {
        let mut lab = std::process::Command::new(std::env::current_exe().unwrap());
        lab.args(["--exact", "lab_to_be_ended", "--nocapture"]);
        lab.env(TO_BE_ENDED, memory_mb.to_string()).stdout(std::process::Stdio::piped());
        let lab = lab.spawn().unwrap();
        wait_for("QEMU", || qemu_with(memory_mb));
        rustix::process::kill_process(Pid::from_child(&lab), signal).unwrap();
        let said = String::from_utf8(lab.wait_with_output().unwrap().stdout).unwrap();
        assert!(said.contains(last_words), "{said}");
        wait_for("QEMU to end", || qemu_with(memory_mb).is_none().then_some(()));
    }
}

/// Set for a copy of this program whose standard input goes to a guest.
const TO_BE_FED: &str = "LAB_TEST_TO_BE_FED";

/// The other half of the next test.
#[test]
fn lab_to_be_fed() {
    if std::env::var_os(TO_BE_FED).is_none() {
        return;
    }
    let mut bench = bench().unwrap();
    bench.job.work = Work::Command("read first; echo \"[$first]\"; sha256sum".into());
    let ended = bench.run_once();
    println!("ended with {:?}", ended.status);
}

#[test]
fn standard_input_reaches_a_command_up_to_its_end() {
    if bench().is_none() {
        return;
    }
    // More than any buffer on the way, of all bytes.
    let mut rest: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    rest.push(b'x');
    let dir = tempfile::tempdir().unwrap();
    let run = |input: &[u8]| {
        let path = dir.path().join("input");
        fs::write(&path, input).unwrap();
        let mut lab = std::process::Command::new(std::env::current_exe().unwrap());
        lab.args(["--exact", "lab_to_be_fed", "--nocapture"]).env(TO_BE_FED, "1");
        let output = lab.stdin(fs::File::open(path).unwrap()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let sum = |bytes: &[u8]| {
        use sha2::{Digest, Sha256};
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let said = run(&[b"a line\n", rest.as_slice()].concat());
    assert!(said.contains("[a line]\n"), "{said}");
    assert!(said.contains(&sum(&rest)), "{said}");
    let said = run(b"");
    assert!(said.contains("[]\n") && said.contains(&sum(b"")), "{said}");
}
