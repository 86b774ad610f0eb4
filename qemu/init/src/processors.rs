// SPDX-License-Identifier: GPL-2.0

//! The processors that the kernel was told not to start.
//!
//! A kernel patches much of its code while it boots, and puts breakpoints there meanwhile. An
//! emulated processor may report a breakpoint of another processor too late, when it is gone from
//! memory: "Oops: int3", in seven of a hundred boots on a busy host. So the kernel boots on one
//! processor, which is also faster, and PID 1 starts the others here. A machine is saved after
//! that, so copies of it have all processors. For tests that make the kernel patch much code,
//! processors take turns: see `turns` of the lab's job.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};

const FOLDER: &str = "/sys/devices/system/cpu";

/// Processors that are being started.
pub struct Starting(JoinHandle<Result<()>>);

/// Starts all offline processors, in a thread of its own.
pub fn start() -> Result<Starting> {
    // Opened here, as the mounts are about to move.
    let switches = switches()?;
    Ok(Starting(thread::spawn(move || switches.into_iter().try_for_each(switch_on))))
}

impl Starting {
    /// Waits until all processors run.
    pub fn wait(self) -> Result<()> {
        self.0.join().map_err(|_| anyhow!("a thread that starts processors panicked"))?
    }
}

/// The files that switch processors on. The first processor has none.
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

/// Starts a processor. Does nothing if it runs already.
fn switch_on((path, mut file): (PathBuf, File)) -> Result<()> {
    file.write_all(b"1").with_context(|| format!("write 1 to {}", path.display()))
}
