// SPDX-License-Identifier: GPL-2.0

//! The stamp of an entry that was made in place, with the length and time of each of its files.
//!
//! Nothing writes to such an entry once it is complete. So a file that has another length or time
//! was damaged: by a full disk, by a repair of the file system, or by hand. make would not notice,
//! and would build a kernel, or a module, from what is left. To look at all files of a kernel takes
//! some milliseconds; to read them would take seconds.

use std::fs::{self, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use vmlab::run::files;

use super::STAMP;

/// The stamp of an entry that was made before there were manifests, or that make renews.
const WHOLE: &str = "whole\n";

/// Marks an entry as complete. It must be on disk already.
pub(super) fn write(entry: &Path) -> Result<()> {
    put(entry, &list(entry)?)
}

/// Marks an entry as complete, without a list of its files.
pub(super) fn write_bare(entry: &Path) -> Result<()> {
    put(entry, WHOLE)
}

/// Whether the entry is marked as complete, but without a list of its files.
pub(super) fn is_bare(entry: &Path) -> bool {
    fs::read(entry.join(STAMP)).is_ok_and(|text| text == WHOLE.as_bytes())
}

/// The stamp is complete or absent: a part of one would tell of damage that there is not.
fn put(entry: &Path, text: &str) -> Result<()> {
    let stamp = entry.join(STAMP);
    let what = || format!("write {}", stamp.display());
    let mut file = tempfile::Builder::new().prefix(STAMP).tempfile_in(entry).with_context(what)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(what)?;
    file.persist(&stamp).map(drop).with_context(what)
}

/// `whole NUMBER`, and a line `LENGTH TIME PATH` for each file. Links count as files.
fn list(entry: &Path) -> Result<String> {
    // Another run may be writing the same stamp.
    let content = files::walk(entry, |name, folder| folder || !name.starts_with(STAMP))?;
    let mut lines = Vec::new();
    for path in &content.files {
        let meta = path.symlink_metadata();
        let meta = meta.with_context(|| format!("look at {}", path.display()))?;
        let name = path.strip_prefix(entry).unwrap_or(path).to_str();
        // The kernel has no files with other names.
        let Some(name) = name.filter(|name| !name.contains('\n')) else { continue };
        lines.push(format!("{} {} {name}\n", meta.len(), time(&meta)));
    }
    Ok(format!("whole {}\n{}", lines.len(), lines.concat()))
}

fn time(meta: &Metadata) -> String {
    format!("{}.{:09}", meta.mtime(), meta.mtime_nsec())
}

/// What is damaged in an entry, in a line; of several files, the first. `None` if nothing is, and if
/// the entry is not complete or has no list.
pub(super) fn damage(entry: &Path) -> Option<String> {
    let text = match fs::read(entry.join(STAMP)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{STAMP}: {error}")),
    };
    if text == WHOLE.as_bytes() {
        return None;
    }
    let broken = || Some(format!("{STAMP}, the list of its files, is damaged"));
    let Some(lines) = std::str::from_utf8(&text).ok().and_then(lines) else { return broken() };
    for line in lines {
        let mut parts = line.splitn(3, ' ');
        let (Some(length), Some(time), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return broken();
        };
        if let Some(damage) = damage_of(&entry.join(name), length, time) {
            return Some(format!("{name} {damage}"));
        }
    }
    None
}

/// The lines of a list, if there are as many as its first line says.
fn lines(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let number: usize = lines.next()?.strip_prefix("whole ")?.parse().ok()?;
    let lines: Vec<&str> = lines.collect();
    (number == lines.len()).then_some(lines)
}

fn damage_of(path: &Path, length: &str, made: &str) -> Option<String> {
    match path.symlink_metadata() {
        Ok(meta) if meta.len().to_string() != length => {
            Some(format!("has {} bytes instead of {length}", meta.len()))
        }
        Ok(meta) if time(&meta) != made => Some("was changed after it was made".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => Some("is gone".to_owned()),
        Err(error) => Some(format!("cannot be looked at: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    fn entry() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("net")).unwrap();
        for name in ["vmlinux", "net/a b.o", "net/empty.o"] {
            fs::write(dir.path().join(name), if name.contains("empty") { "" } else { "abc" })
                .unwrap();
        }
        symlink("/nowhere", dir.path().join("source")).unwrap();
        write(dir.path()).unwrap();
        dir
    }

    #[test]
    fn damage_of_each_kind_is_told() {
        type Spoil = fn(&Path);
        let cases: [(Spoil, Option<&str>); 9] = [
            (|_| (), None),
            (|dir| fs::write(dir.join("more.o"), "x").unwrap(), None),
            (
                |dir| fs::write(dir.join("vmlinux"), "").unwrap(),
                Some("vmlinux has 0 bytes instead of 3"),
            ),
            (|dir| fs::remove_file(dir.join("net/a b.o")).unwrap(), Some("net/a b.o is gone")),
            (|dir| fs::remove_file(dir.join("source")).unwrap(), Some("source is gone")),
            (
                |dir| {
                    let file = File::options().write(true).open(dir.join("net/empty.o")).unwrap();
                    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
                },
                Some("net/empty.o was changed after it was made"),
            ),
            (
                |dir| fs::write(dir.join(STAMP), "").unwrap(),
                Some(".complete, the list of its files, is damaged"),
            ),
            (
                |dir| {
                    let text = fs::read_to_string(dir.join(STAMP)).unwrap();
                    let (cut, _) = text.trim_end().rsplit_once('\n').unwrap();
                    fs::write(dir.join(STAMP), format!("{cut}\n")).unwrap();
                },
                Some(".complete, the list of its files, is damaged"),
            ),
            (|dir| fs::remove_file(dir.join(STAMP)).unwrap(), None),
        ];
        for (spoil, want) in cases {
            let dir = entry();
            spoil(dir.path());
            assert_eq!(damage(dir.path()).as_deref(), want);
        }
    }

    #[test]
    fn a_stamp_without_a_list_counts_as_whole() {
        let dir = entry();
        assert!(!is_bare(dir.path()));
        write_bare(dir.path()).unwrap();
        fs::write(dir.path().join("vmlinux"), "").unwrap();
        assert!(is_bare(dir.path()));
        assert_eq!(damage(dir.path()), None);
    }
}
