// SPDX-License-Identifier: GPL-2.0

//! The C code that the kernel's ynl tool generates of the netlink specification:
//! made anew, and checked to be what is in the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::process;

use crate::context::Lab;

/// Where specification and generated code are.
const FOLDER: &str = "rust/rnetns/netlink";
const SPECIFICATION: &str = "rnetns.yaml";
/// Where the specification is in a kernel tree: the tool notes that in what it
/// writes, and looks for its schema beside.
const IN_TREE: &str = "Documentation/netlink/specs/rnetns.yaml";
const SCHEMA: &str = "Documentation/netlink/genetlink.yaml";
const TOOL: &str = "tools/net/ynl/pyynl/ynl_gen_c.py";
/// The distribution's own, for which it has the modules that the tool wants.
const PYTHON: &str = "/usr/bin/python3";

/// What is generated: its place, and what the tool is told.
const FILES: [(&str, &[&str]); 3] = [
    ("include/uapi/linux/rnetns.h", &["--mode", "uapi", "--header"]),
    ("rnetns_netlink_gen.h", &["--mode", "kernel", "--header"]),
    ("rnetns_netlink_gen.c", &["--mode", "kernel", "--source"]),
];

/// What the guest's programs find the tool and the specification by.
pub fn environment(lab: &Lab, kernel: &Kernel) -> Vec<(String, String)> {
    let specification = lab.root.join(FOLDER).join(SPECIFICATION);
    let path = |name: &str, path: &Path| (name.to_owned(), path.to_string_lossy().into_owned());
    vec![path("KERNEL_SOURCE", &kernel.source), path("NETLINK_SPEC", &specification)]
}

/// Writes the files of the repository anew.
pub fn generate(lab: &Lab, kernel: &Kernel) -> Result<()> {
    let folder = lab.root.join(FOLDER);
    let made = Made::new(&folder, kernel)?;
    for (file, _) in FILES {
        let to = folder.join(file);
        fs::copy(made.path(file), &to).with_context(|| format!("write {}", to.display()))?;
    }
    Ok(())
}

/// Whether they are what the specification says.
pub fn check(lab: &Lab, kernel: &Kernel) -> Result<()> {
    let folder = lab.root.join(FOLDER);
    let made = Made::new(&folder, kernel)?;
    for (file, _) in FILES {
        let path = folder.join(file);
        let have = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let want = fs::read_to_string(made.path(file)).context("read what was generated")?;
        if have != want {
            bail!("{} is not what {SPECIFICATION} says: run make netlink", path.display());
        }
    }
    Ok(())
}

/// What the tool has made, in a folder that looks to it like a kernel tree.
struct Made(TempDir);

impl Made {
    fn new(folder: &Path, kernel: &Kernel) -> Result<Made> {
        let made = Made(tempfile::tempdir().context("make a scratch folder")?);
        let copy = |from: &Path, to: &str| {
            let to = made.0.path().join(to);
            files::make_dir(to.parent().unwrap_or(&to))?;
            fs::copy(from, to).with_context(|| format!("copy {}", from.display()))
        };
        copy(&folder.join(SPECIFICATION), IN_TREE)?;
        copy(&kernel.source.join(SCHEMA), SCHEMA)?;
        // By this file it knows the top of a tree.
        copy(&kernel.source.join("MAINTAINERS"), "MAINTAINERS")?;
        for (file, args) in FILES {
            let to = made.path(file);
            files::make_dir(to.parent().unwrap_or(&to))?;
            let mut tool = Command::new(PYTHON);
            tool.arg(kernel.source.join(TOOL)).args(args);
            tool.arg("--spec").arg(made.0.path().join(IN_TREE)).arg("-o").arg(&to);
            process::read(&mut tool).with_context(|| format!("generate {file}"))?;
        }
        Ok(made)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join("made").join(file)
    }
}
