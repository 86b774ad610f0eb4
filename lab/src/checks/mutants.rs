// SPDX-License-Identifier: GPL-2.0

//! Mutants: copies of the module that each break one rule. A selftest must fail on each.
//!
//! A mutant is a patch. Its first line says which rule it breaks. Lines `Caught-by: FILE` name the
//! selftests that must fail. Other mutants are generated from the code: see
//! [`super::made_mutants`]. All are applied to a copy of the checkout.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use vmlab::judge::kernel_log::Finding;
use vmlab::judge::ktap;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::Test;
use vmlab::run::process;
use xshell::cmd;

use crate::checks::code_edits::Edit;
use crate::checks::house_rules;
use crate::context::Lab;
use crate::host::machine::Host;
use crate::project;

/// The start of a line with the name of a test.
const CAUGHT_BY: &str = "Caught-by:";

/// A mutant: a change that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The name of the patch, without its extension.
    pub name: String,
    /// The rule, in one line.
    pub rule: String,
    /// The tests that must fail.
    pub tests: Vec<Test>,
    pub change: Change,
}

/// How the code is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Patch(PathBuf),
    /// A change of one place, in this file of the checkout.
    Edit(PathBuf, Edit),
}

/// The mutants of the project whose names contain the pattern, sorted by name.
pub fn load(lab: &Lab, pattern: Option<&str>) -> Result<Vec<Mutant>> {
    let Some(project) = &lab.project.mutants else {
        bail!("{} has no section [mutants]", project::FILE)
    };
    let folder = lab.root.join(&project.folder);
    let tests = lab.selftests()?;
    let mut patches: Vec<PathBuf> = house_rules::files(&folder)?;
    patches.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
    let mut mutants = Vec::new();
    for patch in patches {
        let text =
            fs::read_to_string(&patch).with_context(|| format!("read {}", patch.display()))?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (rule, names) =
            header(&text).with_context(|| format!("understand {}", patch.display()))?;
        let tests = named(&tests, &names).with_context(|| patch.display().to_string())?;
        mutants.push(Mutant { name, rule, tests, change: Change::Patch(patch) });
    }
    let names: Vec<_> = mutants.iter().map(|mutant| mutant.name.clone()).collect();
    if let Some(pattern) = pattern {
        mutants.retain(|mutant| mutant.name.contains(pattern));
    }
    if mutants.is_empty() {
        bail!("no mutant is called `{}`; there are: {}", pattern.unwrap_or("*"), names.join(", "));
    }
    Ok(mutants)
}

/// The tests with these names.
pub fn named(tests: &[Test], names: &[impl AsRef<str>]) -> Result<Vec<Test>> {
    let find = |name: &str| {
        let test = tests.iter().find(|test| test.name == name);
        test.cloned().with_context(|| format!("no test is called {name}"))
    };
    names.iter().map(|name| find(name.as_ref())).collect()
}

/// The rule, and the names of tests.
fn header(text: &str) -> Result<(String, Vec<&str>)> {
    let mut lines = text.lines().take_while(|line| !line.starts_with("--- "));
    let rule = lines.next().unwrap_or_default().trim().to_owned();
    if rule.is_empty() {
        bail!("its first line must say which rule it breaks");
    }
    let tests: Vec<_> =
        lines.filter_map(|line| line.strip_prefix(CAUGHT_BY)).map(str::trim).collect();
    if tests.is_empty() {
        bail!("it has no line `{CAUGHT_BY} FILE`");
    }
    Ok((rule, tests))
}

/// Checks that every patch applies to the checkout.
pub fn check(lab: &Lab) -> Result<()> {
    let copy = Copy::new(lab)?;
    for mutant in load(lab, None)? {
        if let Change::Patch(patch) = &mutant.change {
            copy.apply(patch, &["--check"])?;
        }
    }
    Ok(())
}

/// A copy of the modules' sources.
#[derive(Debug)]
pub struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    pub fn new(lab: &Lab) -> Result<Copy> {
        let project = lab.project.mutants.iter();
        Copy::of(&lab.root, project.flat_map(|mutants| &mutants.sources))
    }

    fn of(root: &Path, sources: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Copy> {
        let folder = tempfile::tempdir().context("create a directory")?;
        for source in sources.into_iter().map(|name| root.join(name)) {
            let files = if source.is_dir() { house_rules::files(&source)? } else { vec![source] };
            for file in files {
                let name = file.strip_prefix(root).unwrap_or(&file);
                let to = folder.path().join(name);
                let parent = to.parent().unwrap_or(folder.path());
                fs::create_dir_all(parent)
                    .with_context(|| format!("create {}", parent.display()))?;
                fs::copy(&file, &to)
                    .with_context(|| format!("copy {} to {}", file.display(), to.display()))?;
            }
        }
        Ok(Copy { folder })
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Applies the mutant while `work` runs.
    pub fn with<R>(&self, mutant: &Mutant, work: impl FnOnce() -> Result<R>) -> Result<R> {
        match &mutant.change {
            Change::Patch(patch) => {
                self.apply(patch, &[])?;
                let done = work();
                self.apply(patch, &["--reverse"])?;
                done
            }
            Change::Edit(file, edit) => {
                let path = self.root().join(file);
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?;
                let write = |text: &str| {
                    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
                };
                write(&edit.apply(&text))?;
                let done = work();
                write(&text)?;
                done
            }
        }
    }

    fn apply(&self, patch: &Path, options: &[&str]) -> Result<()> {
        let shell = Host::this().shell(self.root())?;
        // Git must not find a repository around the copy.
        let git = cmd!(shell, "git apply {options...} {patch}");
        let git = git.env("GIT_CEILING_DIRECTORIES", self.root());
        let done = process::read(&mut git.into());
        interrupt::check()?;
        done.map(drop).with_context(|| {
            format!("{} does not fit the code any more: change it", patch.display())
        })
    }
}

/// The file in the project's folder of results.
const BASELINE: &str = "mutants/baseline.json";

/// The tests that passed without a mutant.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Of everything that a test depends on.
    key: String,
    passed: BTreeSet<String>,
}

impl Baseline {
    /// What is known of this key. Results of another key are forgotten.
    pub fn load(target: &Path, key: String) -> Baseline {
        let text = fs::read(target.join(BASELINE)).unwrap_or_default();
        match serde_json::from_slice::<Baseline>(&text) {
            Ok(known) if known.key == key => known,
            _ => Baseline { key, passed: BTreeSet::new() },
        }
    }

    /// The tests that the mutants name and that are not known to pass, each once.
    pub fn missing(&self, mutants: &[Mutant]) -> Vec<Test> {
        let mut tests: Vec<Test> = mutants.iter().flat_map(|it| it.tests.clone()).collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        tests.dedup();
        tests.retain(|test| !self.passed.contains(&test.name));
        tests
    }

    /// Stores that these tests have passed, too.
    pub fn keep(&mut self, target: &Path, tests: &[Test]) -> Result<()> {
        self.passed.extend(tests.iter().map(|test| test.name.clone()));
        let text = serde_json::to_string_pretty(self).context("encode the baseline")?;
        files::write_whole(&target.join(BASELINE), &text)
    }
}

/// Kinds of findings that a busy machine brings about, or one with little memory, with a mutant and
/// without.
const OF_THE_MACHINE: [&str; 2] = ["log-incomplete", "out-of-memory"];

/// Which test failed. An error if none did.
pub fn judge(report: &Report) -> Result<String> {
    match report.outcome {
        Outcome::Test | Outcome::KernelLog | Outcome::Panic => {}
        Outcome::Pass => {
            bail!("survived: its tests pass although the rule is broken; extend one of them")
        }
        Outcome::Skipped
        | Outcome::Timeout
        | Outcome::Boot
        | Outcome::Build
        | Outcome::Interrupted => {
            bail!("{}", report.message)
        }
    }
    // If the module does not load, every test fails, which proves nothing. But a module that does
    // not unload is a real failure.
    let not_loaded = report.tests.iter().find(|test| {
        test.name.starts_with("load ")
            && !test.reason.contains(vmlab_init::protocol::DOES_NOT_UNLOAD)
    });
    if let Some(test) = not_loaded {
        bail!("it does not load: {}", test.reason);
    }
    if report.outcome == Outcome::Panic && report.kernel_findings.is_empty() {
        bail!("the guest ended without a report of the kernel: {}", report.message);
    }
    let failed = report.tests.iter().find(|test| test.result == ktap::TestResult::Fail);
    let faults = || report.kernel_findings.iter().filter(|it| !OF_THE_MACHINE.contains(&&*it.kind));
    if failed.is_none() && report.outcome == Outcome::KernelLog && faults().next().is_none() {
        bail!("that says nothing about it: {}", report.message);
    }
    let words = failed.map(|test| {
        let case = test.cases.iter().find(|case| case.result == ktap::TestResult::Fail);
        case.map_or(test.name.clone(), |case| format!("{}: {}", test.name, case.name))
    });
    let finding = |finding: &Finding| {
        format!("the kernel: {}", finding.text.lines().next().unwrap_or_default())
    };
    Ok(words.or_else(|| faults().next().map(finding)).unwrap_or_else(|| report.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab::judge::report::TestReport;

    #[test]
    fn a_mutant_says_which_rule_it_breaks_and_who_is_to_notice() {
        let text = "The quota is ignored\n\nCaught-by: a.sh\nCaught-by: b\n--- a/x\n+++ b/x\n";
        assert_eq!(header(text).unwrap(), ("The quota is ignored".to_owned(), vec!["a.sh", "b"]));
        for (text, want) in [
            ("--- a/x\nCaught-by: a.sh\n", "which rule"),
            ("\n--- a/x\n", "which rule"),
            ("A rule\n--- a/x\n Caught-by: a.sh\n", "no line"),
        ] {
            let error = header(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_copy_is_changed_and_changed_back_and_the_checkout_never() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("rust/a")).unwrap();
        fs::write(root.path().join("Kbuild"), "obj-m := a.o\n").unwrap();
        let file = root.path().join("rust/a/a.rs");
        fs::write(&file, "one\ntwo\n").unwrap();
        let patch = root.path().join("m.patch");
        let text = "--- a/rust/a/a.rs\n+++ b/rust/a/a.rs\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n";
        fs::write(&patch, format!("A rule\n\n{text}")).unwrap();
        let mutant = Mutant {
            name: "m".into(),
            rule: "A rule".into(),
            tests: vec![],
            change: Change::Patch(patch),
        };
        let copy = Copy::of(root.path(), ["Kbuild", "rust"]).unwrap();
        let read = || fs::read_to_string(copy.root().join("rust/a/a.rs")).map_err(Into::into);
        assert_eq!(copy.with(&mutant, read).unwrap(), "one\nthree\n");
        assert_eq!(read().unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");

        fs::write(copy.root().join("rust/a/a.rs"), "four\n").unwrap();
        let error = format!("{:#}", copy.with(&mutant, read).unwrap_err());
        assert!(error.contains("m.patch does not fit"), "{error}");
    }

    #[test]
    fn what_passed_without_a_mutant_counts_until_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let test = |name: &str| Test { name: name.into(), timeout: std::time::Duration::ZERO };
        let mutant = |tests: &[&str]| Mutant {
            name: "m".into(),
            rule: "A rule".into(),
            tests: tests.iter().map(|name| test(name)).collect(),
            change: Change::Patch(PathBuf::new()),
        };
        let mutants = [mutant(&["b", "a"]), mutant(&["b"])];
        let missing = |key: &str| {
            let missing = Baseline::load(dir.path(), key.into()).missing(&mutants);
            missing.into_iter().map(|test| test.name).collect::<Vec<_>>()
        };
        assert_eq!(missing("1"), ["a", "b"]);
        Baseline::load(dir.path(), "1".into()).keep(dir.path(), &[test("a")]).unwrap();
        assert_eq!(missing("1"), ["b"]);
        Baseline::load(dir.path(), "1".into()).keep(dir.path(), &[test("b")]).unwrap();
        assert_eq!(missing("1"), [""; 0]);
        assert_eq!(missing("2"), ["a", "b"]);
    }

    #[test]
    fn a_run_in_which_nothing_failed_has_caught_nothing() {
        let mut report = Report::not_built(String::new(), Default::default());
        report.outcome = Outcome::Pass;
        assert!(judge(&report).unwrap_err().to_string().contains("survived"));
        report.outcome = Outcome::Timeout;
        report.message = "took too long".into();
        assert_eq!(judge(&report).unwrap_err().to_string(), "took too long");
        report.outcome = Outcome::Panic;
        report.message = "QEMU was killed".into();
        assert!(judge(&report).unwrap_err().to_string().contains("without a report"));
        report.kernel_findings = vec![Finding {
            kind: "panic".into(),
            text: "Kernel panic - not syncing: x".into(),
            stack: Vec::new(),
            test: None,
            from_user_space: false,
        }];
        assert_eq!(judge(&report).unwrap(), "the kernel: Kernel panic - not syncing: x");
        report.outcome = Outcome::KernelLog;
        report.message = "3 records were lost".into();
        assert_eq!(judge(&report).unwrap(), "the kernel: Kernel panic - not syncing: x");
        report.kernel_findings[0].kind = "log-incomplete".into();
        let error = judge(&report).unwrap_err().to_string();
        assert_eq!(error, "that says nothing about it: 3 records were lost");
    }

    #[test]
    fn a_mutant_that_does_not_load_is_noticed_by_nobody() {
        let load = |reason: &str| {
            let mut report = Report::not_built(String::new(), Default::default());
            report.outcome = Outcome::Test;
            report.tests = vec![TestReport {
                name: "load a.ko".into(),
                reason: reason.into(),
                ..TestReport::default()
            }];
            judge(&report)
        };
        let error = load("Unknown symbol b").unwrap_err().to_string();
        assert_eq!(error, "it does not load: Unknown symbol b");
        assert_eq!(load("a does not unload: busy").unwrap(), "load a.ko");
    }
}
