// SPDX-License-Identifier: GPL-2.0

//! What each command does, in its order.

use anyhow::{Result, bail};

use crate::cli::{Action, Cli};
use crate::kernel;
use crate::lab::Lab;
use crate::modules;
use crate::progress::say;
use crate::toolchain::Toolchain;

/// Runs the command; gives the exit status.
pub fn run(lab: &Lab, cli: &Cli) -> Result<u8> {
    match &cli.command {
        Action::Kernel => {
            let tools = Toolchain::find(lab)?;
            let kernel = kernel::prepare(lab, &tools)?;
            say(&format!(
                "Linux {} in {}",
                kernel.release,
                kernel.build.display()
            ));
            Ok(0)
        }
        Action::All => {
            let tools = Toolchain::find(lab)?;
            let kernel = kernel::prepare(lab, &tools)?;
            for module in modules::build(lab, &kernel, &tools)? {
                say(&format!("{}", module.display()));
            }
            Ok(0)
        }
        other => bail!("{other:?} is not there yet"),
    }
}
