// SPDX-License-Identifier: GPL-2.0

//! Disk space: checked before a build, explained after a failure.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The most that the first build needs: package, tree, objects.
pub const FIRST_BUILD: u64 = 4_500_000_000;
/// The need of a kernel build alone.
pub const KERNEL_BUILD: u64 = 1_500_000_000;
/// The need of a run without a kernel build.
pub const WARM: u64 = 500_000_000;

/// Bytes that the user may still write below `path`, which need not exist yet.
pub fn free(path: &Path) -> Result<u64> {
    let exists = path.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(exists)
        .with_context(|| format!("ask for the free space of {}", exists.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Checks that at least `needed` bytes are free. The error says what to do.
pub fn check(path: &Path, needed: u64) -> Result<()> {
    let free = free(path)?;
    if free < needed {
        bail!("{}", short(path, free, needed));
    }
    Ok(())
}

fn short(path: &Path, free: u64, needed: u64) -> String {
    format!(
        "{} has {} free, {} are needed: free some, or set XDG_CACHE_HOME to a larger disk",
        path.display(),
        gigabytes(free),
        gigabytes(needed)
    )
}

/// `4.5 GB`
pub fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// If a full disk caused `error`, adds the path and what to do.
pub fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    if !is_full(&error) {
        return error;
    }
    let left = free(path).map_or_else(|_| "nothing".to_owned(), gigabytes);
    error.context(format!(
        "the disk is full: {} has {left} free; free some (`make distclean` empties the cache), or \
         set XDG_CACHE_HOME to a larger disk",
        path.display()
    ))
}

fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
            || cause.to_string().contains("No space left on device")
            || cause.to_string().contains("enough free space")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_names_place_numbers_and_way_out() {
        let error = check(Path::new("/proc/self"), 1).unwrap_err().to_string();
        assert!(error.starts_with("/proc/self has 0.0 GB free"), "{error}");
        assert!(error.contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn space_is_asked_of_the_nearest_folder_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(free(&dir.path().join("a/b/c")).unwrap() > 0, free(dir.path()).unwrap() > 0);
    }

    #[test]
    fn a_full_disk_is_recognised_in_every_guise() {
        let io = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        let cases = [
            (io.context("write x.o"), true),
            (
                anyhow::anyhow!(
                    "make failed:\n  x.c: fatal error: error writing: No space left on device"
                ),
                true,
            ),
            (anyhow::anyhow!("E: You don't have enough free space in /x."), true),
            (anyhow::anyhow!("make failed:\n  x.c: error: no b"), false),
        ];
        for (error, full) in cases {
            let text = format!("{:#}", explain(error, Path::new("/")));
            assert_eq!(text.starts_with("the disk is full: / has"), full, "{text}");
        }
    }

    #[test]
    fn a_disk_that_really_is_full_is_explained() {
        let error = std::fs::write("/dev/full", "x").unwrap_err();
        let error = anyhow::Error::from(error).context("write /dev/full");
        assert!(format!("{:#}", explain(error, Path::new("/dev"))).starts_with("the disk is full"));
    }
}
