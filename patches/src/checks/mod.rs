// SPDX-License-Identifier: GPL-2.0

//! Checks of patches and of whole series.
//!
//! A check judges what a patch adds. What was there before is none of its findings, and that is
//! decided by what a finding says and by the line that it is about, never by numbers of findings.

pub mod findings;
pub mod history;
pub mod maintainers;
pub mod message;
pub mod netdev;
pub mod page;
pub mod programs;
pub mod report;
pub mod runner;
pub mod rust;
pub mod selftests;
pub mod series_format;
pub mod subject;
pub mod whitespace;

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use vmlab::run::files;

pub use self::findings::{Finding, Outcome, Severity};
pub use self::subject::{FileChange, Patch, Subject};
use crate::weave::Blob;

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One patch, and the files that it changes.
    Patch,
    /// One patch, and whatever else the series has.
    PatchInSeries,
    /// The series as a whole.
    Series,
}

/// A check. Whoever builds and boots what a patch makes has checks of their own, which only need a
/// [`Check::key`] of their own.
pub trait Check {
    /// How it is called in tables, in `--only` and in `[[accept]]`.
    fn name(&self) -> &'static str;

    /// What it asks for, in one line.
    fn about(&self) -> &'static str;

    fn scope(&self) -> Scope {
        Scope::Patch
    }

    /// Names all that the outcome depends on, but files of the base, which [`At::file`] notes
    /// down. `None`: the outcome is not kept, since to find it costs as little as to look it up.
    fn key(&self, at: &At<'_>) -> Option<String> {
        let _ = at;
        None
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome>;
}

/// The checks that read patches, and need nothing else.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(message::Title),
        Box::new(message::Body),
        Box::new(message::Trailers),
        Box::new(message::SignedOff),
        Box::new(message::Fixes),
        Box::new(history::Reviews),
        Box::new(series_format::SeriesFormat),
        Box::new(whitespace::Whitespace),
        Box::new(maintainers::Maintainers),
        Box::new(netdev::DeprecatedApi),
        Box::new(netdev::SourceInline),
        Box::new(netdev::HeaderInline),
        Box::new(netdev::Ynl),
        Box::new(selftests::CheckSelftest),
        Box::new(rust::Safety),
        Box::new(rust::SafetyDocs),
        Box::new(rust::Helpers),
        Box::new(rust::imports::Imports),
        Box::new(rust::users::Users),
        Box::new(rust::Inline),
        Box::new(rust::Leftovers),
    ]
}

/// Where a check looks.
pub struct At<'a> {
    pub subject: &'a Subject<'a>,
    /// Of the patch, from 0 on.
    index: usize,
    /// Files of the base that were read, and what they were.
    reads: RefCell<BTreeMap<String, String>>,
}

impl<'a> At<'a> {
    pub fn new(subject: &'a Subject<'a>, index: usize) -> At<'a> {
        At { subject, index, reads: RefCell::default() }
    }

    /// The patch that is judged; for a check of a series, its first one.
    pub fn patch(&self) -> &'a Patch {
        &self.subject.patches[self.index]
    }

    /// That patch, and all behind it.
    pub fn from_here(&self) -> &'a [Patch] {
        &self.subject.patches[self.index..]
    }

    /// A file after the patch.
    pub fn file(&self, path: &str) -> Result<Option<Blob>> {
        self.in_state(&self.patch().tree, path)
    }

    /// A file after the last patch of the series.
    pub fn last_file(&self, path: &str) -> Result<Option<Blob>> {
        match self.subject.patches.last() {
            Some(last) => self.in_state(&last.tree, path),
            None => Ok(None),
        }
    }

    fn in_state(&self, tree: &crate::weave::Tree, path: &str) -> Result<Option<Blob>> {
        if self.subject.touches(path) {
            return Ok(tree.get(path).cloned());
        }
        let blob = (self.subject.base)(path)?;
        self.reads.borrow_mut().insert(path.to_owned(), fingerprint(blob.as_ref()));
        Ok(blob)
    }

    /// Files of the base that are not there any more after the patch.
    pub fn gone(&self) -> Vec<String> {
        let tree = &self.patch().tree;
        let gone = self.subject.before.keys().filter(|path| !tree.contains_key(*path));
        gone.cloned().collect()
    }

    /// The files of the base that were read.
    pub fn reads(&self) -> BTreeMap<String, String> {
        self.reads.borrow().clone()
    }

    /// A key that changes with the patch.
    pub fn patch_key(&self) -> String {
        self.subject.keys()[self.index].clone()
    }

    /// A key that changes with any patch of the series.
    pub fn series_key(&self) -> String {
        let own = self.index.to_string();
        files::key(self.subject.keys().iter().chain([&own]))
    }
}

/// Stands for the content of a file.
pub fn fingerprint(blob: Option<&Blob>) -> String {
    match blob {
        Some(Blob { mode, content }) => {
            files::key([format!("{mode:?}").as_bytes(), content.as_slice()])
        }
        None => "none".to_owned(),
    }
}

/// The words of a line of code.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}
