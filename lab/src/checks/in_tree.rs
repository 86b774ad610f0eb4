// SPDX-License-Identifier: GPL-2.0

//! Builds inside a kernel tree: the code where it will be upstream, as a module, as a part of the
//! kernel, and without options of which a kernel may have none. Warnings are errors.
//!
//! Neither tree nor finished build is copied as a whole. In a mount namespace of its own, make sees
//! our files laid over the source, and a folder of ours over the build, which begins with what the
//! finished one has of objects that the code is built with. The names stay the same, and so make finds
//! these objects up to date. No kernel is linked.
//!
//! What was built without an error is not built again until something of it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;
use vmlab::run::files;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::kconfig::Config;
use crate::build::modules;
use crate::build::pipeline::Prepared;
use crate::build::wiring::{self, Files};
use crate::context::Lab;
use crate::host::toolchain::Toolchain;
use crate::project::{InTree, InTreeBuild};

/// What of a finished build others begin with: all that `make prepare` makes.
const BEGIN_WITH: [&str; 8] =
    [".config", "Makefile", "arch", "include", "rust", "scripts", "source", "tools"];

/// Runs a command with the folder `$1` laid over the source `$2`, and `$3` in place of the build `$4`.
const LAID_OVER: &str = "mount -t overlay overlay -o lowerdir=\"$1:$2\" \"$2\" && \
     mount --bind \"$3\" \"$4\" && shift 4 && exec \"$@\"";

/// Has the key of what was built without an error.
const PASSED: &str = "passed";

/// Makes all builds of the project.
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
    write(&over, &files)?;
    let tree = Tree { lab, base, tools: &tools, over: &over };
    if let Err(error) = tree.run(&root, Command::new("true"), "in-tree-mount") {
        let why = format!("this machine does not let it lay folders over others: {error:#}");
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
        // What the first one has compiled serves the others.
        let seed = if at == 0 { &base.kernel.build } else { &folders[0] };
        let done = tree.build(build, in_tree, &folders[at], seed);
        let done = done.and_then(|()| files::write_whole(&folders[at].join(PASSED), &keys[at]));
        step.finish();
        checks.push(TestReport::of(name(build), done));
    }
    Ok(checks)
}

/// A name for a folder.
fn slug(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// Changes when anything does that a build is made of. The kernel's is in the folder already.
fn key(files: &Files, base: &Prepared, in_tree: &InTree, build: &InTreeBuild) -> String {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (path, text) in files {
        parts.extend([path.as_os_str().as_encoded_bytes().to_vec(), text.clone()]);
    }
    parts.extend(base.tools.key_parts().into_iter().map(String::into_bytes));
    parts.push(in_tree.target.clone().into_bytes());
    parts.extend(build.config.iter().map(|option| option.clone().into_bytes()));
    files::key(parts)
}

/// Makes `folder` one with these files and no others. Times of those that stay the same stay, too: make
/// judges by them.
fn write(folder: &Path, files: &Files) -> Result<()> {
    files::make_dir(folder)?;
    for path in crate::checks::house_rules::files(folder)? {
        if !files.contains_key(path.strip_prefix(folder).unwrap_or(&path)) {
            files::remove_file(&path)?;
        }
    }
    for (name, text) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|have| have == *text) {
            continue;
        }
        files::make_dir(path.parent().unwrap_or(folder))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// A kernel tree with our files in it.
struct Tree<'a> {
    lab: &'a Lab,
    base: &'a Prepared,
    tools: &'a Toolchain,
    over: &'a Path,
}

impl Tree<'_> {
    /// Runs a command where `build` is in place of the finished build.
    fn run(&self, build: &Path, command: Command, log: &str) -> Result<()> {
        let kernel = &self.base.kernel;
        let mut outer = self.tools.machine.command("unshare");
        outer.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            outer.arg("--map-root-user");
        }
        outer.args(["sh", "-c", LAID_OVER, "sh"]);
        outer.arg(self.over).arg(&kernel.source).arg(build).arg(&kernel.build);
        outer.arg(command.get_program()).args(command.get_args());
        self.tools.environment(&mut outer);
        process::logged(outer, &self.lab.log(log), |_| ())
    }

    fn make(&self, targets: &[&str]) -> Command {
        let kernel = &self.base.kernel;
        let mut make = Command::new("make");
        make.arg(format!("-j{}", self.lab.settings.jobs)).args(&self.tools.make_args);
        make.arg("-C").arg(&kernel.source).arg(format!("O={}", kernel.build.display()));
        make.args(self.base.variant.make_args());
        make.args(["LOCALVERSION=", "KBUILD_BUILD_USER=lab", "KBUILD_BUILD_HOST=lab"]);
        make.arg("KBUILD_BUILD_TIMESTAMP=1970-01-01");
        // Otherwise an object with a warning would be kept, and skipped next time.
        make.args(["W=1", "CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "KCFLAGS=-Werror"]);
        make.args(targets);
        make
    }

    fn build(
        &self,
        build: &InTreeBuild,
        in_tree: &InTree,
        folder: &Path,
        seed: &Path,
    ) -> Result<()> {
        let log = format!("in-tree-{}", slug(&build.name));
        if !folder.join(".config").exists() {
            begin(folder, seed)?;
        }
        let config = folder.join(".config");
        let finished = self.base.kernel.build.join(".config");
        let text = fs::read_to_string(&finished)
            .with_context(|| format!("read {}", finished.display()))?;
        // Of two lines for an option, the last one counts.
        let own: String = build.config.iter().map(|it| format!("CONFIG_{it}\n")).collect();
        fs::write(&config, text + &own).with_context(|| format!("write {}", config.display()))?;
        self.run(folder, self.make(&["olddefconfig"]), &log).context("configure")?;
        check(&build.config, &Config::read(&config)?)?;
        self.run(folder, self.make(&["prepare"]), &log)?;
        if build.config.last().is_some_and(|option| !option.ends_with("=n")) {
            self.run(folder, self.make(&[&in_tree.target]), &log)?;
        }
        Ok(())
    }
}

/// Makes a folder of what a build has that others can go on with. It is whole or absent: make would take
/// half an object for one.
fn begin(folder: &Path, seed: &Path) -> Result<()> {
    let new = folder.with_extension("new");
    for dir in [&new, folder] {
        files::remove_dir(dir)?;
    }
    files::make_dir(&new)?;
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "-t"]).arg(&new);
    cp.args(BEGIN_WITH.iter().map(|name| seed.join(name)).filter(|path| path.exists()));
    process::read(&mut cp).with_context(|| format!("copy {}", seed.display()))?;
    fs::rename(&new, folder).with_context(|| format!("rename to {}", folder.display()))
}

/// Whether the configuration is what was asked for: Kconfig drops what an option's dependencies do not
/// allow without a word.
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
    fn files_that_stay_the_same_keep_their_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| (PathBuf::from(name), text.as_bytes().to_vec());
        write(dir.path(), &[file("a/x.rs", "1"), file("b.rs", "1"), file("c.rs", "1")].into())
            .unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        for name in ["a/x.rs", "b.rs", "c.rs"] {
            let file = fs::File::options().append(true).open(dir.path().join(name)).unwrap();
            file.set_modified(old).unwrap();
        }
        write(dir.path(), &[file("a/x.rs", "1"), file("b.rs", "2")].into()).unwrap();
        let time = |name: &str| fs::metadata(dir.path().join(name)).unwrap().modified().unwrap();
        assert_eq!(time("a/x.rs"), old);
        assert!(time("b.rs") > old);
        assert!(!dir.path().join("c.rs").exists());
    }

    #[test]
    fn a_build_begins_with_what_another_has_made_but_not_with_its_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let (seed, folder) = (dir.path().join("seed"), dir.path().join("build"));
        fs::create_dir_all(seed.join("rust")).unwrap();
        fs::create_dir_all(seed.join("net")).unwrap();
        for name in [".config", "rust/kernel.o", "net/dev.o", "vmlinux"] {
            fs::write(seed.join(name), name).unwrap();
        }
        fs::create_dir_all(folder.join("rust")).unwrap();
        fs::write(folder.join("rust/old.o"), "").unwrap();
        begin(&folder, &seed).unwrap();
        assert_eq!(fs::read_to_string(folder.join("rust/kernel.o")).unwrap(), "rust/kernel.o");
        for name in ["net", "vmlinux", "rust/old.o"] {
            assert!(!folder.join(name).exists(), "{name}");
        }
    }

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
