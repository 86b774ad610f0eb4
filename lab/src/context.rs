// SPDX-License-Identifier: GPL-2.0

//! The context of every step: paths, and the user's settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use glob::Pattern;
use vmlab::boot::engine::{self, Engine};
use vmlab::boot::kernel::Kernel;
use vmlab::run::job::{self, Test, Work};

use crate::build::cache::Cache;
use crate::host::pins::Pins;
use crate::project::{self, Project};

/// The project, the cache and the settings of this run.
#[derive(Debug, Clone)]
pub struct Lab {
    /// The project's root; without a project, the current directory.
    pub root: PathBuf,
    /// The folder for results: `target/lab` of the project.
    pub target: PathBuf,
    /// The cache, which all projects of a user share.
    pub cache: Cache,
    pub base: Pins,
    pub settings: Settings,
    pub project: Project,
}

/// Settings for builds and guests, from the command line and from variables.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A kernel tree (directory or tarball) instead of the base kernel.
    pub ksrc: Option<PathBuf>,
    /// A finished kernel build.
    pub kbuild: Option<PathBuf>,
    /// `1`, a suffix such as `-19`, or a directory ending in a slash.
    pub llvm: Option<String>,
    /// The C compiler.
    pub cc: Option<String>,
    /// How many jobs at once.
    pub jobs: usize,
    /// Fragments of kernel configuration besides those of the project.
    pub config: Vec<PathBuf>,
    /// What runs the guests; by default, KVM where it works.
    pub engine: Option<Engine>,
    /// Memory of a guest in MiB.
    pub memory_mb: Option<u32>,
    /// The names of tests and checks that this run may skip.
    pub may_skip: Vec<Pattern>,
}

impl Settings {
    /// Whether the kernel is the lab's own. Only for that kernel the project lists the expected
    /// skips.
    pub fn own_kernel(&self) -> bool {
        self.ksrc.is_none() && self.kbuild.is_none()
    }
}

impl Lab {
    /// Finds the project that the current directory is in.
    pub fn find(settings: Settings) -> Result<Lab> {
        Lab::of(project::root_of(&here()?)?, settings)
    }

    /// Like [`Lab::find`], for commands that also work without a project.
    pub fn find_or_none(settings: Settings) -> Result<Lab> {
        let here = here()?;
        match project::root_of(&here) {
            Ok(root) => Lab::of(root, settings),
            Err(_) => Lab::without_project(here, settings),
        }
    }

    fn of(root: PathBuf, settings: Settings) -> Result<Lab> {
        let project = Project::load(&root)?;
        Ok(Lab {
            target: root.join("target/lab"),
            cache: Cache::of_user()?,
            base: pins(&project, &root)?,
            root,
            settings,
            project,
        })
    }

    /// The context without a project. Builds go to the cache, and not to the current directory.
    fn without_project(here: PathBuf, settings: Settings) -> Result<Lab> {
        let project = Project::none();
        let cache = Cache::of_user()?;
        let base = Pins::own()?;
        Ok(Lab { root: here, target: cache.path("out"), cache, base, settings, project })
    }

    /// What runs the guests.
    pub fn engine(&self) -> Result<engine::Choice> {
        engine::choose(self.settings.engine, &self.engine_cache())
    }

    /// Where it is remembered whether KVM works.
    pub fn engine_cache(&self) -> PathBuf {
        self.cache.path("engine")
    }

    /// Memory of a guest with this kernel, in MiB.
    pub fn guest_memory(&self, kernel: &Kernel) -> u32 {
        self.settings.memory_mb.unwrap_or(if kernel.debug { 2048 } else { 1024 })
    }

    /// The selftests of all the project's folders.
    pub fn selftests(&self) -> Result<Vec<Test>> {
        let mut tests: Vec<Test> = Vec::new();
        for folder in &self.project.selftests.folders {
            for test in job::selftests(&self.root.join(folder))? {
                if tests.iter().any(|have| have.name == test.name) {
                    bail!(
                        "two selftests are called {}: in the guest, they share a folder",
                        test.name
                    );
                }
                tests.push(test);
            }
        }
        if tests.is_empty() {
            bail!("{} names no selftests: there is nothing to run", project::FILE);
        }
        for pattern in &self.project.selftests.sequential {
            if !tests.iter().any(|test| job::fits(pattern, &test.name)) {
                bail!("{}: no selftest is called `{pattern}` (sequential)", project::FILE);
            }
        }
        Ok(tests)
    }

    /// Whether the processors of a guest for this work take turns: all its tests are listed as
    /// `sequential`.
    pub fn takes_turns(&self, work: &Work) -> bool {
        let sequential = |test: &Test| {
            let mut patterns = self.project.selftests.sequential.iter();
            patterns.any(|pattern| job::fits(pattern, &test.name))
        };
        matches!(work, Work::Tests(tests) if tests.iter().all(sequential))
    }

    /// A log file of this project.
    pub fn log(&self, name: &str) -> PathBuf {
        self.target.join("logs").join(format!("{name}.log"))
    }
}

fn here() -> Result<PathBuf> {
    std::env::current_dir().context("find the current directory")
}

fn pins(project: &Project, root: &Path) -> Result<Pins> {
    match &project.pins {
        Some(path) => Pins::load(&root.join(path)),
        None => Pins::own(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Selftests;
    use std::time::Duration;

    #[test]
    fn processors_take_turns_for_sequential_tests_alone() {
        let test = |name: &str| Test { name: name.into(), timeout: Duration::ZERO };
        let tests = |names: &[&str]| Work::Tests(names.iter().map(|name| test(name)).collect());
        let selftests = Selftests { sequential: vec!["a*.sh".into()], ..Selftests::default() };
        let lab = Lab {
            root: PathBuf::new(),
            target: PathBuf::new(),
            cache: Cache::at(PathBuf::new()),
            base: Pins::own().unwrap(),
            settings: Settings::default(),
            project: Project { selftests, ..Project::none() },
        };
        for (work, turns) in [
            (tests(&["ab.sh"]), true),
            (tests(&["race"]), false),
            (tests(&["ab.sh", "race"]), false),
            (Work::Shell, false),
            (Work::Command("ab.sh".into()), false),
        ] {
            assert_eq!(lab.takes_turns(&work), turns, "{work:?}");
        }
    }

    #[test]
    fn a_project_may_bring_its_own_pins() {
        let dir = tempfile::tempdir().unwrap();
        let own = include_str!("../pins.toml").replace("\"7.0\"", "\"7.5\"");
        std::fs::write(dir.path().join("p.toml"), own).unwrap();
        let project = Project { pins: Some("p.toml".into()), ..Project::none() };
        assert_eq!(pins(&project, dir.path()).unwrap().qemu.min, "7.5");
        assert_eq!(pins(&Project::none(), dir.path()).unwrap().qemu.min, "7.0");
    }
}
