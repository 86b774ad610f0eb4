// SPDX-License-Identifier: GPL-2.0

//! Checks that are programs: scripts of the kernel tree, and linters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use vmlab::run::files;
use vmlab::run::process::{self, Captured};

use super::findings::try_news;
use super::{At, Check, FileChange, Finding, Outcome, Scope, Severity};
use crate::diff;

/// A program that can be started.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    /// Part of what an outcome depends on.
    pub version: String,
    pub environment: Vec<(String, PathBuf)>,
}

/// What can be started, and the tree whose scripts are used.
pub struct Programs {
    pub tree: PathBuf,
    /// By name; or why it is not to be had.
    pub found: BTreeMap<&'static str, Result<Program, String>>,
    /// codespell's list of words.
    pub dictionary: Option<PathBuf>,
}

/// The names that [`Programs::found`] may have.
pub const NAMES: [&str; 6] = ["perl", "python3", "rustfmt", "shellcheck", "yamllint", "codespell"];

/// The checks that start programs.
pub fn checks(programs: Programs) -> Vec<Box<dyn Check>> {
    let programs = Rc::new(programs);
    let with = || programs.clone();
    vec![
        Box::new(Checkpatch(with())),
        Box::new(GetMaintainer(with())),
        Box::new(File { kind: &CODESPELL, programs: with() }),
        Box::new(File { kind: &SHELLCHECK, programs: with() }),
        Box::new(File { kind: &YAMLLINT, programs: with() }),
        Box::new(File { kind: &RUSTFMT, programs: with() }),
        Box::new(File { kind: &KDOC, programs: with() }),
    ]
}

impl Programs {
    fn program(&self, name: &str) -> Result<&Program, String> {
        match self.found.get(name) {
            Some(Ok(program)) => Ok(program),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("there is no {name}")),
        }
    }

    /// The program with a script of the tree, if both are there.
    fn script(&self, name: &str, script: &str) -> Result<(&Program, PathBuf), String> {
        let program = self.program(name)?;
        let path = self.tree.join(script);
        if path.is_file() { Ok((program, path)) } else { Err(format!("the tree has no {script}")) }
    }

    /// What stands for a program and files of the tree in a key.
    fn version(&self, name: &str, scripts: &[&str]) -> String {
        let version = self.program(name).map_or_else(|why| why, |program| program.version.clone());
        let mut parts = vec![include_bytes!("programs.rs").to_vec(), version.into_bytes()];
        // A missing one is like an empty one.
        parts.extend(scripts.iter().map(|path| fs::read(self.tree.join(path)).unwrap_or_default()));
        files::key(parts)
    }
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.envs(self.environment.iter().map(|(name, path)| (name, path))).env("LC_ALL", "C");
        command
    }
}

/// A file with this text in a folder of its own, which is removed in the end.
fn scratch(name: &str, text: &[u8]) -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().context("create a folder for a program")?;
    let file = folder.path().join(name);
    write(&file, text)?;
    Ok((folder, file))
}

fn write(file: &Path, text: &[u8]) -> Result<()> {
    files::make_dir(file.parent().unwrap_or(file))?;
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// `FILE:LINE: TEXT`, or `FILE:LINE:COLUMN: TEXT`.
fn place(line: &str) -> Option<(&str, usize, &str)> {
    let (path, rest) = line.split_once(':')?;
    let (number, text) = rest.split_once(':')?;
    let number = number.parse().ok()?;
    let column = text.split_once(':').filter(|(column, _)| column.parse::<usize>().is_ok());
    Some((path, number, column.map_or(text, |(_, text)| text).trim()))
}

/// scripts/checkpatch.pl as netdev's machine runs it.
///
/// Lines of 80 columns are asked for as there, but not in Rust, where rustfmt makes lines of 100.
struct Checkpatch(Rc<Programs>);

const CHECKPATCH: &str = "scripts/checkpatch.pl";

/// What netdev does not ask for, or is asked for by another check here.
const IGNORED: &str = "COMMIT_LOG_LONG_LINE,MACRO_ARG_REUSE,ALLOC_SIZEOF_STRUCT,NO_AUTHOR_SIGN_OFF,\
                       GIT_COMMIT_ID,CAMELCASE,FILE_PATH_CHANGES,BAD_REPORTED_BY_LINK,\
                       MISSING_SIGN_OFF";

impl Check for Checkpatch {
    fn name(&self) -> &'static str {
        "checkpatch"
    }

    fn about(&self) -> &'static str {
        "scripts/checkpatch.pl --strict --codespell"
    }

    fn key(&self, at: &At<'_>) -> Option<String> {
        let scripts = [CHECKPATCH, "scripts/spelling.txt", "scripts/const_structs.checkpatch"];
        let words = self.0.program("codespell").map(|words| words.version.clone());
        let words = words.unwrap_or_default();
        Some(files::key([at.patch_key(), self.0.version("perl", &scripts), words]))
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let (perl, script) = match self.0.script("perl", CHECKPATCH) {
            Ok(found) => found,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let (folder, mail) = scratch("mail", &at.patch().mail)?;
        let mut command = perl.command();
        // It keeps notes in the current directory.
        command.current_dir(folder.path()).arg(script).arg("--root").arg(&self.0.tree);
        command.args(["--strict", "--terse", "--showfile", "--show-types", "--no-summary"]);
        command.args(["--color=never", "--max-line-length=80", "--ignore", IGNORED]);
        if let Some(words) = &self.0.dictionary {
            command.arg("--codespell").arg("--codespellfile").arg(words);
        }
        command.arg(&mail);
        let said = process::capture(&mut command)?;
        let mut found: Vec<Finding> = said.stdout.lines().filter_map(of_checkpatch).collect();
        require_judged(&command, &said, 1, found.len())?;
        found.retain(|finding| !is_long_rust(at, finding));
        Ok(Outcome::Judged(found))
    }
}

/// `FILE:LINE: WARNING:LONG_LINE: text`. Lines of a mail are none of a file's.
fn of_checkpatch(line: &str) -> Option<Finding> {
    let (path, number, text) = place(line)?;
    let (level, text) = text.split_once(':')?;
    let severity = match level {
        "ERROR" => Severity::Fail,
        "WARNING" | "CHECK" => Severity::Warning,
        _ => return None,
    };
    let finding = Finding::new(severity, text.trim());
    let mail = path.ends_with("/mail") || path == "mail" || path.is_empty();
    Some(if mail { finding } else { finding.of(path).at(number) })
}

fn is_long_rust(at: &At<'_>, finding: &Finding) -> bool {
    let change = finding.path.as_ref().and_then(|path| at.patch().change(path));
    let line = finding.line.and_then(|line| change?.text()?.lines().nth(line.checked_sub(1)?));
    finding.text.starts_with("LONG_LINE")
        && change.is_some_and(|change| change.extension() == "rs")
        && line.is_some_and(|line| line.chars().count() <= 100)
}

/// scripts/get_maintainer.pl against To and Cc.
struct GetMaintainer(Rc<Programs>);

const GET_MAINTAINER: &str = "scripts/get_maintainer.pl";

impl Check for GetMaintainer {
    fn name(&self) -> &'static str {
        "cc_maintainers"
    }

    fn about(&self) -> &'static str {
        "everybody whom scripts/get_maintainer.pl names is in To or Cc"
    }

    fn scope(&self) -> Scope {
        Scope::PatchInSeries
    }

    fn key(&self, at: &At<'_>) -> Option<String> {
        let scripts = [GET_MAINTAINER, ".get_maintainer.ignore", ".mailmap"];
        Some(files::key([at.series_key(), self.0.version("perl", &scripts)]))
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let patch = at.patch();
        if patch.changes.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let recipients: Vec<String> =
            ["To", "Cc"].into_iter().filter_map(|name| patch.header(name)).collect();
        if recipients.is_empty() {
            let why = "the mail has no recipients yet: they are named when it is sent";
            return Ok(Outcome::Skipped(why.into()));
        }
        let (perl, script) = match self.0.script("perl", GET_MAINTAINER) {
            Ok(found) => found,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let Some(maintainers) = at.last_file("MAINTAINERS")? else {
            return Ok(Outcome::Skipped("the tree has no MAINTAINERS".into()));
        };
        let (folder, mail) = scratch("mail", &patch.mail)?;
        let list = folder.path().join("MAINTAINERS");
        write(&list, &maintainers.content)?;
        let mut command = perl.command();
        command.current_dir(&self.0.tree).arg(script).arg("--mpath").arg(&list);
        command.args(["--no-git", "--no-git-fallback", "--no-rolestats", "--no-n"]).arg(&mail);
        let said = process::read(&mut command)?;
        let recipients = recipients.join(" ").to_lowercase();
        let author = patch.author.mail.to_lowercase();
        let missing = said
            .lines()
            .map(|line| line.trim().to_lowercase())
            .map(|line| match line.split_once('<') {
                Some((_, mail)) => mail.trim_end_matches('>').to_owned(),
                None => line,
            })
            // As netdev does: the list of everything is for nobody.
            .filter(|mail| !mail.is_empty() && mail != "linux-kernel@vger.kernel.org")
            .filter(|mail| *mail != author && !recipients.contains(mail.as_str()));
        let text = |mail| Finding::warning(format!("{mail} is neither in To nor in Cc"));
        Ok(Outcome::Judged(missing.map(text).collect()))
    }
}

/// A check of one file after the other.
struct File {
    kind: &'static Kind,
    programs: Rc<Programs>,
}

/// What is run on which files.
struct Kind {
    name: &'static str,
    about: &'static str,
    program: &'static str,
    /// Files of the tree that it reads.
    scripts: &'static [&'static str],
    concerns: fn(&FileChange) -> bool,
    judge: fn(&Programs, &Program, &At<'_>, &FileChange, &str) -> Result<Vec<Finding>>,
}

impl Check for File {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn about(&self) -> &'static str {
        self.kind.about
    }

    fn key(&self, at: &At<'_>) -> Option<String> {
        let version = self.programs.version(self.kind.program, self.kind.scripts);
        Some(files::key([at.patch_key(), version]))
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let Kind { program, scripts, concerns, judge, .. } = self.kind;
        let changes: Vec<&FileChange> = at
            .patch()
            .changes
            .iter()
            .filter(|change| change.text().is_some() && concerns(change))
            .collect();
        if changes.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let found = match scripts.first() {
            Some(script) => self.programs.script(program, script).map(|(program, _)| program),
            None => self.programs.program(program),
        };
        let program = match found {
            Ok(program) => program,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let mut found = Vec::new();
        for change in changes {
            found
                .extend(try_news(change, |text| judge(&self.programs, program, at, change, text))?);
        }
        Ok(Outcome::Judged(found))
    }
}

/// The highest exit status of a program that has findings. Some end with their number.
const COUNTS: i32 = i32::MAX;

/// An error if the program did not come to its end: what it printed would be taken for all of its
/// findings, and be kept. `highest` is the highest exit status with which it has judged.
fn require_judged(command: &Command, said: &Captured, highest: i32, found: usize) -> Result<()> {
    let judged = said.ok || said.status.is_some_and(|it| it <= highest) && found > 0;
    let program = command.get_program().to_string_lossy();
    let how = said.status.map_or("was killed".to_owned(), |it| format!("ended with {it}"));
    let all = format!("{}{}", said.stderr, said.stdout);
    ensure!(judged, "{program} failed, it {how}: {}", process::excerpt(&all));
    Ok(())
}

/// Findings that a program prints as `FILE:LINE: text`.
fn printed(
    command: &mut Command,
    highest: i32,
    severity: fn(&str) -> Severity,
) -> Result<Vec<Finding>> {
    let said = process::capture(command)?;
    let all = format!("{}{}", said.stdout, said.stderr);
    let mut found = Vec::new();
    for line in all.lines() {
        if let Some((_, number, text)) = place(line) {
            found.push(Finding::new(severity(text), text).at(number));
        }
    }
    require_judged(command, &said, highest, found.len())?;
    Ok(found)
}

fn file_name(change: &FileChange) -> &str {
    change.path.rsplit('/').next().unwrap_or(&change.path)
}

static CODESPELL: Kind = Kind {
    name: "codespell",
    about: "no common misspellings",
    program: "codespell",
    scripts: &[],
    concerns: |change| {
        matches!(change.extension(), "rs" | "c" | "h" | "sh" | "py" | "rst" | "yaml" | "md" | "txt")
    },
    judge: |_, program, _, change, text| {
        let (_folder, file) = scratch(file_name(change), text.as_bytes())?;
        printed(program.command().arg(&file), COUNTS, |_| Severity::Warning)
    },
};

/// A new script must be clean to the last matter of style, as netdev wants it; so are the lines
/// that a patch adds to an old one.
static SHELLCHECK: Kind = Kind {
    name: "shellcheck",
    about: "shellcheck -x -e SC2317,SC2329 on scripts",
    program: "shellcheck",
    scripts: &[],
    concerns: |change| change.extension() == "sh",
    judge: |_, program, at, change, text| {
        let folder = tempfile::tempdir().context("create a folder for shellcheck")?;
        // It reads what a script includes.
        let top = change.path.split('/').next().unwrap_or_default();
        for (path, blob) in at.patch().tree.iter().filter(|(path, _)| path.starts_with(top)) {
            if path.ends_with(".sh") {
                write(&folder.path().join(path), &blob.content)?;
            }
        }
        let file = folder.path().join(&change.path);
        write(&file, text.as_bytes())?;
        let mut command = program.command();
        command.current_dir(file.parent().unwrap_or(&file));
        command.args(["-x", "-e", "SC2317,SC2329", "-f", "gcc"]).arg(file_name(change));
        let severity = |text: &str| match text.split_once(':') {
            Some(("error", _)) => Severity::Fail,
            _ => Severity::Warning,
        };
        printed(&mut command, 1, severity)
    },
};

static YAMLLINT: Kind = Kind {
    name: "yamllint",
    about: "yamllint on specifications",
    program: "yamllint",
    scripts: &[],
    concerns: |change| matches!(change.extension(), "yaml" | "yml"),
    judge: |_, program, _, change, text| {
        let (folder, file) = scratch(file_name(change), text.as_bytes())?;
        let mut command = program.command();
        command.current_dir(folder.path()).args(["-f", "parsable"]).arg(&file);
        printed(&mut command, 1, |text| {
            if text.starts_with("[error]") { Severity::Fail } else { Severity::Warning }
        })
    },
};

static RUSTFMT: Kind = Kind {
    name: "rustfmt",
    about: "formatted by the tree's own rules, in each state",
    program: "rustfmt",
    scripts: &[".rustfmt.toml"],
    concerns: |change| change.extension() == "rs",
    judge: |programs, program, _, change, text| {
        let (_folder, file) = scratch(file_name(change), text.as_bytes())?;
        let input = fs::File::open(&file).context("open a file for rustfmt")?;
        let output = formatted(programs, program, input)?;
        let output = match output {
            Ok(output) => output,
            Err(why) => return Ok(vec![Finding::fail(why)]),
        };
        let (old, new) = (diff::lines(text.as_bytes()), diff::lines(output.as_bytes()));
        let hunks = diff::hunks(&old, &new).into_iter();
        let text = "rustfmt writes it in another way";
        Ok(hunks.map(|hunk| Finding::fail(text).at(hunk.before.start + 1)).collect())
    },
};

/// What rustfmt makes of a text that it reads from its input, where it looks for no other module.
fn formatted(
    programs: &Programs,
    program: &Program,
    input: fs::File,
) -> Result<Result<String, String>> {
    let mut command = program.command();
    command.args(["--edition", "2021", "--color", "never", "--config-path"]);
    command.arg(programs.tree.join(".rustfmt.toml"));
    process::announce(&command);
    command.stdin(input);
    let output = command.output().context("start rustfmt")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("rustfmt cannot read it: {}", process::excerpt(&text(&output.stderr))))
    })
}

static KDOC: Kind = Kind {
    name: "kdoc",
    about: "scripts/kernel-doc on touched C files",
    program: "python3",
    scripts: &["scripts/kernel-doc", "tools/lib/python/kdoc/kdoc_parser.py"],
    concerns: |change| matches!(change.extension(), "c" | "h"),
    judge: |programs, program, _, change, text| {
        let (_folder, file) = scratch(file_name(change), text.as_bytes())?;
        let mut command = program.command();
        // It would leave compiled modules in the tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(programs.tree.join("scripts/kernel-doc"));
        command.args(["-none", "-Wall"]).arg(&file);
        let said = process::capture(&mut command)?;
        let lines = said.stderr.lines().chain(said.stdout.lines());
        let mut found: Vec<Finding> = Vec::new();
        for finding in lines.filter_map(of_kernel_doc) {
            // It says everything twice where it also warns of descriptions.
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
        require_judged(&command, &said, COUNTS, found.len())?;
        Ok(found)
    },
};

/// `Warning: FILE:LINE text`, without a colon behind the line.
fn of_kernel_doc(line: &str) -> Option<Finding> {
    let rest = line.strip_prefix("Warning: ").or_else(|| line.strip_prefix("Error: "))?;
    let (place, text) = rest.split_once(' ')?;
    let (_, number) = place.rsplit_once(':')?;
    Some(Finding::warning(text.trim()).at(number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};
    use std::os::unix::fs::PermissionsExt;

    /// A tree with scripts, and programs that are scripts of the shell.
    fn fake(programs: &[(&'static str, &str)], scripts: &[(&str, &str)]) -> (TempDir, Programs) {
        let folder = tempfile::tempdir().unwrap();
        let mut found = BTreeMap::new();
        for (name, text) in programs {
            let path = folder.path().join("bin").join(name);
            write(&path, format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            let program = Program { path, version: "1".into(), environment: Vec::new() };
            found.insert(*name, Ok(program));
        }
        found.insert("yamllint", Err("pip cannot install yamllint".into()));
        let tree = folder.path().join("tree");
        for (path, text) in scripts {
            write(&tree.join(path), text.as_bytes()).unwrap();
        }
        let programs = Programs { tree, found, dictionary: None };
        (folder, programs)
    }

    fn check(programs: Programs, name: &str) -> Box<dyn Check> {
        checks(programs).into_iter().find(|check| check.name() == name).unwrap()
    }

    #[test]
    fn places_of_all_kinds_are_read() {
        assert_eq!(place("a.sh:3:7: note: x [SC1]"), Some(("a.sh", 3, "note: x [SC1]")));
        assert_eq!(place("a.yaml:3:7: [error] x"), Some(("a.yaml", 3, "[error] x")));
        assert_eq!(place("a.c:12: iif ==> if"), Some(("a.c", 12, "iif ==> if")));
        assert_eq!(place("total: 1 errors"), None);
    }

    #[test]
    fn what_checkpatch_says_of_files_and_of_the_mail_is_read() {
        let perl = "echo net/a.c:2: ERROR:SPACING: no\necho net/a.rs:1: CHECK:LONG_LINE: long\n\
                    echo /x/mail:9: WARNING:BAD_SIGN_OFF: who\necho total: 1 errors\nexit 1";
        let (_folder, programs) = fake(&[("perl", perl)], &[(CHECKPATCH, "")]);
        let checkpatch = check(programs, "checkpatch");
        let line = "x".repeat(99);
        let subject = subject(&[], &[("a: b\n", &[("net/a.rs", &line)])]);
        let told = found(&*checkpatch, &subject, 1);
        assert_eq!(told, ["net/a.c:2: SPACING: no", "BAD_SIGN_OFF: who"]);
    }

    #[test]
    fn a_program_that_is_not_to_be_had_is_a_skip_with_its_reason() {
        let (_folder, programs) = fake(&[], &[]);
        let yamllint = check(programs, "yamllint");
        let with = subject(&[], &[("a: b\n", &[("a.yaml", "x\n")])]);
        let want = Outcome::Skipped("pip cannot install yamllint".into());
        assert_eq!(yamllint.run(&At::new(&with, 0)).unwrap(), want);
        let without = subject(&[], &[("a: b\n", &[("a.c", "x\n")])]);
        assert_eq!(yamllint.run(&At::new(&without, 0)).unwrap(), Outcome::Nothing);
    }

    #[test]
    fn a_program_that_fails_without_a_finding_is_no_pass() {
        let (_folder, programs) = fake(&[("shellcheck", "echo no memory >&2; exit 3")], &[]);
        let shellcheck = check(programs, "shellcheck");
        let subject = subject(&[], &[("a: b\n", &[("a.sh", "x\n")])]);
        let error = shellcheck.run(&At::new(&subject, 0)).unwrap_err().to_string();
        assert!(error.contains("no memory"), "{error}");
    }

    #[test]
    fn a_program_that_ends_too_early_is_no_pass_whatever_it_has_printed() {
        let finding = "echo net/a.c:2: ERROR:SPACING: no";
        for (end, want) in [
            ("echo Must be run from the top-level dir. of a kernel tree; exit 2", "ended with 2"),
            ("echo checkpatch.pl: requires at least perl version 9; exit 1", "ended with 1"),
            (&format!("{finding}; exit 255"), "ended with 255"),
            (&format!("{finding}; kill -9 $$"), "was killed"),
        ] {
            let (_folder, programs) = fake(&[("perl", end)], &[(CHECKPATCH, "")]);
            let subject = subject(&[], &[("a: b\n", &[("net/a.c", "x\n")])]);
            let error = check(programs, "checkpatch").run(&At::new(&subject, 0)).unwrap_err();
            assert!(error.to_string().contains(want), "{end}: {error}");
        }
        let (_folder, programs) =
            fake(&[("shellcheck", "echo a.sh:1:1: warning: bad; kill -9 $$")], &[]);
        let subject = subject(&[], &[("a: b\n", &[("a.sh", "x\n")])]);
        let error = check(programs, "shellcheck").run(&At::new(&subject, 0)).unwrap_err();
        assert!(error.to_string().contains("was killed"), "{error}");
    }

    #[test]
    fn only_new_findings_of_a_program_count() {
        let grep = "grep -Hn bad \"$6\" | sed 's/bad.*/1: warning: bad [SC1]/'";
        let (_folder, programs) = fake(&[("shellcheck", grep)], &[]);
        let shellcheck = check(programs, "shellcheck");
        let base = [("a.sh", "bad\n")];
        let with = |text| found(&*shellcheck, &subject(&base, &[("a: b\n", &[("a.sh", text)])]), 1);
        assert_eq!(with("x\nbad\n"), [""; 0]);
        assert_eq!(with("bad\nbad\n"), ["a.sh:2: warning: bad [SC1]"]);
    }

    #[test]
    fn what_kernel_doc_says_is_read_as_it_says_it() {
        let python =
            "for i in 1 2; do echo \"Warning: $4:2 parameter 'c' not described\" >&2; done";
        let (_folder, programs) = fake(&[("python3", python)], &[("scripts/kernel-doc", "")]);
        let check = check(programs, "kdoc");
        let subject = subject(&[], &[("a: b\n", &[("net/a.c", "x\ny\n")])]);
        assert_eq!(found(&*check, &subject, 1), ["net/a.c:2: parameter 'c' not described"]);
    }

    #[test]
    fn whoever_get_maintainer_names_gets_the_mail() {
        let perl = "echo 'A <a@x>'; echo list@x; echo linux-kernel@vger.kernel.org; \
                    echo 'Jane <jane@example.org>'";
        let (_folder, programs) = fake(&[("perl", perl)], &[(GET_MAINTAINER, "")]);
        let check = check(programs, "cc_maintainers");
        let base = [("MAINTAINERS", "x\n")];
        let mut subject = subject(&base, &[("a: b\n", &[("a.c", "x\n")])]);
        let none = check.run(&At::new(&subject, 0)).unwrap();
        assert!(matches!(none, Outcome::Skipped(_)), "{none:?}");
        subject.patches[0].mail = b"From: x\nTo: A <A@x>,\n Other <o@x>\n\nTo: list@x\n".to_vec();
        assert_eq!(found(&*check, &subject, 1), ["list@x is neither in To nor in Cc"]);
        subject.patches[0].mail = b"To: A <a@x>\nCc: list@x\n\n".to_vec();
        assert_eq!(found(&*check, &subject, 1), [""; 0]);
    }

    #[test]
    fn each_state_is_formatted_by_the_trees_rules() {
        let rustfmt = Program {
            path: PathBuf::from("rustfmt"),
            version: "1".into(),
            environment: Vec::new(),
        };
        let (_folder, mut programs) = fake(&[], &[(".rustfmt.toml", "edition = \"2021\"\n")]);
        programs.found.insert("rustfmt", Ok(rustfmt));
        let check = check(programs, "rustfmt");
        let base = [("a.rs", "fn a( ) {}\n")];
        let with = |text| found(&*check, &subject(&base, &[("a: b\n", &[("a.rs", text)])]), 1);
        assert_eq!(with("fn a( ) {}\n\nfn b() {}\n"), [""; 0], "it was so before");
        let bad = "a.rs:3: rustfmt writes it in another way";
        assert_eq!(with("fn a() {}\n\nfn b( ) {}\n"), [bad]);
        assert!(with("fn a( {\n")[0].contains("rustfmt cannot read it"));
    }
}
