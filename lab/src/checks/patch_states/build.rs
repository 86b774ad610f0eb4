// SPDX-License-Identifier: GPL-2.0

//! Building the tree after a patch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::run::files;

use super::{Checked, State, States, What, lay};
use crate::build::overlay::{self, Overlay};
use crate::checks::in_tree;

/// Arguments for make, for other people's patches.
pub(super) const TOUCHED: [&str; 2] = ["W=1", "CLIPPY=1"];

impl States<'_> {
    /// Builds the code of the series. A warning that the base tree does not have is an error.
    pub fn build(&self, state: &State, name: &str) -> Result<Checked> {
        self.kept("build", state, |id| {
            let log = self.lab.log(&format!("series/{name}-{id}/build"));
            let made = match &self.what {
                What::Own { config, target, .. } => self.build_own(state, config, target, &log),
                What::Touched { targets, .. } => self.build_touched(state, targets, &log),
            };
            Ok((made, Some(log)))
        })
    }

    /// Makes each build that the project lists for a kernel tree: built in, and without optional
    /// kernel features.
    pub(super) fn variants(&self, state: &State) -> Result<Vec<(String, Checked)>> {
        let Some(in_tree) = &self.lab.project.in_tree else { return Ok(Vec::new()) };
        let overlay = self.overlay("variants");
        let folder = |slug: &str| self.root.join(format!("variant-{slug}"));
        let mut all = Vec::new();
        // The other builds start from the objects of the first.
        let mut seed = self.base.kernel.build.clone();
        for build in &in_tree.builds {
            let slug = in_tree::slug(&build.name);
            let check =
                format!("variant {} {}", in_tree::target(in_tree, build), build.config.join(" "));
            let done = self.kept(&check, state, |_| {
                lay(&overlay, state)?;
                let made = in_tree::make(&overlay, build, in_tree, &folder(&slug), &seed);
                let log = self.lab.log(&format!("in-tree-{slug}"));
                Ok((made.map(|()| "without a warning".to_owned()), Some(log)))
            })?;
            all.push((build.name.clone(), done));
            if all.len() == 1 && folder(&slug).exists() {
                seed = folder(&slug);
            }
        }
        Ok(all)
    }

    /// A folder for builds without a link step. It starts with all that `make prepare` makes.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        if !folder.join(".config").exists() {
            let seed = &self.base.kernel.build;
            overlay::begin(&folder, seed, in_tree::BEGIN_WITH.iter().map(|p| seed.join(p)))?;
        }
        Ok(folder)
    }

    fn build_own(
        &self,
        state: &State,
        config: &[String],
        target: &str,
        log: &Path,
    ) -> Result<String> {
        let overlay = self.overlay("strict");
        lay(&overlay, state)?;
        let folder = self.folder("strict")?;
        let on = self.configure(&overlay, state, &folder, config, &in_tree::STRICT, log)?;
        self.make(&overlay, &folder, &in_tree::STRICT, "prepare", log)?;
        if on {
            self.make(&overlay, &folder, &in_tree::STRICT, target, log)?;
        }
        let what = if on { "without a warning" } else { "without a warning; no module yet" };
        Ok(what.to_owned())
    }

    /// Builds a state in a folder where other states were built before. Returns the warnings of
    /// make.
    fn warnings(
        &self,
        overlay: &Overlay<'_>,
        folder: &Path,
        targets: &BTreeSet<String>,
        state: &State,
        log: &Path,
    ) -> Result<BTreeSet<String>> {
        lay(overlay, state)?;
        self.configure(overlay, state, folder, &[], &TOUCHED, log)?;
        let source = format!("{}/", self.base.kernel.source.display());
        let mut found = BTreeSet::new();
        for target in std::iter::once("prepare").chain(targets.iter().map(String::as_str)) {
            self.make(overlay, folder, &TOUCHED, target, log)?;
            let text = fs::read(log).with_context(|| format!("read {}", log.display()))?;
            found.extend(warnings(&String::from_utf8_lossy(&text), &source));
        }
        Ok(found)
    }

    fn build_touched(
        &self,
        state: &State,
        targets: &BTreeSet<String>,
        log: &Path,
    ) -> Result<String> {
        let overlay = self.overlay("touched");
        let file = self.root.join("warnings-of-the-base");
        // make does not repeat the warnings of files that it does not compile again. So the
        // warnings of the base tree are stored in a file.
        let of_base = State::nothing();
        let key = format!("{}\n{targets:?}", self.key("warnings", &of_base)?);
        let kept = fs::read_to_string(&file).unwrap_or_default();
        if !kept.starts_with(&key) {
            files::remove_dir(&self.root.join("touched"))?;
        }
        let folder = self.folder("touched")?;
        // For the same reason, the files of a build that failed or was interrupted must be compiled
        // again: to lay the base tree, and then the state again, gives all files of the state a new
        // time.
        let open = self.root.join("touched-without-a-pass");
        if open.exists() {
            lay(&overlay, &of_base)?;
        }
        files::write_whole(&open, "")?;
        let warnings =
            |state: &State, log: &Path| self.warnings(&overlay, &folder, targets, state, log);
        let old: BTreeSet<String> = match kept.strip_prefix(&key) {
            Some(lines) => lines.lines().map(str::to_owned).collect(),
            None => {
                let log = self.lab.log("series-build-base");
                let found = warnings(&of_base, &log).context("build the base")?;
                let lines: Vec<&str> = found.iter().map(String::as_str).collect();
                files::write_whole(&file, &format!("{key}\n{}", lines.join("\n")))?;
                found
            }
        };
        let new = warnings(state, log)?;
        let news: Vec<&str> = new.difference(&old).map(String::as_str).collect();
        if news.is_empty() {
            files::remove_file(&open)?;
            let all: Vec<&str> = targets.iter().map(String::as_str).collect();
            return Ok(format!("no new warning in {}", all.join(", ")));
        }
        bail!("new warnings:\n{}", news.join("\n"))
    }
}

/// The targets for make if these files have changed: their folders. For a header, the whole kernel,
/// since any file may include it. None for documents and tests.
pub(super) fn targets<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    for path in paths {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let top = path.split('/').next().unwrap_or_default();
        if ["Documentation", "tools", "samples", "scripts"].contains(&top) || folder.is_empty() {
            continue;
        }
        if top == "include" || folder.contains("/include/") {
            return BTreeSet::from(["vmlinux".to_owned()]);
        }
        // `make prepare` builds the kernel crate.
        let is_built = [".c", ".S", ".rs", ".h"].iter().any(|end| name.ends_with(end));
        if is_built && top != "rust" {
            targets.insert(format!("{folder}/"));
        }
    }
    targets
}

/// The warnings in a log of make for this tree, without line numbers, which patches change.
fn warnings(log: &str, source: &str) -> BTreeSet<String> {
    let log = log.replace(source, "");
    let mut found = BTreeSet::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((place, text)) = line.split_once(": warning: ") {
            let path = place.split(':').next().unwrap_or(place);
            found.insert(format!("{path}: {text}"));
        } else if line.starts_with("warning: ") && !line.ends_with(" emitted") {
            // rustc prints the place in the next line.
            let place = lines.peek().and_then(|next| next.trim().strip_prefix("--> "));
            let path = place.map_or("", |place| place.split(':').next().unwrap_or(place));
            found.insert(format!("{path}: {}", line.trim_start_matches("warning: ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_known_by_file_and_text() {
        let log = "\
  CC      net/ethernet/eth.o
/k/net/ethernet/eth.c:649:12: warning: unused variable 'n' [-Wunused-variable]
  649 | static int n;
warning: unused import: `kernel::alloc`
   --> /k/rust/kernel/net/x.rs:3:5
warning: 1 warning emitted
net/a.c: In function 'f':
net/a.c:7: warning: two
";
        let found = warnings(log, "/k/");
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "net/a.c: two",
                "net/ethernet/eth.c: unused variable 'n' [-Wunused-variable]",
                "rust/kernel/net/x.rs: unused import: `kernel::alloc`",
            ]
        );
        assert_eq!(warnings("  CC a.o\n", "/k/"), BTreeSet::new());
    }

    #[test]
    fn folders_with_changes_are_built_and_all_for_a_header() {
        let of = |paths: &[&str]| targets(paths.iter().copied()).into_iter().collect::<Vec<_>>();
        assert_eq!(
            of(&["net/ipv4/a.c", "net/ipv4/b.c", "net/core/c.rs"]),
            ["net/core/", "net/ipv4/"]
        );
        assert_eq!(of(&["net/ipv4/a.c", "include/net/a.h"]), ["vmlinux"]);
        assert_eq!(of(&["arch/x86/include/asm/a.h"]), ["vmlinux"]);
        assert_eq!(of(&["net/ipv4/a.h"]), ["net/ipv4/"]);
        let others = ["Documentation/a.c", "tools/testing/selftests/net/a.c", "MAINTAINERS"];
        assert!(of(&others).is_empty());
        assert!(of(&["rust/kernel/net/x.rs", "net/ipv4/Kconfig"]).is_empty());
    }
}
