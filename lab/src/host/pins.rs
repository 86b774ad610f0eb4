// SPDX-License-Identifier: GPL-2.0

//! The pinned base kernel and tool versions: the lab's own, or those of a project.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The lab's own, as in its checkout.
const OWN: &str = include_str!("../../pins.toml");

/// Everything that `pins.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The kernel source.
    pub kernel: KernelPin,
    /// Rust tools.
    pub rust: RustPin,
    /// Compiler and linker.
    pub llvm: LlvmPin,
    /// The emulator.
    pub qemu: QemuPin,
    /// Packages of the distribution.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// Where the kernel source comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelPin {
    /// Debian suite.
    pub suite: String,
    /// Package with the source tarball.
    pub package: String,
    /// Its exact version.
    pub version: String,
    /// Objects that a first build is expected to make; progress line only.
    pub objects: u64,
}

/// Rust tools of the kernel build.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RustPin {
    /// Oldest rustc that works.
    pub rustc_min: String,
    /// Package with the sources of the standard library.
    pub src_package: String,
    /// Suites to look for it.
    pub src_suites: Vec<String>,
    /// Oldest bindgen that works.
    pub bindgen_min: String,
    /// The bindgen to install when there is none.
    pub bindgen: String,
}

/// Compiler and linker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlvmPin {
    /// Oldest LLVM that works.
    pub min: String,
    /// The one to install when there is none.
    pub major: u32,
}

/// The emulator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuPin {
    /// Oldest QEMU that works.
    pub min: String,
}

/// A package, and how to see that it is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name of the package.
    pub apt: String,
    /// Program that it brings.
    pub program: Option<String>,
    /// File that it brings, for those without a program.
    pub file: Option<String>,
    /// What needs it.
    pub why: String,
}

impl Pins {
    /// The lab's own.
    pub fn own() -> Result<Pins> {
        toml::from_str(OWN).context("parse the lab's own pins.toml")
    }

    /// Reads a project's file.
    pub fn load(path: &Path) -> Result<Pins> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// The kernel's version number, such as `7.3.4`, without Debian's revision.
    pub fn kernel_number(&self) -> &str {
        let version = &self.kernel.version;
        version.split_once('-').map_or(version, |(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Pins {
        Pins::own().unwrap()
    }

    #[test]
    fn the_pin_in_the_repository_parses() {
        let base = here();
        assert!(base.kernel.version.starts_with(base.kernel_number()));
        assert!(base.kernel.package.starts_with("linux-source-"));
        assert!(base.kernel_number().starts_with(&base.kernel.package["linux-source-".len()..]));
    }

    #[test]
    fn every_package_can_be_recognised_when_installed() {
        for package in here().packages {
            assert!(
                package.program.is_some() != package.file.is_some(),
                "{}: exactly one of program and file",
                package.apt
            );
        }
    }
}
