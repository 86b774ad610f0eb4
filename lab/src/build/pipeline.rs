// SPDX-License-Identifier: GPL-2.0

//! The steps before any guest: tools, kernel, modules, guest programs. Each is timed.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use vmlab::boot::kernel::Kernel;
use vmlab::run::phases::Phases;

use crate::build::guest_programs::{self, GuestPrograms};
use crate::build::kernel::{self, Variant};
use crate::build::modules;
use crate::build::source;
use crate::context::Lab;
use crate::host::packages;
use crate::host::toolchain::Toolchain;

/// A kernel, and the tools that fit it.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub tools: Toolchain,
    pub kernel: Kernel,
    pub variant: Variant,
}

/// Files that were built for a kernel.
#[derive(Debug, Clone)]
pub struct Built {
    /// The modules to load.
    pub modules: Vec<PathBuf>,
    /// The guest's programs.
    pub guest: GuestPrograms,
}

/// Checks the user's tree, installs missing packages, finds the tools, and builds the kernel.
pub fn base(lab: &Lab, variant: Variant, phases: &mut Phases) -> Result<Prepared> {
    source::check(lab)?;
    let tools = phases.time("tools", || {
        packages::ensure(lab)?;
        Toolchain::find(lab)
    })?;
    let kernel = phases.time("kernel", || kernel::prepare(lab, &tools, variant))?;
    Ok(Prepared { tools, kernel, variant })
}

/// Builds modules and programs for that kernel, side by side.
pub fn build(lab: &Lab, base: &Prepared, phases: &mut Phases) -> Result<Built> {
    let (modules, (guest, took)) = std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let start = Instant::now();
            (guest_programs::build(lab, base), start.elapsed())
        });
        let modules = phases.time("module", || modules::build(lab, base));
        // A panic of the thread continues here.
        (modules, guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    phases.add("guest programs, meanwhile", took);
    Ok(Built { modules: modules?, guest: guest? })
}

impl Built {
    /// Only PID 1, which is part of the lab: nothing is built.
    pub fn nothing(lab: &Lab) -> Result<Built> {
        let init = guest_programs::init(lab)?;
        let guest = GuestPrograms { init, selftests: Vec::new(), tools: Vec::new() };
        Ok(Built { modules: Vec::new(), guest })
    }
}
