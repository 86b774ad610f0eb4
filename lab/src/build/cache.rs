// SPDX-License-Identifier: GPL-2.0

//! The user's cache: every entry is complete or absent.
//!
//! The name of an entry is a hash of its inputs. An entry is made under an exclusive lock, so a
//! second run waits and then finds it complete. Most entries are made in a temporary directory and
//! renamed. A kernel build directory holds its own absolute path, so it is made in place. A stamp,
//! written and synced last, says that it is complete, and lists its files. An entry of which a file
//! was damaged since then is made again.
//!
//! A run that uses an entry holds a shared lock of it. The time of the lock's file is the time of
//! the last use. Entries that nobody has used for a month are removed, and those that were made for a
//! folder that is gone.

mod manifest;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vmlab::boot::saved;
use vmlab::run::files::{make_dir, remove_dir, remove_file};
use vmlab::run::interrupt;
use vmlab::run::progress::say;

use crate::checkout_lock;

/// The name of the cache in the user's cache directory. All projects share it: an entry's name
/// depends only on its inputs.
const NAME: &str = "vmlab";

/// The file that marks an entry as complete, if it was made in place.
pub const STAMP: &str = ".complete";
const LOCK_POLL: Duration = Duration::from_millis(200);
const LOCKS: &str = "locks";

/// How long an unused entry is kept.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folders whose children are entries.
const KINDS: [&str; 9] =
    ["kernel", "ksrc", "source", "rust-src", "tools", "apt", "staged", "try", saved::FOLDER];

/// The file in an entry with the path of the folder that it was made for, if it is for one alone.
pub const ORIGIN: &str = "origin";

#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    /// Locks of the entries that this process uses. It holds them until it ends.
    held: Arc<Mutex<BTreeMap<String, Hold>>>,
}

/// The shared lock of an entry that this process uses.
#[derive(Debug)]
struct Hold {
    _file: File,
    /// Whether this process has found the entry's files undamaged.
    checked: bool,
}

/// An entry of the cache.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub bytes: u64,
    /// When a run last used it.
    pub used: SystemTime,
}

/// The exclusive lock of an entry, held while the entry is made.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// `$XDG_CACHE_HOME/vmlab`, or `~/.cache/vmlab`.
    pub fn of_user() -> Result<Cache> {
        let absolute =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base =
            absolute("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|h| h.join(".cache")));
        match base.filter(|base| base.is_absolute()) {
            Some(base) => Ok(Cache::at(base.join(NAME))),
            None => bail!("no place for the cache: set HOME or XDG_CACHE_HOME to an absolute path"),
        }
    }

    /// A cache in `dir`.
    pub fn at(dir: PathBuf) -> Cache {
        Cache { dir, held: Arc::default() }
    }

    /// The cache's directory; it may not exist yet.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the entry `name` is, or will be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Locks `name`: waits until no other run makes or uses it, and prints a line if it must wait.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let file = self.wait(name, File::try_lock, || false)?;
        Ok(Lock { _file: file.context("a lock that nobody needs")? })
    }

    /// Locks `name` to make it. `None` if the entry exists, which `file` shows; then the entry is
    /// held, so that no other run removes it.
    fn claim(&self, name: &str, file: &Path) -> Result<Option<Lock>> {
        loop {
            if self.is_present(name, file)? {
                return Ok(None);
            }
            // The run that made the entry may still use it. Then there is no need to wait.
            if let Some(lock) = self.wait(name, File::try_lock, || file.exists())?
                && !file.exists()
            {
                return Ok(Some(Lock { _file: lock }));
            }
        }
    }

    /// Keeps `name` from being removed while this process lives.
    pub fn hold(&self, name: &str) -> Result<()> {
        if !self.held().contains_key(name) {
            // The list must not be locked while this waits: other threads need it.
            let file = self.wait(name, File::try_lock_shared, || false)?;
            let hold = file.map(|file| Hold { _file: file, checked: false });
            self.held().extend(hold.map(|hold| (name.to_owned(), hold)));
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Hold>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.dir.join(LOCKS).join(name.replace('/', "-"))
    }

    /// Waits for a lock, or until `needless` returns true.
    fn wait(
        &self,
        name: &str,
        take: fn(&File) -> Result<(), TryLockError>,
        needless: impl Fn() -> bool,
    ) -> Result<Option<File>> {
        make_dir(&self.dir.join(LOCKS))?;
        let path = self.lock_path(name);
        let mut said = false;
        loop {
            let file = open_lock(&path)?;
            match take(&file) {
                Ok(()) if is_at(&file, &path) => {
                    file.set_modified(SystemTime::now())
                        .with_context(|| format!("write {}", path.display()))?;
                    return Ok(Some(file));
                }
                // The whole cache was removed just now.
                Ok(()) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if needless() {
                return Ok(None);
            }
            if !said {
                say(&format!("waiting: another run is using {name} in the cache"));
                said = true;
            }
            interrupt::check()?;
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// A directory for unfinished work, on the cache's file system. It is removed on drop; a later
    /// run removes those of killed runs.
    pub fn scratch(&self) -> Result<TempDir> {
        let dir = self.dir.join("tmp");
        make_dir(&dir)?;
        tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&dir)
            .with_context(|| format!("create a directory in {}", dir.display()))
    }

    /// The entry `name`. If it is absent, `make` fills a directory that becomes the entry.
    pub fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        let Some(lock) = self.claim(name, &path)? else { return Ok(path) };
        let scratch = self.scratch()?;
        let whole = scratch.path().join("entry");
        make_dir(&whole)?;
        make(&whole)?;
        interrupt::check()?;
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        // The content must be on disk before the name: otherwise a power cut could leave an entry
        // that looks complete and has empty files.
        sync_file_system(&whole)?;
        fs::rename(&whole, &path)
            .with_context(|| format!("rename {} to {}", whole.display(), path.display()))?;
        drop(lock);
        self.hold(name).map(|()| path)
    }

    /// Whether `file` exists. If so, its entry is held, so that no other run removes it.
    fn is_present(&self, name: &str, file: &Path) -> Result<bool> {
        if !file.exists() {
            return Ok(false);
        }
        self.hold(name)?;
        if file.exists() {
            return Ok(true);
        }
        self.held().remove(name);
        Ok(false)
    }

    /// Like [`Cache::entry`], for entries that cannot be moved: they are made in their final place.
    pub fn in_place(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        let Some(lock) = self.claim_in_place(name, &path)? else { return Ok(path) };
        remove_dir(&path)?;
        make_dir(&path)?;
        let done = make(&path).and_then(|()| interrupt::check());
        if let Err(error) = done {
            // If this fails, the next run removes it, since it has no stamp.
            let _ = fs::remove_dir_all(&path);
            return Err(error);
        }
        sync_file_system(&path)?;
        manifest::write(&path)?;
        drop(lock);
        self.hold(name)?;
        self.mark_as_checked(name);
        Ok(path)
    }

    /// Like [`Cache::claim`]. A damaged entry is as good as absent.
    fn claim_in_place(&self, name: &str, path: &Path) -> Result<Option<Lock>> {
        loop {
            let lock = self.claim(name, &path.join(STAMP))?;
            // What this run uses already must not be made again meanwhile.
            if lock.is_some() || self.is_checked(name) {
                return Ok(lock);
            }
            let Some(damage) = manifest::damage(path) else {
                if manifest::is_bare(path) {
                    // The entry is held, so nobody makes or removes it. If this fails, it stays as
                    // good as it was before.
                    let _ = manifest::write(path);
                }
                self.mark_as_checked(name);
                return Ok(None);
            };
            say(&format!("{name} in the cache is damaged, and is made again: {damage}"));
            self.give_up(name, path)?;
        }
    }

    /// Lets a damaged entry count as absent, once no other run uses it any more.
    fn give_up(&self, name: &str, path: &Path) -> Result<()> {
        self.held().remove(name);
        // Another run may see the damage, too, and be the first to make the entry again.
        let is_over = || manifest::damage(path).is_none();
        let lock = self.wait(name, File::try_lock, is_over)?;
        if lock.is_some() && !is_over() {
            remove_file(&path.join(STAMP))?;
        }
        Ok(())
    }

    fn is_checked(&self, name: &str) -> bool {
        self.held().get(name).is_some_and(|hold| hold.checked)
    }

    fn mark_as_checked(&self, name: &str) {
        if let Some(hold) = self.held().get_mut(name) {
            hold.checked = true;
        }
    }

    /// An entry whose inputs may change at any time: `make` brings it up to date in its place. The
    /// entry is held until [`Cache::release`].
    pub fn renewed(&self, name: &str, make: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
        self.renewed_with(name, make, || ())
    }

    /// Like [`Cache::renewed`]. `between` runs when the lock to make the entry is gone and the lock
    /// to use it is not yet taken.
    fn renewed_with(
        &self,
        name: &str,
        make: impl Fn(&Path) -> Result<()>,
        between: impl Fn(),
    ) -> Result<PathBuf> {
        let path = self.path(name);
        let stamp = path.join(STAMP);
        loop {
            let lock = self.lock(name)?;
            make_dir(&path)?;
            remove_file(&stamp)?;
            make(&path)?;
            manifest::write_bare(&path)?;
            drop(lock);
            between();
            // If another run began to make the entry in between, and failed, it is not whole.
            if self.is_present(name, &stamp)? {
                return Ok(path);
            }
        }
    }

    /// Lets other runs make entries of this kind again. For a run that needs nothing of them any
    /// more, but does not end yet.
    pub fn release(&self, kind: &str) {
        let prefix = format!("{kind}/");
        self.held().retain(|name, _| !name.starts_with(&prefix));
    }

    /// Whether the entry is complete.
    pub fn has(&self, name: &str) -> bool {
        let path = self.path(name);
        let is_whole = || path.join(STAMP).exists() && manifest::damage(&path).is_none();
        path.exists() && (!name.starts_with("kernel/") || is_whole())
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
                // Another run may be sweeping, too.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Cache {
    /// All entries, the longest unused first.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self
            .names()
            .into_iter()
            .map(|name| Entry { bytes: size(&self.path(&name)), used: self.used(&name), name })
            .collect();
        entries.sort_by_key(|entry| entry.used);
        entries
    }

    fn names(&self) -> Vec<String> {
        let children = |kind: &str| {
            let entries = fs::read_dir(self.dir.join(kind)).into_iter().flatten().flatten();
            // A lock of a folder is beside it.
            let entries = entries.filter(|entry| entry.path().is_dir());
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.map(|name| format!("{kind}/{name}")).collect::<Vec<_>>()
        };
        KINDS.iter().flat_map(|kind| children(kind)).collect()
    }

    fn used(&self, name: &str) -> SystemTime {
        let time = |path: PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let times = [time(self.lock_path(name)), time(self.path(name))];
        times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn is_old(&self, name: &str, limit: Duration) -> bool {
        self.used(name).elapsed().is_ok_and(|age| age > limit)
    }

    /// Whether the folder that the entry was made for is gone.
    fn is_orphan(&self, name: &str) -> bool {
        let origin = fs::read(self.path(name).join(ORIGIN));
        origin.is_ok_and(|path| !Path::new(OsStr::from_bytes(&path)).exists())
    }

    /// Removes entries that nobody has used for that long, or whose origin is gone, unless another
    /// run holds them.
    pub fn forget(&self, limit: Duration) -> Result<Vec<Entry>> {
        let mut forgotten = Vec::new();
        let is_over = |name: &String| self.is_old(name, limit) || self.is_orphan(name);
        for name in self.names().into_iter().filter(is_over) {
            interrupt::check()?;
            let (used, path) = (self.used(&name), self.lock_path(&name));
            make_dir(&self.dir.join(LOCKS))?;
            let new = !path.exists();
            let lock = open_lock(&path)?;
            if new {
                lock.set_modified(used).with_context(|| format!("write {}", path.display()))?;
            }
            // Another run may have begun to use it meanwhile.
            if lock.try_lock().is_err() || !is_over(&name) {
                continue;
            }
            let entry = Entry { bytes: size(&self.path(&name)), used, name };
            self.remove(&entry.name)?;
            forgotten.push(entry);
        }
        Ok(forgotten)
    }

    /// Removes an entry. Other runs see it whole or not at all.
    fn remove(&self, name: &str) -> Result<()> {
        let scratch = self.scratch()?;
        let (from, to) = (self.path(name), scratch.path().join("entry"));
        fs::rename(&from, &to).with_context(|| format!("rename {}", from.display()))?;
        remove_file(&checkout_lock::path(&from))?;
        remove_dir(&to)
    }

    /// Removes the whole cache when no run uses it any more.
    pub fn clear(&self) -> Result<()> {
        let mut locks = Vec::new();
        for file in fs::read_dir(self.dir.join(LOCKS)).into_iter().flatten().flatten() {
            locks.push(self.lock(&file.file_name().to_string_lossy())?);
        }
        remove_dir(&self.dir)
    }
}

/// The disk space that a folder takes.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// Opens a lock without changing its time.
fn open_lock(path: &Path) -> Result<File> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// Whether `path` still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let (ours, there) = (file.metadata().map(id), fs::metadata(path).map(id));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
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

    /// Makes an entry of one file, and returns how often it had to be made.
    fn build(cache: &Cache) -> u32 {
        let made = AtomicU32::new(0);
        let make = |dir: &Path| {
            made.fetch_add(1, Ordering::Relaxed);
            fs::write(dir.join("vmlinux"), "abc").context("write")
        };
        let path = cache.in_place("kernel/k", make).unwrap();
        assert_eq!(fs::read(path.join("vmlinux")).unwrap(), b"abc");
        made.load(Ordering::Relaxed)
    }

    #[test]
    fn a_build_directory_with_a_damaged_file_is_made_again() {
        let (_dir, cache) = cache();
        let another_run = || Cache::at(cache.dir().to_owned());
        assert_eq!(build(&another_run()), 1);
        assert_eq!(build(&another_run()), 0);
        fs::write(cache.path("kernel/k/vmlinux"), "").unwrap();
        assert!(!another_run().has("kernel/k"));
        assert_eq!(build(&another_run()), 1);
        assert_eq!(build(&another_run()), 0);
        assert!(another_run().has("kernel/k"));
    }

    #[test]
    fn a_damaged_build_directory_is_not_made_again_while_another_run_uses_it() {
        let (_dir, cache) = cache();
        let another_run = Cache::at(cache.dir().to_owned());
        assert_eq!(build(&another_run), 1);
        let path = cache.path("kernel/k/vmlinux");
        fs::write(&path, "").unwrap();
        // Nor by that run itself.
        another_run.in_place("kernel/k", |_| panic!("it is in use")).unwrap();
        std::thread::scope(|scope| {
            let runs = [cache.clone(), Cache::at(cache.dir().to_owned())];
            let builds = runs.map(|run| scope.spawn(move || build(&run)));
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(fs::read(&path).unwrap(), b"");
            drop(another_run);
            let made: u32 = builds.map(|build| build.join().unwrap()).iter().sum();
            assert_eq!(made, 1);
        });
    }

    #[test]
    fn a_build_directory_of_before_there_were_lists_gets_one() {
        let (_dir, cache) = cache();
        let another_run = || Cache::at(cache.dir().to_owned());
        assert_eq!(build(&another_run()), 1);
        manifest::write_bare(&cache.path("kernel/k")).unwrap();
        assert_eq!(build(&another_run()), 0);
        fs::write(cache.path("kernel/k/vmlinux"), "").unwrap();
        assert_eq!(build(&another_run()), 1);
    }

    /// Makes an entry that was last used so many days ago.
    fn unused(cache: &Cache, name: &str, days: u64) {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        fs::create_dir_all(cache.path(name)).unwrap();
        fs::write(cache.path(name).join("f"), vec![0; 10_000]).unwrap();
        make_dir(&cache.path(LOCKS)).unwrap();
        open_lock(&cache.lock_path(name)).unwrap().set_modified(then).unwrap();
        File::open(cache.path(name)).unwrap().set_modified(then).unwrap();
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn what_nobody_has_used_for_long_is_forgotten() {
        let (_dir, cache) = cache();
        unused(&cache, "kernel/old", 31);
        unused(&cache, "kernel/new", 29);
        unused(&cache, "source/old", 400);
        assert_eq!(names(&cache.entries()), ["source/old", "kernel/old", "kernel/new"]);
        assert!(cache.entries()[0].bytes >= 10_000);
        assert_eq!(names(&cache.forget(KEPT).unwrap()), ["kernel/old", "source/old"]);
        assert_eq!(names(&cache.entries()), ["kernel/new"]);
        assert_eq!(fs::read_dir(cache.path("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn what_was_made_for_a_folder_that_is_gone_is_forgotten_with_its_lock() {
        let (dir, cache) = cache();
        let there = tempfile::tempdir().unwrap();
        for (name, origin) in [("try/a.b", dir.path().join("gone")), ("try/c", there.path().into())]
        {
            let lock = checkout_lock::take(&cache.path(name)).unwrap();
            fs::create_dir_all(cache.path(name)).unwrap();
            fs::write(cache.path(name).join(ORIGIN), origin.as_os_str().as_bytes()).unwrap();
            drop(lock);
        }
        let names: Vec<_> = cache
            .forget(Duration::from_secs(3600))
            .unwrap()
            .into_iter()
            .map(|it| it.name)
            .collect();
        assert_eq!(names, ["try/a.b"]);
        let mut left: Vec<_> =
            fs::read_dir(cache.path("try")).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["c", "c.lock"]);
    }

    #[test]
    fn using_an_entry_makes_it_young() {
        let (_dir, cache) = cache();
        unused(&cache, "source/a", 400);
        cache.entry("source/a", |_| panic!("it is there")).unwrap();
        let another_run = Cache::at(cache.dir().to_owned());
        assert!(another_run.forget(KEPT).unwrap().is_empty());
    }

    #[test]
    fn what_another_run_holds_is_not_forgotten_however_old() {
        let (_dir, cache) = cache();
        unused(&cache, "source/a", 400);
        let another_run = Cache::at(cache.dir().to_owned());
        another_run.hold("source/a").unwrap();
        unused(&cache, "source/a", 400);
        assert!(cache.forget(KEPT).unwrap().is_empty());
        drop(another_run);
        assert_eq!(cache.forget(KEPT).unwrap().len(), 1);
    }

    #[test]
    fn the_cache_is_cleared_when_the_last_run_that_uses_it_has_ended() {
        let (_dir, cache) = cache();
        let another_run = Cache::at(cache.dir().to_owned());
        let used = another_run.entry("source/a", |_| Ok(())).unwrap();
        std::thread::scope(|scope| {
            let clearing = scope.spawn(|| cache.clear().unwrap());
            std::thread::sleep(Duration::from_millis(50));
            assert!(used.exists());
            drop(another_run);
            clearing.join().unwrap();
        });
        assert!(!cache.dir().exists());
    }

    #[test]
    fn a_lock_that_went_with_the_cache_is_taken_anew() {
        let (_dir, cache) = cache();
        let first = cache.lock("a").unwrap();
        fs::remove_file(cache.lock_path("a")).unwrap();
        let second = cache.lock("a").unwrap();
        assert!(is_at(&second._file, &cache.lock_path("a")));
        assert!(!is_at(&first._file, &cache.lock_path("a")));
    }

    #[test]
    fn an_entry_that_another_run_broke_in_between_is_made_again() {
        let (_dir, cache) = cache();
        let another_run = Cache::at(cache.dir().to_owned());
        let (made, breaks) = (AtomicU32::new(0), AtomicU32::new(1));
        let make = |dir: &Path| -> Result<()> {
            made.fetch_add(1, Ordering::Relaxed);
            fs::write(dir.join("vmlinux"), "whole")?;
            Ok(())
        };
        let breaking = |dir: &Path| -> Result<()> {
            fs::write(dir.join("vmlinux"), "half")?;
            bail!("the source does not compile")
        };
        let between = || {
            if breaks.swap(0, Ordering::Relaxed) == 1 {
                assert!(another_run.renewed("ksrc/k", breaking).is_err());
            }
        };
        let path = cache.renewed_with("ksrc/k", make, between).unwrap();
        assert_eq!(fs::read(path.join("vmlinux")).unwrap(), b"whole");
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_entry_can_be_made_by_others_once_it_is_released() {
        let (_dir, cache) = cache();
        cache.renewed("ksrc/k", |_| Ok(())).unwrap();
        cache.hold("kernel/k").unwrap();
        let is_free = |name: &str| open_lock(&cache.lock_path(name)).unwrap().try_lock().is_ok();
        assert!(!is_free("ksrc/k") && !is_free("kernel/k"));
        cache.release("ksrc");
        assert!(is_free("ksrc/k") && !is_free("kernel/k"));
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
