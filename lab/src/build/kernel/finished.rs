// SPDX-License-Identifier: GPL-2.0

//! A finished kernel build of the user. It is checked and only read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::progress::say;

use super::{Variant, describe, fragments, strip};
use crate::build::kconfig::{Config, Wanted};
use crate::context::Lab;
use crate::host::places;
use crate::host::toolchain::Toolchain;

/// Checks the user's build, and returns it as a kernel.
pub(super) fn take(lab: &Lab, build: &Path, tools: &Toolchain, variant: Variant) -> Result<Kernel> {
    let shown = format!("KBUILD={}", build.display());
    let build = build.canonicalize().with_context(|| shown.clone())?;
    places::buildable(&build).with_context(|| shown.clone())?;
    check(&build, tools, variant).with_context(|| shown.clone())?;
    let source = source_of(&build).with_context(|| shown.clone())?;
    let image = lab.target.join("kbuild").join(files::key([build.display().to_string()]));
    files::make_dir(&image)?;
    let image = image.join("vmlinux.image");
    strip(&build.join("vmlinux"), &image, tools)?;
    say(&format!("using the kernel in {}", build.display()));
    let lacking = lacking(lab, &build, tools, variant)?;
    if !lacking.is_empty() {
        say(&format!(
            "note: it lacks options that the tests need, some may be skipped: {}",
            lacking.join(", ")
        ));
    }
    describe(build, source, image)
}

/// The options that a user's build lacks. An error if it cannot be used at all.
pub fn lacking(
    lab: &Lab,
    build: &Path,
    tools: &Toolchain,
    variant: Variant,
) -> Result<Vec<String>> {
    check(build, tools, variant)?;
    let config = Config::read(&build.join("include/config/auto.conf"))?;
    Ok(Wanted::read(&fragments(lab, variant))?.lacking(&config))
}

/// Checks that a build can be used, before anything is compiled.
fn check(build: &Path, tools: &Toolchain, variant: Variant) -> Result<()> {
    if !build.is_dir() {
        bail!("not a directory");
    }
    let auto = build.join("include/config/auto.conf");
    if !auto.exists() {
        bail!("not a finished kernel build (no include/config/auto.conf): build it first");
    }
    let config = Config::read(&auto)?;
    if !config.is_set("RUST") {
        bail!("built without Rust (CONFIG_RUST is not set): set it and build again, or use KSRC");
    }
    if !config.is_set("MODULES") {
        bail!("built without CONFIG_MODULES: no module can be loaded");
    }
    for file in ["rust/libkernel.rmeta", "rust/libcore.rmeta", "scripts/target.json"] {
        if !build.join(file).exists() {
            bail!(
                "it has CONFIG_RUST but no Rust metadata ({file} is missing), as distribution \
                 headers are: use a complete build directory, or KSRC"
            );
        }
    }
    same_tool(config.text("RUSTC_VERSION_TEXT"), &tools.versions.rustc, "rustc")?;
    same_tool(config.text("CC_VERSION_TEXT"), &tools.versions.cc, "compiler")?;
    for file in ["Module.symvers", "vmlinux"] {
        if !build.join(file).exists() {
            bail!("not a finished kernel build ({file} is missing): build it first");
        }
    }
    match (variant == Variant::UserMode, config.is_set("UML")) {
        (true, false) => bail!("no build with ARCH=um, which ENGINE=uml needs"),
        (false, true) => bail!("a build with ARCH=um: add ENGINE=uml"),
        _ => {}
    }
    if variant != Variant::UserMode && !config.is_set("PVH") {
        bail!("built without CONFIG_PVH, by which QEMU boots vmlinux: set it and build again");
    }
    Ok(())
}

fn same_tool(built_by: Option<&str>, have: &str, tool: &str) -> Result<()> {
    match built_by {
        Some(built_by) if built_by == have => Ok(()),
        Some(built_by) => bail!(
            "built by another {tool}: \"{built_by}\", while this is \"{have}\"; Rust metadata \
             and objects only fit the {tool} that made them, so build it again with this one"
        ),
        None => bail!("its configuration does not say which {tool} built it"),
    }
}

/// The source of a build directory: the directory itself, or the target of its link.
fn source_of(build: &Path) -> Result<PathBuf> {
    if build.join("Kconfig").exists() {
        return Ok(build.to_owned());
    }
    let link = build.join("source");
    link.canonicalize().with_context(|| format!("follow {}", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::host::machine::Host;
    use crate::host::toolchain::Versions;

    fn tools() -> Toolchain {
        Toolchain::for_tests(
            Host::this(),
            Versions {
                rustc: "rustc 1.95.0 (5 2026)".into(),
                cc: "clang version 19.1.7".into(),
                ..Versions::default()
            },
        )
    }

    /// A finished build with all that the check reads. Each case damages it.
    fn finished_build(dir: &Path) {
        for sub in ["include/config", "rust", "scripts"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        config(dir, "CONFIG_RUST=y\nCONFIG_MODULES=y\nCONFIG_PVH=y\n");
        let files = [
            "rust/libkernel.rmeta",
            "rust/libcore.rmeta",
            "scripts/target.json",
            "vmlinux",
            "Module.symvers",
        ];
        for file in files {
            fs::write(dir.join(file), "").unwrap();
        }
    }

    fn config(dir: &Path, options: &str) {
        let text = format!(
            "{options}CONFIG_RUSTC_VERSION_TEXT=\"rustc 1.95.0 (5 2026)\"\n\
             CONFIG_CC_VERSION_TEXT=\"clang version 19.1.7\"\n"
        );
        fs::write(dir.join("include/config/auto.conf"), text).unwrap();
    }

    #[test]
    fn a_complete_build_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        finished_build(dir.path());
        check(dir.path(), &tools(), Variant::Plain).unwrap();
    }

    #[test]
    fn a_build_of_no_use_says_why_in_a_sentence() {
        type Spoil = fn(&Path);
        let all = "CONFIG_RUST=y\nCONFIG_MODULES=y\n";
        let cases: [(Spoil, &str); 7] = [
            (
                |dir| fs::remove_file(dir.join("include/config/auto.conf")).unwrap(),
                "not a finished kernel build (no include/config/auto.conf)",
            ),
            (|dir| config(dir, "CONFIG_MODULES=y\n"), "built without Rust"),
            (|dir| config(dir, "CONFIG_RUST=y\n"), "built without CONFIG_MODULES"),
            (|dir| config(dir, "CONFIG_RUST=y\nCONFIG_MODULES=y\n"), "built without CONFIG_PVH"),
            (
                |dir| fs::remove_file(dir.join("rust/libkernel.rmeta")).unwrap(),
                "no Rust metadata (rust/libkernel.rmeta is missing), as distribution headers",
            ),
            (|dir| fs::remove_file(dir.join("vmlinux")).unwrap(), "(vmlinux is missing)"),
            (
                |dir| fs::remove_file(dir.join("Module.symvers")).unwrap(),
                "(Module.symvers is missing)",
            ),
        ];
        assert!(!all.contains("PVH"));
        for (spoil, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            finished_build(dir.path());
            spoil(dir.path());
            let error = check(dir.path(), &tools(), Variant::Plain).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_build_by_another_rustc_or_compiler_names_both() {
        let dir = tempfile::tempdir().unwrap();
        finished_build(dir.path());
        for (rustc, cc, want) in [
            (
                "rustc 1.94.0 (4 2026)",
                "clang version 19.1.7",
                "another rustc: \"rustc 1.95.0 (5 2026)\", while this is \"rustc 1.94.0",
            ),
            (
                "rustc 1.95.0 (5 2026)",
                "clang version 18.0.0",
                "another compiler: \"clang version 19.1.7\"",
            ),
        ] {
            let mut tools = tools();
            tools.versions.rustc = rustc.into();
            tools.versions.cc = cc.into();
            let error = check(dir.path(), &tools, Variant::Plain).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
