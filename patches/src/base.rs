// SPDX-License-Identifier: GPL-2.0

//! The kernel release that the series are made for: its version, and how git names the content of
//! the files that the series change.
//!
//! It is stored beside the series. So a base with other files is noticed, and they are named, before
//! anybody sends patches that were made for something else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::folder::Stack;
use crate::git::Repository;
use crate::weave::BASE;

const HEAD: &str = "\
# SPDX-License-Identifier: GPL-2.0
#
# The files of the kernel that the series change, as git names their content. `lab series` writes
# this.
";

/// What is stored of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub version: String,
    /// The id of each file's content, by path.
    pub files: BTreeMap<String, String>,
}

impl Release {
    /// The base of this stack.
    pub fn of(stack: &Stack, version: &str) -> Result<Release> {
        let files = Repository::scratch()?.ids(&stack.weave.state(BASE))?;
        Ok(Release { version: version.to_owned(), files })
    }

    /// The one that is stored in a folder of series, if one is.
    pub fn read(folder: &Path) -> Result<Option<Release>> {
        let file = Release::place(folder);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("read {}", file.display()))?,
        };
        Ok(Some(toml::from_str(&text).with_context(|| format!("understand {}", file.display()))?))
    }

    /// Where it is stored.
    pub fn place(folder: &Path) -> PathBuf {
        folder.join("base.toml")
    }

    /// As it is stored.
    pub fn text(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self).context("write the base")?))
    }

    /// The files that are others in this one, of those that both have or that one of both lacks.
    pub fn differences(&self, other: &Release) -> Vec<String> {
        let paths = self.files.keys().chain(other.files.keys());
        let differ = |path: &&String| self.files.get(*path) != other.files.get(*path);
        let mut paths: Vec<String> = paths.filter(differ).cloned().collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(files: &[(&str, &str)]) -> Release {
        let files = files.iter().map(|(path, id)| ((*path).to_owned(), (*id).to_owned()));
        Release { version: "7.3.4".to_owned(), files: files.collect() }
    }

    #[test]
    fn what_is_stored_is_read_back_and_other_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Release::read(dir.path()).unwrap(), None);
        let first = release(&[("MAINTAINERS", "01"), ("net/Kconfig", "02")]);
        fs::write(Release::place(dir.path()), first.text().unwrap()).unwrap();
        let stored = Release::read(dir.path()).unwrap().unwrap();
        assert_eq!(stored, first);
        assert_eq!(stored.differences(&first), [""; 0]);
        let other = release(&[("net/Kconfig", "03"), ("net/Makefile", "04")]);
        assert_eq!(stored.differences(&other), ["MAINTAINERS", "net/Kconfig", "net/Makefile"]);
    }
}
