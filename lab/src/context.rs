// SPDX-License-Identifier: GPL-2.0

//! What every step needs to know: where things are and what the user asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::cache::Cache;
use crate::host::pins::Pins;

/// The checkout, the cache and the settings of this run.
#[derive(Debug, Clone)]
pub struct Lab {
    /// The checkout.
    pub root: PathBuf,
    /// Where this checkout's results go: `target/lab`.
    pub target: PathBuf,
    /// What all checkouts of a user share.
    pub cache: Cache,
    /// The pins.
    pub base: Pins,
    /// From the environment.
    pub settings: Settings,
}

/// The variables that `make` hands on, as kernel people know them.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A kernel tree (directory or tarball) instead of the base kernel.
    pub ksrc: Option<PathBuf>,
    /// A finished kernel build.
    pub kbuild: Option<PathBuf>,
    /// `1`, a suffix such as `-19`, or a directory ending in a slash.
    pub llvm: Option<String>,
    /// The C compiler.
    pub cc: Option<String>,
    /// How many jobs at once.
    pub jobs: usize,
}

impl Lab {
    /// Finds the checkout that the current directory is in.
    pub fn find(settings: Settings) -> Result<Lab> {
        let here = std::env::current_dir().context("find the current directory")?;
        let root = find_root(&here)?;
        Ok(Lab {
            target: root.join("target/lab"),
            cache: Cache::of_user()?,
            base: Pins::load(&root)?,
            root,
            settings,
        })
    }

    /// A log file of this checkout.
    pub fn log(&self, name: &str) -> PathBuf {
        self.target.join("logs").join(format!("{name}.log"))
    }
}

fn find_root(here: &Path) -> Result<PathBuf> {
    match here.ancestors().find(|dir| dir.join("lab/pins.toml").is_file()) {
        Some(root) => Ok(root.to_owned()),
        None => bail!("{} is not inside a checkout of this project", here.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found_from_any_folder_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("rust/kernel/net");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir(dir.path().join("lab")).unwrap();
        std::fs::write(dir.path().join("lab/pins.toml"), "").unwrap();
        assert_eq!(find_root(&deep).unwrap(), dir.path());
    }

    #[test]
    fn outside_a_checkout_the_folder_is_named() {
        let error = find_root(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().starts_with("/proc is not inside"));
    }
}
