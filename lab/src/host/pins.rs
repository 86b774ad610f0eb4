// SPDX-License-Identifier: GPL-2.0

//! The pinned base kernel and tool versions: the lab's own, or those of a project.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The lab's own pins.
const OWN: &str = include_str!("../../pins.toml");

/// The content of `pins.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    pub kernel: KernelPin,
    /// Rust tools.
    pub rust: RustPin,
    /// Compiler and linker.
    pub llvm: LlvmPin,
    /// The emulator.
    pub qemu: QemuPin,
    /// Programs that check patches.
    #[serde(default)]
    pub linters: LinterPins,
    /// Packages of the distribution.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// Programs that check patches: packages of Python, by the name of the program.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct LinterPins(pub BTreeMap<String, String>);

/// Where the kernel source comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelPin {
    /// Debian suite.
    pub suite: String,
    /// The package with the source tarball.
    pub package: String,
    pub version: String,
    /// The upstream commit of this version, if somebody has filled it in.
    pub commit: Option<String>,
    /// How many objects a first build makes, for its progress line.
    pub objects: u64,
    /// URIs of Debian archives that keep versions which the suite no longer has.
    #[serde(default)]
    pub archives: Vec<String>,
    /// Tarballs of the same version, for when no archive has it.
    #[serde(default, rename = "tarball")]
    pub tarballs: Vec<TarballPin>,
}

/// A tarball of a kernel tree.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TarballPin {
    pub uri: String,
    pub sha256: String,
}

/// Rust tools of the kernel build.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RustPin {
    /// Oldest rustc that works.
    pub rustc_min: String,
    /// Package with the sources of the standard library.
    pub src_package: String,
    /// The suites that have it, in the order to try.
    pub src_suites: Vec<String>,
    /// Oldest bindgen that works.
    pub bindgen_min: String,
    /// The bindgen to install if there is none.
    pub bindgen: String,
}

/// Compiler and linker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlvmPin {
    /// Oldest LLVM that works.
    pub min: String,
    /// The major version to install if there is none.
    pub major: u32,
}

/// The emulator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuPin {
    /// Oldest QEMU that works.
    pub min: String,
}

/// A package, and how to see that it is installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name of the package.
    pub apt: String,
    /// A program in it.
    pub program: Option<String>,
    /// A file in it, for packages without a program.
    pub file: Option<String>,
    /// Why it is needed.
    pub why: String,
}

impl Pins {
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
        number(&self.kernel.version)
    }
}

/// `7.3.4` of `7.3.4-1~bpo13+1`.
pub fn number(version: &str) -> &str {
    version.split_once('-').map_or(version, |(number, _)| number)
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
