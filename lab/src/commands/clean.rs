// SPDX-License-Identifier: GPL-2.0

//! `lab clean`: removes what was built from this checkout, and nothing that a person wrote.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use series::editing::Editing;
use series::project::UNDO;
use vmlab::run::files;

use crate::checkout_lock::CheckoutLock;
use crate::checks::series_source;
use crate::context::Lab;

/// Removes the folder with results, but what takes changes of the series back. Refuses while a patch
/// is being edited there.
pub fn run(lab: &Lab, _lock: &CheckoutLock) -> Result<()> {
    clean(&lab.target, &series_source::work(lab))
}

fn clean(target: &Path, work: &Path) -> Result<()> {
    if let Some(editing) = Editing::read(work)? {
        bail!(
            "\"{}\" is being edited in {}: finish that with `lab series edit`, or remove the folder",
            editing.subject(),
            Editing::folder(work).display()
        );
    }
    let undo = work.join(UNDO);
    if !undo.exists() {
        return files::remove_dir(target);
    }
    remove_but(target, &undo)
}

/// Removes everything in `folder` except `kept`, which is somewhere below it.
fn remove_but(folder: &Path, kept: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        if path == kept {
            continue;
        }
        if kept.starts_with(&path) {
            remove_but(&path, kept)?;
        } else if path.is_dir() && !path.is_symlink() {
            files::remove_dir(&path)?;
        } else {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_changes_back_stays_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (target, work) = (dir.path().join("lab"), dir.path().join("lab/series"));
        for folder in ["lab/series/undo/000001", "lab/series/results", "lab/logs"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(target.join("results.json"), "{}").unwrap();
        clean(&target, &work).unwrap();
        let names = |folder: &Path| -> Vec<_> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!((names(&target), names(&work)), (vec!["series".into()], vec!["undo".into()]));
        assert!(work.join("undo/000001").is_dir());
    }

    #[test]
    fn a_patch_that_is_being_edited_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("series");
        fs::create_dir_all(work.join("edit/drivers")).unwrap();
        let record = r#"{"series": "1-demo", "subjects": ["net: demo: count packets"]}"#;
        fs::write(work.join("edit.json"), record).unwrap();
        let error = clean(dir.path(), &work).unwrap_err().to_string();
        assert!(error.contains("net: demo: count packets"), "{error}");
        assert!(work.join("edit/drivers").is_dir());
    }
}
