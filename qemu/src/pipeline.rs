// SPDX-License-Identifier: GPL-2.0

//! The steps that everything in the guest needs first: tools, kernel, modules,
//! guest programs.

use std::path::PathBuf;

use anyhow::Result;

use crate::guest::{self, Guest};
use crate::kernel::{self, Kernel};
use crate::lab::Lab;
use crate::modules;
use crate::packages;
use crate::toolchain::Toolchain;

/// All that is built before a guest boots.
#[derive(Debug, Clone)]
pub struct Built {
    /// What built it.
    pub tools: Toolchain,
    /// The kernel to boot.
    pub kernel: Kernel,
    /// The modules to load.
    pub modules: Vec<PathBuf>,
    /// The guest's programs.
    pub guest: Guest,
}

/// Installs what is missing, finds the tools, and builds the kernel.
pub fn kernel(lab: &Lab) -> Result<(Toolchain, Kernel)> {
    packages::ensure(lab)?;
    let tools = Toolchain::find(lab)?;
    let kernel = kernel::prepare(lab, &tools)?;
    Ok((tools, kernel))
}

/// Builds what runs on that kernel.
pub fn build(lab: &Lab, tools: Toolchain, kernel: Kernel) -> Result<Built> {
    let modules = modules::build(lab, &kernel, &tools)?;
    let guest = guest::build(lab, &tools)?;
    Ok(Built { tools, kernel, modules, guest })
}
