// SPDX-License-Identifier: GPL-2.0

//! The program as a person meets it, on machines that lack things: its own
//! output, its exit status, and what it leaves behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A user with an empty cache and only the programs that a test gives them.
struct User {
    dir: tempfile::TempDir,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl User {
    fn new() -> User {
        let user = User { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(user.bin()).unwrap();
        user
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache/vmlab")
    }

    /// A program of one line of shell.
    fn program(&self, name: &str, line: &str) {
        let path = self.bin().join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// This machine's own program.
    fn real(&self, name: &str) {
        let path = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(name))
            .find(|path| path.exists())
            .unwrap();
        symlink(path, self.bin().join(name)).unwrap();
    }

    /// Tools that are new enough, by their own account.
    fn tools(&self) {
        let rust = self.dir.path().join("rust");
        let library = rust.join("lib/rustlib/src/rust/library/core/src");
        fs::create_dir_all(&library).unwrap();
        fs::write(library.join("lib.rs"), "").unwrap();
        let sysroot = rust.display();
        self.program(
            "rustc",
            &format!("[ $1 = --print ] && echo {sysroot} || echo 'rustc 1.95.0 (5 2026)'"),
        );
        self.program("bindgen", "echo 'bindgen 0.72.1'; echo 'clang version 19.1.7' >&2");
        self.program("my-clang", "echo 'clang version 19.1.7'");
        self.program("ld.lld", "echo 'LLD 19.1.7'");
        self.program("llvm-ar", "echo 'LLVM version 19.1.7'");
        self.program("qemu-system-x86_64", "echo 'QEMU emulator version 9.0.0'");
        for name in [
            "cc", "c++", "sysctl", "flex", "bison", "bc", "xz", "python3", "perl", "modinfo", "ip",
            "ping", "tcpdump", "ethtool", "git",
        ] {
            self.program(name, "echo 1.0");
        }
        for name in ["sh", "sleep"] {
            self.real(name);
        }
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", self.bin()).env("HOME", self.dir.path());
        command.env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        command.current_dir(root()).stdin(Stdio::null());
        command
    }

    fn lab(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_lab"))
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn doctor_on_an_empty_machine_names_everything_and_fails() {
    let user = User::new();
    let output = user.lab().arg("doctor").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for name in [
        "rustc",
        "rust-src",
        "bindgen",
        "libclang",
        "clang",
        "lld",
        "flex",
        "bison",
        "bc",
        "QEMU",
        "KVM",
        "disk space",
        "apt mirror",
    ] {
        assert!(
            said.lines().any(|line| line.get(6..).is_some_and(|l| l.starts_with(name))),
            "{name}: {said}"
        );
    }
    assert!(said.contains("a build cannot succeed"), "{said}");
}

#[test]
fn an_old_rustc_stops_the_main_job_before_anything_is_made() {
    let user = User::new();
    user.tools();
    user.program("rustc", "echo 'rustc 1.70.0 (9 2023)'");
    let output = user.lab().args(["kernel", "--cc", "my-clang", "--llvm", "1"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("found: 1.70.0") && said.contains("1.85.0 or later"), "{said}");
    assert!(!user.cache().join("kernel").exists());
}

/// Clippy builds the whole workspace, which takes what packages bring.
#[test]
fn a_machine_is_made_ready_before_the_hosts_code_is_checked() {
    let user = User::new();
    user.tools();
    let started = user.dir.path().join("started");
    user.program("cargo", &format!("echo > {}", started.display()));
    user.program("rustc", "echo 'rustc 1.70.0 (9 2023)'");
    let output = user.lab().args(["lint", "--cc", "my-clang", "--llvm", "1"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("found: 1.70.0"), "{said}");
    assert!(!started.exists(), "cargo was started: {said}");
}

#[test]
fn kbuild_and_ksrc_together_are_wrong_usage() {
    let user = User::new();
    let output = user.lab().arg("all").env("KSRC", "/a").env("KBUILD", "/b").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_ksrc_that_is_no_tree_is_named_with_the_variable() {
    let user = User::new();
    user.tools();
    user.real("make");
    let empty = user.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).env("KSRC", &empty);
    let output = lab.output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("error: KSRC=") && said.contains("is no kernel tree"), "{said}");
}

#[test]
fn a_ksrc_that_cannot_work_is_named_before_anything_is_installed() {
    let user = User::new();
    let file = |name: &str| user.dir.path().join(name);
    for name in ["sudo", "apt-get", "cargo"] {
        user.program(name, &format!("echo > {}", file("started").display()));
    }
    fs::create_dir(file("empty")).unwrap();
    fs::write(file("notes.txt"), "").unwrap();
    for (name, want) in [
        ("nowhere", "No such file"),
        ("empty", "is no kernel tree"),
        ("notes.txt", "neither a directory nor a tarball"),
    ] {
        let output = user.lab().arg("kernel").env("KSRC", file(name)).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.starts_with("error: KSRC=") && said.contains(want), "{said}");
        assert!(said.lines().count() == 1 && !file("started").exists(), "{said}");
    }
}

/// A tree that passes every check, and a `make` that never ends.
fn endless_build(user: &User) -> PathBuf {
    let tree = user.dir.path().join("linux");
    for dir in ["rust/kernel", "scripts"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    fs::write(tree.join("Makefile"), "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\n").unwrap();
    fs::write(tree.join("rust/kernel/lib.rs"), "").unwrap();
    fs::write(tree.join("scripts/min-tool-version.sh"), "echo 0.1.0\n").unwrap();
    let tarball = user.dir.path().join("linux.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&tarball).arg("-C").arg(user.dir.path()).arg("linux");
    assert!(tar.status().unwrap().success());
    user.real("tar");
    let started = user.dir.path().join("started");
    user.program("make", &format!("echo $$ > {}; sleep 600 & wait", started.display()));
    tarball
}

/// Reached by a link with a blank in its name, and a work tree of a repository that is elsewhere.
#[test]
fn somebodys_tree_is_built_in_the_cache_and_keeps_the_name_of_its_release() {
    let user = User::new();
    user.tools();
    endless_build(&user);
    let file = |name: &str| user.dir.path().join(name);
    fs::write(file("linux/.git"), "gitdir: /elsewhere\n").unwrap();
    symlink(file("linux"), file("my linux")).unwrap();
    let before = state_of(&file("linux"));
    user.program("make", &format!("echo \"$@\" > {}; exit 1", file("asked").display()));
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).env("KSRC", file("my linux"));
    let said = text(&lab.output().unwrap());
    let asked = fs::read_to_string(file("asked")).unwrap_or_else(|_| panic!("{said}"));
    let tree = file("linux").canonicalize().unwrap();
    assert!(asked.contains(&format!("-C {} ", tree.display())), "{asked}");
    let build = format!(" O={}/ksrc/7.3-", user.cache().display());
    assert!(asked.contains(&build) && asked.contains(" LOCALVERSION= "), "{asked}");
    assert_eq!(state_of(&file("linux")), before);
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(dir).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args);
    let output = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// Everything in a folder: paths, times, sizes and modes.
fn state_of(dir: &Path) -> String {
    let mut find = Command::new("find");
    find.arg(dir).args(["-printf", "%p %T@ %s %m %l\n"]);
    text(&find.output().unwrap())
}

/// With edits that are not committed, as a second work tree of a repository, and where nothing can be
/// written, whatever the user's rights.
#[test]
fn a_tree_that_is_dirty_or_a_worktree_or_read_only_is_built_and_stays_as_it_is() {
    let user = User::new();
    user.tools();
    endless_build(&user);
    let file = |name: &str| user.dir.path().join(name);
    user.program("make", &format!("echo \"$@\" > {}; exit 1", file("asked").display()));
    let tree = file("linux").canonicalize().unwrap();
    git(&tree, &["init", "-q"]);
    git(&tree, &["add", "-A"]);
    git(&tree, &["commit", "-q", "-m", "a tree"]);
    git(&tree, &["worktree", "add", "-q", "../second"]);
    fs::write(tree.join("rust/kernel/lib.rs"), "// edited\n").unwrap();
    fs::write(tree.join("new.c"), "int new;\n").unwrap();
    assert!(git(&tree, &["status", "--short"]).contains(" M rust/kernel/lib.rs"));

    let built = |lab: &mut Command, tree: &Path| {
        let _ = fs::remove_file(file("asked"));
        let before = state_of(tree);
        lab.env("KSRC", tree);
        let said = text(&lab.output().unwrap());
        let asked = fs::read_to_string(file("asked")).unwrap_or_else(|_| panic!("{said}"));
        assert!(asked.contains(&format!("-C {} ", tree.display())), "{asked}");
        let build = format!(" O={}/ksrc/7.3-", user.cache().display());
        assert!(asked.contains(&build) && asked.contains(" LOCALVERSION= "), "{asked}");
        assert_eq!(state_of(tree), before);
        said
    };
    let kernel = ["kernel", "--cc", "my-clang", "--llvm", "1"];
    built(user.lab().args(kernel), &tree);
    built(user.lab().args(kernel), &file("second").canonicalize().unwrap());

    // As on a read-only mount: root may write whatever the modes are.
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && \
                  ! touch \"$1/x\" 2>/dev/null && PATH=$2 && shift 2 && exec \"$@\"";
    let read_only = |program: &Path| {
        let mut unshare = user.command("/usr/bin/unshare");
        unshare.args(["--mount", "--map-root-user", "/bin/sh", "-c", script, "sh"]);
        unshare.arg(&tree).arg(user.bin()).arg(program).env("PATH", "/usr/sbin:/usr/bin:/bin");
        unshare
    };
    if read_only(&user.bin().join("sleep")).arg("0").status().unwrap().success() {
        built(read_only(Path::new(env!("CARGO_BIN_EXE_lab"))).args(kernel), &tree);
    } else {
        eprintln!("skipped in part: this machine allows no mounts");
    }
}

/// What the lab says to a terminal of this width, without the marks that move its cursor.
fn on_a_terminal(lab: &Command, columns: u32) -> (Option<i32>, String) {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let words: Vec<String> =
        std::iter::once(lab.get_program()).chain(lab.get_args()).map(quoted).collect();
    let mut script = Command::new("/usr/bin/script");
    script.env_clear().envs(lab.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let line = format!("/usr/bin/stty cols {columns} rows 24; {}", words.join(" "));
    script.args(["-qec", &line, "/dev/null"]).current_dir(root()).stdin(Stdio::null());
    let output = script.env("SHELL", "/bin/sh").env("TERM", "xterm").output().unwrap();
    let mut shown = String::new();
    let said = text(&output);
    let mut letters = said.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => drop(letters.by_ref().find(|it| it.is_ascii_alphabetic())),
            '\r' => {}
            other => shown.push(other),
        }
    }
    (output.status.code(), shown)
}

/// The width of a terminal that tells none is 0.
#[test]
fn a_terminal_of_one_column_shows_whole_words() {
    let user = User::new();
    user.tools();
    let tarball = endless_build(&user);
    user.program("make", "for n in 1 2 3; do echo '  CC      a.o'; done; echo broken; exit 1");
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).env("KSRC", &tarball);
    let plain = text(&lab.output().unwrap());
    let error = plain.lines().find(|line| line.starts_with("error: ")).unwrap();
    for columns in [0, 1, 80] {
        let (status, shown) = on_a_terminal(&lab, columns);
        assert_eq!(status, Some(3), "{columns}: {shown}");
        assert!(shown.contains(error), "{columns}: {shown}");
        assert!(!shown.contains("panicked"), "{columns}: {shown}");
    }
}

/// Waits until a program has written a whole line.
fn wait_for_line(file: &Path) {
    let deadline = Instant::now() + Duration::from_secs(600);
    while fs::read_to_string(file).map_or(true, |line| !line.ends_with('\n')) {
        assert!(Instant::now() < deadline, "{} is not written", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_ends_a_build_with_one_line_and_leaves_nothing() {
    let user = User::new();
    user.tools();
    let tarball = endless_build(&user);
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).env("KSRC", &tarball);
    let running = lab.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let started = user.dir.path().join("started");
    wait_for_line(&started);
    let pid = Pid::from_raw(running.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = running.wait_with_output().unwrap();
    let said = text(&output);

    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(said.lines().filter(|line| line.contains("interrupted")).count(), 1, "{said}");
    assert!(!said.contains("error"), "{said}");
    let make = fs::read_to_string(&started).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", make.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "make lives: {stat}");
    for dir in ["kernel", "tmp"] {
        let left = fs::read_dir(user.cache().join(dir)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left in {dir}");
    }
}

/// Makes an old entry of the cache, whose lock cannot be opened before somebody reads it.
fn unused_entry(user: &User, name: &str) -> PathBuf {
    let entry = user.cache().join(name);
    let lock = user.cache().join("locks").join(name.replace('/', "-"));
    for folder in [&entry, lock.parent().unwrap()] {
        fs::create_dir_all(folder).unwrap();
    }
    let made = Command::new("mkfifo").arg(&lock).status().unwrap();
    let aged = Command::new("touch").args(["-d", "2001-01-01"]).arg(&lock).arg(&entry).status();
    assert!(made.success() && aged.unwrap().success());
    lock
}

/// What has been told, and written into reports, stays the result.
#[test]
fn ctrl_c_after_the_verdict_does_not_change_it() {
    let user = User::new();
    let locks = ["kernel/a", "source/a"].map(|name| unused_entry(&user, name));
    let mut lab = user.lab();
    let mut running = lab.arg("cache").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It is about to remove the first entry, and will wait for the lock of the second.
    let _first = fs::File::open(&locks[0]).unwrap();
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    // The lab may have ended before it needs this one, so nothing may wait for it here.
    let _second = fs::File::options().read(true).write(true).open(&locks[1]).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(0));
}

/// A pipe that nobody reads any more.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}

/// `make doctor 2>&1 | head -1`
#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let user = User::new();
    let status = user.lab().arg("doctor").stdout(unread()).stderr(unread()).status().unwrap();
    assert_eq!(status.code(), Some(3));

    user.tools();
    let tarball = endless_build(&user);
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).env("KSRC", &tarball);
    let mut running = lab.stdout(unread()).stderr(unread()).spawn().unwrap();
    wait_for_line(&user.dir.path().join("started"));
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
}

/// What one builds, the other would load half of.
#[test]
fn a_command_waits_while_another_builds_in_the_same_checkout() {
    for command in [&["run", "--", "true"][..], &["shell"], &["bench"], &["selftests-net"]] {
        let user = User::new();
        user.tools();
        let checkout = user.dir.path().join("checkout");
        fs::create_dir_all(checkout.join("target")).unwrap();
        let project = "name = \"x\"\n[modules]\nkbuild = \".\"\nload = [\"x.ko\"]\n\
                       [bench]\nscript = \"x.sh\"\nmodule = \"x.ko\"\n";
        fs::write(checkout.join("lab.toml"), project).unwrap();
        for file in ["x.sh", "Kbuild"] {
            fs::write(checkout.join(file), "").unwrap();
        }
        let lock = fs::File::create(checkout.join("target/lab.lock")).unwrap();
        lock.lock().unwrap();
        let mut lab = user.lab();
        lab.args(command).current_dir(&checkout).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut lab = lab.spawn().unwrap();
        let mut said = BufReader::new(lab.stderr.take().unwrap()).lines().map_while(Result::ok);
        // Without the lock it ends, as the machine lacks a lot.
        let waits = said.any(|line| line.starts_with("waiting: "));
        let _ = kill_process(Pid::from_child(&lab), Signal::INT);
        assert_eq!((waits, lab.wait().unwrap().code()), (true, Some(130)), "{command:?}");
    }
}

#[test]
fn a_bench_that_fails_leaves_no_results_of_the_one_before() {
    let user = User::new();
    let checkout = user.dir.path().join("checkout");
    let results = checkout.join("target/bench/results.json");
    fs::create_dir_all(results.parent().unwrap()).unwrap();
    fs::write(&results, "{}").unwrap();
    let project = "name = \"x\"\n[modules]\nkbuild = \".\"\nload = [\"x.ko\"]\n\
                   [bench]\nscript = \"x.sh\"\nmodule = \"x.ko\"\n";
    for (name, text) in [("lab.toml", project), ("x.sh", ""), ("Kbuild", "")] {
        fs::write(checkout.join(name), text).unwrap();
    }
    let output = user.lab().arg("bench").current_dir(&checkout).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(!results.exists());
}

/// Waits for a line that contains these words.
fn wait_to_be_told(said: &mut impl Iterator<Item = String>, words: &str) {
    assert!(said.any(|line| line.contains(words)), "it never said: {words}");
}

#[test]
fn a_watch_runs_again_after_each_edit_until_ctrl_c() {
    let user = User::new();
    let project = user.dir.path().join("project");
    fs::create_dir_all(project.join("selftests")).unwrap();
    fs::write(project.join("lab.toml"), "name = \"x\"\n").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = user.lab();
    command.args(["test", "--watch"]).current_dir(&project);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut lab = command.spawn().unwrap();
    // The other ends of the pipe.
    drop(command);
    let mut said = BufReader::new(reader).lines().map_while(Result::ok);
    wait_to_be_told(&mut said, "lab.toml names no selftests");
    wait_to_be_told(&mut said, "; Ctrl-C ends it");
    // In a folder without a file, and then a mistake in the project's own settings.
    fs::write(project.join("selftests/a.sh"), "").unwrap();
    wait_to_be_told(&mut said, "selftests");
    wait_to_be_told(&mut said, "; Ctrl-C ends it");
    fs::write(project.join("lab.toml"), "nome = \"x\"\n").unwrap();
    wait_to_be_told(&mut said, "lab.toml changed");
    wait_to_be_told(&mut said, "unknown field `nome`");
    wait_to_be_told(&mut said, "; Ctrl-C ends it");
    kill_process(Pid::from_child(&lab), Signal::INT).unwrap();
    let rest: Vec<String> = said.collect();
    assert_eq!(lab.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("error")), "{rest:?}");
}

/// A user whose `cargo` prints the words that it is given, or its environment.
fn user_of_make(cargo: &str) -> (User, PathBuf) {
    let user = User::new();
    for name in ["make", "sh", "sed", "env"] {
        user.real(name);
    }
    user.program("cargo", cargo);
    let make = user.bin().join("make");
    (user, make)
}

#[test]
fn what_a_person_gives_make_reaches_the_lab_as_it_is() {
    let (user, make) = user_of_make(r#"printf '<%s>' "$@"; cat"#);
    let cases = [
        ("run", "CMD", r#"echo $HOME "a  b" `x` \ # % it's"#, "<run><--><{}>"),
        ("run", "CMD", "one\ntwo", "<run><--><{}>"),
        ("test", "T", "it's", "<test><--><{}>"),
        ("test", "T", "$x* ?", "<test><--><$x*><?>"),
        ("mutants", "T", "a b", "<mutants><--><{}>"),
        ("selftests-net", "TESTS", "a* $b", "<selftests-net><--><a*><$b>"),
    ];
    for (target, variable, value, want) in cases {
        let words = format!("<run><--quiet><--package><lab><-->{}", want.replace("{}", value));
        let set = format!("{variable}={value}");
        let by_argument = user.command(&make).args(["-s", target, &set]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&by_argument.stdout), words);
        let by_environment =
            user.command(&make).args(["-s", target]).env(variable, value).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&by_environment.stdout), words);
    }
}

#[test]
fn a_path_that_a_person_gives_make_reaches_the_lab_as_it_is() {
    let (user, make) = user_of_make(r#"printf '%s' "$KSRC$KBUILD$LLVM$CC""#);
    let path = "/a$b/$(c)/it's 'd'/";
    for variable in ["KSRC", "KBUILD", "LLVM", "CC"] {
        let set = format!("{variable}={path}");
        let by_argument = user.command(&make).args(["-s", "all", &set]).output().unwrap();
        assert_eq!(text(&by_argument), path, "{variable}");
        let by_environment =
            user.command(&make).args(["-s", "all"]).env(variable, path).output().unwrap();
        assert_eq!(text(&by_environment), path, "{variable}");
    }
}

/// It builds for minutes, and warns if the shell will not find the program.
#[test]
fn a_person_who_installs_sees_what_cargo_says() {
    let (user, make) = user_of_make(r#"printf '<%s>' "$@""#);
    let installed = user.command(make).args(["-s", "install"]).output().unwrap();
    assert_eq!(text(&installed), "<install><--locked><--path><lab>");
}

#[test]
fn standard_input_reaches_the_lab_through_make() {
    let (user, make) = user_of_make("read line; echo \"[$line]\"");
    let input = user.dir.path().join("input");
    fs::write(&input, "a line\n").unwrap();
    let mut run = user.command(make);
    run.args(["-s", "run", "CMD=cat"]).stdin(fs::File::open(input).unwrap());
    assert_eq!(text(&run.output().unwrap()).lines().last(), Some("[a line]"));
}

/// A name for each pattern in the list of variables that change builds.
fn variables() -> Vec<String> {
    let list = fs::read_to_string(root().join("lab/environment")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let names = lines.flat_map(str::split_whitespace).map(|pattern| pattern.replace('%', "X"));
    // These would be this make's own, before a Makefile is read.
    names.filter(|name| !name.starts_with("MAKE") && !name.ends_with("MAKEFLAGS")).collect()
}

#[test]
fn no_variable_that_changes_a_build_comes_through_make() {
    let (user, make) = user_of_make("env");
    let mut make = user.command(make);
    make.arg("doctor").envs(variables().iter().map(|name| (name, "meant-for-others")));
    let said = text(&make.output().unwrap());
    assert!(said.contains("PATH="), "{said}");
    assert!(!said.contains("meant-for-others"), "{said}");
}

#[test]
fn no_variable_that_changes_a_build_reaches_what_the_lab_starts() {
    let user = User::new();
    user.tools();
    let tarball = endless_build(&user);
    user.real("env");
    let seen = user.dir.path().join("seen");
    user.program("make", &format!("env > {}; exit 1", seen.display()));
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).env("KSRC", &tarball);
    lab.envs(variables().iter().map(|name| (name, "meant-for-others")));
    lab.env("MAKEFLAGS", "--jobserver-auth=fifo:/nope").env("MAKELEVEL", "3");
    let output = lab.output().unwrap();
    let seen = fs::read_to_string(seen).unwrap_or_else(|_| panic!("{}", text(&output)));
    assert!(seen.contains("LC_ALL=C\n"), "{seen}");
    for other in ["meant-for-others", "jobserver", "KSRC=", "MAKELEVEL"] {
        assert!(!seen.contains(other), "{seen}");
    }
}

#[test]
fn nothing_that_others_can_write_to_is_made_whatever_the_umask() {
    use std::os::unix::fs::MetadataExt;
    let user = User::new();
    user.tools();
    let tarball = endless_build(&user);
    user.program("make", "exit 1");
    let mut shell = user.command(user.bin().join("sh"));
    shell.args(["-c", "umask 000; exec \"$0\" kernel --cc my-clang --llvm 1"]);
    shell.arg(env!("CARGO_BIN_EXE_lab")).env("KSRC", &tarball).output().unwrap();
    for name in ["", "locks", "source"] {
        let mode = fs::metadata(user.cache().join(name)).unwrap().mode();
        assert_eq!(mode & 0o022, 0, "{name}: {mode:o}");
    }
}

#[test]
fn a_tmpdir_that_is_not_there_is_named_before_anything_is_built() {
    let (user, make) = user_of_make("echo cargo was called");
    let output = user.command(make).arg("all").env("TMPDIR", "/nonexistent/t").output().unwrap();
    let said = text(&output);
    assert!(said.starts_with("error: TMPDIR=/nonexistent/t "), "{said}");
    assert!(said.contains("unset TMPDIR") && !said.contains("cargo was called"), "{said}");
}

#[test]
fn a_first_build_of_the_lab_says_what_takes_so_long() {
    let (user, make) = user_of_make("exit 0");
    let checkout = user.dir.path().join("checkout");
    fs::create_dir_all(checkout.join("lab")).unwrap();
    for name in ["Makefile", "lab/start", "lab/environment"] {
        fs::copy(root().join(name), checkout.join(name)).unwrap();
    }
    let doctor = || {
        let mut make = user.command(&make);
        text(&make.arg("doctor").current_dir(&checkout).output().unwrap())
    };
    assert!(doctor().contains("no cc, which cargo links with"));
    user.program("cc", "exit 0");
    assert!(doctor().contains("building the lab itself"));
    fs::create_dir_all(checkout.join("target/debug")).unwrap();
    symlink(user.bin().join("sh"), checkout.join("target/debug/lab")).unwrap();
    assert_eq!(doctor(), "");
}

#[test]
fn a_checkout_below_a_colon_is_refused_in_one_line() {
    let (user, make) = user_of_make("echo cargo was called");
    let checkout = user.dir.path().join("a:b");
    fs::create_dir_all(checkout.join("lab")).unwrap();
    for name in ["Makefile", "lab/start", "lab/environment"] {
        fs::copy(root().join(name), checkout.join(name)).unwrap();
    }
    let output = user.command(make).arg("all").current_dir(&checkout).output().unwrap();
    let said = text(&output);
    assert!(said.contains("a:b: cargo does not build in a folder with a colon"), "{said}");
    assert!(!said.contains("cargo was called"), "{said}");
}

#[test]
fn help_needs_nothing_but_make() {
    let user = User::new();
    for name in ["make", "sh", "sed", "echo"] {
        user.real(name);
    }
    let output = user.command(user.bin().join("make")).arg("help").output().unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains("make doctor"), "{said}");
}

#[test]
fn ctrl_c_waits_for_packages_to_be_unpacked() {
    let user = User::new();
    user.tools();
    for name in ["env", "cat"] {
        user.real(name);
    }
    user.program("sudo", "shift; exec \"$@\"");
    user.program("flex", "");
    fs::remove_file(user.bin().join("flex")).unwrap();
    let file = |name: &str| user.dir.path().join(name);
    assert!(Command::new("mkfifo").arg(file("disk")).status().unwrap().success());
    let install = format!(
        "trap 'echo asked > {}' INT; echo $$ > {}; cat {} > {}; exit 100",
        file("asked").display(),
        file("started").display(),
        file("disk").display(),
        file("whole").display(),
    );
    user.program("apt-get", &install);
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]);
    let stderr = fs::File::create(file("stderr")).unwrap();
    let mut running = lab.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    wait_for_line(&file("started"));
    let pid = Pid::from_raw(running.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    // Said once apt has been asked. Before that, it could end by itself.
    let deadline = Instant::now() + Duration::from_secs(600);
    while !fs::read_to_string(file("stderr")).unwrap().contains("waiting for apt") {
        assert!(Instant::now() < deadline, "the lab does not say that it waits");
        std::thread::sleep(Duration::from_millis(10));
    }
    // A person who has no patience.
    kill_process(pid, Signal::INT).unwrap();
    fs::write(file("disk"), "unpacked\n").unwrap();
    let status = running.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{}", fs::read_to_string(file("stderr")).unwrap());
    assert_eq!(fs::read_to_string(file("asked")).unwrap(), "asked\n");
    assert_eq!(fs::read_to_string(file("whole")).unwrap(), "unpacked\n");
}

#[test]
fn a_missing_tmpdir_is_not_reported_as_a_missing_library() {
    let user = User::new();
    user.tools();
    let run = |command: &str| {
        let mut lab = user.lab();
        lab.args([command, "--cc", "my-clang", "--llvm", "1"]).env("TMPDIR", "/nonexistent/t");
        text(&lab.output().unwrap())
    };
    let said = run("kernel");
    assert!(said.starts_with("error: TMPDIR is /nonexistent/t: no such folder: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = run("doctor");
    let line = |name: &str| said.lines().find(|l| l.contains(name)).unwrap_or_default();
    assert!(line("TMPDIR").contains("no such folder"), "{said}");
    assert!(line("libclang").starts_with("ok") && line("libclang").contains("19.1.7"), "{said}");
}

#[test]
fn a_libclang_that_the_user_chose_is_judged_and_named() {
    let user = User::new();
    user.tools();
    user.program(
        "bindgen",
        "[ $1 = --version ] && echo bindgen 0.72.1; echo clang version ${LIBCLANG_PATH:+14.0.6} >&2",
    );
    let mut lab = user.lab();
    lab.args(["doctor", "--cc", "my-clang", "--llvm", "1"])
        .env("LIBCLANG_PATH", "/opt/llvm-14/lib");
    let said =
        text(&lab.env("LANG", "de_DE.UTF-8").env("LC_MESSAGES", "ja_JP.UTF-8").output().unwrap());
    let line = said.lines().find(|line| line.contains("libclang")).unwrap();
    assert!(line.contains("14.0.6") && line.contains("17.0.1 or later"), "{said}");
    assert!(said.contains("unset LIBCLANG_PATH, which is /opt/llvm-14/lib"), "{said}");
}

#[test]
fn a_cache_where_linux_cannot_be_built_is_named_before_anything_is_fetched() {
    let user = User::new();
    user.tools();
    for (folder, bad) in [("a b", "' '"), ("a:b", "':'"), ("$x", "'$'"), ("it's", "'\\''")] {
        let mut lab = user.lab();
        lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]);
        let output = lab.env("XDG_CACHE_HOME", user.dir.path().join(folder)).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("{bad} in its path")), "{said}");
        assert!(said.contains("set XDG_CACHE_HOME") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_relative_cache_is_ignored_as_its_specification_has_it_and_said() {
    let user = User::new();
    user.tools();
    let mut lab = user.lab();
    lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]);
    let said = text(&lab.env("XDG_CACHE_HOME", "rel").output().unwrap());
    let home = user.dir.path().join(".cache/vmlab");
    let want = format!("note: XDG_CACHE_HOME=rel is not absolute; the cache is {}", home.display());
    assert!(said.starts_with(&want), "{said}");
    assert!(!root().join("rel").exists());
}

#[test]
fn an_empty_environment_is_enough_for_doctor() {
    let user = User::new();
    user.tools();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.env_clear().env("PATH", user.bin()).current_dir(root()).arg("doctor");
    let said = text(&lab.output().unwrap());
    assert!(said.contains("QEMU") && !said.contains("error: no place"), "{said}");
}

#[test]
fn the_cache_says_how_large_it_is_and_forgets_what_nobody_uses() {
    let user = User::new();
    user.tools();
    let month = Duration::from_secs(40 * 24 * 3600);
    for (name, age) in [("kernel/old", month), ("kernel/new", Duration::ZERO)] {
        let dir = user.cache().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("vmlinux"), vec![1; 1 << 20]).unwrap();
        fs::File::open(&dir).unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    let said = text(&user.lab().args(["cache", "--prune"]).output().unwrap());
    assert!(said.contains("that nothing uses any more: kernel/old"), "{said}");
    assert!(said.contains("used today          kernel/new"), "{said}");
    assert!(!user.cache().join("kernel/old").exists() && user.cache().join("kernel/new").exists());
}

/// A Debian archive, by apt's own account: each mirror has one version of the kernel. `past` are
/// archives that the machine's own sources do not name.
fn archive(user: &User, mirrors: &[(&str, &str)], past: &[(&str, &str)]) {
    for name in ["cat", "cp", "grep", "tar", "xz", "cut"] {
        let _ = fs::remove_file(user.bin().join(name));
        user.real(name);
    }
    let (mut targets, mut versions) = (String::new(), String::new());
    for (uri, _) in mirrors {
        targets += &format!("echo 'Debian|{uri}';");
    }
    for (uri, version) in mirrors.iter().chain(past) {
        versions += &format!(
            "grep -q ' {uri} ' $list && echo ' p | {version} | {uri} s/main amd64 Packages';"
        );
        package(user, version);
    }
    let dir = user.dir.path().display();
    user.program(
        "apt-get",
        &format!(
            "for last; do :; done; case \"$*\" in indextargets*) {targets} ;; \
             *download*) cp {dir}/${{last#*=}}.deb p.deb ;; esac"
        ),
    );
    user.program("apt-config", "");
    user.program("apt-cache", &format!("list=${{APT_CONFIG%/*}}/sources.list; {versions} exit 0"));
    user.program("dpkg-deb", "cat $2");
}

/// What a package of the kernel's source unpacks to.
fn package(user: &User, version: &str) {
    let number: Vec<&str> = version.split(['.', '-']).collect();
    let dir = user.dir.path().join(version);
    let tree = dir.join("linux");
    fs::create_dir_all(tree.join("arch/x86")).unwrap();
    let (a, b, c) = (number[0], number[1], number[2]);
    let makefile = format!("VERSION = {a}\nPATCHLEVEL = {b}\nSUBLEVEL = {c}\n");
    fs::write(tree.join("Makefile"), makefile).unwrap();
    fs::create_dir(tree.join("scripts")).unwrap();
    fs::write(tree.join("scripts/min-tool-version.sh"), "echo 0.1.0\n").unwrap();
    let name = format!("linux-source-{a}.{b}");
    let inner = dir.join("usr/src");
    fs::create_dir_all(&inner).unwrap();
    let tar = |args: &[&str], from: &Path, what: &str, to: PathBuf| {
        let mut tar = Command::new("tar");
        tar.args(args).arg(to).arg("-C").arg(from).arg(what);
        assert!(tar.status().unwrap().success());
    };
    tar(&["-cJf"], &dir, "linux", inner.join(format!("{name}.tar.xz")));
    tar(&["-cf"], &dir, "./usr", user.dir.path().join(format!("{version}.deb")));
}

fn pinned() -> String {
    let pins = fs::read_to_string(root().join("lab/pins.toml")).unwrap();
    let line = pins.lines().find(|line| line.starts_with("version = ")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// The version of the sources in the cache, and what the lab said.
fn kernel_from(mirrors: &[(&str, &str)]) -> (Vec<String>, String) {
    kernel_of_now_or_the_past(mirrors, &[])
}

fn kernel_of_now_or_the_past(
    mirrors: &[(&str, &str)],
    past: &[(&str, &str)],
) -> (Vec<String>, String) {
    let user = User::new();
    user.tools();
    user.program("make", "exit 1");
    archive(&user, mirrors, past);
    let mut lab = user.lab();
    let output = lab.args(["kernel", "--cc", "my-clang", "--llvm", "1"]).output().unwrap();
    let entries = fs::read_dir(user.cache().join("source")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    (names.collect(), text(&output))
}

#[test]
fn a_pinned_kernel_that_is_gone_is_found_in_another_archive() {
    let pinned = pinned();
    let newer = "7.3.99-1";
    let (sources, said) = kernel_from(&[("http://a/debian", newer), ("http://b/debian", &pinned)]);
    assert_eq!(sources.len(), 1, "{said}");
    assert!(sources[0].contains(&format!("_{pinned}-")), "{sources:?} {said}");
    assert!(said.contains("looked for in http://b/debian") && !said.contains("warning"), "{said}");
}

#[test]
fn a_pinned_kernel_that_all_mirrors_have_dropped_comes_from_debians_archive_of_the_past() {
    let pins = fs::read_to_string(root().join("lab/pins.toml")).unwrap();
    let archives = pins.lines().find(|line| line.starts_with("archives = ")).unwrap();
    let snapshot = archives.split('"').nth(1).expect("the pin names an archive");
    let (pinned, newer) = (pinned(), "7.3.99-1");
    let (sources, said) =
        kernel_of_now_or_the_past(&[("http://a/debian", newer)], &[(snapshot, &pinned)]);
    assert!(sources.len() == 1 && sources[0].contains(&pinned), "{sources:?} {said}");
    assert!(said.contains(&format!("looked for in {snapshot}")), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_pinned_kernel_that_is_nowhere_is_replaced_by_the_newest_with_a_warning() {
    let (sources, said) = kernel_from(&[("http://a/debian", "7.3.99-1")]);
    assert_eq!(sources.len(), 1, "{said}");
    assert!(sources[0].contains("_7.3.99-1-"), "{sources:?} {said}");
    assert!(said.contains("is gone from"), "{said}");
    assert!(said.contains("warning: building 7.3.99-1, another version than"), "{said}");
}

#[test]
fn a_pinned_kernel_that_is_there_is_taken_without_a_word() {
    let pinned = pinned();
    let (sources, said) =
        kernel_from(&[("http://a/debian", &pinned), ("http://b/debian", "7.3.99-1")]);
    assert!(sources.len() == 1 && sources[0].contains(&pinned), "{sources:?} {said}");
    assert!(!said.contains("gone") && !said.contains("http://b"), "{said}");
}

#[test]
fn without_cargo_make_says_so_in_one_line() {
    let user = User::new();
    for name in ["make", "sh", "sed"] {
        user.real(name);
    }
    let make = user.bin().join("make");
    let output = user.command(make).arg("test").output().unwrap();
    let said = text(&output);
    assert!(!output.status.success());
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("cargo is not installed"), "{said}");
}

#[test]
fn make_help_explains_every_target_in_a_line() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let phony = makefile.lines().find_map(|line| line.strip_prefix(".PHONY: ")).unwrap();
    let output = Command::new("make").arg("help").current_dir(root()).output().unwrap();
    let said = text(&output);
    for target in phony.split_whitespace() {
        let line = said.lines().find(|line| line.starts_with(&format!("make {target} ")));
        assert!(line.is_some_and(|line| line.len() > 25), "{target}: {said}");
    }
}
