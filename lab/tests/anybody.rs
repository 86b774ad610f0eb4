// SPDX-License-Identifier: GPL-2.0

//! Modules and projects other than this one, built, booted and judged by the program, run as a user
//! would run it.
//!
//! They need a finished kernel. `lab test` builds one and names it in `LAB_TEST_VMLINUX`, and its
//! source in `LAB_TEST_SOURCE`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const MODULE: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

static int __init hello_init(void)
{
	pr_info("hello\n");
	WARN_ON(WARNS);
	return 0;
}

static void __exit hello_exit(void)
{
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_DESCRIPTION("Says hello");
MODULE_LICENSE("GPL");
"#;

/// A Makefile as people use it to build modules for their own machine.
const MAKEFILE: &str = r#"obj-m += hello.o

KDIR ?= /lib/modules/$(shell uname -r)/build

all:
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules
"#;

/// A test without KTAP: its exit status is the result, as in kselftest.
const LOADED_IN_SHELL: &str = "#!/bin/sh\ngrep -q '^hello ' /proc/modules\n";
const FAILS: &str = "#!/bin/sh\necho of no use\nexit 1\n";

const LOADED_IN_C: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include "kselftest.h"
#include <unistd.h>

int main(void)
{
	ksft_print_header();
	ksft_set_plan(1);
	ksft_test_result(!access("/sys/module/hello", F_OK), "it is loaded\n");
	ksft_finished();
}
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).map(PathBuf::from).unwrap_or_else(|| panic!("no {name}"))
}

/// The finished build.
fn kernel() -> PathBuf {
    variable("LAB_TEST_VMLINUX").parent().unwrap().to_owned()
}

/// A user's folder with a module.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::write(&path, text).unwrap();
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The content of the folder.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

fn lab(dir: &Path, args: &[&str]) -> Output {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.current_dir(dir).args(args).env_remove("KBUILD").env_remove("KSRC");
    let output = lab.output().unwrap();
    // Shown when a test fails.
    println!("$ lab {}\n{}", args.join(" "), said(&output));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// `lab try` with the finished kernel, outside of any project, as an installed program is used.
fn attempt(path: &Path, args: &[&str]) -> Output {
    let kernel = kernel();
    let (path, kernel) = (path.to_str().unwrap(), kernel.to_str().unwrap());
    lab(&std::env::temp_dir(), &[&["try", path, "--kernel", kernel], args].concat())
}

fn module(warns: &str) -> String {
    MODULE.replace("WARNS", warns)
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn somebodys_module_in_c_gets_a_verdict_and_its_folder_stays_clean() {
    let folder = Folder::new(&[
        ("hello.c", &module("false")),
        ("Makefile", MAKEFILE),
        ("loaded.sh", LOADED_IN_SHELL),
        ("loaded_too.c", LOADED_IN_C),
        ("fails.sh", FAILS),
    ]);
    let before = folder.content();
    let test = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let (shell, c, fails) = (test("loaded.sh"), test("loaded_too.c"), test("fails.sh"));

    let good = attempt(folder.0.path(), &["--test", &shell, "--test", &c]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let table = String::from_utf8_lossy(&good.stdout).into_owned();
    for name in ["loaded.sh", "loaded_too"] {
        assert!(table.contains(&format!("ok    {name}")), "{table}");
    }
    let bad = attempt(folder.0.path(), &["--test", &fails]);
    assert_eq!(bad.status.code(), Some(1), "{}", said(&bad));
    assert!(said(&bad).contains("FAIL  fails.sh"), "{}", said(&bad));
    assert_eq!(folder.content(), before);
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn a_warning_while_a_module_is_loaded_is_found_without_any_test() {
    let folder = Folder::new(&[("hello.c", &module("true")), ("Kbuild", "obj-m := hello.o\n")]);
    let output = attempt(folder.0.path(), &[]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("hello.c:7"), "{}", said(&output));
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn a_module_in_rust_that_nobody_changed_is_loaded_and_unloaded() {
    let source = variable("LAB_TEST_SOURCE").join("samples/rust/rust_minimal.rs");
    let text = fs::read_to_string(&source).unwrap();
    let folder =
        Folder::new(&[("rust_minimal.rs", &text), ("Kbuild", "obj-m := rust_minimal.o\n")]);
    let output = attempt(folder.0.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("ok    loads_again"), "{}", said(&output));
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn a_finished_module_is_taken_and_one_of_another_kernel_is_refused_with_the_reason() {
    let folder = Folder::new(&[("hello.c", &module("false")), ("Kbuild", "obj-m := hello.o\n")]);
    let built = attempt(folder.0.path(), &[]);
    assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    let place = said(&built);
    let place = place.lines().find_map(|line| line.split_once("results.json in ")).unwrap().1;
    let module = Path::new(place).join("modules/hello.ko");

    let taken = attempt(&module, &[]);
    assert_eq!(taken.status.code(), Some(0), "{}", said(&taken));

    let release = fs::read_to_string(kernel().join("include/config/kernel.release")).unwrap();
    let (is, not) = (release.trim().as_bytes(), release.trim().replace('7', "6"));
    let mut bytes = fs::read(&module).unwrap();
    let magic = [b"vermagic=", is].concat();
    let at = bytes.windows(magic.len()).position(|window| window == magic).unwrap();
    bytes[at..][..magic.len()].copy_from_slice(&[b"vermagic=", not.as_bytes()].concat());
    let other = folder.path("other.ko");
    fs::write(&other, bytes).unwrap();
    let refused = attempt(&other, &[]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains(&format!("was built for Linux {not}")), "{}", said(&refused));
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn a_new_project_is_green_at_once() {
    let folder = Folder::new(&[]);
    let made = lab(folder.0.path(), &["new", "first-module"]);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let project = folder.path("first-module");
    let tested = lab(&project, &["test", "--kbuild", kernel().to_str().unwrap()]);
    assert_eq!(tested.status.code(), Some(0), "{}", said(&tested));
    for name in ["counter.sh", "namespaces"] {
        assert!(said(&tested).contains(&format!("ok    {name}")), "{}", said(&tested));
    }
    let series = lab(&project, &["series"]);
    let all = "the series have all of the source";
    assert!(said(&series).contains(all), "{}", said(&series));
    let shown = lab(&project, &["series", "show"]);
    assert!(said(&shown).contains("3  selftests: first_module:"), "{}", said(&shown));
    let checked = lab(&project, &["check-series", "--no-build"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    assert!(said(&checked).contains(", 0 failed"), "{}", said(&checked));
}

/// Panics when it is loaded.
const PANICS: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/panic.h>

static int __init panics_init(void)
{
	panic("on purpose");
	return 0;
}

module_init(panics_init);
MODULE_DESCRIPTION("Panics");
MODULE_LICENSE("GPL");
"#;

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn the_memory_of_a_guest_that_panics_is_kept_on_request() {
    let folder = Folder::new(&[("panics.c", PANICS), ("Kbuild", "obj-m := panics.o\n")]);
    let core = folder.path("core");
    let output = attempt(folder.0.path(), &["--dump", core.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let mut magic = [0; 4];
    fs::File::open(&core).unwrap().read_exact(&mut magic).unwrap();
    assert_eq!(&magic, b"\x7fELF");
    // It contains all of the guest's memory.
    assert!(core.metadata().unwrap().len() > 1 << 30);
}

/// Two processors warn at the same time, several times.
const TWO_WARN: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/module.h>

#define ROUNDS 8

static atomic_t arrived[ROUNDS];
static DECLARE_COMPLETION(done);

static noinline void first_warns(void)
{
	WARN(1, "the one of two\n");
}

static noinline void second_warns(void)
{
	WARN(1, "the other of two\n");
}

static int warns(void *which)
{
	for (int round = 0; round < ROUNDS; round++) {
		atomic_inc(&arrived[round]);
		while (atomic_read(&arrived[round]) < 2)
			cpu_relax();
		if (which)
			second_warns();
		else
			first_warns();
	}
	complete(&done);
	return 0;
}

static int __init two_init(void)
{
	for (long cpu = 0; cpu < 2; cpu++) {
		struct task_struct *task = kthread_create(warns, (void *)cpu, "two");

		if (IS_ERR(task))
			return PTR_ERR(task);
		kthread_bind(task, cpu);
		wake_up_process(task);
	}
	for (int cpu = 0; cpu < 2; cpu++)
		wait_for_completion(&done);
	return 0;
}

static void __exit two_exit(void)
{
}

module_init(two_init);
module_exit(two_exit);
MODULE_DESCRIPTION("Warns twice at the same time");
MODULE_LICENSE("GPL");
"#;

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn warnings_of_two_processors_at_the_same_time_are_two_reports() {
    let folder = Folder::new(&[("two.c", TWO_WARN), ("Kbuild", "obj-m := two.o\n")]);
    let path = folder.path("loaded.sh");
    fs::write(&path, "#!/bin/sh\ngrep -q '^two ' /proc/modules\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let output = attempt(folder.0.path(), &["--test", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    let place = said(&output);
    let place = place.lines().find_map(|line| line.split_once("results.json in ")).unwrap().1;
    let results = fs::read(Path::new(place).join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
    let findings = results["kernel_findings"].as_array().unwrap();
    let of = |words: &str, place: &str, other: &str| {
        let is = |finding: &&serde_json::Value| {
            let text = finding["text"].as_str().unwrap();
            let stack = finding["stack"].to_string();
            text.contains(words) && stack.contains(place) && !stack.contains(other)
        };
        findings.iter().filter(is).count()
    };
    let first = of("the one of two", "first_warns", "second_warns");
    let second = of("the other of two", "second_warns", "first_warns");
    assert_eq!((first, second, findings.len()), (8, 8, 16), "{}", said(&output));

    // Lines of one report stood between those of the other, or this has shown nothing.
    let mut grep = Command::new("grep");
    grep.args(["-rhE", "the (one|other) of two|end trace", "--include", "kmsg.log"]);
    let log = grep.arg(Path::new(place).join("logs")).output().unwrap().stdout;
    let log = String::from_utf8(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let begins = |line: &str| line.contains(" of two");
    assert!(lines.windows(2).any(|pair| begins(pair[0]) && begins(pair[1])), "{log}");
}

/// Runs the lab where a folder for scratch files is a file system whose programs cannot be run.
/// `None` if this machine allows no mounts.
fn attempt_without_programs_in_tmp(path: &Path, args: &[&str]) -> Option<Output> {
    let scratch = tempfile::tempdir().unwrap();
    let in_namespace = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]).arg(scratch.path());
        unshare
    };
    let mount = "mount -t tmpfs -o noexec tmpfs \"$1\"";
    if !in_namespace(mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine allows no mounts");
        return None;
    }
    let runs = "cp /bin/true \"$1\" && ! \"$1/true\" 2>/dev/null && TMPDIR=$1 && export TMPDIR \
                && shift && exec \"$@\"";
    let mut lab = in_namespace(&format!("{mount} && {runs}"));
    lab.arg(env!("CARGO_BIN_EXE_lab")).arg("try").arg(path).arg("--kernel").arg(kernel());
    let output = lab.args(args).env_remove("KBUILD").env_remove("KSRC").output().unwrap();
    println!("{}", said(&output));
    Some(output)
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn programs_that_cannot_be_run_in_tmpdir_are_not_needed() {
    let folder = Folder::new(&[
        ("hello.c", &module("false")),
        ("Kbuild", "obj-m := hello.o\n"),
        ("loaded.sh", LOADED_IN_SHELL),
        ("loaded_too.c", LOADED_IN_C),
    ]);
    let test = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let (shell, c) = (test("loaded.sh"), test("loaded_too.c"));
    let tests = ["--test", &shell, "--test", &c];
    if let Some(output) = attempt_without_programs_in_tmp(folder.0.path(), &tests) {
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn after_the_first_failure_no_more_tests_begin_on_request() {
    let folder = Folder::new(&[("lab.toml", "name = \"x\"\n[selftests]\nfolders = [\"t\"]\n")]);
    fs::create_dir(folder.path("t")).unwrap();
    let names = ["a.sh", "b.sh", "c.sh", "d.sh"];
    for name in names {
        fs::write(folder.path("t").join(name), FAILS).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path("t").join(name), mode).unwrap();
    }
    let makefile = format!("programs:\n\t@echo {}\n", names.join(" "));
    fs::write(folder.path("t/Makefile"), makefile).unwrap();
    let kernel = kernel();
    let test = |options: &[&str]| {
        let words = ["test", "--jobs", "1", "--kbuild", kernel.to_str().unwrap(), "*.sh"];
        let output = lab(folder.0.path(), &[&words, options].concat());
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let results = fs::read(folder.path("target/lab/results.json")).unwrap();
        let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
        let reason = |test: &serde_json::Value| test["reason"].as_str().unwrap().to_owned();
        let tests = results["tests"].as_array().unwrap();
        assert!(tests.len() == 4 && tests.iter().all(|test| test["result"] == "fail"));
        tests.iter().filter(|test| reason(test) == "did not run").count()
    };
    // The next one may have begun when the first has failed.
    assert!([2, 3].contains(&test(&["--fail-fast"])));
    assert_eq!(test(&[]), 0);
}

/// A test that looks at its machine, and writes to a folder of the host.
const LOOKS: &str = r#"#!/bin/sh
cd "${0%/*}"
[ "$(nproc)" = 3 ] || exit 1
grep -q ' some.thing=7 ' /proc/cmdline || exit 1
pwd > HERE/written || exit 1
[ "$(cat HERE/mine)" = before ] || exit 1
"#;

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn a_guest_is_as_it_was_asked_to_be() {
    let shared = tempfile::tempdir().unwrap();
    let here = shared.path().canonicalize().unwrap();
    fs::write(here.join("mine"), "before\n").unwrap();
    let looks = LOOKS.replace("HERE", here.to_str().unwrap());
    let folder = Folder::new(&[
        ("hello.c", &module("false")),
        ("Kbuild", "obj-m := hello.o\n"),
        ("looks.sh", &looks),
    ]);
    let test = folder.path("looks.sh");
    let (test, here) = (test.to_str().unwrap(), here.to_str().unwrap());
    let asked = ["--test", test, "--cpus", "3", "--append", "some.thing=7 quiet", "--rw", here];
    let output = attempt(folder.0.path(), &asked);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let written = fs::read_to_string(shared.path().join("written")).unwrap();
    assert_eq!(Path::new(written.trim()), folder.0.path().canonicalize().unwrap());
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn a_dry_run_prints_a_command_line_that_boots_when_it_is_pasted() {
    let folder = Folder::new(&[("hello.c", &module("false")), ("Kbuild", "obj-m := hello.o\n")]);
    let shown = attempt(folder.0.path(), &["--dry-run"]);
    assert_eq!(shown.status.code(), Some(0), "{}", said(&shown));
    let line = String::from_utf8(shown.stdout).unwrap();
    assert!(line.starts_with("qemu-system-x86_64 ") && line.lines().count() == 1, "{line}");
    let pasted = Command::new("sh").args(["-c", &line]).output().unwrap();
    let log = String::from_utf8_lossy(&pasted.stdout).into_owned();
    assert!(log.contains("hello") && log.contains("reboot: "), "{log}");
}

#[test]
#[ignore = "boots guests: `make test` runs it"]
fn gdb_finds_the_guest_that_waits_for_it() {
    let folder = Folder::new(&[("hello.c", &module("false")), ("Kbuild", "obj-m := hello.o\n")]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.current_dir(root()).arg("try").arg(folder.0.path());
    lab.arg("--kernel").arg(kernel()).arg(format!("--gdb={port}"));
    lab.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = lab.spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
    let attach = lines.find(|line| line.trim().starts_with("gdb ")).unwrap();
    assert!(attach.contains(&format!("target remote :{port}")), "{attach}");

    // What gdb does first, in its own protocol: ask whether the guest is stopped, then continue it.
    // The lab prints the port a moment before QEMU listens on it.
    let mut gdb = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(gdb) => break gdb,
            Err(_) => assert!(running.try_wait().unwrap().is_none(), "it did not wait"),
        }
    };
    gdb.write_all(b"+$?#3f").unwrap();
    let mut stopped = [0; 3];
    gdb.read_exact(&mut stopped).unwrap();
    assert_eq!(&stopped[..2], b"+$", "{stopped:?}");
    gdb.write_all(b"+$D#44").unwrap();
    lines.for_each(drop);
    assert_eq!(running.wait().unwrap().code(), Some(0));
}
