// SPDX-License-Identifier: GPL-2.0

//! Runs checks, and keeps what they found for as long as what they read stays the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use vmlab::run::{files, interrupt};

use super::report::{Cell, PatchReport, Report};
use super::{At, Check, Finding, Outcome, Scope, Subject, fingerprint};

/// Outcomes of earlier runs.
pub struct Kept {
    file: PathBuf,
    all: BTreeMap<String, Memory>,
    used: BTreeSet<String>,
    /// How many checks had to run.
    pub made: usize,
}

/// An outcome, and what it was made from besides the key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Memory {
    /// Files of the base.
    reads: BTreeMap<String, String>,
    outcome: Outcome,
}

impl Kept {
    /// Those that a file has. One that cannot be understood has none.
    pub fn read(file: &Path) -> Kept {
        let text = fs::read_to_string(file).unwrap_or_default();
        Kept {
            file: file.to_owned(),
            all: serde_json::from_str(&text).unwrap_or_default(),
            used: BTreeSet::new(),
            made: 0,
        }
    }

    /// Writes them. After a run of all checks, those that were not asked for are left out.
    pub fn write(&mut self, all_checks: bool) -> Result<()> {
        if all_checks {
            self.all.retain(|key, _| self.used.contains(key));
        }
        let text = serde_json::to_string(&self.all).context("write outcomes")?;
        files::write_whole(&self.file, &text)
    }

    fn outcome(&mut self, check: &dyn Check, at: &At<'_>) -> Result<Outcome> {
        let Some(key) = check.key(at) else { return check.run(at) };
        let key = files::key([check.name(), &key]);
        self.used.insert(key.clone());
        if let Some(memory) = self.all.get(&key)
            && same_reads(&memory.reads, at)?
        {
            return Ok(memory.outcome.clone());
        }
        self.made += 1;
        let outcome = check.run(at)?;
        // A program may be there the next time.
        if !matches!(outcome, Outcome::Skipped(_)) {
            let memory = Memory { reads: at.reads(), outcome: outcome.clone() };
            self.all.insert(key, memory);
        }
        Ok(outcome)
    }
}

fn same_reads(reads: &BTreeMap<String, String>, at: &At<'_>) -> Result<bool> {
    for (path, was) in reads {
        if fingerprint((at.subject.base)(path)?.as_ref()) != *was {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs all these checks, or the only one of this name. `begin` hears of each patch before.
pub fn run<'c>(
    subject: &Subject<'_>,
    checks: &[Box<dyn Check + 'c>],
    only: Option<&str>,
    kept: &mut Kept,
    mut begin: impl FnMut(&str),
) -> Result<Report> {
    let chosen: Vec<&(dyn Check + 'c)> = checks
        .iter()
        .map(|check| &**check)
        .filter(|check| only.is_none_or(|only| check.name() == only))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no check {}: there are {}",
        only.unwrap_or_default(),
        checks.iter().map(|check| check.name()).collect::<Vec<_>>().join(", ")
    );
    ensure!(!subject.patches.is_empty(), "{} has no patches", subject.name);
    let mut unused: BTreeSet<usize> = (0..subject.accept.len()).collect();
    let mut cell = |check: &dyn Check, at: &At<'_>| -> Result<Cell> {
        interrupt::check()?;
        let outcome = kept.outcome(check, at);
        interrupt::check()?;
        let mut outcome = outcome.unwrap_or_else(|error| {
            Outcome::Judged(vec![Finding::fail(format!("the check itself failed: {error:#}"))])
        });
        if let Outcome::Judged(findings) = &mut outcome {
            for finding in findings {
                for (index, rule) in subject.accept.iter().enumerate() {
                    finding.accept(check.name(), std::slice::from_ref(rule));
                    if finding.accepted.is_some() {
                        unused.remove(&index);
                        break;
                    }
                }
            }
        }
        Ok(Cell { check: check.name().to_owned(), outcome })
    };
    let mut patches = Vec::new();
    for (index, patch) in subject.patches.iter().enumerate() {
        begin(&format!("{} {}", patch.number, patch.subject()));
        let mut cells = Vec::new();
        for check in chosen.iter().filter(|check| check.scope() != Scope::Series) {
            cells.push(cell(*check, &At::new(subject, index))?);
        }
        let shown = subject.shown.iter().filter(|shown| shown.patch == patch.subject());
        patches.push(PatchReport {
            number: patch.number,
            subject: patch.subject().to_owned(),
            author: format!("{} <{}>", patch.author.name, patch.author.mail),
            message: patch.message.clone(),
            shown: shown.map(|shown| shown.command.clone()).collect(),
            cells,
            diff: diff_of(&patch.mail),
        });
    }
    let mut series = Vec::new();
    for check in chosen.iter().filter(|check| check.scope() == Scope::Series) {
        series.push(cell(*check, &At::new(subject, 0))?);
    }
    let known = |check: &str| chosen.iter().any(|each| each.name() == check);
    let unused = unused.into_iter().map(|index| &subject.accept[index]);
    let unused = unused.filter(|rule| only.is_none() || known(&rule.check));
    let unused = unused.map(|rule| format!("{}: {}", rule.check, rule.finding)).collect();
    let about = |check: &&(dyn Check + 'c)| (check.name().to_owned(), check.about().to_owned());
    Ok(Report {
        series: subject.name.clone(),
        tree: subject.tree.clone(),
        checks: chosen.iter().map(about).collect(),
        patches,
        cells: series,
        unused,
    })
}

/// What a mail changes, without its headers and its message.
fn diff_of(mail: &[u8]) -> String {
    let text = String::from_utf8_lossy(mail);
    match text.find("\ndiff --git ") {
        Some(start) => text[start + 1..].to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::subject;
    use crate::folder::{Accepted, Shown};
    use std::cell::Cell as Counter;
    use std::rc::Rc;

    /// Reads a file of the base, and finds something in every patch.
    struct Dear(Rc<Counter<usize>>);

    impl Check for Dear {
        fn name(&self) -> &'static str {
            "dear"
        }

        fn about(&self) -> &'static str {
            "costs much"
        }

        fn key(&self, at: &At<'_>) -> Option<String> {
            Some(at.patch_key())
        }

        fn run(&self, at: &At<'_>) -> Result<Outcome> {
            self.0.set(self.0.get() + 1);
            at.file("M")?;
            anyhow::ensure!(!at.patch().message.contains("broken"), "no memory");
            Ok(Outcome::Judged(vec![Finding::fail("dear").of("a").at(1)]))
        }
    }

    #[test]
    fn what_was_found_is_kept_until_something_that_was_read_changes() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Rc::new(Counter::new(0));
        let checks: Vec<Box<dyn Check>> = vec![Box::new(Dear(runs.clone()))];
        let with = |base: &str, message: &str| {
            let before = runs.get();
            let base = [("M", base)];
            let patches: [(&str, &[(&str, &str)]); 2] =
                [("a: b\n", &[("a", "1\n")]), (message, &[("a", "2\n")])];
            let subject = subject(&base, &patches);
            let mut kept = Kept::read(&dir.path().join("kept.json"));
            let report = run(&subject, &checks, None, &mut kept, |_| ()).unwrap();
            kept.write(true).unwrap();
            assert_eq!(kept.made, runs.get() - before);
            (runs.get() - before, report)
        };
        let (first, report) = with("x\n", "a: c\n");
        assert_eq!(first, 2);
        let (again, same) = with("x\n", "a: c\n");
        assert_eq!((again, same), (0, report));
        assert_eq!(with("x\n", "a: d\n").0, 1, "another message");
        assert_eq!(with("y\n", "a: d\n").0, 2, "another file of the base");
        assert_eq!(with("y\n", "broken: e\n").0, 1);
        let (failed, report) = with("y\n", "broken: e\n");
        assert_eq!(failed, 1, "a check that failed is tried again");
        let text = &report.patches[1].cells[0].outcome.findings()[0].text;
        assert_eq!(text, "the check itself failed: no memory");
    }

    #[test]
    fn accepted_findings_have_their_reason_and_needless_rules_are_told() {
        let checks: Vec<Box<dyn Check>> = vec![Box::new(Dear(Rc::default()))];
        let mut subject = subject(&[], &[("a: b\n", &[("a", "1\n")])]);
        let rule = |finding: &str| Accepted {
            check: "dear".into(),
            finding: finding.into(),
            reason: "it is cheap".into(),
        };
        subject.accept = vec![rule("a:1: dear"), rule("other")];
        subject.shown = vec![Shown { patch: "a: b".into(), command: "make test".into() }];
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::read(&dir.path().join("kept.json"));
        let report = run(&subject, &checks, None, &mut kept, |_| ()).unwrap();
        let finding = &report.patches[0].cells[0].outcome.findings()[0];
        assert_eq!(finding.accepted.as_deref(), Some("it is cheap"));
        assert_eq!(report.unused, ["dear: other"]);
        assert_eq!(report.patches[0].shown, ["make test"]);
        let error = run(&subject, &checks, Some("cheap"), &mut kept, |_| ()).err().unwrap();
        assert_eq!(error.to_string(), "there is no check cheap: there are dear");
    }
}
