// SPDX-License-Identifier: GPL-2.0

//! The seed of a new build: a copy of the most similar finished one.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use vmlab::run::process;

use super::{FRAGMENT, wants_gdb_scripts};
use crate::build::cache::{self, Cache};

/// The finished build whose configuration differs in the fewest options; of several, the newest.
///
/// `name` returns the entry's name for a configuration with the current source and tools. An entry
/// with another name was made from another source or with other tools.
pub(super) fn similar(
    cache: &Cache,
    fragment: &str,
    name: impl Fn(&str) -> String,
) -> Option<PathBuf> {
    let wanted: BTreeSet<&str> = fragment.lines().collect();
    let builds = fs::read_dir(cache.path("kernel")).into_iter().flatten().flatten();
    let candidates = builds.filter_map(|build| {
        let entry = format!("kernel/{}", build.file_name().to_string_lossy());
        let path = build.path().join(FRAGMENT);
        let have = fs::read_to_string(&path).ok()?;
        // One build has type information and the other has not: all objects would be compiled
        // again.
        let other_flags = wants_gdb_scripts(&have) != wants_gdb_scripts(fragment);
        if other_flags || name(&have) != entry || !cache.has(&entry) {
            return None;
        }
        let have: BTreeSet<&str> = have.lines().collect();
        let made: SystemTime = path.metadata().ok()?.modified().ok()?;
        let differences = wanted.symmetric_difference(&have).count();
        Some(((differences, Reverse(made)), build.path()))
    });
    candidates.min().map(|(_, path)| path)
}

/// Copies a finished build into the empty directory of a new one, without the stamp, the fragment,
/// and files that every configuration links again. Times are kept, since make compares them.
pub(super) fn copy(seed: &Path, dir: &Path) -> Result<()> {
    let own = [cache::STAMP, FRAGMENT, "vmlinux", "vmlinux.image", "System.map"];
    let entries = fs::read_dir(seed).with_context(|| format!("read {}", seed.display()))?;
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", seed.display()))?;
        if !own.iter().any(|name| entry.file_name() == *name) {
            parts.push(entry.path());
        }
    }
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "-t"]).arg(dir).args(parts);
    process::read(&mut cp).with_context(|| format!("copy {}", seed.display()))?;
    Ok(())
}

/// Sets the time of all files below a folder.
pub(super) fn set_times(folder: &Path, time: SystemTime) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            set_times(&path, time)?;
        } else if kind.is_file() {
            let file = File::options().append(true).open(&path);
            file.and_then(|file| file.set_modified(time))
                .with_context(|| format!("set the time of {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab::run::files;

    /// A build in a cache, named as `name` names its configuration.
    fn cached(cache: &Cache, fragment: &str, whole: bool) -> PathBuf {
        let dir = cache.path(&name_of(fragment));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(FRAGMENT), fragment).unwrap();
        if whole {
            fs::write(dir.join(cache::STAMP), "whole\n").unwrap();
        }
        dir
    }

    fn name_of(fragment: &str) -> String {
        format!("kernel/7.3.4-{}", files::key([fragment]))
    }

    #[test]
    fn a_build_starts_from_the_most_similar_finished_one() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned());
        let wanted = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n";
        assert_eq!(similar(&cache, wanted, name_of), None, "there is no cache yet");
        let far = cached(&cache, "CONFIG_A=y\n", true);
        assert_eq!(similar(&cache, wanted, name_of), Some(far.clone()));
        let near = cached(&cache, "CONFIG_A=y\nCONFIG_B=y\n", true);
        cached(&cache, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\n", false);
        assert_eq!(
            similar(&cache, wanted, name_of),
            Some(near.clone()),
            "half-finished ones are not used"
        );
        let other_tools = |fragment: &str| format!("{}-gcc", name_of(fragment));
        assert_eq!(similar(&cache, wanted, other_tools), None);

        let for_gdb = format!("{wanted}CONFIG_GDB_SCRIPTS=y\n");
        assert_eq!(similar(&cache, &for_gdb, name_of), None, "its objects have types");
        cached(&cache, &for_gdb, true);
        assert_eq!(similar(&cache, wanted, name_of), Some(near.clone()));

        let equal = cached(&cache, "CONFIG_A=y\nCONFIG_C=y\n", true);
        let time = |dir: &Path, time| {
            let file = File::options().write(true).open(dir.join(FRAGMENT)).unwrap();
            file.set_modified(time).unwrap();
        };
        time(&equal, SystemTime::UNIX_EPOCH);
        assert_eq!(similar(&cache, wanted, name_of), Some(near.clone()), "the newer of two");
        time(&near, SystemTime::UNIX_EPOCH);
        time(&equal, SystemTime::now());
        assert_eq!(similar(&cache, wanted, name_of), Some(equal));
    }

    #[test]
    fn all_files_of_a_folder_get_the_time() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        for name in ["objtool", "inner/check.o"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        set_times(dir.path(), SystemTime::UNIX_EPOCH).unwrap();
        for name in ["objtool", "inner/check.o"] {
            let time = dir.path().join(name).metadata().unwrap().modified().unwrap();
            assert_eq!(time, SystemTime::UNIX_EPOCH, "{name}");
        }
    }

    #[test]
    fn a_copy_is_not_finished_and_keeps_times() {
        let dir = tempfile::tempdir().unwrap();
        let (seed, new) = (dir.path().join("seed"), dir.path().join("new"));
        for folder in [&seed.join("net"), &new] {
            fs::create_dir_all(folder).unwrap();
        }
        for name in [cache::STAMP, FRAGMENT, "vmlinux", "vmlinux.image", ".config", "net/a.o"] {
            fs::write(seed.join(name), name).unwrap();
        }
        let object = File::options().write(true).open(seed.join("net/a.o")).unwrap();
        object.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        copy(&seed, &new).unwrap();
        for name in [cache::STAMP, FRAGMENT, "vmlinux", "vmlinux.image"] {
            assert!(!new.join(name).exists(), "{name}");
        }
        assert!(new.join(".config").exists());
        let copied = new.join("net/a.o").metadata().unwrap().modified().unwrap();
        assert_eq!(copied, SystemTime::UNIX_EPOCH);
    }
}
