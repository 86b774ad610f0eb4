// SPDX-License-Identifier: GPL-2.0

//! Scripts that run any program as a test of kselftest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vmlab::run::files;
use vmlab::run::process::quote;

/// A script that runs a program in the program's folder, as kselftest does. If the program prints
/// no KTAP, the script makes KTAP from the exit status; 4 is a skip.
pub fn run_as_kselftest(program: &Path) -> String {
    let folder = program.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let (folder, file) = (quote(&folder), quote(&format!("./{program}")));
    // Special characters in a name have a meaning in awk and in KTAP.
    let title: String =
        program.chars().map(|c| if c == '#' || c.is_control() { '_' } else { c }).collect();
    let title = quote(&title);
    format!(
        r##"#!/bin/sh
cd {folder} || exit 1
status=$(mktemp) || exit 1
{{ {file}; echo $? > "$status"; }} | awk '
	!ktap && /^(K?TAP) version [0-9]/ {{ ktap = 1 }}
	!ktap && /^[ \t]*not ok([ \t]|$)/ {{ bad = 1 }}
	{{ print (ktap ? "" : "# ") $0; fflush() }}
	END {{ exit ktap ? (bad ? 3 : 0) : bad ? 2 : 1 }}'
plain=$?
code=$(cat "$status")
rm -f "$status"
[ "$plain" -eq 0 ] && exit "$code"
# A failure in front of the version line is no KTAP, but it is a failure.
[ "$plain" -eq 3 ] && [ "$code" -eq 0 ] && exit 1
[ "$plain" -eq 3 ] && exit "$code"
# Results without a version line in front are no KTAP, but a failure is one.
[ "$plain" -eq 2 ] && [ "$code" -eq 0 ] && code="0, but it printed \`not ok\`"
echo 'KTAP version 1'
echo 1..1
case $code in
0) echo ok 1 {title} ;;
4) echo ok 1 {title} '# SKIP exit status 4' ;;
*)
	echo "# exit status $code"
	echo not ok 1 {title}
	exit 1
	;;
esac
"##
    )
}

/// Writes a script that can be executed.
pub fn write_script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    files::write_whole(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("set the mode of {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use vmlab::judge::ktap::{self, TestResult};
    use vmlab_init::protocol::Status;

    /// The result of a test in shell.
    fn judged(text: &str) -> (TestResult, String) {
        let dir = tempfile::Builder::new().prefix("it's ").tempdir().unwrap();
        let program = write_script(dir.path(), "a test", &format!("#!/bin/sh\n{text}\n")).unwrap();
        let scripts = dir.path().join("scripts");
        fs::create_dir(&scripts).unwrap();
        let script = write_script(&scripts, "a test", &run_as_kselftest(&program)).unwrap();
        let said = Command::new(script).output().unwrap();
        let status = Status::Exited(said.status.code().unwrap());
        let judged = ktap::judge(ktap::parse(&said.stdout), status);
        (judged.result, judged.reason)
    }

    /// Each of these tests in shell has this result.
    fn expect(cases: &[(&str, TestResult)]) {
        for (text, want) in cases {
            let (result, reason) = judged(text);
            assert_eq!(result, *want, "{text}: {reason}");
        }
    }

    #[test]
    fn a_program_without_ktap_says_with_its_status_how_it_ended() {
        expect(&[
            ("echo fine", TestResult::Pass),
            ("echo not ok 1 a; exit 0", TestResult::Fail),
            ("echo 'it is not ok 1'; exit 0", TestResult::Pass),
            ("exit 4", TestResult::Skip),
            ("echo no; exit 1", TestResult::Fail),
            ("kill -SEGV $$", TestResult::Fail),
            ("exit 3", TestResult::Fail),
        ]);
    }

    #[test]
    fn a_program_with_ktap_is_judged_by_it() {
        expect(&[
            ("echo TAP version 13; echo 1..1; echo ok 1 a", TestResult::Pass),
            ("echo hello; echo KTAP version 1; echo 1..1; echo not ok 1 a", TestResult::Fail),
            ("echo not ok 1 a; echo KTAP version 1; echo 1..1; echo ok 1 b", TestResult::Fail),
            ("echo 'not ok'; echo KTAP version 1; echo 1..1; echo ok 1 b", TestResult::Fail),
            ("echo KTAP version 1; echo 1..2; echo ok 1 a", TestResult::Fail),
            ("echo KTAP version 1; echo 1..1; echo ok 1 a; exit 1", TestResult::Fail),
        ]);
    }
}
