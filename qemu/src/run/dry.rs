// SPDX-License-Identifier: GPL-2.0

//! Dry runs: shows the command line of a boot.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::boot::accel::Choice;
use crate::boot::initramfs;
use crate::boot::kernel::Kernel;
use crate::boot::vm::{self, VmSpec};
use crate::run::files;
use crate::run::job::{Budget, Job};

/// QEMU's command line for this job, whose initramfs is written to `folder`.
pub fn command(job: &Job, kernel: &Kernel, accel: &Choice, folder: &Path) -> Result<Command> {
    files::make_dir(folder)?;
    let initrd = folder.join("initrd");
    let budget = Budget::of(accel.used, kernel);
    initramfs::write(&initrd, job, &job.for_guest(&budget, None, 0))?;
    let spec = VmSpec::new(job, kernel, accel.used, initrd, 0);
    Ok(vm::pasteable(&spec, folder))
}
