// SPDX-License-Identifier: GPL-2.0

//! The programs that run in the guest: PID 1, the project's packages, and selftests in C.
//!
//! They are linked statically: the guest has no C library before the host's root is mounted, and a
//! selftest must not depend on the host's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use vmlab::run::files;
use vmlab::run::job::Test;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::pipeline::Prepared;
use crate::context::Lab;
use crate::host::disk;
use crate::host::toolchain::Toolchain;

/// The guest's PID 1. It is part of the lab's program, so that the lab works without its checkout.
const INIT: &[u8] = include_bytes!(env!("LAB_GUEST_INIT"));

/// Statically linked programs.
#[derive(Debug, Clone)]
pub struct GuestPrograms {
    /// The path of PID 1.
    pub init: PathBuf,
    pub selftests: Vec<PathBuf>,
    /// Programs for the guest's PATH.
    pub tools: Vec<PathBuf>,
}

/// Builds all of them, unless nothing has changed.
pub fn build(lab: &Lab, base: &Prepared) -> Result<GuestPrograms> {
    let step = Step::start("building guest programs", Unit::None, 0);
    let init = init(lab)?;
    let project = &lab.project.selftests;
    let mut guest = GuestPrograms { init, selftests: Vec::new(), tools: Vec::new() };
    let packages: Vec<&str> =
        project.packages.iter().chain(&project.tools).map(String::as_str).collect();
    if !packages.is_empty() {
        for (package, program) in rust(lab, &base.tools, &packages)? {
            if project.packages.contains(&package) {
                guest.selftests.push(program);
            } else if project.tools.contains(&package) {
                guest.tools.push(program);
            }
        }
    }
    if !project.folders.is_empty() {
        let folders = project.folders.iter().map(|folder| lab.root.join(folder));
        guest.selftests.extend(in_c(lab, base, folders, &lab.selftests()?)?);
    }
    step.finish();
    Ok(guest)
}

/// Writes PID 1 to a file for the guest's archive.
pub fn init(lab: &Lab) -> Result<PathBuf> {
    let path = lab.target.join("guest/vmlab-init");
    if fs::read(&path).is_ok_and(|have| have == INIT) {
        return Ok(path);
    }
    files::make_dir(&lab.target.join("guest"))?;
    fs::write(&path, INIT)
        .map_err(|error| disk::explain(error.into(), &lab.target))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Builds packages of the project's workspace. Returns package and path of every program.
fn rust(lab: &Lab, tools: &Toolchain, packages: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let log = lab.log("guest");
    let mut messages = Vec::new();
    process::logged(cargo(lab, tools, packages), &log, |line| messages.push(line.to_owned()))
        .map_err(|error| explain(error, &messages, &log))
        .map_err(|error| disk::explain(error, &lab.target))
        .context("build the guest programs")?;
    Ok(executables(&messages))
}

fn cargo(lab: &Lab, tools: &Toolchain, packages: &[&str]) -> Command {
    let mut cargo = tools.machine.command("cargo");
    tools.environment(&mut cargo);
    // CC is the compiler for the kernel, and not for user space.
    cargo.env_remove("CC");
    // Since there is a --target, these flags do not apply to build scripts and macros.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo
        .args(["build", "--profile", "guest", "--message-format", "json"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--target-dir"])
        .arg(lab.target.join("guest"))
        .arg("--manifest-path")
        .arg(lab.root.join("Cargo.toml"));
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo
}

/// Reads package and path of every program from cargo's messages.
fn executables(messages: &[String]) -> Vec<(String, PathBuf)> {
    messages
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let path = message["executable"].as_str()?.to_owned();
            Some((package(message["package_id"].as_str()?)?, PathBuf::from(path)))
        })
        .collect()
}

/// The name in a package id: `URL#NAME@VERSION`, or `URL/NAME#VERSION`.
fn package(id: &str) -> Option<String> {
    let (url, end) = id.split_once('#')?;
    match end.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => url.rsplit('/').next().map(str::to_owned),
    }
}

/// Compiles each test with a NAME.c in one of these folders.
pub fn in_c(
    lab: &Lab,
    base: &Prepared,
    folders: impl Iterator<Item = PathBuf>,
    tests: &[Test],
) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for folder in folders {
        for test in tests {
            let source = folder.join(format!("{}.c", test.name));
            if source.is_file() {
                programs.push(compile(lab, base, &source)?);
            }
        }
    }
    Ok(programs)
}

/// Compiles a selftest in C. It finds `kselftest.h` in the same place as those in the kernel tree.
pub fn compile(lab: &Lab, base: &Prepared, source: &Path) -> Result<PathBuf> {
    let name = source.file_stem().context("a source without a name")?;
    let folder = lab.target.join("guest/c");
    files::make_dir(&folder)?;
    let program = folder.join(name);
    let selftests = base.kernel.source.join("tools/testing/selftests");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-static", "-D_GNU_SOURCE", "-I"]).arg(selftests);
    cc.arg(source).arg("-o").arg(&program);
    process::read(&mut cc).with_context(|| format!("compile {}", source.display()))?;
    Ok(program)
}

/// Makes a readable error from cargo's messages, which are JSON here.
fn explain(error: anyhow::Error, messages: &[String], log: &Path) -> anyhow::Error {
    let rendered: Vec<String> = messages
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["message"]["level"] == "error")
        .filter_map(|message| Some(message["message"]["rendered"].as_str()?.to_owned()))
        .collect();
    if rendered.is_empty() {
        return error;
    }
    anyhow::anyhow!("log in {}:\n{}", log.display(), process::excerpt(&rendered.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart_by_their_package() {
        let messages = [
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/tests#my-tests@0.1.0","executable":"/t/stress"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/tools/ctl#0.1.0","executable":"/t/ctl"}"#,
            r#"{"reason":"compiler-artifact","package_id":"registry+https://r/#libc@1.0.0","executable":null}"#,
            "   Compiling libc",
        ]
        .map(str::to_owned);
        let want =
            [("my-tests".to_owned(), "/t/stress".into()), ("ctl".to_owned(), "/t/ctl".into())];
        assert_eq!(executables(&messages), want);
    }

    #[test]
    fn a_compiler_error_is_shown_as_rustc_words_it() {
        let messages =
            [r#"{"reason":"compiler-message","message":{"level":"error","rendered":"error[E0308]: mismatched types\n --> a.rs:1\n"}}"#.to_owned()];
        let text = explain(anyhow::anyhow!("cargo failed"), &messages, Path::new("/l")).to_string();
        assert_eq!(text, "log in /l:\n  error[E0308]: mismatched types\n   --> a.rs:1");
    }
}
