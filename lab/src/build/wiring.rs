// SPDX-License-Identifier: GPL-2.0

//! The project's files in a kernel tree, and the lines that the tree's own files need for them.
//!
//! `[upstream]` of `lab.toml` says where files go. The wiring folder has whole files, at their
//! paths in the tree. Its `wiring.toml` lists the lines that the tree's own files get, and where.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::checks::house_rules;
use crate::project::{InTree, Project};

/// The list of lines, in the wiring folder.
const LIST: &str = "wiring.toml";

/// The content of `wiring.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wiring {
    insert: Vec<Insert>,
}

/// Lines that a file of the tree gets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Insert {
    file: PathBuf,
    /// The line of the file after which they are inserted.
    after: String,
    #[serde(default)]
    lines: String,
    /// A file of the project that contains the lines.
    from: Option<PathBuf>,
    /// If not empty, only lines that begin with one of these are taken.
    #[serde(default)]
    only: Vec<String>,
    /// Lines that begin with one of these are left out.
    #[serde(default)]
    except: Vec<String>,
}

/// Files by their paths in the tree.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files that are new or changed when the project is added to the kernel tree at `source`.
pub fn files(root: &Path, project: &Project, in_tree: &InTree, source: &Path) -> Result<Files> {
    let (mut files, places) = (Files::new(), project.places());
    for folder in &in_tree.sources {
        for path in house_rules::files(&root.join(folder))? {
            let name = path.strip_prefix(root).unwrap_or(&path);
            if let Some(place) = series::source::place(&places, &name.to_string_lossy()) {
                files.insert(place.into(), read(&path)?);
            }
        }
    }
    let wiring = root.join(&in_tree.wiring);
    for path in house_rules::files(&wiring)? {
        let name = path.strip_prefix(&wiring).unwrap_or(&path);
        // Files beside the list belong to the list.
        if name.components().count() > 1 {
            files.insert(name.to_owned(), read(&path)?);
        }
    }
    let list = wiring.join(LIST);
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let list: Wiring =
        toml::from_str(&text).with_context(|| format!("parse {}", list.display()))?;
    for insert in &list.insert {
        let old = match files.remove(&insert.file) {
            Some(text) => text,
            None => read(&source.join(&insert.file))?,
        };
        let old = String::from_utf8(old).with_context(|| insert.file.display().to_string())?;
        let new = insert.apply(root, &old).with_context(|| insert.file.display().to_string())?;
        files.insert(insert.file.clone(), new.into_bytes());
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

impl Insert {
    fn apply(&self, root: &Path, old: &str) -> Result<String> {
        let after = format!("{}\n", self.after);
        let mut places = old.match_indices(&after).filter(|(at, _)| {
            // A whole line.
            *at == 0 || old.as_bytes()[at - 1] == b'\n'
        });
        let (Some((at, _)), None) = (places.next(), places.next()) else {
            bail!("there must be exactly one line `{}`", self.after);
        };
        let (before, behind) = old.split_at(at + after.len());
        let lines = match &self.from {
            Some(from) => {
                let path = root.join(from);
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?;
                self.chosen(&text)
            }
            None => self.lines.clone(),
        };
        Ok(format!("{before}{lines}{behind}"))
    }

    fn chosen(&self, text: &str) -> String {
        let begins = |line: &str, with: &[String]| with.iter().any(|word| line.starts_with(word));
        let is_chosen = |line: &&str| match self.only.is_empty() {
            true => !begins(line, &self.except),
            false => begins(line, &self.only),
        };
        text.lines().filter(is_chosen).map(|line| format!("{line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(text: &str) -> Insert {
        toml::from_str(&format!("file = \"f\"\n{text}")).unwrap()
    }

    #[test]
    fn lines_come_behind_the_one_that_is_named() {
        let root = Path::new("/");
        let wanted = insert("after = \"b\"\nlines = \"\"\"\nc\nd\n\"\"\"");
        assert_eq!(wanted.apply(root, "a\nb\ne\n").unwrap(), "a\nb\nc\nd\ne\n");
        assert!(wanted.apply(root, "a\nb \nab\n").is_err(), "a whole line");
        assert!(wanted.apply(root, "b\nb\n").is_err(), "one line");
    }

    #[test]
    fn lines_of_another_file_are_chosen_by_how_they_begin() {
        let text = "// x\n#[path = \"a\"]\npub mod a;\n\nmod b;\n";
        let only = insert("after = \"\"\nonly = [\"pub\", \"//\"]");
        assert_eq!(only.chosen(text), "// x\npub mod a;\n");
        let except = insert("after = \"\"\nexcept = [\"#[path\", \"//\"]");
        assert_eq!(except.chosen(text), "pub mod a;\n\nmod b;\n");
    }
}
