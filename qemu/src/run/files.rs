// SPDX-License-Identifier: GPL-2.0

//! Files and folders that are whole or absent.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::Mode;
use sha2::{Digest, Sha256};

/// A hash of `parts`, as a short name: it changes when any of them changes.
pub fn key<S: AsRef<[u8]>>(parts: impl IntoIterator<Item = S>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is in each of these files.
pub fn contents<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));
    paths.into_iter().map(read).collect()
}

/// Creates `dir` and its parents.
pub fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

/// Only the user may change files that are made here, whatever their umask allows.
pub fn keep_others_from_writing() {
    let others = Mode::WGRP | Mode::WOTH;
    // The mask can only be read by setting it.
    let mask = rustix::process::umask(others);
    rustix::process::umask(mask | others);
}

/// Removes `dir` with everything in it, if it exists.
pub fn remove_dir(dir: &Path) -> Result<()> {
    removed(fs::remove_dir_all(dir), dir)
}

/// Removes a file, if it exists.
pub fn remove_file(path: &Path) -> Result<()> {
    removed(fs::remove_file(path), path)
}

fn removed(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("remove {}", path.display())),
    }
}

/// What is in a folder and in those below it, sorted.
#[derive(Debug, Default)]
pub struct Content {
    pub files: Vec<PathBuf>,
    /// The folder itself is the first.
    pub folders: Vec<PathBuf>,
}

/// The content of a folder and of those below it. Links are not followed. `wanted` gets each name,
/// and whether it is a folder; unwanted folders are left out with all that is in them.
pub fn walk(root: &Path, wanted: impl Fn(&str, bool) -> bool) -> Result<Content> {
    let mut content = Content::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let what = || format!("read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(what)? {
            let entry = entry.with_context(what)?;
            let is_folder = entry.file_type().with_context(what)?.is_dir();
            if wanted(&entry.file_name().to_string_lossy(), is_folder) {
                if is_folder { &mut folders } else { &mut content.files }.push(entry.path());
            }
        }
        content.folders.push(folder);
    }
    content.files.sort();
    content.folders.sort();
    Ok(content)
}

/// Writes a file atomically: readers see the old or the new one, never a part.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().context("a file without a folder")?;
    make_dir(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)
        .with_context(|| format!("create a file in {}", dir.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    file.persist(path).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_what_is_wanted_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for path in ["b/c/d", "b/built", "built/x", "e"] {
            let path = root.join(path);
            make_dir(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), root.join("link")).unwrap();
        let found = walk(&root, |name, folder| !folder || name != "built").unwrap();
        assert_eq!(found.files, ["b/built", "b/c/d", "e", "link"].map(|name| root.join(name)));
        assert_eq!(found.folders, [root.clone(), root.join("b"), root.join("b/c")]);
        assert!(walk(&root.join("none"), |_, _| true).is_err());
    }

    #[test]
    fn keys_tell_every_part_apart() {
        let base = key(["ab", "c"]);
        for other in [key(["a", "bc"]), key(["ab"]), key(["ab", "c", ""]), key(["ab", "d"])] {
            assert_ne!(base, other);
        }
        assert_eq!(base, key(["ab", "c"]));
    }
}
