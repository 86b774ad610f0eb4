// SPDX-License-Identifier: GPL-2.0

//! Checks of the folders that a run writes to, before anything is fetched: a bad folder would
//! otherwise fail late, with a misleading error.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::StatVfsMountFlags;
use vmlab::run::progress::say;

use crate::host::disk;
use crate::host::doctor::{Check, CheckState};

/// Space for the guest's files while it runs, and for copies of sources.
const TEMPORARY: u64 = 100_000_000;

/// Checks both folders. The error has the variable, the folder and what to do.
pub fn check(cache: &Path) -> Result<()> {
    for check in [temporary(&std::env::temp_dir()), cached(cache)] {
        if check.state == CheckState::Bad {
            bail!("{} is {}: {}", check.name, check.found, check.get);
        }
    }
    if let Some(relative) = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from)
        && relative.is_relative()
        && !relative.as_os_str().is_empty()
    {
        let (relative, cache) = (relative.display(), cache.display());
        say(&format!("note: XDG_CACHE_HOME={relative} is not absolute; the cache is {cache}"));
    }
    Ok(())
}

/// A check for each folder.
pub fn checks(cache: &Path) -> [Check; 2] {
    [temporary(&std::env::temp_dir()), cached(cache)]
}

fn temporary(dir: &Path) -> Check {
    let get = "set TMPDIR to a folder that can be written to, with room, or unset it";
    Check::of("TMPDIR", dir, writable(dir), "a folder with 0.1 GB free", get)
}

fn writable(dir: &Path) -> Result<()> {
    tempfile::tempfile_in(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow::anyhow!("no such folder"),
        _ => anyhow::Error::from(error),
    })?;
    let free = disk::free(dir)?;
    if free < TEMPORARY {
        bail!("{} free", disk::gigabytes(free));
    }
    Ok(())
}

fn cached(dir: &Path) -> Check {
    let get = "set XDG_CACHE_HOME to another folder";
    Check::of("the cache folder", dir, fit_for_a_kernel(dir), "fit for a kernel build", get)
}

/// Checks that a kernel can be built in this folder. Linux refuses to build in a path with spaces
/// or colons, and its makefiles fail with some other characters. They also run programs that they
/// have built, which is impossible on a file system mounted with noexec.
fn fit_for_a_kernel(dir: &Path) -> Result<()> {
    buildable(dir)?;
    let exists = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let flags = rustix::fs::statvfs(exists).context("ask for its file system")?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        bail!("mounted noexec");
    }
    Ok(())
}

/// Checks that kbuild accepts the path.
pub fn buildable(dir: &Path) -> Result<()> {
    match unfit(dir) {
        Some(bad) => bail!("{bad:?} in its path, where Linux cannot be built"),
        None => Ok(()),
    }
}

/// The first character of a path that make, kbuild or their shells cannot handle.
pub fn unfit(path: &Path) -> Option<char> {
    let text = path.to_string_lossy();
    text.chars().find(|c| !c.is_alphanumeric() && !"/._-+,@^".contains(*c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_temporary_files_that_is_not_there_is_named() {
        let check = temporary(Path::new("/nonexistent/t"));
        assert_eq!(check.state, CheckState::Bad);
        assert_eq!(check.found, "/nonexistent/t: no such folder");
        assert!(check.get.contains("TMPDIR"));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(temporary(dir.path()).state, CheckState::Good);
    }

    #[test]
    fn a_file_system_without_room_is_no_place_for_temporary_files() {
        let check = temporary(Path::new("/proc/self"));
        assert_eq!(check.state, CheckState::Bad, "{}", check.found);
    }

    #[test]
    fn a_path_in_which_linux_cannot_be_built_names_the_character() {
        for (path, want) in [
            ("/u/me/.cache/sample", None),
            ("/u/zoë@corp/a+b,c_d-1.0", None),
            ("/u/a b", Some(' ')),
            ("/x:y", Some(':')),
            ("/it's", Some('\'')),
            ("/$x", Some('$')),
            ("/a=b", Some('=')),
            ("/a#b", Some('#')),
        ] {
            assert_eq!(unfit(Path::new(path)), want, "{path}");
        }
        let check = cached(Path::new("/u/a b/.cache/x"));
        assert_eq!(check.state, CheckState::Bad);
        assert!(check.found.starts_with("/u/a b/.cache/x: ' ' in its path"), "{}", check.found);
    }
}
