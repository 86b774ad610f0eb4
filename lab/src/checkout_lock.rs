// SPDX-License-Identifier: GPL-2.0

//! Only one run at a time may build and report in a project's `target/lab`.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::progress::say;

/// How often a waiting run tries again.
const POLL: Duration = Duration::from_millis(200);

/// The lock of a project's `target/lab`, held by the run that uses the folder.
#[derive(Debug)]
pub struct CheckoutLock {
    _file: File,
}

/// The file: beside the folder, since `lab clean` removes the folder.
pub fn path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Waits until no other run uses `target`, and prints which run it waits for.
pub fn take(target: &Path) -> Result<CheckoutLock> {
    let path = path(target);
    files::make_dir(path.parent().unwrap_or(target))?;
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
            Err(TryLockError::WouldBlock) if !said => {
                say(&format!("waiting: {} is using {}", holder(&mut file), target.display()));
                said = true;
            }
            Err(TryLockError::WouldBlock) => {
                interrupt::check()?;
                std::thread::sleep(POLL);
            }
        }
    }
    sign(&mut file).with_context(|| format!("write {}", path.display()))?;
    Ok(CheckoutLock { _file: file })
}

/// Writes the name of this run, for others to read.
fn sign(file: &mut File) -> std::io::Result<()> {
    let command = fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let program = words.first().map(|word| word.rsplit('/').next().unwrap_or(word).to_owned());
    let line: Vec<String> = program.into_iter().chain(words.iter().skip(1).cloned()).collect();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "`{}` (process {})", line.join(" "), std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another run".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_waits_and_can_read_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("lab");
        let first = take(&target).unwrap();
        let mut other = File::open(dir.path().join("lab.lock")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(holder(&mut other).contains(&format!("process {}", std::process::id())));
        drop(first);
        take(&target).unwrap();
    }
}
