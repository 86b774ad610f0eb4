// SPDX-License-Identifier: GPL-2.0

//! Building and booting the tree after each patch, as checks of a series.

use std::rc::Rc;

use anyhow::Result;
use series::checks::{self, At, Check, Finding};

use super::{Checked, State, States, file_name};

/// A check of each state: that it builds. These checks have no key of their own, since [`States`]
/// itself stores the results that passed.
pub struct Builds<'a>(pub Rc<States<'a>>);

/// A check of each state: that it boots, and passes its tests.
pub struct Boots<'a>(pub Rc<States<'a>>);

impl Check for Builds<'_> {
    fn name(&self) -> &'static str {
        "build"
    }

    fn about(&self) -> &'static str {
        "builds without a warning that the tree did not have before, with W=1 and Clippy"
    }

    fn run(&self, at: &At<'_>) -> Result<checks::Outcome> {
        judged(self.0.build(&State::at(at), &log_name(at))?)
    }
}

impl Check for Boots<'_> {
    fn name(&self) -> &'static str {
        "boot and tests"
    }

    fn about(&self) -> &'static str {
        "the kernel boots, the module loads, and the tests pass that are there by then"
    }

    fn run(&self, at: &At<'_>) -> Result<checks::Outcome> {
        judged(self.0.test(&State::at(at), &log_name(at))?)
    }
}

/// A check of the last state of a series: that it also builds built in, and without optional kernel
/// features.
pub struct Variants<'a>(pub Rc<States<'a>>);

impl Check for Variants<'_> {
    fn name(&self) -> &'static str {
        "variants"
    }

    fn about(&self) -> &'static str {
        "the last tree builds as a part of the kernel, and with options off"
    }

    fn scope(&self) -> checks::Scope {
        checks::Scope::Series
    }

    fn run(&self, at: &At<'_>) -> Result<checks::Outcome> {
        let Some(last) = at.subject.patches.len().checked_sub(1) else {
            return Ok(checks::Outcome::Nothing);
        };
        let mut found = Vec::new();
        for (name, ended) in self.0.variants(&State::at(&At::new(at.subject, last)))? {
            found.push(match wrong(&ended) {
                Some(what) => Finding::fail(format!("{name}: {what}")).in_log(ended.log),
                None => Finding::note(format!("{name}: {}", ended.text)).in_log(ended.log),
            });
        }
        Ok(checks::Outcome::Judged(found))
    }
}

/// Stands for a check that cannot run, and says so once for the series.
pub struct NotRun {
    pub name: &'static str,
    pub outcome: checks::Outcome,
}

impl Check for NotRun {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "could not run"
    }

    fn scope(&self) -> checks::Scope {
        checks::Scope::Series
    }

    fn run(&self, _: &At<'_>) -> Result<checks::Outcome> {
        Ok(self.outcome.clone())
    }
}

fn log_name(at: &At<'_>) -> String {
    file_name(&format!("{}-{}", at.subject.name, at.patch().number))
}

/// What is wrong with a state that did not pass, and where its log is.
fn wrong(ended: &Checked) -> Option<String> {
    let log = ended.log.as_ref().map(|log| format!("; see {}", log.display())).unwrap_or_default();
    (!ended.passed).then(|| format!("{}{log}", ended.text))
}

fn judged(ended: Checked) -> Result<checks::Outcome> {
    let absent = not_there(&ended).map(Finding::note);
    let found = match wrong(&ended) {
        Some(what) => Finding::fail(what),
        None => Finding::note(&ended.text),
    };
    Ok(checks::Outcome::Judged(std::iter::once(found.in_log(ended.log)).chain(absent).collect()))
}

/// Which tests did not run, since the tree does not have them.
pub fn not_there(ended: &Checked) -> Option<String> {
    let names = ended.absent.join(", ");
    (!names.is_empty()).then(|| format!("not in this tree, so not run: {names}"))
}
