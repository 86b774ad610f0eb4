// SPDX-License-Identifier: GPL-2.0

//! Real guests: what the lab says about those that work, and about those that
//! fail in each way that can be made.
//!
//! They need a kernel and the guest's PID 1. `lab test` builds both and names
//! them in the variables below; a bare `cargo test` has neither.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::accel::{Engine, Verdict as Accel};
use lab::job::{Budget, Job, Test, Work};
use lab::kernel::Kernel;
use lab::ktap::Verdict;
use lab::outcome::Outcome;
use lab::phases::Phases;
use lab::report::Report;
use lab::session::{self, Ended};
use tempfile::TempDir;

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
        work: Work::Tests { tests: Vec::new(), repeat: 1 },
        modules: Vec::new(),
        load: Vec::new(),
        init,
        selftests: vec![dir.path().join("tests")],
        directory: dir.path().to_owned(),
        memory_mb: 512,
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
        let accel = Accel { used: Engine::Tcg, why: "these tests are about the lab".into() };
        let mut phases = Phases::default();
        session::run_within(&self.budget, &self.job, &self.kernel, &accel, &mut phases).unwrap()
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

fn result(report: &Report, name: &str) -> (Verdict, String) {
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
    let report = bench.report();
    assert_eq!(report.outcome, Outcome::Test);
    assert_eq!(result(&report, "good.sh"), (Verdict::Pass, String::new()));
    assert_eq!(result(&report, "bad.sh"), (Verdict::Fail, "a: no route".into()));
    assert_eq!(result(&report, "skip.sh"), (Verdict::Skip, "no veth".into()));
    assert_eq!(result(&report, "readonly.sh"), (Verdict::Pass, String::new()));
    assert!(!Path::new("/lab-was-here").exists(), "the guest wrote to the host");
    assert_eq!(bench.log("good.sh.log"), "KTAP version 1\n1..2\nok 1 lo\nok 2 ping\nnoise\n");
    assert!(bench.log("kernel.log").contains("Linux version "));
}
