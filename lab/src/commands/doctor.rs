// SPDX-License-Identifier: GPL-2.0

//! `lab doctor`: each tool, found, needed, how to get it.

use anyhow::Result;
use vmlab::boot::accel::Engine;
use vmlab::judge::outcome::Outcome;
use vmlab::run::interrupt;

use crate::build::kernel;
use crate::context::Lab;
use crate::host::doctor;
use crate::host::machine::Host;
use crate::host::packages::{self, Rights};
use crate::host::toolchain::Toolchain;

pub(super) fn run(lab: &Lab, engine: Option<Engine>) -> Result<u8> {
    let machine = Host::this();
    let mut checks = doctor::tools(lab, &machine);
    let rights = packages::rights(&machine);
    let ready = checks.iter().all(|check| check.state == doctor::State::Good);
    let finished = lab.settings.kbuild.is_some()
        || (ready && Toolchain::find(lab).and_then(|tools| kernel::is_built(lab, &tools))?);
    checks.push(doctor::kvm(lab, engine, &machine));
    checks.push(doctor::disk(lab, finished));
    checks.push(doctor::mirror(lab, !finished));
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
    let possible = doctor::can_build(&checks, rights != Rights::None);
    println!("\n{}", if possible { "a build can succeed" } else { "a build cannot succeed" });
    Ok(if possible { 0 } else { Outcome::Build.exit_code() })
}
