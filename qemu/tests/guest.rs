// SPDX-License-Identifier: GPL-2.0

//! Tests with real guests: the verdicts on guests that work, and on guests that fail in all ways
//! that a test can cause.
//!
//! They need a kernel and the guest's PID 1. `lab test` builds both and names them in the variables
//! below; a bare `cargo test` has neither.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use vmlab::boot::engine::{Choice, Engine};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::vm;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::job::{Budget, Job, Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::session::{self, Ended, Started};
use vmlab_init::protocol::Status;

/// The job and the folder of a guest.
struct Bench {
    dir: TempDir,
    kernel: Kernel,
    job: Job,
    budget: Budget,
}

/// The kernel and PID 1 that `lab test` built.
fn bench() -> Bench {
    let get = |name| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.unwrap_or_else(|| panic!("{name} is not set; `make test` sets it"))
    };
    let (image, vmlinux) = (get("LAB_TEST_IMAGE"), get("LAB_TEST_VMLINUX"));
    let init = get("LAB_TEST_INIT");
    let build = vmlinux.parent().unwrap().to_owned();
    let kernel =
        Kernel { source: build.clone(), build, image, vmlinux, release: "?".into(), debug: false };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tests")).unwrap();
    let job = Job {
        work: Work::Tests(Vec::new()),
        modules: Vec::new(),
        load: Vec::new(),
        keep_loaded: false,
        env: Vec::new(),
        init,
        tools: Vec::new(),
        selftests: vec![dir.path().join("tests")],
        directory: dir.path().to_owned(),
        // No test here needs processors that race.
        turns: true,
        memory_mb: 512,
        saved: Some(get("LAB_TEST_SAVED")),
        options: vm::Options::default(),
        progress: None,
        tells: false,
        logs: dir.path().join("logs"),
        root: dir.path().to_owned(),
    };
    let budget = Budget::of(Engine::Tcg, &kernel);
    Bench { dir, kernel, job, budget }
}

impl Bench {
    /// Adds a selftest.
    fn test(&mut self, name: &str, script: &str) -> &mut Bench {
        let path = self.dir.path().join("tests").join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        if let Work::Tests(tests) = &mut self.job.work {
            tests.push(Test { name: name.into(), timeout: PATIENCE });
        }
        self
    }

    fn run(&mut self) -> Ended {
        let engine = Choice { used: Engine::Tcg, why: "these tests are about the lab".into() };
        let mut phases = Phases::default();
        let ended =
            session::run_within(&self.budget, &self.job, &self.kernel, &engine, &mut phases)
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
#[ignore = "needs a guest; make test runs it"]
fn a_copy_of_a_saved_machine_is_a_guest_of_its_own() {
    let mut bench = bench();
    bench.job.saved = Some(bench.dir.path().join("saved"));
    bench.test(
        "random.sh",
        "echo KTAP version 1; echo 1..1; cat /proc/sys/kernel/random/uuid; date +%s; nproc; echo ok 1 a",
    );
    let mut seen = Vec::new();
    for _ in 0..3 {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let report = bench.report();
        assert_eq!(report.outcome, Outcome::Pass);
        assert_eq!(report.kernel_findings.len(), 0);
        assert!(report.phases.0.iter().any(|phase| phase.name == "QEMU to PID 1, a copy"));
        for log in ["dmesg.log", "kmsg.log"] {
            let log = bench.log(log);
            assert_eq!(log.matches("Linux version").count(), 1, "{log}");
        }
        let log = bench.log("tests/random.sh.log");
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        let time: u64 = lines[3].parse().unwrap();
        assert!(time >= began && time <= began + 60, "{time} is not {began}");
        assert_eq!(lines[4], "2", "processors");
        assert!(!seen.contains(&lines[2]), "the same random number: {seen:?}");
        seen.push(lines[2].clone());
    }
    let saved = fs::read_dir(bench.dir.path().join("saved")).unwrap().flatten();
    assert_eq!(saved.filter(|entry| entry.path().is_dir()).count(), 1, "saved once");
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_guest_boots_where_the_saved_machine_is_damaged() {
    let mut bench = bench();
    let saved = bench.dir.path().join("saved");
    bench.job.saved = Some(saved.clone());
    bench.test("good.sh", GOOD);
    assert_eq!(bench.report().outcome, Outcome::Pass);
    let only = fs::read_dir(&saved).unwrap().flatten().next().unwrap().path();
    fs::write(only.join("state"), "no state of a machine").unwrap();
    for (copy, boot) in [(false, true), (true, false)] {
        let report = bench.report();
        assert_eq!(report.outcome, Outcome::Pass);
        let is_there = |name: &str| report.phases.0.iter().any(|phase| phase.name == name);
        assert_eq!(is_there("kernel to PID 1"), boot);
        assert_eq!(is_there("QEMU to PID 1, a copy"), copy, "saved anew");
    }
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn tests_run_in_a_guest_that_sees_the_hosts_tools() {
    let mut bench = bench();
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
    // The order in which it was printed.
    assert_eq!(bench.log("tests/good.sh.log"), "KTAP version 1\n1..2\nok 1 lo\nnoise\nok 2 ping\n");
    assert!(bench.log("kmsg.log").contains("Linux version "));
    assert!(bench.log("dmesg.log").contains("Linux version "));
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn what_a_test_leaves_behind_fails_it_and_is_gone_for_the_next() {
    let mut bench = bench();
    bench.test("namespace.sh", &format!("ip netns add left; {GOOD}"));
    bench.test("device.sh", &format!("ip link add left type dummy; {GOOD}"));
    bench.test(
        "process.sh",
        &format!(
            "setsid sleep 600 <&- >&- 2>&- & unshare -n sleep 600 & \
                 until [ \"$(pgrep -xc sleep)\" = 2 ]; do sleep 0.01; done; {GOOD}"
        ),
    );
    bench.test(
        "clean.sh",
        "echo KTAP version 1; echo 1..2; [ -z \"$(ip netns list)\" ] && echo ok 1 no namespace; \
         pgrep -f bash >/dev/null && ! pgrep sleep >&2 && echo ok 2 no process",
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
#[ignore = "needs a guest; make test runs it"]
fn a_test_that_hangs_is_named_and_the_others_count() {
    let mut bench = bench();
    bench.test("before.sh", GOOD);
    bench.test("hangs.sh", "echo KTAP version 1; echo 1..2; echo ok 1 so far; sleep 600");
    bench.test("after.sh", GOOD);
    limit(&mut bench, "hangs.sh", Duration::from_secs(2));
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Timeout);
    assert_eq!(report.message, "hangs.sh took longer than 6 s");
    assert_eq!(result(&report, "hangs.sh").1, "took too long and was killed");
    let hangs = report.tests.iter().find(|test| test.name == "hangs.sh").unwrap();
    assert_eq!(hangs.cases[0].name, "so far");
    assert_eq!(result(&report, "before.sh").0, TestResult::Pass);
    assert_eq!(result(&report, "after.sh").0, TestResult::Pass);
}

/// A limit for this test only: the other tests may take as long as a slow machine needs.
fn limit(bench: &mut Bench, name: &str, timeout: Duration) {
    if let Work::Tests(tests) = &mut bench.job.work {
        let limited = tests.iter_mut().filter(|test| test.name == name);
        limited.for_each(|test| test.timeout = timeout);
    }
}

/// When the guest booted, neither its job's files existed nor their folder.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_guest_that_started_early_gets_files_that_are_built_meanwhile() {
    let mut bench = bench();
    let tests = bench.dir.path().join("tests");
    fs::remove_dir(&tests).unwrap();
    let engine = Choice { used: Engine::Tcg, why: String::new() };
    let early = Started::early(&bench.job, &bench.kernel, &engine).unwrap();
    let log = || fs::read_to_string(bench.job.logs.join("dmesg.log")).ok();
    // PID 1 runs, and has mounted the host's root or is about to.
    wait_for("PID 1", || log()?.contains("Run /init").then_some(()));
    fs::create_dir(&tests).unwrap();
    bench.test("good.sh", &format!("cat data >&2; [ -w data ] && {GOOD}"));
    fs::write(tests.join("data"), "built later\n").unwrap();
    let ended = early.run(&bench.job, &bench.kernel, &engine, Phases::default()).unwrap();
    assert_eq!((ended.report.outcome, ended.report.message.as_str()), (Outcome::Pass, ""));
    assert!(bench.log("tests/good.sh.log").contains("built later"));
    let phases: Vec<_> = ended.report.phases.0.iter().map(|it| it.name.as_str()).collect();
    assert!(phases.contains(&"mounts") && phases.contains(&"files"), "{phases:?}");
}

/// From then on, others may be built in the place of the kernel and of the job's files.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_guest_with_its_files_is_told_once_and_one_that_does_not_boot_never() {
    let engine = Choice { used: Engine::Tcg, why: String::new() };
    let run = |bench: &Bench| {
        let mut told = Vec::new();
        let log = || fs::read_to_string(bench.job.logs.join("dmesg.log")).unwrap();
        let ready = || told.push(log().contains("Run /init"));
        let (job, kernel) = (&bench.job, &bench.kernel);
        let ended = session::run_then(job, kernel, &engine, Phases::default(), ready).unwrap();
        (ended.report.outcome, told)
    };
    let mut good = bench();
    good.test("good.sh", GOOD);
    assert_eq!(run(&good), (Outcome::Pass, vec![true]));
    let mut bad = bench();
    bad.test("good.sh", GOOD);
    bad.job.saved = None;
    bad.kernel.image = bad.dir.path().join("no-kernel");
    fs::write(&bad.kernel.image, "no kernel").unwrap();
    assert_eq!(run(&bad), (Outcome::Boot, Vec::new()));
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_guest_that_started_early_ends_with_what_it_waits_for() {
    let mut bench = bench();
    bench.job.memory_mb = 523;
    let engine = Choice { used: Engine::Tcg, why: String::new() };
    let early = Started::early(&bench.job, &bench.kernel, &engine).unwrap();
    wait_for("QEMU", || qemu_with(523));
    drop(early);
    wait_for("QEMU to end", || qemu_with(523).is_none().then_some(()));

    // A guest that dies early is judged when its job is known.
    let early = Started::early(&bench.job, &bench.kernel, &engine).unwrap();
    let qemu = wait_for("QEMU", || qemu_with(523));
    rustix::process::kill_process(qemu, Signal::KILL).unwrap();
    wait_for("QEMU to end", || qemu_with(523).is_none().then_some(()));
    bench.test("good.sh", GOOD);
    let ended = early.run(&bench.job, &bench.kernel, &engine, Phases::default()).unwrap();
    assert_eq!(ended.report.outcome, Outcome::Boot, "{}", ended.report.message);
    assert!(ended.report.message.contains("SIGKILL"), "{}", ended.report.message);
}

/// A test writes the message, since a kernel without a fault does not fail by itself. The way from
/// the console to the verdict is the same.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_report_in_the_kernel_log_fails_tests_that_passed() {
    let mut bench = bench();
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

/// Limits of tests, and what tests wait for, are counted by the guest's clock.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_guests_time_is_ours() {
    let mut bench = bench();
    bench.test("wait.sh", &format!("sleep 2; {GOOD}"));
    let report = bench.report();
    assert_eq!((report.outcome, report.notes.as_slice()), (Outcome::Pass, [].as_slice()));
    // The kernel believes what it was told about its clock, whatever it measures.
    let log = bench.log("kmsg.log");
    let told = log.split_once("tsc_early_khz=").unwrap().1.split_whitespace().next().unwrap();
    let believed = log.split_once("tsc: Detected ").unwrap().1.split_whitespace().next().unwrap();
    let (told, believed): (f64, f64) = (told.parse().unwrap(), believed.parse().unwrap());
    assert!((told / 1000.0 / believed - 1.0).abs() < 0.12, "{told} kHz, {believed} MHz");
}

/// A finding in the log must be attributed to the second test and not to the first.
fn attack(script: &str) -> (Bench, Report) {
    let mut bench = bench();
    bench.test("before.sh", GOOD);
    bench.test("attack.sh", &format!("{script}; {GOOD}"));
    let report = bench.report();
    (bench, report)
}

/// The kind and the test of each finding.
fn findings(report: &Report) -> Vec<(&str, Option<&str>)> {
    report.kernel_findings.iter().map(|it| (it.kind.as_str(), it.test.as_deref())).collect()
}

const TURN_DOWN: &str = "echo N > /sys/module/printk/parameters/ignore_loglevel; dmesg -n 1";
const SAY_BUG: &str = "echo '<4>BUG: KASAN: use-after-free in f+0x1/0x2' > /dev/kmsg";

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_console_that_is_turned_down_hides_nothing() {
    let (bench, report) = attack(&format!("{TURN_DOWN}; {SAY_BUG}; dmesg -C"));
    assert_eq!(report.outcome, Outcome::KernelLog);
    assert_eq!(findings(&report), [("kasan", Some("attack.sh"))]);
    assert!(report.kernel_findings[0].from_user_space);
    assert!(!bench.log("dmesg.log").contains("KASAN") && bench.log("kmsg.log").contains("KASAN"));
}

/// The kernel's messages after PID 1's last record are only on the console.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_console_without_stamps_has_them_again_in_the_end() {
    let (bench, report) =
        attack(&format!("{TURN_DOWN}; echo N > /sys/module/printk/parameters/time"));
    assert_eq!((report.outcome, report.message.as_str()), (Outcome::Pass, ""));
    let log = bench.log("dmesg.log");
    let done = log.lines().find(|line| line.contains("vmlab-init: done"));
    assert!(done.is_some_and(|line| line.starts_with('[')), "{done:?} in {log}");
}

/// A message of the kernel itself, not of a program.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn what_the_kernel_itself_says_to_nobody_is_heard() {
    let fill = "sysctl -qw net.ipv4.neigh.default.gc_thresh1=0 net.ipv4.neigh.default.gc_thresh2=1 \
                net.ipv4.neigh.default.gc_thresh3=1; ip link add v type veth peer name w; \
                ip addr add 10.9.0.1/16 dev v; ip link set v up; ip link set w up; \
                for i in $(seq 2 40); do ping -c1 -W0.1 10.9.0.$i > /dev/null & done; wait; ip link del v";
    let (_, report) = attack(&format!("{TURN_DOWN}; {fill}"));
    assert_eq!(report.outcome, Outcome::KernelLog, "{}", report.message);
    assert_eq!(findings(&report)[0], ("neighbour-table", Some("attack.sh")));
    assert!(!report.kernel_findings[0].from_user_space);
}

/// Each writer would fill the kernel's own buffer many times over.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_flood_of_messages_washes_nothing_away() {
    let flood = "for w in 1 2; do (for i in $(seq 20000); do echo \"flood $w $i\"; done > /dev/kmsg) & done; \
                 wait; true";
    let (_, report) = attack(&format!("{TURN_DOWN}; {SAY_BUG}; {flood}"));
    assert_eq!(report.outcome, Outcome::KernelLog);
    assert!(findings(&report).contains(&("kasan", Some("attack.sh"))), "{}", report.message);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn the_log_is_whole_without_a_console() {
    let unbind = "echo off > /proc/sys/kernel/printk_devkmsg 2> /dev/null; \
                  for it in /sys/bus/*/drivers/serial8250 /sys/bus/*/drivers/serial; do \
                  [ -d $it ] && for d in $it/*:* $it/*.*; do [ -e $d ] && echo ${d##*/} > $it/unbind; done; done";
    let (_, report) = attack(&format!("{unbind}; true"));
    assert_eq!((report.outcome, report.message.as_str()), (Outcome::Pass, ""));
    let (_, report) = attack(&format!("{unbind}; {SAY_BUG}"));
    assert_eq!(findings(&report), [("kasan", Some("attack.sh"))]);
}

/// A line without a newline: the kernel's next line follows it directly.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn what_a_program_writes_to_the_console_hides_nothing() {
    let (_, report) =
        attack(&format!("printf xyz > /dev/ttyS0; {SAY_BUG}; printf 'x\\r' > /dev/ttyS0"));
    assert_eq!(findings(&report), [("kasan", Some("attack.sh"))]);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_test_cannot_shift_the_blame() {
    let forge = "echo '<6>vmlab-init: end attack.sh' > /dev/kmsg; \
                 dmesg | sed -n 's/.*\\(vmlab-init: .*\\)/<6>\\1/p' > /tmp/marks; \
                 while read -r mark; do echo \"$mark\" > /dev/kmsg; done < /tmp/marks; \
                 echo '<6>vmlab-init: begin before.sh' > /dev/kmsg";
    let (_, report) =
        attack(&format!("echo '<6>vmlab-init: end attack.sh' > /dev/kmsg; {SAY_BUG}"));
    assert_eq!(findings(&report), [("kasan", Some("attack.sh"))]);
    // Marks that are copied are there twice, and that is a finding.
    let (_, report) = attack(forge);
    assert_eq!(report.outcome, Outcome::KernelLog);
    assert!(findings(&report).contains(&("log-incomplete", None)), "{}", report.message);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_stack_trace_under_an_unknown_headline_is_a_finding() {
    let say = "for line in 'mydrv: something is odd' 'Call Trace:' ' dump_stack_lvl+0x5d/0x80' ' mydrv_open+0x1/0x2'; \
               do echo \"<4>$line\" > /dev/kmsg; done";
    let (_, report) = attack(say);
    assert_eq!(findings(&report), [("stack-trace", Some("attack.sh"))]);
    assert_eq!(report.kernel_findings[0].text, "mydrv: something is odd");
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_failure_counts_wherever_it_is_printed() {
    let mut bench = bench();
    for (name, line) in [
        ("blanks.sh", "    not ok 1 a"),
        ("tab.sh", "\\tnot ok 1 a"),
        ("bar.sh", "50%%\\rnot ok 1 a"),
    ] {
        bench.test(
            name,
            &format!("echo KTAP version 1; echo 1..1; printf '{line}\\n'; echo ok 1 b"),
        );
    }
    bench.test("remark.sh", "echo KTAP version 1; echo 1..1; echo '# not ok 1 a'; echo ok 1 b");
    let report = bench.report();
    let told: Vec<_> = report.tests.iter().map(|test| (test.name.as_str(), test.result)).collect();
    let fail = TestResult::Fail;
    let want =
        [("blanks.sh", fail), ("tab.sh", fail), ("bar.sh", fail), ("remark.sh", TestResult::Pass)];
    assert_eq!(told, want);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_test_that_never_stops_to_print_meets_its_limit() {
    let mut bench = bench();
    bench.test("yes.sh", "echo KTAP version 1; echo 1..1; yes").test("after.sh", GOOD);
    limit(&mut bench, "yes.sh", Duration::from_secs(1));
    let report = bench.report();
    assert_eq!(
        (report.outcome, report.message.as_str()),
        (Outcome::Timeout, "yes.sh took longer than 3 s")
    );
    assert_eq!(result(&report, "after.sh").0, TestResult::Pass);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn nothing_but_skips_is_no_pass() {
    let mut bench = bench();
    bench.test("skip.sh", "echo KTAP version 1; echo '1..0 # SKIP no veth'; exit 4");
    let report = bench.report();
    assert_eq!((report.outcome, report.message.as_str()), (Outcome::Skipped, "skipped: skip.sh"));
}

/// Takes over PID 1's port to the lab, and reports a pass in its place.
const IMPOSTOR: &str = r##"
use std::{fs, io::Write, os::fd::FromRawFd};
unsafe extern "C" { fn syscall(number: i64, ...) -> i64; }
fn main() {
    let is_port = |fd: &i64| {
        fs::read_link(format!("/proc/1/fd/{fd}")).is_ok_and(|it| it.to_string_lossy().contains("vport"))
    };
    let theirs = (0..64).find(is_port).expect("PID 1 has a port");
    // pidfd_open(2) and pidfd_getfd(2).
    let ours = unsafe { syscall(438, syscall(434, 1, 0), theirs, 0) };
    let mut port = unsafe { fs::File::from_raw_fd(ours.try_into().unwrap()) };
    for event in [
        r#"{"end":{"index":0,"status":{"exited":0},"ms":1,"counters":{},"problems":[],"notes":[]}}"#,
        r#""done""#,
    ] {
        let mut frame = vec![b'e'];
        frame.extend(u32::try_from(event.len() + 8).unwrap().to_le_bytes());
        frame.extend([0; 8]);
        frame.extend(event.as_bytes());
        port.write_all(&frame).unwrap();
    }
    fs::write("/proc/sys/kernel/printk", "1").unwrap();
    // reboot(2)
    unsafe { syscall(169, 0xfee1dead_u32, 672274793, 0x1234567) };
}
"##;

#[test]
#[ignore = "needs a guest; make test runs it"]
fn nobody_speaks_for_pid_1() {
    let mut bench = bench();
    let program = compile(bench.dir.path(), "impostor", IMPOSTOR);
    fs::rename(program, bench.dir.path().join("tests/impostor")).unwrap();
    bench.test("forge.sh", &format!("{GOOD}; [ ! -e /lab/job.json ] && ./impostor"));
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Panic, "{}", report.message);
    assert!(report.message.contains("an event that is not PID 1's"), "{}", report.message);
}

/// A static program.
fn compile(dir: &Path, name: &str, source: &str) -> PathBuf {
    let (path, program) = (dir.join(format!("{name}.rs")), dir.join(name));
    fs::write(&path, source).unwrap();
    let mut rustc = std::process::Command::new("rustc");
    rustc.args(["--edition", "2024", "-Ctarget-feature=+crt-static"]);
    rustc.args(["--target", "x86_64-unknown-linux-gnu", "-o"]);
    assert!(rustc.arg(&program).arg(&path).status().unwrap().success());
    program
}

/// The QEMU whose guest has exactly this much memory. Each test that looks for its own QEMU uses
/// another size.
fn qemu_with(memory_mb: u32) -> Option<Pid> {
    let mark = format!("\0-m\0{memory_mb}\0");
    let ours = fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"qemu") && String::from_utf8_lossy(&line).contains(&mark)
    });
    Pid::from_raw(ours?.file_name().to_str()?.parse().ok()?)
}

/// The time after which a test gives up, so that the other tests can run. It is longer than
/// anything here takes, even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited for {what}");
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
#[ignore = "needs a guest; make test runs it"]
fn a_killed_qemu_is_told_from_a_guest_that_died() {
    let mut bench = bench();
    bench.job.memory_mb = 517;
    bench.test("long.sh", "sleep 600").test("next.sh", GOOD);
    limit(&mut bench, "long.sh", Duration::from_secs(100));
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
#[ignore = "needs a guest; make test runs it"]
fn a_guest_that_stops_talking_is_given_up_on() {
    let mut bench = bench();
    bench.job.memory_mb = 518;
    bench.budget.grace = Duration::from_secs(2);
    bench.budget.settle = Duration::from_secs(2);
    bench.test("long.sh", "sleep 600");
    limit(&mut bench, "long.sh", Duration::from_secs(2));
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
#[ignore = "needs a guest; make test runs it"]
fn a_kernel_that_never_starts_pid_1_did_not_boot() {
    let mut bench = bench();
    bench.job.options.boot = true;
    bench.budget.boot = Duration::from_millis(200);
    bench.test("good.sh", GOOD);
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Boot);
    assert!(report.message.starts_with("PID 1 did not start: "), "{}", report.message);
    assert_eq!(result(&report, "good.sh").1, "did not run");
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn an_image_that_qemu_refuses_is_named_by_qemus_own_words() {
    let mut bench = bench();
    bench.kernel.image = bench.dir.path().join("no-such-image");
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Boot);
    assert!(report.message.contains("QEMU ended with exit status: 1"), "{}", report.message);
    assert!(report.message.contains("no-such-image"), "{}", report.message);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn an_init_that_dies_is_a_panic() {
    let mut bench = bench();
    let source = "fn main() { panic!(\"no disk today\") }";
    let init = compile(bench.dir.path(), "init", source);
    bench.job.init = init;
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Panic);
    let want = "the guest's init died: Kernel panic - not syncing: Attempted to kill init!";
    assert!(report.message.starts_with(want), "{}", report.message);
    assert!(bench.log("dmesg.log").contains("no disk today"));
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_guest_without_memory_for_its_files_says_so() {
    let mut bench = bench();
    let large = bench.dir.path().join("tests/large");
    fs::write(large, vec![b'x'; 100 << 20]).unwrap();
    bench.job.memory_mb = 150;
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Boot);
    assert!(report.message.contains("ran out of its 150 MiB of memory"), "{}", report.message);
    assert!(report.message.contains("MEMORY="), "{}", report.message);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_test_that_eats_all_memory_is_named() {
    let mut bench = bench();
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
#[ignore = "needs a guest; make test runs it"]
fn a_full_disk_ends_the_run_with_the_reason() {
    let bench = bench();
    fs::create_dir(&bench.job.logs).unwrap();
    std::os::unix::fs::symlink("/dev/full", bench.job.logs.join("dmesg.log")).unwrap();
    let engine = Choice { used: Engine::Tcg, why: String::new() };
    let run = session::run(&bench.job, &bench.kernel, &engine, Phases::default());
    let error = format!("{:#}", run.unwrap_err());
    assert!(error.contains("dmesg.log: No space left on device"), "{error}");
    assert!(error.contains("make room"), "{error}");
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_commands_exit_status_comes_through() {
    let mut bench = bench();
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

/// Loads a module of the kernel under test with some bytes replaced. Returns the report's entry for
/// that.
fn broken_module(bench: &mut Bench, from: &[u8], to: &[u8]) -> String {
    let module = std::env::var_os("LAB_TEST_MODULE").expect("`make test` sets LAB_TEST_MODULE");
    let module = PathBuf::from(module);
    let name = module.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(&module).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "nothing to replace");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    let path = bench.dir.path().join(&name);
    fs::write(&path, bytes).unwrap();
    bench.job.modules = vec![path];
    let load = format!("load {name}");
    bench.job.load = vec![name];
    load
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_module_for_another_kernel_is_refused_in_the_kernels_words() {
    let mut bench = bench();
    let load = broken_module(&mut bench, b"vermagic=7.", b"vermagic=1.");
    let report = bench.report();
    let (_, reason) = result(&report, &load);
    assert!(reason.contains("version magic '1.") && reason.contains("lab clean"), "{reason}");
    assert_eq!(report.outcome, Outcome::Test);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_module_with_an_unknown_symbol_is_refused_by_its_name() {
    let mut bench = bench();
    let load =
        broken_module(&mut bench, b"\0register_pernet_device\0", b"\0register_pernet_devil_\0");
    let report = bench.report();
    let (_, reason) = result(&report, &load);
    assert!(reason.contains("Unknown symbol register_pernet_devil_"), "{reason}");
    assert_eq!(report.outcome, Outcome::Test);
}

/// Set for a copy of this program that runs under a terminal.
const IN_TERMINAL: &str = "LAB_TEST_IN_TERMINAL";

/// The other half of the next test.
#[test]
fn shell_in_a_terminal() {
    if std::env::var_os(IN_TERMINAL).is_none() {
        return;
    }
    let mut bench = bench();
    bench.job.work = Work::Shell;
    println!("ended with {:?}", bench.run().status);
}

/// A program in a terminal, driven by what it shows.
struct Screen {
    script: std::process::Child,
    keys: std::process::ChildStdin,
    shown: mpsc::Receiver<Vec<u8>>,
    /// The output after the last text that was waited for.
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
            match self.shown.recv_timeout(PATIENCE) {
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
#[ignore = "needs a guest; make test runs it"]
fn a_shell_has_a_terminal_with_job_control() {
    let program = std::env::current_exe().unwrap();
    let program = program.display();
    let command =
        format!("stty rows 33 cols 99; {program} --exact shell_in_a_terminal --nocapture");
    let mut screen = Screen::of(&command);
    // The terminal echoes what is typed. The quotes make it differ from the output.
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
    let mut bench = bench();
    bench.job.memory_mb = memory_mb.to_str().unwrap().parse().unwrap();
    bench.test("long.sh", "sleep 600");
    let engine = Choice { used: Engine::Tcg, why: String::new() };
    let run = session::run(&bench.job, &bench.kernel, &engine, Phases::default());
    assert_eq!(run.unwrap_err().to_string(), "interrupted");
    println!("ended in good order");
}

/// Set for a copy of this program that tells what goes wrong in its guest.
const TELLS: &str = "LAB_TEST_TELLS";

/// The other half of the next test.
#[test]
fn lab_that_tells() {
    if std::env::var_os(TELLS).is_none() {
        return;
    }
    vmlab::run::interrupt::install().unwrap();
    let mut bench = bench();
    bench.job.tells = true;
    let script = "echo '# no route'; echo not ok 1 a; \
                  for line in 'BUG: workqueue lockup - mine' 'BUG: other' ' vfs_read+0x10/0x400' ' </TASK>'; do \
                  echo \"<4>$line\" > /dev/kmsg; done; sleep 600";
    bench.test("long.sh", script);
    limit(&mut bench, "long.sh", PATIENCE);
    let engine = Choice { used: Engine::Tcg, why: String::new() };
    let run = session::run(&bench.job, &bench.kernel, &engine, Phases::default());
    assert_eq!(run.unwrap_err().to_string(), "interrupted");
}

/// Standard input is only read while the guest runs. Otherwise the lab could not be interrupted.
#[test]
#[ignore = "needs a guest; make test runs it"]
fn what_goes_wrong_is_told_at_once() {
    let mut lab = std::process::Command::new(std::env::current_exe().unwrap());
    lab.args(["--exact", "lab_that_tells", "--nocapture"]);
    lab.env(TELLS, "1").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut lab = lab.spawn().unwrap();
    let mut told = BufReader::new(lab.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut wanted = vec![
        "long.sh: # no route",
        "long.sh: not ok 1 a",
        "long.sh: kernel log, lockup during long.sh, written by a program:",
        "long.sh:   BUG: workqueue lockup - mine",
        // Decoded.
        "long.sh:     vfs_read at ",
    ];
    while !wanted.is_empty() {
        let line = told.next().unwrap_or_else(|| panic!("without {wanted:?}"));
        wanted.retain(|it| !line.starts_with(it));
    }
    rustix::process::kill_process(Pid::from_child(&lab), Signal::INT).unwrap();
    assert!(lab.wait().unwrap().success());
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn a_lab_that_ends_leaves_no_qemu() {
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
    let mut bench = bench();
    bench.job.work = Work::Command("read first; echo \"[$first]\"; sha256sum".into());
    let ended = bench.run();
    println!("ended with {:?}", ended.status);
}

#[test]
#[ignore = "needs a guest; make test runs it"]
fn standard_input_reaches_a_command_up_to_its_end() {
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
