// SPDX-License-Identifier: GPL-2.0

//! Builds of a kernel tree in which some files are replaced.
//!
//! Neither the tree nor its finished build is copied as a whole. make runs in a mount namespace of
//! its own. There, an overlayfs with our files is mounted over the source, and a folder of ours is
//! mounted over the finished build. All paths stay the same, so objects that were copied from the
//! finished build count as up to date.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{CWD, FileType};
use vmlab::run::files;
use vmlab::run::process;

use crate::build::kconfig::Config;
use crate::build::pipeline::Prepared;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;

/// A script that mounts the folder `$1` over the source `$2`, and `$3` over the build `$4`, and
/// runs the command that follows.
const LAID_OVER: &str = "mount -t overlay overlay -o lowerdir=\"$1:$2\" \"$2\" && \
     mount --bind \"$3\" \"$4\" && shift 4 && exec \"$@\"";

/// What to do where such mounts fail, for messages.
pub const ALLOW: &str = "this machine does not allow overlay mounts: run as root, or allow user \
     namespaces (sysctl kernel.unprivileged_userns_clone=1, \
     kernel.apparmor_restrict_unprivileged_userns=0)";

/// A file of the overlay, by its path in the tree.
pub struct Laid<'a> {
    pub path: &'a Path,
    /// `None` hides the tree's own file.
    pub content: Option<&'a [u8]>,
    pub executable: bool,
}

/// A kernel tree with an overlay of our files.
pub struct Overlay<'a> {
    pub lab: &'a Lab,
    pub base: &'a Prepared,
    pub tools: &'a Toolchain,
    /// The folder with the files of the overlay.
    pub over: PathBuf,
}

impl Overlay<'_> {
    /// Makes these the files of the overlay, and removes all others.
    pub fn lay<'f>(&self, files: impl Iterator<Item = Laid<'f>>) -> Result<()> {
        fill(&self.over, &self.base.kernel.source, files)
    }

    /// Checks that this machine allows such mounts. The error says why not, and what to do.
    pub fn works(&self, scratch: &Path) -> Result<()> {
        self.run(scratch, &Command::new("true"), &self.lab.log("overlay")).context(ALLOW)
    }

    /// Runs a command with both mounts; `build` takes the place of the finished build.
    pub fn run(&self, build: &Path, command: &Command, log: &Path) -> Result<()> {
        let kernel = &self.base.kernel;
        let mut outer = self.tools.machine.command("unshare");
        outer.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            outer.arg("--map-root-user");
        }
        outer.args(["sh", "-c", LAID_OVER, "sh"]);
        outer.arg(&self.over).arg(&kernel.source).arg(build).arg(&kernel.build);
        outer.arg(command.get_program()).args(command.get_args());
        self.tools.environment(&mut outer);
        let program = command.get_program().to_string_lossy();
        // The error names the program that was asked for, and not `unshare`.
        process::logged(outer, log, |_| ())
            .map_err(|error| anyhow!("{}", format!("{error:#}").replacen("unshare", &program, 1)))
    }

    /// Configures a build like the finished one, with these options (NAME=value) on top. Returns
    /// the resulting configuration. `args` are arguments for make.
    pub fn configure(
        &self,
        folder: &Path,
        options: &[String],
        args: &[&str],
        log: &Path,
    ) -> Result<Config> {
        let finished = self.base.kernel.build.join(".config");
        let text = fs::read_to_string(&finished)
            .with_context(|| format!("read {}", finished.display()))?;
        // Of two lines for an option, the last one counts.
        let own: String = options.iter().map(|option| format!("CONFIG_{option}\n")).collect();
        let config = folder.join(".config");
        fs::write(&config, text + &own).with_context(|| format!("write {}", config.display()))?;
        let args: Vec<&str> = args.iter().copied().chain(["olddefconfig"]).collect();
        self.run(folder, &self.make(&args), log).context("configure")?;
        Config::read(&config)
    }

    /// The make command for this tree. Its output does not depend on the machine.
    pub fn make(&self, args: &[&str]) -> Command {
        let kernel = &self.base.kernel;
        let mut make = Command::new("make");
        make.arg(format!("-j{}", self.lab.settings.jobs)).args(&self.tools.make_args);
        make.arg("-C").arg(&kernel.source).arg(format!("O={}", kernel.build.display()));
        make.args(self.base.variant.make_args());
        make.args(["LOCALVERSION=", "KBUILD_BUILD_USER=lab", "KBUILD_BUILD_HOST=lab"]);
        make.arg("KBUILD_BUILD_TIMESTAMP=1970-01-01");
        make.args(args);
        make
    }
}

/// Fills a folder with these files and removes all others. Unchanged files keep their time, since
/// make compares times. A file that is no longer replaced becomes a new copy of the tree's own
/// file: the tree's file itself is older than objects that were made from its replacement.
fn fill<'f>(folder: &Path, tree: &Path, files: impl Iterator<Item = Laid<'f>>) -> Result<()> {
    files::make_dir(folder)?;
    let mut kept = BTreeSet::new();
    for Laid { path: name, content, executable } in files {
        kept.insert(name.to_owned());
        let path = folder.join(name);
        files::make_dir(path.parent().unwrap_or(folder))?;
        let Some(content) = content else {
            hide(&path)?;
            continue;
        };
        update(&path, content)?;
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))?;
    }
    remove_others(folder, tree, folder, &kept)
}

/// Writes a file, unless it has this content already.
fn update(path: &Path, content: &[u8]) -> Result<()> {
    if is_hidden(path) {
        files::remove_file(path)?;
    }
    if fs::read(path).is_ok_and(|have| have == content) {
        return Ok(());
    }
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

/// Removes all other files below a folder, or replaces them by copies of the tree's own.
fn remove_others(root: &Path, tree: &Path, folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    let what = || format!("read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(what)? {
        let entry = entry.with_context(what)?;
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path);
        if entry.file_type().with_context(what)?.is_dir() {
            remove_others(root, tree, &path, kept)?;
        } else if !kept.contains(name) {
            match fs::read(tree.join(name)) {
                Ok(own) => update(&path, &own)?,
                Err(_) => files::remove_file(&path)?,
            }
        }
    }
    Ok(())
}

/// Hides a file of the tree with overlayfs's whiteout, a character device.
fn hide(path: &Path) -> Result<()> {
    if is_hidden(path) {
        return Ok(());
    }
    files::remove_file(path)?;
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, rustix::fs::Mode::empty(), 0)
        .with_context(|| format!("hide {}", path.display()))
}

fn is_hidden(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device())
}

/// Copies parts of a build to a folder where another build continues. The folder is complete or
/// absent: make would take a half-copied object for a complete one.
pub fn begin(folder: &Path, seed: &Path, parts: impl Iterator<Item = PathBuf>) -> Result<()> {
    let new = folder.with_extension("new");
    for dir in [&new, folder] {
        files::remove_dir(dir)?;
    }
    files::make_dir(&new)?;
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "-t"]).arg(&new);
    cp.args(parts.filter(|path| path.exists()));
    process::read(&mut cp).with_context(|| format!("copy {}", seed.display()))?;
    fs::rename(&new, folder).with_context(|| format!("rename to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn filled(folder: &Path, files: &[(&str, Option<&str>)]) {
        let laid = files.iter().map(|(path, text)| Laid {
            path: Path::new(path),
            content: text.map(str::as_bytes),
            executable: false,
        });
        fill(folder, &folder.with_extension("tree"), laid).unwrap();
    }

    #[test]
    fn files_that_stay_the_same_keep_their_time() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), &[("a/x.rs", Some("1")), ("b.rs", Some("1")), (".c", Some("1"))]);
        let old = SystemTime::UNIX_EPOCH;
        for name in ["a/x.rs", "b.rs", ".c"] {
            let file = fs::File::options().append(true).open(dir.path().join(name)).unwrap();
            file.set_modified(old).unwrap();
        }
        filled(dir.path(), &[("a/x.rs", Some("1")), ("b.rs", Some("2"))]);
        let time = |name: &str| fs::metadata(dir.path().join(name)).unwrap().modified().unwrap();
        assert_eq!(time("a/x.rs"), old);
        assert!(time("b.rs") > old);
        assert!(!dir.path().join(".c").exists());
    }

    #[test]
    fn a_file_of_the_tree_that_is_seen_again_is_newer_than_what_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, over) = (dir.path().join("over.tree"), dir.path().join("over"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("a"), "the tree's").unwrap();
        filled(&over, &[("a", Some("ours"))]);
        filled(&over, &[]);
        assert_eq!(fs::read(over.join("a")).unwrap(), b"the tree's");
    }

    #[test]
    fn a_file_of_the_tree_is_hidden_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), &[("a", Some("1"))]);
        filled(dir.path(), &[("a", None)]);
        assert!(is_hidden(&dir.path().join("a")));
        filled(dir.path(), &[("a", Some("2"))]);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"2");
        filled(dir.path(), &[("a", None)]);
        filled(dir.path(), &[]);
        assert!(!dir.path().join("a").exists() && !is_hidden(&dir.path().join("a")));
    }
}
