// SPDX-License-Identifier: GPL-2.0

//! Dry runs: shows the command line of a boot.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use vmlab_init::protocol::{Beginning, Start};

use crate::boot::engine::Choice;
use crate::boot::files;
use crate::boot::initramfs;
use crate::boot::kernel::Kernel;
use crate::boot::vm::{self, VmSpec};
use crate::run::files::make_dir;
use crate::run::job::{Budget, Job};

/// QEMU's command line for this job, whose initramfs and files are written to `folder`, an absolute
/// path.
pub fn command(job: &Job, kernel: &Kernel, engine: &Choice, folder: &Path) -> Result<Command> {
    make_dir(folder)?;
    let (initrd, archive) = (folder.join("initrd"), folder.join("files"));
    files::write(&archive, job)?;
    let budget = Budget::of(engine.used, kernel);
    let told = job.for_guest(&budget, None, 0, &archive);
    let start = Start { key: 0, job: Some(told), answers: false };
    initramfs::write(&initrd, &job.init, &Beginning::Start(start))?;
    let spec = VmSpec::new(job, kernel, engine.used, initrd, 0);
    Ok(vm::pasteable(&spec, folder))
}
