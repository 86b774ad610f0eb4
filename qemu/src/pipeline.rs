// SPDX-License-Identifier: GPL-2.0

//! The steps that everything in the guest needs first: tools, kernel, modules,
//! guest programs. Each is timed.

use std::path::PathBuf;

use anyhow::Result;

use crate::guest::{self, Guest};
use crate::kernel::{self, Kernel, Variant};
use crate::lab::Lab;
use crate::modules;
use crate::packages;
use crate::phases::Phases;
use crate::toolchain::Toolchain;

/// A kernel, and the tools that fit it.
#[derive(Debug, Clone)]
pub struct Base {
    /// What builds.
    pub tools: Toolchain,
    /// What boots.
    pub kernel: Kernel,
}

/// What runs on a kernel.
#[derive(Debug, Clone)]
pub struct Built {
    /// The modules to load.
    pub modules: Vec<PathBuf>,
    /// The guest's programs.
    pub guest: Guest,
}

/// Installs what is missing, finds the tools, and builds the kernel.
pub fn base(lab: &Lab, variant: Variant, phases: &mut Phases) -> Result<Base> {
    let tools = phases.time("tools", || {
        packages::ensure(lab)?;
        Toolchain::find(lab)
    })?;
    let kernel = phases.time("kernel", || kernel::prepare(lab, &tools, variant))?;
    Ok(Base { tools, kernel })
}

/// Builds what runs on that kernel.
pub fn build(lab: &Lab, base: &Base, phases: &mut Phases) -> Result<Built> {
    let modules = phases.time("module", || modules::build(lab, &base.kernel, &base.tools))?;
    let guest = phases.time("guest", || guest::build(lab, &base.tools))?;
    Ok(Built { modules, guest })
}
