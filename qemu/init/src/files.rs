// SPDX-License-Identifier: GPL-2.0

//! The job's files, in an archive on the host.
//!
//! They are copies in memory that belong to root, whoever runs the lab, and that a test may
//! change. They are not in the initramfs, since the guest may have started before they were built.

use std::fs::{self, File, Permissions};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};
use cpio::newc;
use rustix::fs::{Mode, OFlags, openat};
use vmlab_init::protocol::NO_ROOM;

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Bytes that are read from the host at once, as much as 9p takes.
const PIECE: usize = 512 << 10;

/// Unpacks the archive with this path below `host`.
pub fn unpack(host: impl AsFd, path: &str) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let archive = openat(host, path.trim_start_matches('/'), flags, Mode::empty())
        .with_context(|| format!("open {path} of the host"))?;
    let archive = BufReader::with_capacity(PIECE, File::from(archive));
    into(Path::new("/"), archive)
        .map_err(|error| if is_no_room(&error) { error.context(NO_ROOM) } else { error })
        .with_context(|| format!("unpack {path}"))
}

/// Whether memory is full: files are in a tmpfs, which may use half of all memory.
fn is_no_room(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(std::io::Error::kind);
    kind == Some(ErrorKind::StorageFull)
}

/// Unpacks the archive piece by piece: the guest may have hardly more memory than the files need.
fn into(root: &Path, mut archive: impl Read) -> Result<()> {
    loop {
        let entry = newc::Reader::new(archive)?;
        if entry.entry().is_trailer() {
            return Ok(());
        }
        let (path, mode) = (root.join(entry.entry().name()), entry.entry().mode());
        archive = make(&path, mode, entry).with_context(|| format!("make {}", path.display()))?;
    }
}

fn make<R: Read>(path: &Path, mode: u32, mut entry: newc::Reader<R>) -> Result<R> {
    let rest = match mode & KIND {
        DIRECTORY => {
            fs::create_dir_all(path)?;
            entry.finish()?
        }
        REGULAR => {
            let mut file = BufWriter::with_capacity(PIECE, File::create(path)?);
            let rest = entry.to_writer(&mut file)?;
            file.flush()?;
            rest
        }
        LINK => {
            let mut target = String::new();
            entry.read_to_string(&mut target)?;
            symlink(target, path)?;
            return Ok(entry.finish()?);
        }
        kind => bail!("a file of kind {kind:#o}"),
    };
    fs::set_permissions(path, Permissions::from_mode(mode & !KIND))?;
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut to = Vec::new();
        for (name, mode, bytes) in entries {
            let length = bytes.len().try_into().unwrap();
            let mut entry = newc::Builder::new(name).mode(*mode).write(&mut to, length);
            entry.write_all(bytes).unwrap();
            entry.finish().unwrap();
        }
        newc::trailer(to).unwrap()
    }

    #[test]
    fn files_arrive_with_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let archive = archive(&[
            ("lab", 0o040_755, b""),
            ("lab/a.sh", 0o100_755, b"#!/bin/sh\n"),
            ("lab/empty", 0o100_644, b""),
            ("lab/link", 0o120_777, b"a.sh"),
        ]);
        into(dir, archive.as_slice()).unwrap();
        assert_eq!(fs::read_to_string(dir.join("lab/link")).unwrap(), "#!/bin/sh\n");
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(["lab/a.sh", "lab/empty"].map(mode), [0o100_755, 0o100_644]);
    }

    #[test]
    fn an_archive_that_is_cut_off_is_an_error() {
        let whole = archive(&[("a", 0o040_755, b""), ("b", 0o040_755, b"")]);
        for length in [0, 50, whole.len() - 100] {
            let dir = tempfile::tempdir().unwrap();
            assert!(into(dir.path(), &whole[..length]).is_err(), "{length}");
        }
    }
}
