// SPDX-License-Identifier: GPL-2.0

//! Builds of folders whose path kbuild does not accept.
//!
//! Linux refuses paths with spaces and colons, and its makefiles break on quotes, `$` and the like.
//! A link does not help, since kbuild resolves it. So the sources are copied to the cache, whose
//! path is checked. The copies keep their times, since make compares times. The results of the
//! build are in the cache, too, with a link to them where people look for them. Messages show the
//! paths of the user's own files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vmlab::run::files;

use crate::build::cache::{Cache, ORIGIN};
use crate::host::places;

/// Folders that are not copied: they have no sources, and are large.
const LEFT_OUT: [&str; 2] = ["target", ".git"];
/// The copy, in an entry of the cache.
const SOURCE: &str = "source";

/// The path of `folder` for kbuild: its own path, or that of its copy.
pub fn name(cache: &Cache, folder: &Path) -> PathBuf {
    match places::unfit(folder) {
        None => folder.to_owned(),
        Some(_) => cache.path(&entry(folder)).join(SOURCE),
    }
}

/// Brings the copy up to date, and returns the path of `folder` for kbuild.
pub fn source(cache: &Cache, folder: &Path) -> Result<PathBuf> {
    let copy = name(cache, folder);
    if copy != folder {
        cache.hold(&entry(folder))?;
        sync(folder, &copy).with_context(|| format!("copy {}", folder.display()))?;
        let origin = copy.with_file_name(ORIGIN);
        fs::write(&origin, folder.as_os_str().as_encoded_bytes())
            .with_context(|| format!("write {}", origin.display()))?;
    }
    Ok(copy)
}

/// The folder to build in, so that the results are found in `out`.
pub fn output(cache: &Cache, out: &Path) -> Result<PathBuf> {
    if places::unfit(out).is_none() {
        return Ok(out.to_owned());
    }
    cache.hold(&entry(out))?;
    let real = cache.path(&entry(out)).join("out");
    files::make_dir(&real)?;
    if fs::read_link(out).ok().as_deref() != Some(&real) {
        files::remove_dir(out)?;
        files::make_dir(out.parent().unwrap_or(out))?;
        symlink(&real, out).with_context(|| format!("link {}", out.display()))?;
    }
    Ok(real)
}

fn entry(folder: &Path) -> String {
    // `a/.` is `a`.
    let folder: PathBuf = folder.components().collect();
    format!("staged/{}", files::key([folder.as_os_str().as_encoded_bytes()]))
}

/// Replaces paths of copies in `text` by the paths of the originals.
pub fn translate(cache: &Cache, text: &str) -> String {
    let copies = fs::read_dir(cache.path("staged")).into_iter().flatten().flatten();
    copies.fold(text.to_owned(), |text, copy| match fs::read_to_string(copy.path().join(ORIGIN)) {
        Ok(origin) => text.replace(&*copy.path().join(SOURCE).to_string_lossy(), &origin),
        Err(_) => text,
    })
}

/// Makes `to` a copy of `from`. Copies only files that have changed.
fn sync(from: &Path, to: &Path) -> Result<()> {
    files::make_dir(to)?;
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        let kind = entry.file_type().with_context(|| format!("look at {}", from.display()))?;
        if kind.is_dir() {
            remove_unless(&to, Metadata::is_dir)?;
            sync(&from, &to)?;
        } else if kind.is_symlink() {
            copy_link(&from, &to)?;
        } else if kind.is_file() {
            copy_file(&from, &to)?;
        }
        kept.insert(name);
    }
    remove_others(to, &kept)
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let meta = fs::metadata(from).with_context(|| format!("look at {}", from.display()))?;
    let time = meta.modified().context("ask for a time")?;
    let same = |there: &Metadata| {
        there.is_file() && there.len() == meta.len() && there.modified().is_ok_and(|t| t == time)
    };
    if !remove_unless(to, same)? {
        fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
        let copy = File::open(to).with_context(|| format!("open {}", to.display()))?;
        copy.set_modified(time).with_context(|| format!("set the time of {}", to.display()))?;
    }
    Ok(())
}

fn copy_link(from: &Path, to: &Path) -> Result<()> {
    let target = fs::read_link(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read_link(to).ok().as_ref() != Some(&target) {
        remove_unless(to, |_| false)?;
        symlink(&target, to).with_context(|| format!("link {}", to.display()))?;
    }
    Ok(())
}

/// Removes what is at `path`, unless it is `right`. Returns whether something right is there.
fn remove_unless(path: &Path, right: impl Fn(&Metadata) -> bool) -> Result<bool> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(false) };
    if right(&meta) {
        return Ok(true);
    }
    let removed = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("remove {}", path.display())).map(|()| false)
}

fn remove_others(dir: &Path, kept: &BTreeSet<OsString>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry.with_context(|| format!("read {}", dir.display()))?;
        if !kept.contains(&entry.file_name()) {
            remove_unless(&entry.path(), |_| false)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// A checkout with a path that kbuild does not accept.
    fn checkout() -> (tempfile::TempDir, Cache, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let checkout = dir.path().join("a b/ü $x's");
        for folder in ["rust/x", "target/debug", ".git"] {
            fs::create_dir_all(checkout.join(folder)).unwrap();
        }
        for file in ["Kbuild", "rust/x/main.rs", "target/debug/lab", ".git/HEAD"] {
            fs::write(checkout.join(file), file).unwrap();
        }
        symlink("main.rs", checkout.join("rust/x/link.rs")).unwrap();
        (dir, cache, checkout)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_path_that_kbuild_takes_is_left_alone() {
        let (dir, cache, _) = checkout();
        let plain = dir.path().join("plain");
        assert_eq!(source(&cache, &plain).unwrap(), plain);
        assert_eq!(output(&cache, &plain).unwrap(), plain);
        assert!(!cache.dir().exists());
    }

    #[test]
    fn a_copy_has_a_name_that_kbuild_takes_and_follows_its_origin() {
        let (_dir, cache, checkout) = checkout();
        let copy = source(&cache, &checkout).unwrap();
        assert_eq!(places::unfit(&copy), None, "{}", copy.display());
        assert_eq!(source(&cache, &checkout.join(".")).unwrap(), copy);
        assert_eq!(names(&copy), ["Kbuild", "rust"]);
        assert_eq!(names(&copy.join("rust/x")), ["link.rs", "main.rs"]);

        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let (main, copied) = (checkout.join("rust/x/main.rs"), copy.join("rust/x/main.rs"));
        assert_eq!(time(&main), time(&copied));
        let later = SystemTime::now() + Duration::from_secs(7);
        fs::write(&main, "fn main() {}").unwrap();
        File::open(&main).unwrap().set_modified(later).unwrap();
        fs::remove_file(checkout.join("Kbuild")).unwrap();
        fs::create_dir(checkout.join("Kbuild")).unwrap();
        fs::remove_file(checkout.join("rust/x/link.rs")).unwrap();
        source(&cache, &checkout).unwrap();
        assert_eq!(fs::read_to_string(&copied).unwrap(), "fn main() {}");
        assert_eq!(time(&copied), later);
        assert!(copy.join("Kbuild").is_dir());
        assert_eq!(names(&copy.join("rust/x")), ["main.rs"]);
    }

    #[test]
    fn what_has_not_changed_is_not_copied_again() {
        let (_dir, cache, checkout) = checkout();
        let copy = source(&cache, &checkout).unwrap();
        // The same length and time, which is all that is compared.
        let main = copy.join("rust/x/main.rs");
        let time = fs::metadata(&main).unwrap().modified().unwrap();
        fs::write(&main, "RUST/x/main.rs").unwrap();
        File::open(&main).unwrap().set_modified(time).unwrap();
        source(&cache, &checkout).unwrap();
        assert_eq!(fs::read_to_string(&main).unwrap(), "RUST/x/main.rs");
    }

    #[test]
    fn what_is_made_is_found_where_people_look_for_it() {
        let (_dir, cache, checkout) = checkout();
        let out = checkout.join("target/lab/modules");
        fs::create_dir_all(&out).unwrap();
        for _ in 0..2 {
            let real = output(&cache, &out).unwrap();
            assert_eq!(places::unfit(&real), None);
            fs::write(real.join("x.ko"), "").unwrap();
            assert!(out.join("x.ko").exists());
        }
    }

    #[test]
    fn messages_name_the_folder_that_a_person_knows() {
        let (_dir, cache, checkout) = checkout();
        let copy = source(&cache, &checkout).unwrap();
        let said = format!("error\n --> {}/rust/x/main.rs:1:2", copy.display());
        let want = format!("error\n --> {}/rust/x/main.rs:1:2", checkout.display());
        assert_eq!(translate(&cache, &said), want);
    }
}
