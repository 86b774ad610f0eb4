// SPDX-License-Identifier: GPL-2.0

//! `lab doctor`: which tools are needed, which are found, and how to get the others.

use std::path::Path;

use anyhow::Result;
use vmlab::judge::outcome::Outcome;
use vmlab::run::interrupt;
use vmlab::run::print;

use crate::build::kernel;
use crate::context::Lab;
use crate::host::doctor::{self, Check, CheckState};
use crate::host::machine::Host;
use crate::host::packages::{self, Rights};
use crate::host::places;
use crate::host::toolchain::Toolchain;

pub(super) fn run(lab: &Lab) -> Result<u8> {
    let machine = Host::this();
    let mut checks = places::checks(lab.cache.dir()).to_vec();
    checks.extend(doctor::tools(lab, &machine));
    let rights = packages::rights(&machine);
    let ready = checks.iter().all(|check| check.state == CheckState::Good);
    let finished = lab.settings.kbuild.is_some()
        || (ready && Toolchain::find(lab).and_then(|tools| kernel::is_built(lab, &tools))?);
    if let Some(build) = &lab.settings.kbuild {
        checks.push(kbuild(lab, build));
    }
    checks.push(doctor::kvm(lab, &machine));
    checks.push(doctor::disk(lab, finished));
    checks.push(doctor::mirror(lab, !finished));
    interrupt::check()?;
    print::out(&doctor::table(&checks));

    let missing = doctor::missing_packages(&checks);
    if !missing.is_empty() {
        let how = match rights {
            Rights::None => "run",
            Rights::Root | Rights::Sudo => "`make` installs them, or run",
        };
        print::out(&format!("\nmissing packages: {how}\n  {}\n", packages::by_hand(&missing)));
    }
    let possible = doctor::can_build(&checks, rights != Rights::None);
    print::out(&format!("\na build {} succeed\n", if possible { "can" } else { "cannot" }));
    Ok(if possible { 0 } else { Outcome::Build.exit_code() })
}

/// Whether the user's own kernel build can be used.
fn kbuild(lab: &Lab, build: &Path) -> Check {
    let lacking = Toolchain::find(lab)
        .and_then(|tools| kernel::lacking(lab, build, &tools, kernel::Variant::Plain));
    let fit = match &lacking {
        Ok(lacking) if !lacking.is_empty() => {
            Err(anyhow::anyhow!("without {}", lacking.join(", ")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let needed = "a finished build with the options in lab/config and selftests/config";
    let check = Check::of(
        "KBUILD",
        build,
        fit,
        needed,
        "set these options in its .config, and build it again",
    );
    // Missing options only make some tests skip.
    let state = if lacking.is_ok() && check.state == CheckState::Bad {
        CheckState::Note
    } else {
        check.state
    };
    Check { state, ..check }
}
