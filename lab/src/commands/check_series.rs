// SPDX-License-Identifier: GPL-2.0

//! `lab check-series`: checks each patch of a series, wherever it comes from.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use series::change;
use series::checks::report::{self, Report};
use series::checks::runner::{self, Kept};
use series::checks::subject::Origin;
use series::checks::{self, Check, Finding, Outcome, Subject, page, programs};
use series::folder::Stack;
use vmlab::judge::outcome;
use vmlab::run::files;
use vmlab::run::phases::Phases;
use vmlab::run::print;
use vmlab::run::progress::{Step, Unit, say};

use crate::build::kernel::Variant;
use crate::build::pipeline::{self, Built, Prepared};
use crate::build::source;
use crate::checkout_lock;
use crate::checks::patch_states::{self, Boots, Builds, NotRun, States, Variants};
use crate::checks::series_source;
use crate::cli::CheckArgs;
use crate::context::Lab;
use crate::expected_skips::ExpectedSkips;
use crate::host::linters;
use crate::host::toolchain::Toolchain;
use crate::ui::colour;

/// A script that each kernel tree has.
const SCRIPT: &str = "scripts/checkpatch.pl";

pub(super) fn run(lab: &Lab, args: &CheckArgs) -> Result<u8> {
    let _lock = checkout_lock::take(&lab.target)?;
    // A user's tree has scripts of its own, unless it is a bare repository.
    let tree = match args.tree.as_ref().filter(|tree| tree.join(SCRIPT).is_file()) {
        Some(tree) => std::path::absolute(tree).context("find the tree")?,
        None => source::find(lab)?.dir,
    };
    let folder = series_source::work(lab);
    files::make_dir(&folder)?;
    let (json, html) = (folder.join("results.json"), folder.join("results.html"));
    // Those of an earlier run would outlive one that fails.
    files::remove_file(&json)?;
    files::remove_file(&html)?;
    let subjects = subjects(lab, args, &tree)?;
    let proof = Proof::prepare(lab, args)?;
    let mut reports = Vec::new();
    for subject in &subjects {
        subject.notes.iter().for_each(|note| print::out(&format!("note: {note}\n")));
        let checks = all(lab, args, &tree, subject, &proof)?;
        let mut kept = Kept::read(
            &folder.join(format!("kept-{}.json", patch_states::file_name(&subject.name))),
        );
        let what = format!("checking {} patches of {}", subject.patches.len(), subject.name);
        let step = Step::start(&what, Unit::None, 0);
        let told = |patch: &str| {
            if matches!(proof, Proof::Ready(_)) {
                say(&format!("checking {patch}"));
            }
        };
        let done = runner::run(subject, &checks, args.only.as_deref(), &mut kept, told);
        step.finish();
        // Results from before an interrupt are stored, too.
        kept.write(args.only.is_none() && done.is_ok())?;
        let report = done?;
        tell(&report);
        reports.push(report);
    }
    report::write_json(&reports, &json)?;
    files::write_whole(&html, &page::page(&reports))?;
    print::out(&format!("the full report: {}\n", html.display()));
    // Warnings are for a person to judge.
    let failed = reports.iter().any(|report| report.count().failed > 0);
    Ok(if failed { outcome::Outcome::Test.exit_code() } else { 0 })
}

/// How patches are built and booted.
enum Proof {
    Ready(Box<Ready>),
    /// The user does not want it.
    NotWanted,
    /// It cannot be done, for this reason.
    Impossible(String),
}

/// All that is needed to build and boot patches.
struct Ready {
    base: Prepared,
    tools: Toolchain,
}

impl Proof {
    fn prepare(lab: &Lab, args: &CheckArgs) -> Result<Proof> {
        if args.no_build || args.only.as_deref().is_some_and(|only| !PROOF.contains(&only)) {
            return Ok(Proof::NotWanted);
        }
        if let Some(tree) = &args.tree
            && lab.settings.ksrc.is_none()
        {
            return Ok(Proof::Impossible(format!(
                "to build the patches, check out the beginning of the range in {}, and set KSRC \
                 to it",
                tree.display()
            )));
        }
        let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
        let tools = base.tools.clone().with_rust_src(lab)?;
        Ok(Proof::Ready(Box::new(Ready { base, tools })))
    }

    fn checks<'a>(
        &'a self,
        lab: &'a Lab,
        args: &CheckArgs,
        subject: &Subject<'_>,
    ) -> Result<Vec<Box<dyn Check + 'a>>> {
        let is_own = subject.origin == Origin::Stack && subject.tests.is_empty();
        let has_variants = is_own && lab.project.in_tree.is_some();
        let names = || PROOF.into_iter().take(if has_variants { 3 } else { 2 });
        let Ready { base, tools } = match self {
            Proof::Ready(ready) => ready.as_ref(),
            Proof::NotWanted => return Ok(Vec::new()),
            Proof::Impossible(why) => {
                let expected = ExpectedSkips::of_checks(lab);
                let outcome = |name| could_not_run(name, why.clone(), &expected);
                return Ok(names().map(|name| not_run(name, outcome(name))).collect());
            }
        };
        if subject.origin == Origin::Range {
            same_base(subject, &base.kernel.source)?;
        }
        let guest = Built::nothing(lab)?;
        let states = match subject.origin {
            Origin::Stack if subject.tests.is_empty() => {
                States::of_project(lab, base, tools, guest)?
            }
            Origin::Stack => States::of_anybody(lab, base, tools, guest, subject, &subject.tests)?,
            Origin::Range | Origin::Mailbox => {
                States::of_anybody(lab, base, tools, guest, subject, &args.tests)?
            }
        };
        if let Err(error) = states.possible() {
            let expected = ExpectedSkips::of_checks(lab);
            let outcome = |name| could_not_run(name, format!("{error:#}"), &expected);
            return Ok(names().map(|name| not_run(name, outcome(name))).collect());
        }
        let states = Rc::new(states);
        let mut checks: Vec<Box<dyn Check + 'a>> =
            vec![Box::new(Builds(states.clone())), Box::new(Boots(states.clone()))];
        if has_variants {
            checks.push(Box::new(Variants(states)));
        }
        Ok(checks)
    }
}

/// Checks that the tree that is built is the one that the patches begin from.
fn same_base(subject: &Subject<'_>, source: &Path) -> Result<()> {
    let mut others = Vec::new();
    let news = subject.patches.iter().flat_map(|patch| &patch.changes);
    let paths: BTreeSet<&String> =
        subject.before.keys().chain(news.map(|change| &change.path)).collect();
    for path in paths {
        if change::read(&source.join(path))?.as_ref() != subject.before.get(path) {
            others.push(path.as_str());
        }
    }
    ensure!(
        others.is_empty(),
        "{} is not the base of {}: these files differ: {}. Check out the base there, or use \
         --no-build",
        source.display(),
        subject.name,
        others.join(", ")
    );
    Ok(())
}

/// The names of the checks that build and boot.
const PROOF: [&str; 3] = ["build", "boot and tests", "variants"];

fn not_run<'a>(name: &'static str, outcome: Outcome) -> Box<dyn Check + 'a> {
    Box::new(NotRun { name, outcome })
}

/// The outcome of a check that this machine cannot run: a failure, unless the user allows the skip.
fn could_not_run(name: &str, why: String, expected: &ExpectedSkips) -> Outcome {
    match expected.allows(name) {
        true => Outcome::Skipped(why),
        false => Outcome::Judged(vec![Finding::fail(format!(
            "could not run: {why}; to let it be skipped: MAY_SKIP='{name}', or --no-build"
        ))]),
    }
}

/// All checks.
fn all<'a>(
    lab: &'a Lab,
    args: &CheckArgs,
    tree: &Path,
    subject: &Subject<'_>,
    proof: &'a Proof,
) -> Result<Vec<Box<dyn Check + 'a>>> {
    let mut all: Vec<Box<dyn Check + 'a>> = checks::all();
    all.extend(programs::checks(linters::find(lab, tree)?));
    all.extend(proof.checks(lab, args, subject)?);
    Ok(all)
}

/// What is to be checked.
fn subjects(lab: &Lab, args: &CheckArgs, tree: &Path) -> Result<Vec<Subject<'static>>> {
    let base = || {
        let tree = tree.to_owned();
        Box::new(move |path: &str| change::read(&tree.join(path)))
    };
    let mut subjects = match (&args.tree, &args.range, &args.mbox) {
        (Some(folder), Some(range), _) => vec![Subject::of_range(folder, range)?],
        (_, _, Some(file)) => vec![Subject::of_mailbox(file, base())?],
        _ => {
            let series = lab.root.join(&lab.project.series.folder);
            let read = base();
            let stack = Stack::read(&series, |path| read(path))?;
            let names: Vec<String> = match &args.series {
                Some(name) => vec![stack.series[stack.series_named(name)?].name.clone()],
                None => {
                    stack.series.iter().filter(|s| s.length > 0).map(|s| s.name.clone()).collect()
                }
            };
            let mut own = Vec::new();
            for name in names {
                let mut subject = Subject::of_stack(&stack, &series, &name, base())?;
                let folder = lab.project.series.folder.join(&name);
                subject.find_reviewed(&lab.root, &folder.to_string_lossy())?;
                own.push(subject);
            }
            own
        }
    };
    ensure!(
        subjects.iter().any(|subject| !subject.patches.is_empty()),
        "there is no patch yet, and so nothing to check"
    );
    for subject in &mut subjects {
        subject.folder = Some(tree.to_owned());
    }
    Ok(subjects)
}

fn tell(report: &Report) {
    colour::print(&report.table());
    print::out(&format!("{}\n", report.summary()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_that_this_machine_cannot_build_have_not_passed() {
        let expected = |patterns: &[&str]| {
            let patterns = patterns.iter().map(|it| glob::Pattern::new(it).unwrap());
            ExpectedSkips::allowing(patterns.collect())
        };
        let outcome = |expected| could_not_run("build", "no mounts".to_owned(), &expected);
        let red = outcome(expected(&["variants"]));
        assert_eq!(red.severity(), checks::Severity::Fail);
        assert!(red.findings()[0].text.starts_with("could not run: no mounts; "));
        assert_eq!(outcome(expected(&["buil?"])), Outcome::Skipped("no mounts".to_owned()));
    }
}
