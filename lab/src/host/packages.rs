// SPDX-License-Identifier: GPL-2.0

//! Missing packages of the distribution. The lab installs them if that needs no password. Otherwise
//! the error has the command to type.

use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::context::Lab;
use crate::host::doctor::{self, Check, CheckState};
use crate::host::machine::Host;
use crate::host::places;

/// How to become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// The user is root.
    Root,
    /// sudo without a password.
    Sudo,
    /// The user cannot become root without a password.
    None,
}

/// How this user may install packages.
pub fn rights(machine: &Host) -> Rights {
    if rustix::process::geteuid().is_root() {
        return Rights::Root;
    }
    let sudo = machine.which("sudo").is_some()
        && process::capture(machine.command("sudo").args(["-n", "true"])).is_ok_and(|said| said.ok);
    if sudo { Rights::Sudo } else { Rights::None }
}

/// Makes all checks, and installs missing packages. An error if something is missing that the lab
/// cannot get itself; then no package is installed.
pub fn ensure(lab: &Lab) -> Result<()> {
    places::check(lab.cache.dir())?;
    let machine = Host::this();
    let checks = doctor::tools(lab, &machine);
    if checks.iter().any(|check| check.state == CheckState::Bad) {
        return Err(not_ready(checks));
    }
    let missing = doctor::missing_packages(&checks);
    if missing.is_empty() {
        return Ok(());
    }
    install(lab, &machine, &missing)?;
    let checks = doctor::tools(lab, &machine);
    if doctor::can_build(&checks, false) { Ok(()) } else { Err(not_ready(checks)) }
}

/// Installs optional packages, if that needs no password. Returns whether it did.
pub fn offer(lab: &Lab, machine: &Host, packages: &[String]) -> Result<bool> {
    if prefix(rights(machine)).is_none() {
        return Ok(false);
    }
    install(lab, machine, packages)?;
    Ok(true)
}

fn not_ready(mut checks: Vec<Check>) -> anyhow::Error {
    checks.retain(|check| matches!(check.state, CheckState::Bad | CheckState::Package(_)));
    anyhow!("this machine cannot build:\n{}", doctor::table(&checks).trim_end())
}

fn install(lab: &Lab, machine: &Host, packages: &[String]) -> Result<()> {
    let Some(prefix) = prefix(rights(machine)) else {
        bail!("packages are missing; run this, then again what you ran:\n  {}", by_hand(packages));
    };
    let step = Step::start(&format!("installing {}", packages.join(" ")), Unit::None, 0);
    let apt = |args: &[&str], log: &str| {
        let mut command = command(machine, prefix);
        command.args(["-q", "-y", "--no-install-recommends"]).args(args);
        process::logged_gently(command, &lab.log(log))
    };
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let args = [&["install"], names.as_slice()].concat();
    // The machine's package lists may be empty or old: update them, and try once more.
    if apt(&args, "apt-install").is_err() {
        apt(&["update"], "apt-lists").context("read the package lists")?;
        apt(&args, "apt-install")
            .with_context(|| format!("try it by hand: {}", by_hand(packages)))?;
    }
    step.finish();
    Ok(())
}

fn prefix(rights: Rights) -> Option<&'static [&'static str]> {
    match rights {
        Rights::Root => Some(&["env"]),
        Rights::Sudo => Some(&["sudo", "-n", "env"]),
        Rights::None => None,
    }
}

fn command(machine: &Host, prefix: &[&str]) -> Command {
    let mut command = machine.command(prefix[0]);
    command.args(&prefix[1..]).args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get"]);
    command
}

/// The command for a person to type.
pub fn by_hand(packages: &[String]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rights_there_is_one_command_to_type() {
        let packages = ["flex".to_owned(), "bison".to_owned()];
        assert_eq!(by_hand(&packages), "sudo apt-get install --no-install-recommends flex bison");
        assert_eq!(prefix(Rights::None), None);
    }

    #[test]
    fn sudo_never_waits_for_a_password() {
        let command = command(&Host::this(), prefix(Rights::Sudo).unwrap());
        assert!(process::display(&command).contains(" -n env DEBIAN_FRONTEND=noninteractive"));
    }
}
