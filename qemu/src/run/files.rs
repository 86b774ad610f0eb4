// SPDX-License-Identifier: GPL-2.0

//! Files and folders that are whole or absent.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::Mode;
use sha2::{Digest, Sha256};

/// A short name for everything in `parts`: a change in any of them changes it.
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
    fn keys_tell_every_part_apart() {
        let base = key(["ab", "c"]);
        for other in [key(["a", "bc"]), key(["ab"]), key(["ab", "c", ""]), key(["ab", "d"])] {
            assert_ne!(base, other);
        }
        assert_eq!(base, key(["ab", "c"]));
    }
}
