// SPDX-License-Identifier: GPL-2.0

//! The processors that the kernel was told not to start.
//!
//! A kernel that boots patches its code all the time. When a processor that is emulated runs into
//! the breakpoint that another one puts there meanwhile, the emulator may show it the breakpoint
//! too late, when it is gone from memory: "Oops: int3", in seven of a hundred boots on a busy
//! machine. So the lab boots on one processor, which takes less time as well, and the others
//! follow here. A machine that is saved has all of them, so its copies do, too. Tests that make the
//! kernel patch much are given processors that take turns: see `turns` of the lab's job.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};

const FOLDER: &str = "/sys/devices/system/cpu";

/// Processors that are on their way.
pub struct Starting(JoinHandle<Result<()>>);

/// Starts those that are offline, while other things are done.
pub fn start() -> Result<Starting> {
    // Opened here, as the mounts are about to move.
    let switches = switches()?;
    Ok(Starting(thread::spawn(move || switches.into_iter().try_for_each(switch_on))))
}

impl Starting {
    /// Waits until all of them run.
    pub fn wait(self) -> Result<()> {
        self.0.join().map_err(|_| anyhow!("a thread that starts processors panicked"))?
    }
}

/// The files that say whether a processor runs. The first one has none.
fn switches() -> Result<Vec<(PathBuf, File)>> {
    let mut switches = Vec::new();
    for entry in fs::read_dir(FOLDER).with_context(|| format!("read {FOLDER}"))?.flatten() {
        let path = entry.path().join("online");
        match File::options().write(true).open(&path) {
            Ok(file) => switches.push((path, file)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        }
    }
    Ok(switches)
}

/// Nothing happens to one that runs already.
fn switch_on((path, mut file): (PathBuf, File)) -> Result<()> {
    file.write_all(b"1").with_context(|| format!("write 1 to {}", path.display()))
}
