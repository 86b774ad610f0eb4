// SPDX-License-Identifier: GPL-2.0

//! What each command does, in its order.

use anyhow::{Result, bail};

use crate::cache;
use crate::cli::{Action, Cli};
use crate::doctor;
use crate::interrupt;
use crate::kernel;
use crate::lab::Lab;
use crate::lint;
use crate::modules;
use crate::packages::{self, Rights};
use crate::progress::say;
use crate::rust_analyzer;
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::tools::Machine;

/// A test or check failed.
const FAILED: u8 = 1;
/// Could not build, or the environment is not ready.
const NOT_READY: u8 = 3;

/// Runs the command; gives the exit status.
pub fn run(lab: &Lab, cli: &Cli) -> Result<u8> {
    match &cli.command {
        Action::Doctor => diagnose(lab),
        Action::Lint => lint_all(lab),
        Action::Kernel => {
            let (_, kernel) = old_kernel(lab)?;
            say(&format!("Linux {} in {}", kernel.release, kernel.build.display()));
            Ok(0)
        }
        Action::RustAnalyzer => {
            let (tools, kernel) = old_kernel(lab)?;
            let tools = tools.with_rust_src(lab)?;
            // The generated bindings are part of what an editor resolves.
            modules::build(lab, &kernel, &tools)?;
            let path = rust_analyzer::write(lab, &kernel, &tools)?;
            say(&format!("wrote {}", path.display()));
            Ok(0)
        }
        Action::Clean => {
            cache::remove_dir(&lab.target)?;
            Ok(0)
        }
        Action::Distclean => {
            cache::remove_dir(&lab.target)?;
            cache::remove_dir(lab.cache.dir())?;
            say(&format!("removed {}", lab.cache.dir().display()));
            Ok(0)
        }
        Action::All => {
            let (tools, kernel) = old_kernel(lab)?;
            for module in modules::build(lab, &kernel, &tools)? {
                say(&format!("{}", module.display()));
            }
            Ok(0)
        }
        other => bail!("{other:?} is not there yet"),
    }
}

fn diagnose(lab: &Lab) -> Result<u8> {
    let machine = Machine::this();
    let mut checks = doctor::tools(lab, &machine);
    let rights = packages::rights(&machine);
    let tools_ready = checks.iter().all(|check| check.state == doctor::State::Good);
    let built = tools_ready
        && lab.settings.kbuild.is_none()
        && Toolchain::find(lab).and_then(|tools| kernel::is_built(lab, &tools))?;
    checks.push(doctor::disk(lab, built));
    checks.push(doctor::mirror(lab, !built && lab.settings.kbuild.is_none()));
    interrupt::check()?;
    print!("{}", doctor::table(&checks));

    let missing = doctor::missing_packages(&checks);
    if !missing.is_empty() {
        let how = match rights {
            Rights::None => "run",
            Rights::Root | Rights::Sudo => "`make` installs them, or run",
        };
        println!("\nmissing packages: {how}\n  {}", packages::by_hand(&missing));
    }
    let ready = doctor::can_build(&checks, rights != Rights::None);
    println!("\n{}", if ready { "a build can succeed" } else { "a build cannot succeed" });
    Ok(if ready { 0 } else { NOT_READY })
}

fn lint_all(lab: &Lab) -> Result<u8> {
    let mut tally = Tally::count(&lint::host(lab), |line| println!("{line}"));
    interrupt::check()?;
    let (tools, kernel) = old_kernel(lab)?;
    tally.add(Tally::count(&lint::kernel(lab, &kernel, &tools), |line| println!("{line}")));
    interrupt::check()?;
    println!("{tally}");
    Ok(if tally.failed == 0 { 0 } else { FAILED })
}

fn old_kernel(lab: &Lab) -> Result<(Toolchain, kernel::Kernel)> {
    packages::ensure(lab)?;
    let tools = Toolchain::find(lab)?;
    let kernel = kernel::prepare(lab, &tools)?;
    Ok((tools, kernel))
}
