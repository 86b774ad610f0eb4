// SPDX-License-Identifier: GPL-2.0

//! Programs that check patches. Some are packages of Python, which pip puts into the lab's cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use series::checks::programs::{NAMES, Program, Programs};
use vmlab::run::interrupt;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::context::Lab;
use crate::host::machine::Host;

/// Where codespell's package has its list of words.
const DICTIONARY: &str = "codespell_lib/data/dictionary.txt";

/// Finds or installs all programs. A program that is not available has the reason instead of a
/// path.
pub fn find(lab: &Lab, tree: &Path) -> Result<Programs> {
    let machine = Host::this();
    let mut found = BTreeMap::new();
    let mut dictionary = None;
    for name in NAMES {
        let program = match lab.base.linters.0.get(name) {
            None => own(&machine, name),
            Some(package) => match installed(lab, &machine, package) {
                Ok(folder) => {
                    let words = folder.join(DICTIONARY);
                    if words.is_file() {
                        dictionary = Some(words);
                    }
                    Ok(Program {
                        path: folder.join("bin").join(name),
                        version: package.clone(),
                        environment: vec![("PYTHONPATH".to_owned(), folder)],
                    })
                }
                // The machine's own version is better than none.
                Err(error) => own(&machine, name).map_err(|_| one_line(&format!("{error:#}"))),
            },
        };
        interrupt::check()?;
        found.insert(name, program);
    }
    Ok(Programs { tree: tree.to_owned(), found, dictionary })
}

fn own(machine: &Host, name: &str) -> Result<Program, String> {
    let path = machine.which(name).ok_or_else(|| format!("there is no {name}"))?;
    let version = machine.version_line(name).unwrap_or_default();
    Ok(Program { path, version, environment: Vec::new() })
}

/// The folder with an installed package. It is not a virtual environment: that needs one more
/// package of the distribution, and cannot be moved to its final place when it is complete.
fn installed(lab: &Lab, machine: &Host, package: &str) -> Result<PathBuf> {
    let entry = format!("tools/{}", package.replace("==", "-"));
    lab.cache.entry(&entry, |folder| {
        let step = Step::start(&format!("installing {package}"), Unit::None, 0);
        let mut pip = pip(machine).context("find a python3 with pip")?;
        pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        pip.arg("--target").arg(folder).arg(package);
        process::read(&mut pip).with_context(|| format!("install {package}"))?;
        step.finish();
        Ok(())
    })
}

/// The first Python that has pip, which the distribution's own may lack.
fn pip(machine: &Host) -> Option<Command> {
    let pythons = [machine.which("python3"), Some(machine.file("/usr/bin/python3"))];
    pythons.into_iter().flatten().find_map(|python| {
        let command = || {
            let mut command = machine.command(&python);
            command.args(["-m", "pip"]);
            command
        };
        process::read(command().arg("--version")).ok().map(|_| command())
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::Cache;
    use crate::context::Settings;
    use crate::host::pins::Pins;
    use crate::project::Project;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A machine whose only program is a Python that does this.
    fn machine(dir: &Path, python: &str) -> (Lab, Host) {
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("python3"), format!("#!/bin/sh\n{python}\n")).unwrap();
        fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
        let lab = Lab {
            root: dir.to_owned(),
            target: dir.join("target"),
            cache: Cache::at(dir.join("cache")),
            base: Pins::own().unwrap(),
            settings: Settings::default(),
            project: Project::none(),
        };
        let path = format!("{}:/usr/bin:/bin", bin.display());
        (lab, Host { path: path.into(), root: dir.to_owned() })
    }

    #[test]
    fn a_package_is_installed_once() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let python = format!(
            "[ \"$3\" = --version ] && exit 0\necho x >>{}\nmkdir \"$8/bin\"\necho \"$9\" >\"$8/bin/a\"",
            count.display()
        );
        let (lab, host) = machine(dir.path(), &python);
        for _ in 0..2 {
            let folder = installed(&lab, &host, "a-py==1.2").unwrap();
            assert_eq!(folder, dir.path().join("cache/tools/a-py-1.2"));
            assert_eq!(fs::read_to_string(folder.join("bin/a")).unwrap(), "a-py==1.2\n");
        }
        assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
    }

    #[test]
    fn a_package_that_cannot_be_installed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let python = "[ \"$3\" = --version ] && exit 0\necho ERROR: no network >&2\nexit 1";
        let (lab, host) = machine(dir.path(), python);
        let error = format!("{:#}", installed(&lab, &host, "a==1").unwrap_err());
        assert!(error.contains("install a==1") && error.contains("no network"), "{error}");
        assert!(!lab.cache.path("tools/a-1").exists());
        let (lab, host) = machine(dir.path(), "exit 1");
        let error = installed(&lab, &host, "a==1").unwrap_err().to_string();
        assert!(error.contains("find a python3 with pip"), "{error}");
    }
}
