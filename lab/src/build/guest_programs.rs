// SPDX-License-Identifier: GPL-2.0

//! The programs that run in the guest: its init, the selftests in Rust, and rnetnsctl.
//!
//! They are linked statically, since the guest has no C library of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::context::Lab;
use crate::host::disk;
use crate::host::toolchain::Toolchain;

/// The package with the guest's PID 1.
const INIT: &str = "vmlab-init";
/// The package with the selftests that are written in Rust.
const SELFTESTS: &str = "rnetns-selftests";
/// The package with the tool that the module's users have.
const TOOL: &str = "rnetnsctl";

/// Statically linked programs.
#[derive(Debug, Clone)]
pub struct Guest {
    /// PID 1.
    pub init: PathBuf,
    /// Programs of `selftests/src/bin/`.
    pub selftests: Vec<PathBuf>,
    /// What a user types.
    pub tools: Vec<PathBuf>,
}

/// Builds them all; nothing happens when nothing changed.
pub fn build(lab: &Lab, tools: &Toolchain) -> Result<Guest> {
    let step = Step::start("building guest programs", Unit::None, 0);
    let mut packages = vec![INIT];
    if lab.root.join("selftests/Cargo.toml").is_file() {
        packages.push(SELFTESTS);
    }
    if lab.root.join("tools/rnetnsctl/Cargo.toml").is_file() {
        packages.push(TOOL);
    }
    let log = lab.log("guest");
    let mut messages = Vec::new();
    process::logged(cargo(lab, tools, &packages), &log, |line| messages.push(line.to_owned()))
        .map_err(|error| explain(error, &messages, &log))
        .map_err(|error| disk::explain(error, &lab.target))
        .context("build the guest programs")?;
    step.finish();
    let programs = executables(&messages);
    let of = |package: &str| -> Vec<PathBuf> {
        let mine = programs.iter().filter(|(name, _)| name == package);
        mine.map(|(_, path)| path.clone()).collect()
    };
    let Some(init) = of(INIT).pop() else { bail!("cargo built no {INIT}, see {}", log.display()) };
    Ok(Guest { init, selftests: of(SELFTESTS), tools: of(TOOL) })
}

fn cargo(lab: &Lab, tools: &Toolchain, packages: &[&str]) -> std::process::Command {
    let mut cargo = tools.machine.command("cargo");
    tools.environment(&mut cargo);
    // A C compiler chosen for the kernel is none for user space.
    cargo.env_remove("CC");
    // With --target, so that build scripts and macros are not meant by it.
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

/// Package and path of every program that cargo reports.
fn executables(messages: &[String]) -> Vec<(String, PathBuf)> {
    messages
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let path = message["executable"].as_str()?.to_owned();
            let manifest = Path::new(message["manifest_path"].as_str()?);
            let package = match manifest.parent()?.file_name()?.to_str()? {
                "init" => INIT,
                "selftests" => SELFTESTS,
                "rnetnsctl" => TOOL,
                _ => return None,
            };
            Some((package.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

/// cargo's messages are JSON here; what it has to say about errors is in them.
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
            r#"{"reason":"compiler-artifact","manifest_path":"/p/qemu/init/Cargo.toml","executable":"/t/vmlab-init"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/p/selftests/Cargo.toml","executable":"/t/stress"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/p/tools/rnetnsctl/Cargo.toml","executable":"/t/rnetnsctl"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/r/libc/Cargo.toml","executable":null}"#,
            "   Compiling libc",
        ]
        .map(str::to_owned);
        let want = [
            (INIT.to_owned(), "/t/vmlab-init".into()),
            (SELFTESTS.to_owned(), "/t/stress".into()),
            (TOOL.to_owned(), "/t/rnetnsctl".into()),
        ];
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
