// SPDX-License-Identifier: GPL-2.0

//! Changes of files that are made whole or not at all, and can be taken back.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use vmlab::run::files;

use crate::weave::{Blob, Mode};

/// Files to write and to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change(BTreeMap<PathBuf, Option<Blob>>);

/// What a change did to a file, as it is kept to take it back.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    path: PathBuf,
    /// The mode of the old content, which is in a file of its own; none: there was no such file.
    before: Option<Mode>,
    /// A key of what the change made of it.
    after: String,
}

const LIST: &str = "list.json";

impl Change {
    /// The file gets this content.
    pub fn write(&mut self, path: PathBuf, blob: Blob) {
        self.0.insert(path, Some(blob));
    }

    /// The file goes.
    pub fn remove(&mut self, path: PathBuf) {
        self.0.insert(path, None);
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files that change.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Makes the change. What it overwrites is kept below `undo`.
    ///
    /// # Errors
    ///
    /// All files are as they were before then.
    pub fn make(&self, undo: &Path) -> Result<()> {
        let folder = keep(self, undo)?;
        for (path, blob) in &self.0 {
            if let Err(error) = put(path, blob.as_ref()) {
                restore(&folder, false)
                    .with_context(|| format!("take back the change after: {error:#}"))?;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Takes the last change back. Returns the files that it restored; none: there is no change.
///
/// # Errors
///
/// A file that was edited since stays, and so do all others.
pub fn undo(undo: &Path) -> Result<Vec<PathBuf>> {
    match kept(undo)?.last() {
        Some(last) => restore(&undo.join(last), true),
        None => Ok(Vec::new()),
    }
}

/// The file now, if there is one.
pub fn read(path: &Path) -> Result<Option<Blob>> {
    let what = || format!("read {}", path.display());
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        meta => meta.with_context(what)?,
    };
    if meta.is_symlink() {
        let target = fs::read_link(path).with_context(what)?;
        let content = target.into_os_string().into_encoded_bytes();
        return Ok(Some(Blob { mode: Mode::Symlink, content }));
    }
    ensure!(meta.is_file(), "{} is not a file", path.display());
    let executable = meta.permissions().mode() & 0o100 != 0;
    let mode = if executable { Mode::Executable } else { Mode::Plain };
    Ok(Some(Blob { mode, content: fs::read(path).with_context(what)? }))
}

fn key(blob: Option<&Blob>) -> String {
    match blob {
        None => "none".to_owned(),
        Some(Blob { mode, content }) => files::key([format!("{mode:?}").as_bytes(), content]),
    }
}

/// The changes that can be taken back, oldest first.
fn kept(undo: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(undo) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read {}", undo.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", undo.display()))?;
        if entry.path().join(LIST).is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Keeps what a change will overwrite. The list is written last: without it nothing is kept.
fn keep(change: &Change, undo: &Path) -> Result<PathBuf> {
    let last = kept(undo)?.last().and_then(|name| name.parse::<u32>().ok()).unwrap_or(0);
    let folder = undo.join(format!("{:06}", last + 1));
    files::remove_dir(&folder)?;
    files::make_dir(&folder)?;
    let mut list = Vec::new();
    for (index, (path, after)) in change.0.iter().enumerate() {
        let before = read(path)?;
        if let Some(blob) = &before {
            let file = folder.join(index.to_string());
            fs::write(&file, &blob.content).with_context(|| format!("write {}", file.display()))?;
        }
        let before = before.map(|blob| blob.mode);
        list.push(Kept { path: path.clone(), before, after: key(after.as_ref()) });
    }
    files::write_whole(&folder.join(LIST), &serde_json::to_string_pretty(&list)?)?;
    Ok(folder)
}

/// Puts everything back. With `check`, only if nobody edited it since. Some files may still be as
/// they were before: a change that was killed half-way is taken back like a whole one.
fn restore(folder: &Path, check: bool) -> Result<Vec<PathBuf>> {
    let file = folder.join(LIST);
    let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let list: Vec<Kept> =
        serde_json::from_slice(&text).with_context(|| format!("understand {}", file.display()))?;
    let mut blobs = Vec::new();
    for (index, Kept { before, .. }) in list.iter().enumerate() {
        blobs.push(match before {
            None => None,
            Some(mode) => {
                let file = folder.join(index.to_string());
                let content =
                    fs::read(&file).with_context(|| format!("read {}", file.display()))?;
                Some(Blob { mode: *mode, content })
            }
        });
    }
    if check {
        for (Kept { path, after, .. }, before) in list.iter().zip(&blobs) {
            let now = key(read(path)?.as_ref());
            if now != *after && now != key(before.as_ref()) {
                bail!("{} was edited since: take that back first", path.display());
            }
        }
    }
    for (Kept { path, .. }, before) in list.iter().zip(&blobs) {
        put(path, before.as_ref())?;
    }
    files::remove_dir(folder)?;
    Ok(list.into_iter().map(|kept| kept.path).collect())
}

/// Replaces a file at once, or removes it.
pub(crate) fn put(path: &Path, blob: Option<&Blob>) -> Result<()> {
    let Some(Blob { mode, content }) = blob else {
        files::remove_file(path)?;
        // A folder that held nothing else goes with it.
        if let Some(folder) = path.parent() {
            let _ = fs::remove_dir(folder);
        }
        return Ok(());
    };
    let what = || format!("write {}", path.display());
    let folder = path.parent().context("a file without a folder")?;
    files::make_dir(folder)?;
    if *mode == Mode::Symlink {
        files::remove_file(path)?;
        let target = String::from_utf8_lossy(content).into_owned();
        return symlink(target, path).with_context(what);
    }
    let file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    fs::write(file.path(), content).with_context(what)?;
    let rights = if *mode == Mode::Executable { 0o755 } else { 0o644 };
    fs::set_permissions(file.path(), fs::Permissions::from_mode(rights)).with_context(what)?;
    file.persist(path).map_err(|error| error.error).with_context(what)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(text: &str) -> Blob {
        Blob { mode: Mode::Plain, content: text.into() }
    }

    #[test]
    fn what_was_changed_can_be_taken_back_step_by_step() {
        let dir = tempfile::tempdir().unwrap();
        let (undo_folder, a, b) =
            (dir.path().join("undo"), dir.path().join("a"), dir.path().join("d/b"));
        let mut first = Change::default();
        first.write(a.clone(), Blob { mode: Mode::Executable, content: b"1".to_vec() });
        first.write(b.clone(), blob("b"));
        first.make(&undo_folder).unwrap();
        let mut second = Change::default();
        second.write(a.clone(), blob("2"));
        second.remove(b.clone());
        second.make(&undo_folder).unwrap();
        assert_eq!((read(&a).unwrap(), read(&b).unwrap()), (Some(blob("2")), None));
        undo(&undo_folder).unwrap();
        assert_eq!(read(&a).unwrap().unwrap().mode, Mode::Executable);
        assert_eq!(read(&b).unwrap(), Some(blob("b")));
        undo(&undo_folder).unwrap();
        assert_eq!((read(&a).unwrap(), read(&b).unwrap()), (None, None));
        assert_eq!(undo(&undo_folder).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_was_edited_since_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (undo_folder, a) = (dir.path().join("undo"), dir.path().join("a"));
        let mut change = Change::default();
        change.write(a.clone(), blob("1"));
        change.make(&undo_folder).unwrap();
        fs::write(&a, "edited").unwrap();
        let error = undo(&undo_folder).unwrap_err().to_string();
        assert!(error.contains("was edited since"), "{error}");
        assert_eq!(fs::read_to_string(&a).unwrap(), "edited");
    }

    #[test]
    fn a_change_that_was_killed_half_way_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (undo_folder, a, b) =
            (dir.path().join("undo"), dir.path().join("a"), dir.path().join("b"));
        fs::write(&b, "old").unwrap();
        let mut change = Change::default();
        change.write(a.clone(), blob("new"));
        change.write(b.clone(), blob("new"));
        // As far as it came.
        keep(&change, &undo_folder).unwrap();
        put(&a, Some(&blob("new"))).unwrap();
        undo(&undo_folder).unwrap();
        assert_eq!((read(&a).unwrap(), read(&b).unwrap()), (None, Some(blob("old"))));
    }

    #[test]
    fn a_change_that_fails_half_way_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (undo_folder, a) = (dir.path().join("undo"), dir.path().join("a"));
        fs::write(&a, "old").unwrap();
        let mut change = Change::default();
        change.write(a.clone(), blob("new"));
        // A folder that cannot be made, behind a file that was written already.
        symlink("nowhere/at/all", dir.path().join("link")).unwrap();
        change.write(dir.path().join("link/b"), blob("b"));
        change.make(&undo_folder).unwrap_err();
        assert_eq!(fs::read_to_string(&a).unwrap(), "old");
    }
}
