// SPDX-License-Identifier: GPL-2.0

//! Generates C code from the netlink specification with the kernel's ynl tool, and checks that the
//! code in the repository is the same.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::process;
use xshell::cmd;

use crate::context::Lab;
use crate::host::machine::Host;
use crate::project::{self, Generated, Netlink};

/// The folder of specifications in a kernel tree. The tool writes this path into its output, and
/// looks for its schema there.
const IN_TREE: &str = "Documentation/netlink/specs";
const SCHEMA: &str = "Documentation/netlink/genetlink.yaml";
const TOOL: &str = "tools/net/ynl/pyynl/ynl_gen_c.py";
/// The distribution's Python, since its packages have the modules that the tool needs.
const PYTHON: &str = "/usr/bin/python3";

/// Variables by which programs in the guest find the tool and the specification.
pub fn environment(lab: &Lab, kernel: &Kernel) -> Vec<(String, String)> {
    let path = |name: &str, path: &Path| (name.to_owned(), path.to_string_lossy().into_owned());
    let mut all = vec![path("KERNEL_SOURCE", &kernel.source)];
    all.extend(lab.project.netlink.iter().map(|netlink| {
        path("NETLINK_SPEC", &lab.root.join(&netlink.folder).join(&netlink.specification))
    }));
    all
}

/// Generates the files again and writes them.
pub fn generate(lab: &Lab, kernel: &Kernel) -> Result<()> {
    let Some(netlink) = &lab.project.netlink else {
        bail!("{} has no section [netlink]", project::FILE)
    };
    let folder = lab.root.join(&netlink.folder);
    let made = Made::new(netlink, &folder, kernel)?;
    for file in &netlink.files {
        let to = folder.join(&file.path);
        fs::copy(made.path(file), &to).with_context(|| format!("write {}", to.display()))?;
    }
    Ok(())
}

/// Checks that the files match the specification.
pub fn check(lab: &Lab, netlink: &Netlink, kernel: &Kernel) -> Result<()> {
    let folder = lab.root.join(&netlink.folder);
    let made = Made::new(netlink, &folder, kernel)?;
    for file in &netlink.files {
        let path = folder.join(&file.path);
        let have = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let want = fs::read_to_string(made.path(file)).context("read what was generated")?;
        if have != want {
            let specification = netlink.specification.display();
            bail!("{} does not match {specification}: run `lab netlink`", path.display());
        }
    }
    Ok(())
}

/// The generated files, in a folder that looks like a kernel tree to the tool.
struct Made(TempDir);

impl Made {
    fn new(netlink: &Netlink, folder: &Path, kernel: &Kernel) -> Result<Made> {
        let made = Made(tempfile::tempdir().context("make a scratch folder")?);
        let copy = |from: &Path, to: &Path| {
            let to = made.0.path().join(to);
            files::make_dir(to.parent().unwrap_or(&to))?;
            fs::copy(from, to).with_context(|| format!("copy {}", from.display()))
        };
        let name = netlink.specification.file_name().unwrap_or_default();
        let specification = Path::new(IN_TREE).join(name);
        copy(&folder.join(&netlink.specification), &specification)?;
        copy(&kernel.source.join(SCHEMA), Path::new(SCHEMA))?;
        // The tool finds the root of a tree by this file.
        copy(&kernel.source.join("MAINTAINERS"), Path::new("MAINTAINERS"))?;
        let shell = Host::this().shell(made.0.path())?;
        for file in &netlink.files {
            let to = made.path(file);
            files::make_dir(to.parent().unwrap_or(&to))?;
            let tool = kernel.source.join(TOOL);
            let (mode, specification) = (&file.mode, made.0.path().join(&specification));
            let what = if file.header { "--header" } else { "--source" };
            let tool =
                cmd!(shell, "{PYTHON} {tool} --mode {mode} {what} --spec {specification} -o {to}");
            process::read(&mut tool.into())
                .with_context(|| format!("generate {}", file.path.display()))?;
        }
        Ok(made)
    }

    fn path(&self, file: &Generated) -> PathBuf {
        self.0.path().join("made").join(&file.path)
    }
}
