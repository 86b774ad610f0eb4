// SPDX-License-Identifier: GPL-2.0

//! Builds inside a kernel tree, with the code where it will be upstream: as a module, built in, and
//! without optional kernel features. Warnings are errors.
//!
//! No kernel is linked. [`Overlay`] describes how the tree and its build folder are made.
//!
//! A build that passed is not repeated until one of its inputs changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;
use vmlab::run::files;
use vmlab::run::progress::{Step, Unit};

use crate::build::kconfig::Config;
use crate::build::modules;
use crate::build::overlay::{self, Laid, Overlay};
use crate::build::pipeline::Prepared;
use crate::build::wiring::{self, Files};
use crate::context::Lab;
use crate::project::{InTree, InTreeBuild};

/// The parts of a finished build that are copied to a new one: all that `make prepare` makes.
pub(super) const BEGIN_WITH: [&str; 8] =
    [".config", "Makefile", "arch", "include", "rust", "scripts", "source", "tools"];

/// The file with the key of the last build that passed.
const PASSED: &str = "passed";

/// Makes all builds that the project lists.
pub fn run(lab: &Lab, base: &Prepared) -> Result<Vec<TestReport>> {
    let Some(in_tree) = &lab.project.in_tree else { return Ok(Vec::new()) };
    let root = modules::output(lab, base, &format!("in-tree{}", base.variant.suffix()))?;
    let files = wiring::files(&lab.root, &lab.project, in_tree, &base.kernel.source)?;
    let name = |build: &InTreeBuild| format!("in a kernel tree: {}", build.name);
    let folders: Vec<PathBuf> = in_tree.builds.iter().map(|it| root.join(slug(&it.name))).collect();
    let keys: Vec<String> =
        in_tree.builds.iter().map(|it| key(&files, base, in_tree, it)).collect();
    let is_done =
        |at: usize| fs::read_to_string(folders[at].join(PASSED)).is_ok_and(|then| then == keys[at]);
    let old: Vec<usize> = (0..keys.len()).filter(|at| !is_done(*at)).collect();
    if old.is_empty() {
        return Ok(in_tree.builds.iter().map(|it| TestReport::of(name(it), Ok(()))).collect());
    }

    let tools = base.tools.clone().with_rust_src(lab)?;
    let over = root.join("over");
    let tree = Overlay { lab, base, tools: &tools, over };
    tree.lay(files.iter().map(|(path, text)| Laid {
        path,
        content: Some(text),
        executable: false,
    }))?;
    if let Err(error) = tree.works(&root) {
        let why = format!("{error:#}");
        let skipped = |it: &InTreeBuild| TestReport {
            name: name(it),
            result: TestResult::Skip,
            reason: why.clone(),
            ..TestReport::default()
        };
        return Ok(in_tree.builds.iter().map(skipped).collect());
    }
    let mut checks = Vec::new();
    for (at, build) in in_tree.builds.iter().enumerate() {
        if !old.contains(&at) {
            checks.push(TestReport::of(name(build), Ok(())));
            continue;
        }
        let why = if folders[at].join(PASSED).exists() { "something has changed" } else { "new" };
        let step = Step::start(
            &format!("building {} in a kernel tree ({why})", build.name),
            Unit::None,
            0,
        );
        // The other builds start from the objects of the first.
        let seed = if at == 0 { &base.kernel.build } else { &folders[0] };
        let done = make(&tree, build, in_tree, &folders[at], seed);
        let done = done.and_then(|()| files::write_whole(&folders[at].join(PASSED), &keys[at]));
        step.finish();
        checks.push(TestReport::of(name(build), done));
    }
    Ok(checks)
}

/// The target for make.
pub(super) fn target<'a>(in_tree: &'a InTree, build: &'a InTreeBuild) -> &'a str {
    build.target.as_deref().unwrap_or(&in_tree.target)
}

/// The name of a build as the name of a folder.
pub(super) fn slug(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// A key that changes with any input of a build. The kernel is not part of it, since the folder is
/// emptied when the kernel changes.
fn key(files: &Files, base: &Prepared, in_tree: &InTree, build: &InTreeBuild) -> String {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (path, text) in files {
        parts.extend([path.as_os_str().as_encoded_bytes().to_vec(), text.clone()]);
    }
    parts.extend(base.tools.key_parts().into_iter().map(String::into_bytes));
    parts.push(target(in_tree, build).to_owned().into_bytes());
    parts.extend(build.config.iter().map(|option| option.clone().into_bytes()));
    files::key(parts)
}

/// Arguments for make that turn warnings into errors. Otherwise make would keep an object with a
/// warning, and not compile it again next time.
pub(super) const STRICT: [&str; 4] =
    ["W=1", "CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "KCFLAGS=-Werror"];

/// Configures and makes one of the builds in this folder, which starts with parts of the build
/// `seed`.
pub(super) fn make(
    tree: &Overlay<'_>,
    build: &InTreeBuild,
    in_tree: &InTree,
    folder: &Path,
    seed: &Path,
) -> Result<()> {
    let log = tree.lab.log(&format!("in-tree-{}", slug(&build.name)));
    if !folder.join(".config").exists() {
        overlay::begin(folder, seed, BEGIN_WITH.iter().map(|name| seed.join(name)))?;
    }
    let run = |target: &str| {
        let args: Vec<&str> = STRICT.iter().copied().chain([target]).collect();
        tree.run(folder, &tree.make(&args), &log)
    };
    check(&build.config, &tree.configure(folder, &build.config, &STRICT, &log)?)?;
    run("prepare")?;
    if build.config.last().is_some_and(|option| !option.ends_with("=n")) {
        run(target(in_tree, build))?;
    }
    Ok(())
}

/// Checks that the options took effect: Kconfig silently drops an option with an unmet dependency.
fn check(wanted: &[String], config: &Config) -> Result<()> {
    for option in wanted {
        let (name, value) = option.split_once('=').context("an option is NAME=value")?;
        if config.value(name) != value {
            bail!("CONFIG_{name} is {}, not {value}", config.value(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_kconfig_has_dropped_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".config");
        fs::write(&path, "CONFIG_A=m\n# CONFIG_B is not set\n").unwrap();
        let config = Config::read(&path).unwrap();
        let ask = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|it| (*it).to_owned()).collect();
            check(&options, &config).map_err(|error| error.to_string())
        };
        assert_eq!(ask(&["A=m", "B=n", "C=n"]), Ok(()));
        assert_eq!(ask(&["A=m", "B=y"]), Err("CONFIG_B is n, not y".to_owned()));
    }
}
