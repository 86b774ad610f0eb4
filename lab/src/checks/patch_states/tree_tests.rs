// SPDX-License-Identifier: GPL-2.0

//! Writes the tests of a state to a folder, for the guest.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use series::weave::{Blob, Mode};
use vmlab::run::files;
use vmlab::run::job::{self, Test};
use vmlab::run::process;

use super::State;
use crate::checks::as_kselftest::{run_as_kselftest, write_script};

/// The time limit of other people's tests, which do not say one: that of kselftest.
const TIME_OF_A_TEST: Duration = Duration::from_secs(300);

/// The folder of all selftests of a kernel tree.
const SELFTESTS: &str = "tools/testing/selftests/";

/// The kernel's own netlink tool, and the specifications that it reads.
const NET_TOOLS: &str = "tools/net";
const SPECIFICATIONS: &str = "Documentation/netlink/specs/";

/// Replaces the kernel's own `lib.mk`, which the Makefiles of tests include. It only prints the
/// names of the tests.
const LIB_MK: &str = "\
.PHONY: programs
programs:
\t@printf '%s\\n' $(TEST_PROGS) $(TEST_GEN_PROGS)
";

/// Writes the tests of a state below `root`, at the same place as in a kernel tree. Returns their
/// folder and the list of tests. Also puts there what tests use of their tree: the netlink
/// specifications of the state, and a link to `tools/net` of the tree at `source`.
pub(super) fn write(
    source: &Path,
    state: &State,
    prefix: Option<&str>,
    root: &Path,
) -> Result<(PathBuf, Vec<Test>)> {
    files::remove_dir(root)?;
    files::make_dir(root)?;
    let Some(prefix) = prefix else { return Ok((root.to_owned(), Vec::new())) };
    let folder = root.join(prefix);
    files::make_dir(&folder)?;
    files::write_whole(&root.join(SELFTESTS).join("lib.mk"), LIB_MK)?;
    let tools = root.join(NET_TOOLS);
    symlink(source.join(NET_TOOLS), &tools)
        .with_context(|| format!("create {}", tools.display()))?;
    let mut any = false;
    for (path, blob) in &state.files {
        if path.starts_with(SPECIFICATIONS) {
            write_test(&root.join(path), blob)?;
        }
        let Some(name) = path.strip_prefix(&format!("{prefix}/")) else { continue };
        write_test(&folder.join(name), blob)?;
        any |= name == "Makefile";
    }
    let tests = if any { job::selftests(&folder)? } else { Vec::new() };
    Ok((folder, tests))
}

/// Copies these tests, as they are in this state, with all files in their folder, which they may
/// call.
pub(super) fn copy(
    source: &Path,
    state: &State,
    tests: &[String],
    root: &Path,
) -> Result<(PathBuf, Vec<Test>)> {
    files::remove_dir(root)?;
    let Some(first) = tests.first() else {
        files::make_dir(root)?;
        return Ok((root.to_owned(), Vec::new()));
    };
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let prefix = first.strip_suffix(&name(first)).unwrap_or_default();
    if let Some(other) = tests.iter().find(|test| test.strip_suffix(&name(test)) != Some(prefix)) {
        bail!("{first} and {other} are tests of two folders: name those of one");
    }
    let (there, folder) = (source.join(prefix), root.join(prefix));
    files::make_dir(&folder)?;
    if there.is_dir() {
        let mut cp = Command::new("cp");
        cp.args(["-rL", "--"]).arg(there.join(".")).arg(&folder);
        process::read(&mut cp).with_context(|| format!("copy {}", there.display()))?;
    }
    for path in &state.gone {
        files::remove_file(&root.join(path))?;
    }
    for (path, blob) in state.files.iter().filter(|(path, _)| path.starts_with(prefix)) {
        write_test(&root.join(path), blob)?;
    }
    let found: Vec<Test> = tests
        .iter()
        .filter(|test| root.join(test).is_file())
        .map(|test| Test { name: name(test), timeout: TIME_OF_A_TEST })
        .collect();
    Ok((folder, found))
}

/// Writes scripts with the names of these tests that run them in their folder. Few tests of a kernel
/// tree print KTAP, which a script makes of their exit status.
pub(super) fn as_kselftest(folder: &Path, tests: &[Test], scripts: &Path) -> Result<PathBuf> {
    files::remove_dir(scripts)?;
    files::make_dir(scripts)?;
    for test in tests {
        let script = run_as_kselftest(&folder.join(&test.name));
        write_script(scripts, &test.name, &script)?;
    }
    Ok(scripts.to_owned())
}

fn write_test(to: &Path, blob: &Blob) -> Result<()> {
    files::make_dir(to.parent().unwrap_or(to))?;
    fs::write(to, &blob.content).with_context(|| format!("write {}", to.display()))?;
    if blob.mode == Mode::Executable {
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("set the mode of {}", to.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use series::weave::Tree;

    #[test]
    fn the_tests_of_a_makefile_as_kernel_trees_have_it_are_found() {
        let makefile = "TEST_PROGS := \\\n\ta.sh \\\n\tb.sh \\\n# end of TEST_PROGS\n\n\
                        include ../../lib.mk\n";
        let file = |name: &str, text: &str, mode| {
            let path = format!("tools/testing/selftests/net/demo/{name}");
            (path, Blob { mode, content: text.as_bytes().to_vec() })
        };
        let files = Tree::from([
            file("Makefile", makefile, Mode::Plain),
            file("a.sh", "true\n", Mode::Executable),
            file("b.sh", "true\n", Mode::Executable),
            (
                "Documentation/netlink/specs/demo.yaml".to_owned(),
                Blob { mode: Mode::Plain, content: b"name: demo\n".to_vec() },
            ),
        ]);
        let state = State { files, gone: Vec::new() };
        let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(source.path().join("tools/net/ynl")).unwrap();
        let prefix = "tools/testing/selftests/net/demo";
        let (folder, tests) = write(source.path(), &state, Some(prefix), root.path()).unwrap();
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["a.sh", "b.sh"]);
        assert!(folder.join("a.sh").is_file());
        // As a test finds them that looks for the top of its tree.
        let top = folder.join("../../../../..");
        assert!(top.join("tools/net/ynl").is_dir());
        assert!(top.join("Documentation/netlink/specs/demo.yaml").is_file());
    }

    #[test]
    fn a_test_of_a_tree_that_prints_no_ktap_is_judged_by_its_exit_status() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, scripts) = (dir.path().join("net"), dir.path().join("scripts"));
        let text = "#!/bin/sh\n. ./lib.sh\necho TEST: $WORD\nexit 1\n";
        let blob = |text: &str| Blob { mode: Mode::Executable, content: text.as_bytes().to_vec() };
        write_test(&folder.join("a.sh"), &blob(text)).unwrap();
        write_test(&folder.join("lib.sh"), &blob("WORD=beside\n")).unwrap();
        let tests = [Test { name: "a.sh".to_owned(), timeout: TIME_OF_A_TEST }];
        let scripts = as_kselftest(&folder, &tests, &scripts).unwrap();
        let said = Command::new(scripts.join("a.sh")).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        assert_eq!(text, "# TEST: beside\nKTAP version 1\n1..1\n# exit status 1\nnot ok 1 a.sh\n");
    }
}
