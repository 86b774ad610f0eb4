// SPDX-License-Identifier: GPL-2.0

//! Dry runs: shows the command line of a boot.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::boot::accel::Choice;
use crate::boot::clock;
use crate::boot::initramfs;
use crate::boot::kernel::Kernel;
use crate::boot::vm::{self, Person, VmSpec};
use crate::run::files;
use crate::run::job::{Budget, Job};

/// QEMU's command line for this job, whose initramfs is written to `folder`.
pub fn command(job: &Job, kernel: &Kernel, accel: &Choice, folder: &Path) -> Result<Command> {
    files::make_dir(folder)?;
    let initrd = folder.join("initrd");
    let budget = Budget::of(accel.used, kernel);
    initramfs::write(&initrd, job, &job.for_guest(&budget, None, 0))?;
    let spec = VmSpec {
        engine: accel.used,
        memory_mb: job.memory_mb,
        image: kernel.image.clone(),
        initrd,
        person: Person::of(&job.work),
        turns: job.turns,
        options: job.options.clone(),
        loops_per_jiffy: clock::loops_per_jiffy(kernel),
        key: 0,
    };
    Ok(vm::pasteable(&spec, folder))
}
