// SPDX-License-Identifier: GPL-2.0

//! A folder for the logs of one guest. Several guests may run in one checkout at the same time,
//! since the checkout's lock is released when a guest has its files.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vmlab::run::files;

/// The file that is locked while the folder is in use.
const LOCK: &str = "lock";

/// A folder, until this is dropped.
#[derive(Debug)]
pub struct LogFolder {
    pub path: PathBuf,
    _lock: File,
}

/// Takes the first folder that nobody uses: `NAME`, `NAME.2`, and so on.
pub fn take(logs: &Path, name: &str) -> Result<LogFolder> {
    let mut number = 1;
    loop {
        let path = match number {
            1 => logs.join(name),
            _ => logs.join(format!("{name}.{number}")),
        };
        if let Some(folder) = try_take(path)? {
            return Ok(folder);
        }
        number += 1;
    }
}

fn try_take(path: PathBuf) -> Result<Option<LogFolder>> {
    files::make_dir(&path)?;
    let file = path.join(LOCK);
    let lock = File::create(&file).with_context(|| format!("create {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(LogFolder { path, _lock: lock })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", file.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_takes_the_first_that_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let take = || take(dir.path(), "run").unwrap();
        let (first, second) = (take(), take());
        let name = |folder: &LogFolder| folder.path.strip_prefix(dir.path()).unwrap().to_owned();
        assert_eq!((name(&first), name(&second)), ("run".into(), "run.2".into()));
        drop(first);
        assert_eq!(name(&take()), PathBuf::from("run"));
        assert_eq!(name(&take()), PathBuf::from("run"));
    }
}
