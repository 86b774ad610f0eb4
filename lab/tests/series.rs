// SPDX-License-Identifier: GPL-2.0

//! `lab series` as a user runs it, on a small project and on a kernel tree with only the files that
//! the program needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DRIVER: &str = "fn init() {\n    start();\n}\n";

/// A project, and a kernel tree beside it.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A series without a patch.
    fn without_patches() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("linux/Makefile", "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n"),
            ("linux/rust/kernel/lib.rs", ""),
            ("linux/Kconfig", ""),
            ("linux/drivers/net/Makefile", "obj-y += base.o\n"),
            ("p/lab.toml", "name = \"demo\"\n[upstream]\n\"drivers\" = \"drivers/net\"\n"),
            ("p/drivers/demo.rs", DRIVER),
            (
                "p/patches/1-demo/series.toml",
                "tree = \"net-next\"\nchange_id = \"20261127-demo-1a2b3c\"\n",
            ),
            ("p/patches/1-demo/cover.md", "# net: demo\n\nWhy.\n\nFrom here on it is clear.\n"),
        ] {
            let path = bench.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for args in [
            vec!["init", "-q"],
            vec!["config", "user.name", "Jane Doe"],
            vec!["config", "user.email", "jane@example.org"],
        ] {
            let status = Command::new("git").args(args).current_dir(bench.project()).status();
            assert!(status.unwrap().success());
        }
        bench
    }

    /// A series of two patches: a driver, and a counter in it.
    fn new() -> Bench {
        let bench = Bench::without_patches();
        bench.ok(&["series", "add", "1/0", "-m", "net: demo: add the driver\n\nA reason."]);
        bench.ok(&["series", "add", "1/1", "-m", "net: demo: count packets\n\nA reason."]);
        bench
    }

    fn project(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    fn lab(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(args)
            .current_dir(self.project())
            .env("KSRC", self.dir.path().join("linux"))
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .env("GIT_AUTHOR_DATE", "1700000000 +0000")
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.lab(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lab {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str]) -> (String, String) {
        let output = self.lab(args);
        assert!(!output.status.success(), "lab {args:?}");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// A git command in one of both folders.
    fn git(&self, folder: &str, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=M", "-c", "user.email=m@example.org"]).args(args);
        let output = command.current_dir(self.dir.path().join(folder)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a repository of the kernel tree.
    fn import(&self) {
        self.git("linux", &["init", "-q"]);
        self.git("linux", &["add", "-A"]);
        self.git("linux", &["commit", "-q", "-m", "base"]);
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.project().join(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project().join(path)).unwrap()
    }
}

#[test]
fn no_patch_at_all_is_nothing_to_check_or_prove() {
    let bench = Bench::without_patches();
    for args in [
        &["check-series", "--no-build"][..],
        &["check-series", "--no-build", "1-demo"],
        &["series", "prove"],
        &["series", "prove", "1-demo"],
    ] {
        let (_, error) = bench.fails(args);
        assert!(error.contains("no patch yet") || error.contains("has a patch yet"), "{error}");
    }
}

#[test]
fn a_new_file_without_a_rule_is_open_and_put_decides() {
    let bench = Bench::new();
    let (table, error) = bench.fails(&["series"]);
    assert!(table.contains("drivers/demo.rs:1  +3 -0  OPEN: no rule is for this file"), "{table}");
    assert!(error.contains("1 of 1 changes have no patch yet; nothing was changed"), "{error}");
    let table = bench.ok(&["series", "--put", "drivers/demo.rs=1"]);
    assert!(table.contains("1-demo/1 \"net: demo: add the driver\": as PUT says"), "{table}");
    assert_eq!(bench.ok(&["series"]), "the series have all of the source\n");
}

#[test]
fn a_dry_run_says_where_a_change_goes_and_changes_nothing() {
    let bench = Bench::new();
    bench.ok(&["series", "--put", "drivers/demo.rs=1"]);
    bench.write("drivers/demo.rs", &DRIVER.replace("start", "begin"));
    let patch = "patches/1-demo/v1/0001-net-demo-add-the-driver.patch";
    let before = bench.read(patch);
    let table = bench.ok(&["series", "--dry-run"]);
    assert!(table.contains("drivers/demo.rs:2  +1 -1  1-demo/1"), "{table}");
    assert!(table.contains("brought what is replaced"), "{table}");
    assert_eq!(bench.read(patch), before);
    bench.ok(&["series"]);
    assert!(bench.read(patch).contains("+    begin();"));
    bench.ok(&["series", "undo"]);
    assert_eq!(bench.read(patch), before);
}

#[test]
fn a_patch_is_edited_in_a_folder() {
    let bench = Bench::new();
    bench.ok(&["series", "--put", "drivers/demo.rs=1"]);
    let said = bench.ok(&["series", "edit", "1/2", "--with", "drivers/net/Makefile"]);
    let folder = Path::new(said.lines().next().unwrap().split(" is in ").nth(1).unwrap());
    let makefile = folder.join("drivers/net/Makefile");
    assert_eq!(fs::read_to_string(&makefile).unwrap(), "obj-y += base.o\n");
    fs::write(&makefile, "obj-y += base.o\nobj-m += demo.o\n").unwrap();
    let (_, error) = bench.fails(&["series", "edit", "1/1"]);
    assert!(error.contains("1-demo/2 is being edited"), "{error}");
    bench.ok(&["series", "edit"]);
    let patch = bench.read("patches/1-demo/v1/0002-net-demo-count-packets.patch");
    assert!(patch.contains("\n obj-y += base.o\n+obj-m += demo.o\n"), "{patch}");
    assert_eq!(bench.read("drivers/demo.rs"), DRIVER);
}

#[test]
fn what_is_not_finished_is_told_before_anything_is_exported() {
    let bench = finished();
    let driver = bench.read("drivers/demo.rs");
    bench.write("drivers/demo.rs", &driver.replace("start();", "begin();"));
    let (_, error) = bench.fails(&["series", "export", "1", "--sign-off"]);
    assert!(error.contains("1 changes of the source are in no patch yet"), "{error}");
    bench.write("drivers/demo.rs", &driver);
    bench.ok(&["series", "edit", "1/2"]);
    let output = bench.lab(&["series", "export", "1", "--sign-off"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let note = "note: an edit of \"net: demo: count packets\" is not finished yet";
    assert!(output.status.success() && said.contains(note), "{said}");
}

#[test]
fn a_wish_that_nothing_fits_is_refused() {
    let bench = Bench::new();
    let (_, error) = bench.fails(&["series", "--put", "drivers/demo.rs:77=1"]);
    assert!(error.contains("nothing changed at drivers/demo.rs:77"), "{error}");
    let (_, error) = bench.fails(&["series", "--put", "drivers/demo.rs=9"]);
    assert!(error.contains("1-demo has 2 patches, no number 9"), "{error}");
    let (_, error) = bench.fails(&["series", "--put", "drivers/demo.rs"]);
    assert!(error.contains("FILE:LINE=PATCH"), "{error}");
}

/// A series of two patches that both change something.
fn finished() -> Bench {
    let bench = Bench::new();
    bench.ok(&["series", "--put", "drivers/demo.rs=1"]);
    bench.write("drivers/demo.rs", &DRIVER.replace("start();\n", "start();\n    count();\n"));
    bench.ok(&["series", "--put", "drivers/demo.rs:3=2"]);
    bench
}

#[test]
fn an_exported_series_is_taken_by_git_and_gives_the_source() {
    let bench = finished();
    let (_, error) = bench.fails(&["series", "export", "1"]);
    assert!(error.contains("--sign-off or --no-sign-off"), "{error}");
    bench.ok(&["series", "export", "1", "--sign-off"]);
    let mailbox = bench.read("target/series/1-demo-v1.mbx");
    for wanted in [
        "Subject: [PATCH net-next 0/2] net: demo\n",
        "Subject: [PATCH net-next 1/2] net: demo: add the driver\n",
        "\nSigned-off-by: Jane Doe <jane@example.org>\n---\n",
        "\nchange-id: 20261127-demo-1a2b3c\n",
        "\n>From here on it is clear.\n",
    ] {
        assert!(mailbox.contains(wanted), "{wanted} is not in\n{mailbox}");
    }
    let ids: Vec<&str> = mailbox.lines().filter(|line| line.starts_with("Message-Id: ")).collect();
    assert_eq!(ids.len(), 3);
    // Applies the patches to the tree, as a maintainer would.
    bench.import();
    let patches: Vec<&str> = mailbox.split("From git@z ").skip(2).collect();
    for patch in patches {
        let file = bench.dir.path().join("mail");
        fs::write(&file, format!("From git@z {patch}")).unwrap();
        bench.git("linux", &["am", "-q", file.to_str().unwrap()]);
    }
    let got = fs::read_to_string(bench.dir.path().join("linux/drivers/net/demo.rs")).unwrap();
    assert_eq!(got, bench.read("drivers/demo.rs"));
}

#[test]
fn patches_of_an_author_whom_no_mail_reaches_are_from_who_exports_them() {
    let bench = finished();
    let first = "patches/1-demo/v1/0001-net-demo-add-the-driver.patch";
    let mail = bench.read(first);
    bench.write(first, &mail.replace("jane@example.org", "demo@team.example"));
    assert!(bench.read(first).contains("<demo@team.example>"));
    bench.ok(&["series", "export", "1", "--sign-off"]);
    let mailbox = bench.read("target/series/1-demo-v1.mbx");
    assert!(!mailbox.contains("team.example"), "{mailbox}");
    assert_eq!(mailbox.matches("\nFrom: Jane Doe <jane@example.org>\n").count(), 3, "{mailbox}");
    assert!(mailbox.contains("\nJane Doe (2):\n"), "{mailbox}");
}

#[test]
fn the_names_of_mails_change_with_the_cover_letter() {
    let bench = finished();
    let id = || {
        bench.ok(&["series", "export", "1", "--no-sign-off"]);
        let mailbox = bench.read("target/series/1-demo-v1.mbx");
        let mut lines = mailbox.lines().filter(|line| line.starts_with("Message-Id: "));
        lines.next().unwrap().to_owned()
    };
    let first = id();
    assert_eq!(id(), first);
    bench.write("patches/1-demo/cover.md", "# net: demo\n\nAnother reason.\n");
    assert_ne!(id(), first);
}

#[test]
fn only_a_commit_that_others_have_is_the_base_commit() {
    let bench = finished();
    let export = || {
        let output = bench.lab(&["series", "export", "1", "--sign-off"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let mailbox = bench.read("target/series/1-demo-v1.mbx");
        let base = mailbox.lines().find_map(|line| line.strip_prefix("base-commit: "));
        (base.map(str::to_owned), said)
    };
    let (base, said) = export();
    assert!(base.is_none() && said.contains("is no git tree"), "{said}");
    bench.import();
    let head = bench.git("linux", &["rev-parse", "HEAD"]);
    let (base, said) = export();
    assert!(base.is_none() && said.contains("others do not have it"), "{said}");
    bench.git("linux", &["tag", "v7.3.4"]);
    let (base, said) = export();
    assert_eq!(base.as_deref(), Some(head.trim()), "{said}");
    // A file that is not as the commit has it.
    let said = bench.ok(&["series", "edit", "1/2", "--with", "drivers/net/Makefile"]);
    let folder = said.lines().next().unwrap().split(" is in ").nth(1).unwrap();
    let makefile = Path::new(folder).join("drivers/net/Makefile");
    fs::write(&makefile, "obj-y += base.o\nobj-m += demo.o\n").unwrap();
    bench.ok(&["series", "edit"]);
    let in_tree = bench.dir.path().join("linux/drivers/net/Makefile");
    let rights = |mode| fs::set_permissions(&in_tree, fs::Permissions::from_mode(mode)).unwrap();
    rights(0o755);
    let (_, error) = bench.fails(&["series", "export", "1", "--sign-off"]);
    assert!(error.contains("not as its commit has them: drivers/net/Makefile"), "{error}");
    // A commit with another file than the one that the series are made for.
    rights(0o644);
    bench.write(
        "patches/base.toml",
        "version = \"7.3.4\"\n[files]\n\"drivers/net/Makefile\" = \"0123\"\n",
    );
    let (base, said) = export();
    assert!(base.is_some() && said.contains("drivers/net/Makefile is another one"), "{said}");
}

/// Begins the next version, edits the driver, and exports.
fn export_second_version(bench: &Bench) {
    bench.ok(&["series", "new", "1"]);
    let driver = bench.read("drivers/demo.rs").replace("start();", "start(1);");
    bench.write("drivers/demo.rs", &driver);
    bench.ok(&["series"]);
    bench.write("patches/1-demo/cover.md", "# net: demo\n\nWhy.\n");
    bench.ok(&["series", "export", "1", "--sign-off"]);
}

#[test]
fn an_exported_bundle_has_the_commits_on_top_of_the_base() {
    let bench = finished();
    bench.ok(&["series", "export", "1", "--sign-off"]);
    let bundle = bench.project().join("target/series/1-demo-v1.bundle");
    let bundle = bundle.to_str().unwrap();
    // Without a base that others have, it stands for itself.
    bench.git("p", &["clone", "-q", "-b", "1-demo-v1", bundle, "../alone"]);
    let got = fs::read_to_string(bench.dir.path().join("alone/drivers/net/demo.rs")).unwrap();
    assert_eq!(got, bench.read("drivers/demo.rs"));
    bench.import();
    bench.git("linux", &["tag", "v7.3.4"]);
    bench.ok(&["series", "export", "1", "--sign-off"]);
    bench.git("linux", &["bundle", "verify", "-q", bundle]);
    bench.git("linux", &["fetch", "-q", bundle, "1-demo-v1:first"]);
    let log = bench.git("linux", &["log", "--format=%s", "v7.3.4..first"]);
    assert_eq!(log, "net: demo: count packets\nnet: demo: add the driver\n");
    // The next version, and git's comparison of both.
    export_second_version(&bench);
    let second = bundle.replace("v1", "v2");
    bench.git("linux", &["fetch", "-q", &second, "1-demo-v2:second"]);
    let compared =
        bench.git("linux", &["range-diff", "--creation-factor=200", "v7.3.4", "first", "second"]);
    assert!(compared.contains(" ! 1:  ") && compared.contains("start(1)"), "{compared}");
}

#[test]
fn the_maintainers_of_the_tree_get_the_mails() {
    let bench = finished();
    let script = bench.dir.path().join("linux/scripts/get_maintainer.pl");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    let text = "my $lists = grep { $_ eq '--no-m' } @ARGV;\n\
                print $lists ? \"netdev\\@vger.kernel.org\\nlinux-kernel\\@vger.kernel.org\\n\"\n\
                : \"M. Jones <m\\@example.org>\\nJane Doe <jane\\@example.org>\\n\";\n";
    fs::write(script, text).unwrap();
    let said = bench.ok(&["series", "export", "1", "--sign-off"]);
    assert!(said.contains("to 1 people and 1 lists"), "{said}");
    let mailbox = bench.read("target/series/1-demo-v1.mbx");
    let to = "\nTo: M. Jones <m@example.org>\nCc: netdev@vger.kernel.org\n";
    assert_eq!(mailbox.matches(to).count(), 3, "{mailbox}");
}

#[test]
fn a_cover_letter_that_is_not_finished_is_not_exported() {
    let bench = finished();
    bench.write("patches/1-demo/cover.md", "# net: demo\n\nEDITME: why\n");
    let (_, error) = bench.fails(&["series", "export", "1", "--no-sign-off"]);
    assert!(error.contains("cover.md:3: EDITME: why"), "{error}");
}

/// The user's b4, or a copy of our own, which is kept in the build folder.
fn b4() -> PathBuf {
    if Command::new("b4").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return PathBuf::from("b4");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("b4");
    let program = folder.join("bin/b4");
    if !program.exists() {
        for command in [
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            Command::new(folder.join("bin/pip")).args(["install", "--quiet", "b4"]),
        ] {
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "this needs b4, or python3-venv to get it: {said}");
        }
    }
    program
}

#[test]
fn an_exported_series_is_taken_by_b4() {
    let bench = finished();
    bench.ok(&["series", "export", "1", "--sign-off"]);
    let out = bench.dir.path().join("am");
    let first = bench.project().join("target/series/1-demo-v1.mbx");
    let b4 = |folder: &str, args: &[&str]| {
        let output = Command::new(b4())
            .arg("--offline-mode")
            .args(args)
            .current_dir(bench.dir.path().join(folder))
            .env("HOME", bench.dir.path())
            .env("GIT_AUTHOR_NAME", "M")
            .env("GIT_AUTHOR_EMAIL", "m@example.org")
            .env("GIT_COMMITTER_NAME", "M")
            .env("GIT_COMMITTER_EMAIL", "m@example.org")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("ERROR"), "b4 {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &said
    };
    let (first, out_dir) = (first.to_str().unwrap(), out.to_str().unwrap());
    let said = b4("p", &["am", "--no-cache", "-m", first, "-o", out_dir]);
    let cover = fs::read_dir(&out).unwrap().count();
    assert!(cover >= 2, "a mailbox and a cover letter: {said}");
    // On the branch of a tree.
    bench.import();
    b4("linux", &["shazam", "--no-cache", "-m", first]);
    let got = fs::read_to_string(bench.dir.path().join("linux/drivers/net/demo.rs")).unwrap();
    assert_eq!(got, bench.read("drivers/demo.rs"));
    // Two versions.
    bench.git("linux", &["reset", "-q", "--hard", "HEAD~2"]);
    export_second_version(&bench);
    let second = first.replace("v1", "v2");
    let said = b4("linux", &["diff", "--no-cache", "-m", first, &second]);
    assert!(said.contains("Diffing v1 and v2") && said.contains("git range-diff"), "{said}");
}
