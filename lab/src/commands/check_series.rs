// SPDX-License-Identifier: GPL-2.0

//! `lab check-series`: checks each patch of a series, wherever it comes from.

use std::path::Path;

use anyhow::{Context, Result};
use series::change;
use series::checks::report::{self, Report};
use series::checks::runner::{self, Kept};
use series::checks::{self, Check, Subject, page, programs};
use series::folder::Stack;
use vmlab::judge::outcome::Outcome;
use vmlab::run::files;
use vmlab::run::print;
use vmlab::run::progress::{Step, Unit};

use crate::build::source;
use crate::checkout_lock;
use crate::cli::CheckArgs;
use crate::context::Lab;
use crate::host::linters;
use crate::ui::colour;

/// A script that each kernel tree has.
const SCRIPT: &str = "scripts/checkpatch.pl";

pub(super) fn run(lab: &Lab, args: &CheckArgs) -> Result<u8> {
    let _lock = checkout_lock::take(&lab.target)?;
    // A user's tree has scripts of its own, unless git has it alone.
    let tree = match args.tree.as_ref().filter(|tree| tree.join(SCRIPT).is_file()) {
        Some(tree) => std::path::absolute(tree).context("find the tree")?,
        None => source::find(lab)?.dir,
    };
    let subjects = subjects(lab, args, &tree)?;
    let checks = all(lab, &tree)?;
    let folder = lab.target.join("series");
    files::make_dir(&folder)?;
    let mut reports = Vec::new();
    for subject in &subjects {
        let mut kept = Kept::read(&folder.join(format!("kept-{}.json", file_name(&subject.name))));
        let what = format!("checking {} patches of {}", subject.patches.len(), subject.name);
        let step = Step::start(&what, Unit::None, 0);
        let done = runner::run(subject, &checks, args.only.as_deref(), &mut kept, |_| ());
        step.finish();
        // What was found before an interrupt is kept, too.
        kept.write(args.only.is_none() && done.is_ok())?;
        let report = done?;
        tell(&report);
        reports.push(report);
    }
    let (json, html) = (folder.join("results.json"), folder.join("results.html"));
    report::write_json(&reports, &json)?;
    files::write_whole(&html, &page::page(&reports))?;
    print::out(&format!("all of it: {}\n", html.display()));
    // Warnings are for a person to judge.
    let failed = reports.iter().any(|report| report.count().failed > 0);
    Ok(if failed { Outcome::Test.exit_code() } else { 0 })
}

/// All checks. Those that build or boot a patch come here, too.
fn all(lab: &Lab, tree: &Path) -> Result<Vec<Box<dyn Check>>> {
    let mut all = checks::all();
    all.extend(programs::checks(linters::find(lab, tree)?));
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
    for subject in &mut subjects {
        subject.folder = Some(tree.to_owned());
    }
    Ok(subjects)
}

/// A name for a file.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

fn tell(report: &Report) {
    colour::print(&report.table());
    print::out(&format!("{}\n", report.count()));
}
