// SPDX-License-Identifier: GPL-2.0

//! The tree after a patch in a folder, to be edited; and what was edited there.
//!
//! The series may change before the edit is finished. So the tree is kept as it was written: only the
//! difference to it is an edit.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use vmlab::run::{files, process};

use crate::change;
use crate::folder::Stack;
use crate::git::Repository;
use crate::weave::{Blob, Number, Tree};

/// An edit of a patch that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Editing {
    /// The series of the patch.
    series: String,
    /// The subjects that it had since, the last one at the end. Its number may change as well.
    subjects: Vec<String>,
}

/// Where an edit is: the tree, the same as it was written, and which patch it is for.
struct Places {
    tree: PathBuf,
    written: PathBuf,
    record: PathBuf,
}

fn places(work: &Path) -> Places {
    Places {
        tree: work.join("edit"),
        written: work.join("edit-as-written"),
        record: work.join("edit.json"),
    }
}

impl Editing {
    /// Writes the tree after a patch. Returns its folder.
    pub fn begin(work: &Path, stack: &Stack, number: Number) -> Result<PathBuf> {
        let Places { tree, written, record } = places(work);
        if let Some(editing) = Editing::read(work)? {
            let name = editing
                .find(stack)
                .map_or_else(|_| format!("\"{}\"", editing.subject()), |number| stack.name(number));
            bail!(
                "{name} is being edited in {}: finish that, or remove the folder",
                tree.display()
            );
        }
        let (series, _) = stack.place(number).context("a patch without a series")?;
        let state = stack.weave.state(number);
        for folder in [&written, &tree] {
            files::remove_dir(folder)?;
            files::make_dir(folder)?;
            for (path, blob) in &state {
                change::put(&folder.join(path), Some(blob))?;
            }
        }
        let subjects = vec![stack.patches[number - 1].subject().to_owned()];
        Editing { series: series.name.clone(), subjects }.write(&record)?;
        Ok(tree)
    }

    /// The edit that has begun, if one has.
    pub fn read(work: &Path) -> Result<Option<Editing>> {
        let Places { tree, record, .. } = places(work);
        if !tree.is_dir() {
            return Ok(None);
        }
        let what = || format!("read {}", record.display());
        match fs::read(&record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(serde_json::from_slice(&text.with_context(what)?).with_context(what)?)),
        }
    }

    /// The folder with the tree to edit.
    pub fn folder(work: &Path) -> PathBuf {
        places(work).tree
    }

    /// The edit is over.
    pub fn end(work: &Path) -> Result<()> {
        let Places { tree, written, record } = places(work);
        files::remove_dir(&tree)?;
        files::remove_dir(&written)?;
        files::remove_file(&record)
    }

    fn write(&self, record: &Path) -> Result<()> {
        files::write_whole(record, &serde_json::to_string_pretty(self)?)
    }

    /// The subject of the patch.
    pub fn subject(&self) -> &str {
        self.subjects.last().map_or("", String::as_str)
    }

    /// The patch has another subject now, if it was this one.
    pub fn follow(work: &Path, series: &str, old: &str, new: &str) -> Result<()> {
        if let Some(mut editing) = Editing::read(work)?
            && editing.series == series
            && editing.subject() == old
            && old != new
        {
            editing.subjects.push(new.to_owned());
            editing.write(&places(work).record)?;
        }
        Ok(())
    }

    /// The number that the patch has now.
    pub fn find(&self, stack: &Stack) -> Result<Number> {
        let own = |number: &Number| {
            stack.place(*number).is_some_and(|(series, _)| series.name == self.series)
        };
        // The change that gave it its last subject may have been undone.
        for subject in self.subjects.iter().rev() {
            let has = |number: &Number| stack.patches[number - 1].subject() == subject;
            let all: Vec<Number> = (1..=stack.patches.len()).filter(has).collect();
            if let Some(number) = all.iter().copied().find(own) {
                return Ok(number);
            }
            // It may have gone to another series.
            if let [number] = all[..] {
                return Ok(number);
            }
        }
        bail!("no patch has the subject \"{}\" any more, which is being edited", self.subject())
    }
}

/// What was edited: the tree as it was written, and as it is now.
pub struct Edited {
    old: Tree,
    new: Tree,
}

impl Edited {
    /// Reads both.
    pub fn read(work: &Path) -> Result<Edited> {
        let Places { tree, written, .. } = places(work);
        let (old, mut new) = (read(&written)?, read(&tree)?);
        new.retain(|path, _| old.contains_key(path) || !is_left_behind(path));
        Ok(Edited { old, new })
    }

    /// The files of both.
    pub fn paths(&self) -> BTreeSet<String> {
        self.old.keys().chain(self.new.keys()).cloned().collect()
    }

    /// A file of the base that was not written.
    pub fn learn(&mut self, path: &str, blob: Blob) {
        self.old.entry(path.to_owned()).or_insert(blob);
    }

    /// The tree after the patch with what was edited. The series may have changed it since.
    ///
    /// # Errors
    ///
    /// Both have changed the same lines.
    pub fn merged(&self, now: &Tree) -> Result<Tree> {
        let mut merged = now.clone();
        let mut conflicts = Vec::new();
        for path in self.paths() {
            let (old, new, now) = (self.old.get(&path), self.new.get(&path), now.get(&path));
            if old == new || now == new {
                continue;
            }
            let result = if now == old { Some(new.cloned()) } else { both(old, new, now)? };
            match result {
                Some(Some(blob)) => drop(merged.insert(path, blob)),
                Some(None) => drop(merged.remove(&path)),
                None => conflicts.push(path),
            }
        }
        if !conflicts.is_empty() {
            bail!(
                "what you edited has changed since in the series: {}. Copy your edit to another \
                 place, remove the folder of the edit, and begin again",
                conflicts.join(", ")
            );
        }
        Ok(merged)
    }
}

/// A file with both changes, as git merges them. `None` if it cannot.
fn both(
    old: Option<&Blob>,
    new: Option<&Blob>,
    now: Option<&Blob>,
) -> Result<Option<Option<Blob>>> {
    let (Some(old), Some(new), Some(now)) = (old, new, now) else { return Ok(None) };
    let repository = Repository::scratch()?;
    for (name, blob) in [("new", new), ("old", old), ("now", now)] {
        let file = repository.folder().join(name);
        fs::write(&file, &blob.content).with_context(|| format!("write {}", file.display()))?;
    }
    let mut command = repository.command(&["merge-file", "--quiet", "new", "old", "now"]);
    if !process::capture(&mut command)?.ok {
        return Ok(None);
    }
    let file = repository.folder().join("new");
    let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let mode = if new.mode == old.mode { now.mode } else { new.mode };
    Ok(Some(Some(Blob { mode, content })))
}

/// All files of a folder.
fn read(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    for file in files::walk(folder, |_, _| true)?.files {
        let name = file.strip_prefix(folder).context("a file outside of its folder")?;
        let name = name.to_string_lossy().into_owned();
        tree.extend(change::read(&file)?.map(|blob| (name, blob)));
    }
    Ok(tree)
}

/// Whether editors and merges leave files with such names behind.
fn is_left_behind(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let swap = [".swp", ".swo", ".swn", ".swx"];
    name.ends_with('~')
        || name.starts_with(".#")
        || (name.len() > 1 && name.starts_with('#') && name.ends_with('#'))
        || (name.starts_with('.') && swap.iter().any(|end| name.ends_with(end)))
        || [".orig", ".rej"].iter().any(|end| name.ends_with(end))
}
