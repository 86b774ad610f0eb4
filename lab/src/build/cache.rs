// SPDX-License-Identifier: GPL-2.0

//! The cache in the user's directory: every entry whole or absent.
//!
//! An entry is named by what went into it. It is made under an exclusive lock,
//! so that a second run waits and then finds it done. Most entries are made in
//! a temporary directory and renamed; a kernel build directory holds absolute
//! paths of itself, so it is made in place and a stamp, written and synced
//! last, says that it is whole.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vmlab::run::files::{make_dir, remove_dir};
use vmlab::run::interrupt;

/// Says that what was made in its place is whole.
pub const STAMP: &str = ".complete";
const LOCK_POLL: Duration = Duration::from_millis(200);

/// The cache's directory.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

/// Held while an entry is made.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// `$XDG_CACHE_HOME/name`, or `~/.cache/name`.
    pub fn of_user(name: &str) -> Result<Cache> {
        let absolute =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base =
            absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
        match base {
            Some(base) => Ok(Cache::at(base.join(name))),
            None => bail!("no place for the cache: set HOME or XDG_CACHE_HOME to an absolute path"),
        }
    }

    /// A cache in `dir`.
    pub fn at(dir: PathBuf) -> Cache {
        Cache { dir }
    }

    /// The cache's directory; it may not exist yet.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the entry `name` is, or will be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Waits until no other run makes `name`, and says so when it must wait.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.dir.join("locks").join(name.replace('/', "-"));
        make_dir(&self.dir.join("locks"))?;
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        eprintln!("waiting: another run is making {name}");
                        said = true;
                    }
                    interrupt::check()?;
                    std::thread::sleep(LOCK_POLL);
                }
            }
        }
    }

    /// A directory for unfinished work, on the cache's file system, removed on
    /// drop. Left-overs of killed runs go away with the next.
    pub fn scratch(&self) -> Result<TempDir> {
        let dir = self.dir.join("tmp");
        make_dir(&dir)?;
        tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&dir)
            .with_context(|| format!("create a directory in {}", dir.display()))
    }

    /// The entry `name`; when absent, `make` fills a directory that becomes it.
    pub fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        if path.exists() {
            return Ok(path);
        }
        let _lock = self.lock(name)?;
        if path.exists() {
            return Ok(path);
        }
        let scratch = self.scratch()?;
        let whole = scratch.path().join("entry");
        make_dir(&whole)?;
        make(&whole)?;
        interrupt::check()?;
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        // Everything on disk before the name is: a power cut must not leave a
        // whole-looking entry of empty files.
        sync_file_system(&whole)?;
        fs::rename(&whole, &path)
            .with_context(|| format!("rename {} to {}", whole.display(), path.display()))?;
        Ok(path)
    }

    /// Like [`Cache::entry`] for what cannot be moved: made in its final place.
    pub fn in_place(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        let stamp = path.join(STAMP);
        if stamp.exists() {
            return Ok(path);
        }
        let _lock = self.lock(name)?;
        if stamp.exists() {
            return Ok(path);
        }
        remove_dir(&path)?;
        make_dir(&path)?;
        let done = make(&path).and_then(|()| interrupt::check());
        if let Err(error) = done {
            // Best effort: without its stamp, the next run removes it anyway.
            let _ = fs::remove_dir_all(&path);
            return Err(error);
        }
        sync_file_system(&path)?;
        let mut file =
            File::create(&stamp).with_context(|| format!("create {}", stamp.display()))?;
        file.write_all(b"whole\n")
            .and_then(|()| file.sync_all())
            .with_context(|| format!("write {}", stamp.display()))?;
        Ok(path)
    }

    /// Whether [`Cache::entry`] or [`Cache::in_place`] has nothing left to do.
    pub fn has(&self, name: &str) -> bool {
        let path = self.path(name);
        path.exists() && (!name.starts_with("kernel/") || path.join(STAMP).exists())
    }

    /// Removes what killed runs left behind, older than a day.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.dir.join("tmp")) else {
            return;
        };
        let day = Duration::from_secs(24 * 3600);
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|m| m.modified()).map(|t| t.elapsed());
            if matches!(age, Ok(Ok(age)) if age > day) {
                // Somebody else may be sweeping as well.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn sync_file_system(dir: &Path) -> Result<()> {
    let file = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    rustix::fs::syncfs(&file).with_context(|| format!("sync {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn cache() -> (TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        (dir, cache)
    }

    #[test]
    fn an_entry_is_made_once() {
        let (_dir, cache) = cache();
        let made = AtomicU32::new(0);
        let make = |dir: &Path| {
            made.fetch_add(1, Ordering::Relaxed);
            fs::write(dir.join("f"), "x").context("write")
        };
        let path = cache.entry("source/a", make).unwrap();
        assert_eq!(cache.entry("source/a", make).unwrap(), path);
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "x");
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_entry_leaves_nothing() {
        let (_dir, cache) = cache();
        let error = cache.entry("a", |dir| {
            fs::write(dir.join("half"), "x")?;
            bail!("no network")
        });
        assert_eq!(error.unwrap_err().to_string(), "no network");
        assert!(!cache.has("a"));
        assert_eq!(fs::read_dir(cache.path("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_build_directory_without_its_stamp_is_made_again() {
        let (_dir, cache) = cache();
        fs::create_dir_all(cache.path("kernel/k")).unwrap();
        fs::write(cache.path("kernel/k/half.o"), "").unwrap();
        assert!(!cache.has("kernel/k"));
        let path = cache
            .in_place("kernel/k", |dir| {
                assert!(!dir.join("half.o").exists(), "left-overs are wiped first");
                Ok(())
            })
            .unwrap();
        assert!(cache.has("kernel/k"));
        let again = cache.in_place("kernel/k", |_| panic!("made twice")).unwrap();
        assert_eq!(path, again);
    }

    #[test]
    fn two_runs_at_once_make_one_entry() {
        let (_dir, cache) = cache();
        let made = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache
                        .in_place("kernel/k", |_| {
                            made.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(30));
                            Ok(())
                        })
                        .unwrap()
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
