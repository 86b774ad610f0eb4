// SPDX-License-Identifier: GPL-2.0

//! Mutants that are generated from the code: one condition, operator, field or statement is
//! changed. There are thousands. Each run tries some of them and records the result.
//!
//! Some survive for a good reason: the code behaves the same, or is only slower. The project lists
//! these, each with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use glob::Pattern;
use serde::{Deserialize, Serialize};
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::files;
use vmlab::run::job::Test;

use crate::checks::code_edits::{self, Edit};
use crate::checks::house_rules;
use crate::checks::mutants::{self, Change, Mutant};
use crate::context::Lab;
use crate::project;

/// The list of mutants that may survive, in the folder with the patches.
const SURVIVORS: &str = "survivors.toml";

/// The file in the project's folder of results.
const FATES: &str = "mutants/made.json";

/// The result of a mutant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A test failed.
    Caught(String),
    /// No test failed.
    Survived,
    /// It does not compile, so no test is needed.
    DoesNotCompile,
}

/// All mutants of the project's code. A mutant's name changes only when its file or the names of
/// its tests change.
pub fn all(lab: &Lab) -> Result<Vec<Mutant>> {
    let made = lab.project.mutants.iter().flat_map(|mutants| &mutants.made);
    let (tests, code) = (lab.selftests()?, code(lab)?);
    let mut all = Vec::new();
    for group in made {
        let pattern = Pattern::new(&group.files)
            .with_context(|| format!("{}: understand `{}`", project::FILE, group.files))?;
        let of_group = mutants::named(&tests, &group.tests)
            .with_context(|| format!("{}: mutants of {}", project::FILE, group.files))?;
        for file in &code {
            if series::rules::fits(&pattern, &file.to_string_lossy()) {
                let path = lab.root.join(file);
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?;
                let edits = code_edits::find(&text)
                    .with_context(|| format!("change {}", path.display()))?;
                all.extend(edits.into_iter().map(|edit| mutant(file, &text, edit, &of_group)));
            }
        }
    }
    if all.is_empty() {
        bail!("{} has no `[[mutants.made]]` whose files have code", project::FILE);
    }
    Ok(all)
}

/// The paths of all Rust files that the modules are built from.
fn code(lab: &Lab) -> Result<Vec<PathBuf>> {
    let mut code = Vec::new();
    for source in lab.project.mutants.iter().flat_map(|mutants| &mutants.sources) {
        let folder = lab.root.join(source);
        if folder.is_dir() {
            code.extend(house_rules::files(&folder)?);
        }
    }
    code.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let relative = |path: &PathBuf| path.strip_prefix(&lab.root).map(Path::to_owned).ok();
    Ok(code.iter().filter_map(relative).collect())
}

fn mutant(file: &Path, text: &str, edit: Edit, tests: &[Test]) -> Mutant {
    let (name, function) = (file.to_string_lossy(), &edit.function);
    let place = edit.bytes.start.to_string();
    let mut parts = vec![name.as_ref(), text, &place, &edit.was, &edit.now];
    parts.extend(tests.iter().map(|test| test.name.as_str()));
    let now = if edit.now.is_empty() { "nothing" } else { &edit.now };
    Mutant {
        name: files::key(parts),
        rule: format!("{name}:{} {function}: `{}` becomes `{now}`", edit.line, edit.was),
        tests: tests.to_vec(),
        change: Change::Edit(file.to_owned(), edit),
    }
}

/// Chooses some of the mutants that were not tried yet, by the seed. One that survived is tried
/// again until a test notices it, or the list has a reason.
pub fn draw(
    mutants: &[Mutant],
    fates: &Fates,
    survivors: &Survivors,
    seed: u64,
    number: usize,
) -> Vec<Mutant> {
    let is_left = |mutant: &&Mutant| match fates.fates.get(&mutant.name) {
        None => true,
        Some(Fate::Survived) => survivors.reason(mutant).is_none(),
        Some(Fate::Caught(_) | Fate::DoesNotCompile) => false,
    };
    let mut left: Vec<&Mutant> = mutants.iter().filter(is_left).collect();
    left.sort_by_cached_key(|mutant| files::key([seed.to_string().as_str(), &mutant.name]));
    left.into_iter().take(number).cloned().collect()
}

/// The result of a mutant, from the report of its tests. An error if the report does not show one.
pub fn judge(report: &Report) -> Result<Fate> {
    Ok(match report.outcome {
        Outcome::Pass => Fate::Survived,
        // A test that hangs, or a module that does not load, also counts as caught.
        Outcome::Timeout => Fate::Caught(report.message.clone()),
        Outcome::Test if report.tests.iter().any(|test| test.failed()) => {
            Fate::Caught(mutants::judge(report).unwrap_or_else(|error| format!("{error:#}")))
        }
        _ => Fate::Caught(mutants::judge(report)?),
    })
}

/// Whether a build failed because of the code: rustc shows a place in it, or symbols are missing.
/// Not each of rustc's errors has a number.
pub fn does_not_compile(error: &str) -> bool {
    let mut lines = error.lines().map(str::trim_start).peekable();
    while let Some(line) = lines.next() {
        let shows_place = lines.peek().is_some_and(|next| next.starts_with("--> "));
        let is_error = line.starts_with("error[E") || (line.starts_with("error") && shows_place);
        if is_error || line.starts_with("ERROR: modpost: ") {
            return true;
        }
    }
    false
}

/// The results of all mutants, from this and earlier runs.
#[derive(Debug)]
pub struct Fates {
    path: PathBuf,
    fates: BTreeMap<String, Fate>,
}

impl Fates {
    /// Reads the results of earlier runs.
    pub fn load(target: &Path) -> Result<Fates> {
        let path = target.join(FATES);
        let fates = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("read {}: remove it", path.display()))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Fates { path, fates })
    }

    /// Stores the result of a mutant at once, since a run may be interrupted.
    pub fn keep(&mut self, mutant: &Mutant, fate: Fate) -> Result<()> {
        self.fates.insert(mutant.name.clone(), fate);
        let text = serde_json::to_string_pretty(&self.fates).context("encode fates")?;
        if let Some(folder) = self.path.parent() {
            files::make_dir(folder)?;
        }
        files::write_whole(&self.path, &text)
    }

    /// How many of these mutants were tried, and of those, how many compile and how many survived.
    pub fn count(&self, mutants: &[Mutant]) -> String {
        let fates: Vec<_> = mutants.iter().filter_map(|it| self.fates.get(&it.name)).collect();
        let number = |fate: fn(&Fate) -> bool| fates.iter().filter(|it| fate(it)).count();
        format!(
            "of {} possible mutants, {} were tried so far: {} do not compile, {} were caught, {} \
             survived",
            mutants.len(),
            fates.len(),
            number(|fate| *fate == Fate::DoesNotCompile),
            number(|fate| matches!(fate, Fate::Caught(_))),
            number(|fate| *fate == Fate::Survived),
        )
    }
}

/// Mutants that may survive.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivors {
    #[serde(default)]
    survivor: Vec<Survivor>,
}

/// A mutant that may survive, wherever in its function it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivor {
    file: PathBuf,
    function: String,
    was: String,
    now: String,
    reason: String,
}

impl Survivors {
    pub fn load(lab: &Lab) -> Result<Survivors> {
        let Some(project) = &lab.project.mutants else { return Ok(Survivors::default()) };
        let path = lab.root.join(&project.folder).join(SURVIVORS);
        if !path.exists() {
            return Ok(Survivors::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Why a mutant may survive.
    pub fn reason(&self, mutant: &Mutant) -> Option<&str> {
        let Change::Edit(file, edit) = &mutant.change else { return None };
        let is_it = |it: &&Survivor| {
            (&it.file, &it.function, &it.was, &it.now)
                == (file, &edit.function, &edit.was, &edit.now)
        };
        self.survivor.iter().find(is_it).map(|it| it.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab::judge::report::TestReport;
    use vmlab::run::phases::Phases;

    const TEXT: &str = "fn f(a: u8) -> bool {\n    a == 1 || a > 2\n}\n";

    fn made() -> Vec<Mutant> {
        let edits = code_edits::find(TEXT).unwrap();
        edits.into_iter().map(|edit| mutant(Path::new("a/b.rs"), TEXT, edit, &[])).collect()
    }

    #[test]
    fn a_seed_draws_the_same_mutants_and_none_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut fates = Fates::load(dir.path()).unwrap();
        let none = Survivors::default();
        let draw = |fates: &Fates| draw(&made(), fates, &none, 7, 2);
        let first = draw(&fates);
        assert_eq!(first, draw(&fates));
        assert_eq!(first.len(), 2);
        for mutant in &first {
            fates.keep(mutant, Fate::Caught("a.sh".to_owned())).unwrap();
        }
        let fates = Fates::load(dir.path()).unwrap();
        let rest = draw(&fates);
        assert_eq!(rest.len(), 1);
        assert!(!first.contains(&rest[0]));
        assert!(fates.count(&made()).contains("of 3 possible mutants, 2 were tried"));
    }

    #[test]
    fn a_survivor_with_a_reason_is_told_from_one_without() {
        let list = "[[survivor]]\nfile = \"a/b.rs\"\nfunction = \"f\"\nwas = \">\"\nnow = \">=\"\n\
                    reason = \"two is never asked for\"\n";
        let survivors: Survivors = toml::from_str(list).unwrap();
        let reasons: Vec<_> = made().iter().map(|it| survivors.reason(it).is_some()).collect();
        assert_eq!(reasons, [false, false, true]);
        // Those without a reason are tried until there is one, or a test notices them.
        let dir = tempfile::tempdir().unwrap();
        let mut fates = Fates::load(dir.path()).unwrap();
        made().iter().for_each(|mutant| fates.keep(mutant, Fate::Survived).unwrap());
        assert_eq!(draw(&made(), &fates, &survivors, 7, 9).len(), 2);
    }

    #[test]
    fn code_that_does_not_compile_is_told_from_a_build_that_cannot_be_done() {
        for (error, of_code) in [
            ("make failed:\n  error[E0308]: mismatched types", true),
            ("  error: this comparison is useless\n     --> a/b.rs:2:9\n      |", true),
            ("  ERROR: modpost: \"count\" [a.ko] undefined!", true),
            ("  error: no space left on device", false),
            ("  error: could not exec rustc\n  make: *** [a.o] Error 1\n  --> a", false),
            ("make failed: signal 9", false),
        ] {
            assert_eq!(does_not_compile(error), of_code, "{error}");
        }
    }

    #[test]
    fn what_ends_in_no_verdict_is_no_catch() {
        let mut report = Report::not_built(String::new(), Phases::default());
        for (outcome, fate) in [
            (Outcome::Pass, Some(Fate::Survived)),
            (Outcome::Timeout, Some(Fate::Caught(String::new()))),
            (Outcome::Skipped, None),
            (Outcome::Boot, None),
            (Outcome::Interrupted, None),
        ] {
            report.outcome = outcome;
            assert_eq!(judge(&report).ok(), fate, "{outcome:?}");
        }
        report.outcome = Outcome::Test;
        let name = "load a.ko".to_owned();
        let result = vmlab::judge::ktap::TestResult::Fail;
        report.tests = vec![TestReport { name, result, ..TestReport::default() }];
        assert!(matches!(judge(&report), Ok(Fate::Caught(_))));
    }
}
