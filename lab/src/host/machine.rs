// SPDX-License-Identifier: GPL-2.0

//! Finding programs, and asking them for their version.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use vmlab::run::process;
use xshell::Shell;

use crate::host::answers;
use crate::host::version;

/// Where to look for programs and files: this machine, or a fake one of a test.
#[derive(Debug, Clone)]
pub struct Host {
    /// Directories with programs, in order.
    pub path: OsString,
    /// The root folder for the search for headers and libraries.
    pub root: PathBuf,
}

impl Host {
    /// This machine. System directories are searched even if the user's PATH lacks them, as
    /// Debian's default does.
    pub fn this() -> Host {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        for dir in ["/usr/sbin", "/sbin"] {
            if !std::env::split_paths(&path).any(|have| have == Path::new(dir)) {
                path.push(":");
                path.push(dir);
            }
        }
        Host { path, root: PathBuf::from("/") }
    }

    /// The same machine with `dir` searched first.
    pub fn with_first(&self, dir: &Path) -> Host {
        let mut path = dir.as_os_str().to_owned();
        path.push(":");
        path.push(&self.path);
        Host { path, root: self.root.clone() }
    }

    /// The path of the program `name`.
    pub fn which(&self, name: impl AsRef<OsStr>) -> Option<PathBuf> {
        let name = Path::new(name.as_ref());
        if name.components().count() > 1 {
            return executable(name).then(|| name.to_owned());
        }
        std::env::split_paths(&self.path).map(|dir| dir.join(name)).find(|path| executable(path))
    }

    /// A file or directory given by its absolute path.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A command that finds `program`, and the programs that it starts, on this machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let found = self.which(program.as_ref());
        let mut command = Command::new(found.as_deref().map_or(program.as_ref(), Path::as_os_str));
        command.env("PATH", &self.path);
        command
    }

    /// Builds commands that find their programs on this machine and run in `dir`.
    pub fn shell(&self, dir: &Path) -> Result<Shell> {
        let shell = Shell::new().context("find the current directory")?;
        shell.change_dir(dir);
        shell.set_var("PATH", &self.path);
        Ok(shell)
    }

    /// The first line that `program --version` prints.
    pub fn version_line(&self, program: &str) -> Result<String> {
        let words: Vec<&str> = self.words(program).collect();
        let files: Vec<PathBuf> = words.iter().filter_map(|word| self.which(word)).collect();
        let ask = || {
            let (first, others) = words.split_first().unwrap_or((&"", &[]));
            let text = process::read(self.command(first).args(others).arg("--version"))?;
            Ok(text.lines().next().unwrap_or_default().to_owned())
        };
        if files.len() < words.len() {
            // The name of a missing program, or an argument.
            return ask();
        }
        answers::remembered("--version", &files, ask)
    }

    /// The version number of `program`, if it exists and prints one.
    pub fn version(&self, program: &str) -> Option<String> {
        self.words(program).all(|word| self.which(word).is_some()).then_some(())?;
        version::find(&self.version_line(program).ok()?)
    }

    /// The words of a program: a compiler may be given with a program that calls it, as `ccache
    /// clang`.
    pub fn words<'a>(&self, program: &'a str) -> impl Iterator<Item = &'a str> {
        let whole = self.which(program).is_some();
        let end = |c: char| !whole && c.is_whitespace();
        program.split(end).filter(|word| !word.is_empty()).collect::<Vec<_>>().into_iter()
    }
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fake machine, with only the files that a test puts there.
    pub(crate) struct Fake {
        dir: tempfile::TempDir,
    }

    impl Fake {
        pub(crate) fn new() -> Fake {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("bin")).unwrap();
            Fake { dir }
        }

        /// Adds a program that runs a line of shell.
        pub(crate) fn script(&self, name: &str, line: &str) -> &Fake {
            let path = self.dir.path().join("bin").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            self
        }

        /// Adds a program that prints `version`, whatever its arguments are.
        pub(crate) fn program(&self, name: &str, version: &str) -> &Fake {
            self.script(name, &format!("echo '{version}'"))
        }

        /// Adds an empty file.
        pub(crate) fn file(&self, path: &str) -> &Fake {
            let path = self.machine().file(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
            self
        }

        pub(crate) fn machine(&self) -> Host {
            Host { path: self.dir.path().join("bin").into(), root: self.dir.path().to_owned() }
        }
    }

    #[test]
    fn only_the_given_path_is_searched() {
        let fake = Fake::new();
        fake.program("flex", "flex 2.6.4");
        assert_eq!(fake.machine().version("flex").as_deref(), Some("2.6.4"));
        assert_eq!(fake.machine().which("ls"), None);
    }

    #[test]
    fn a_compiler_may_be_called_by_another_program() {
        let fake = Fake::new();
        fake.script("ccache", "echo \"$*: clang version 19.1.7\"");
        assert_eq!(fake.machine().version("ccache my-clang"), None, "there is no my-clang");
        fake.program("my-clang", "");
        assert_eq!(fake.machine().version("ccache my-clang").as_deref(), Some("19.1.7"));
        let line = fake.machine().version_line("ccache my-clang").unwrap();
        assert_eq!(line, "my-clang --version: clang version 19.1.7");
    }

    #[test]
    fn a_file_that_is_not_executable_is_no_program() {
        let fake = Fake::new();
        fake.file("bin/bison");
        assert_eq!(fake.machine().which("bison"), None);
    }
}
