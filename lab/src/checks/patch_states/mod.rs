// SPDX-License-Identifier: GPL-2.0

//! Builds, boots and tests the tree after each patch of a series.
//!
//! In the project's own code, every warning is an error. For other people's patches, the folders
//! are built in which they change something, and only new warnings are errors.
//!
//! A result that passed is stored under a key that depends on the content of the tree alone. So a
//! tree that has passed is not tested again, even if its patch gets another message or another
//! place in the series.

mod as_checks;
mod boot;
mod build;
mod tree_tests;

pub use self::as_checks::{Boots, Builds, NotRun, Variants, not_there};

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use series::checks::{At, Subject};
use series::weave::{BASE, Mode, Number, Tree, Weave};
use vmlab::boot::engine::Choice;
use vmlab::run::files;
use vmlab::run::interrupt;

use crate::build::guest_programs::GuestPrograms;
use crate::build::kconfig::Config;
use crate::build::kernel;
use crate::build::modules;
use crate::build::overlay::{Laid, Overlay};
use crate::build::pipeline::{Built, Prepared};
use crate::checks::in_tree;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;

/// The state of the tree after a patch, as a difference to the base tree.
pub struct State {
    files: Tree,
    /// Files of the base tree that the patches have removed.
    gone: Vec<String>,
}

impl State {
    /// The state after the patch that a check looks at.
    pub fn at(at: &At<'_>) -> State {
        State { files: at.patch().tree.clone(), gone: at.gone() }
    }

    /// The state before all patches.
    fn nothing() -> State {
        State { files: Tree::new(), gone: Vec::new() }
    }

    /// The state after this patch.
    pub fn of(weave: &Weave, number: Number) -> State {
        let gone = weave
            .files()
            .filter(|(_, file)| file.mode(BASE).is_some() && file.mode(number).is_none());
        let gone = gone.map(|(path, _)| path.to_owned()).collect();
        State { files: weave.state(number), gone }
    }
}

/// How a check of a tree ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub passed: bool,
    /// A summary: the number of tests, or what is wrong.
    pub text: String,
    /// How long the check took when it was run.
    pub ms: u64,
    /// The log, if there is one.
    pub log: Option<PathBuf>,
    /// Tests that are not in this state of the tree, and so did not run.
    #[serde(skip)]
    pub absent: Vec<String>,
}

/// Builds and tests the states of a series.
pub struct States<'a> {
    lab: &'a Lab,
    base: &'a Prepared,
    tools: &'a Toolchain,
    what: What,
    guest: Built,
    engine: Choice,
    root: PathBuf,
    /// Arguments of make.
    flags: String,
    /// Stands for the guest's programs, which run and judge tests.
    programs: String,
    /// If set, only this test is run.
    only: Option<String>,
}

/// What to build and to run.
enum What {
    /// The project's code.
    Own {
        /// Options that switch the code on, in states whose Kconfig has them.
        config: Vec<String>,
        /// The target for make if the code is on.
        target: String,
        /// The folder of the tests in a kernel tree.
        selftests: Option<String>,
    },
    /// The folders that the patches change.
    Touched {
        targets: BTreeSet<String>,
        /// The tests, as paths in the tree.
        tests: Vec<String>,
    },
}

impl<'a> States<'a> {
    /// For patches from a tree or a mailbox, with these files of the tree as tests.
    pub fn of_anybody(
        lab: &'a Lab,
        base: &'a Prepared,
        tools: &'a Toolchain,
        guest: Built,
        subject: &Subject<'_>,
        tests: &[String],
    ) -> Result<States<'a>> {
        let last = subject.patches.last().map(|patch| &patch.tree);
        if let Some(path) = missing(tests, &base.kernel.source, last) {
            bail!(
                "--tests {path}: no such file in the tree or the patches: give its path in the tree"
            );
        }
        let paths = subject.patches.iter().flat_map(|patch| &patch.changes);
        let targets = build::targets(paths.map(|change| change.path.as_str()));
        let what = What::Touched { targets, tests: tests.to_vec() };
        States::new(lab, base, tools, guest, what)
    }

    fn new(
        lab: &'a Lab,
        base: &'a Prepared,
        tools: &'a Toolchain,
        guest: Built,
        what: What,
    ) -> Result<States<'a>> {
        let folder = match &what {
            What::Own { .. } => "series",
            What::Touched { .. } => "patches",
        };
        let own_flags = kernel::flags(lab, &base.kernel)?;
        let all = in_tree::STRICT.iter().chain(&build::TOUCHED).copied();
        let flags: Vec<&str> = all.chain([own_flags.as_str()]).collect();
        Ok(States {
            lab,
            base,
            tools,
            what,
            flags: flags.join(" "),
            programs: programs_key(&guest.guest)?,
            guest,
            engine: lab.engine()?,
            root: modules::output(lab, base, folder)?,
            only: None,
        })
    }

    /// For the project's own series.
    pub fn of_project(
        lab: &'a Lab,
        base: &'a Prepared,
        tools: &'a Toolchain,
        guest: Built,
    ) -> Result<States<'a>> {
        let series = &lab.project.series;
        let (config, target) = match (&series.target, &lab.project.in_tree) {
            (Some(target), _) => (series.config.clone(), target.clone()),
            (None, Some(in_tree)) => {
                let first = in_tree.builds.first().context("[in_tree] has no build")?;
                (first.config.clone(), in_tree.target.clone())
            }
            (None, None) => bail!(
                "lab.toml does not say what is built in a kernel tree: add `target` and `config` \
                 to [series]"
            ),
        };
        let selftests = lab.project.selftests.folders.first().and_then(|folder| {
            lab.project.upstream.get(folder).map(|there| there.to_string_lossy().into_owned())
        });
        States::new(lab, base, tools, guest, What::Own { config, target, selftests })
    }

    /// Restricts the tests to this one.
    pub fn only(self, test: &str) -> States<'a> {
        States { only: Some(test.to_owned()), ..self }
    }

    /// Whether a state has a file with this name among its tests.
    pub fn has_test(&self, state: &State, test: &str) -> bool {
        match &self.what {
            What::Own { selftests: Some(folder), .. } => {
                state.files.contains_key(&format!("{folder}/{test}"))
            }
            What::Own { selftests: None, .. } => false,
            What::Touched { tests, .. } => {
                let absent = absent(tests, &self.base.kernel.source, state);
                tests
                    .iter()
                    .any(|path| path.rsplit('/').next() == Some(test) && !absent.contains(path))
            }
        }
    }

    /// Checks that this machine can build states of a tree. The error says why not.
    pub fn possible(&self) -> Result<()> {
        let overlay = self.overlay("strict");
        files::make_dir(&overlay.over)?;
        overlay.works(&self.root)
    }

    fn overlay(&self, name: &str) -> Overlay<'_> {
        Overlay {
            lab: self.lab,
            base: self.base,
            tools: self.tools,
            over: self.root.join(format!("{name}-over")),
        }
    }

    /// Configures the kernel. Returns whether the series' code is on: it cannot be before the patch
    /// that adds its Kconfig options.
    fn configure(
        &self,
        overlay: &Overlay<'_>,
        state: &State,
        folder: &Path,
        config: &[String],
        flags: &[&str],
        log: &Path,
    ) -> Result<bool> {
        let now = overlay.configure(folder, config, flags, log)?;
        is_on(config, &now, &state.files)
    }

    fn make(
        &self,
        overlay: &Overlay<'_>,
        folder: &Path,
        flags: &[&str],
        target: &str,
        log: &Path,
    ) -> Result<()> {
        let args: Vec<&str> = flags.iter().copied().chain([target]).collect();
        overlay.run(folder, &overlay.make(&args), log)
    }

    /// Runs a check, or returns its stored result. Only a pass is stored, since a failure may have
    /// its cause in this machine.
    ///
    /// `run` is given a name for logs that no other state has: the number of a patch changes with
    /// the patches before it, and a stored result leads to its own log.
    fn kept(
        &self,
        check: &str,
        state: &State,
        run: impl FnOnce(&str) -> Result<(Result<String>, Option<PathBuf>)>,
    ) -> Result<Checked> {
        let key = self.key(check, state)?;
        let file = self.root.join("results").join(format!("{key}.json"));
        if let Ok(text) = fs::read(&file)
            && let Ok(ended) = serde_json::from_slice(&text)
        {
            return Ok(ended);
        }
        let start = Instant::now();
        let (result, log) = run(key.get(..8).unwrap_or(&key))?;
        // A check that was interrupted has no result.
        interrupt::check()?;
        let ms = start.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let passed = result.is_ok();
        let text = result.unwrap_or_else(|error| format!("{error:#}"));
        let ended = Checked { passed, text, ms, log, absent: Vec::new() };
        if passed {
            files::write_whole(&file, &serde_json::to_string(&ended)?)?;
        }
        Ok(ended)
    }

    /// A key that changes with any input of a check.
    fn key(&self, check: &str, state: &State) -> Result<String> {
        let mut parts: Vec<Vec<u8>> = vec![check.into()];
        match &self.what {
            What::Own { config, target, selftests } => {
                parts.push(target.clone().into());
                parts.extend(config.iter().map(|option| option.clone().into_bytes()));
                parts.push(format!("{selftests:?}").into_bytes());
            }
            What::Touched { targets, tests } => {
                parts.extend(targets.iter().chain(tests).map(|it| it.clone().into_bytes()));
            }
        }
        parts.extend(self.only.iter().map(|test| test.clone().into_bytes()));
        parts.push(self.flags.clone().into_bytes());
        // The parts of this program that its build script lists decide which warnings of a build count,
        // too.
        parts.push(env!("LAB_JUDGE").into());
        // A build runs nothing in a guest.
        if check == "test" {
            parts.push(self.programs.clone().into_bytes());
            parts.extend(self.lab.project.modules.load.iter().map(|it| it.clone().into_bytes()));
            parts.extend(self.tests_of_tree()?);
        }
        parts.push(self.base.kernel.build.as_os_str().as_encoded_bytes().to_vec());
        parts.extend(self.tools.key_parts().into_iter().map(String::into_bytes));
        for (path, blob) in &state.files {
            parts.push(path.clone().into_bytes());
            parts.push(format!("{:?}", blob.mode).into_bytes());
            parts.push(blob.content.clone());
        }
        parts.extend(state.gone.iter().map(|path| path.clone().into_bytes()));
        Ok(files::key(parts))
    }

    /// What is in the tree's own folders of the tests. The pinned tree never changes, and a user's
    /// may be edited.
    fn tests_of_tree(&self) -> Result<Vec<Vec<u8>>> {
        let What::Touched { tests, .. } = &self.what else { return Ok(Vec::new()) };
        if self.lab.settings.own_kernel() {
            return Ok(Vec::new());
        }
        let source = &self.base.kernel.source;
        let folders: BTreeSet<PathBuf> =
            tests.iter().filter_map(|test| Some(source.join(test).parent()?.to_owned())).collect();
        let mut all = Vec::new();
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            let found = files::walk(folder, |_, _| true)?.files;
            all.extend(found.iter().map(|path| path.as_os_str().as_encoded_bytes().to_vec()));
            all.extend(files::contents(&found)?);
        }
        Ok(all)
    }
}

/// Stands for the guest's programs, which run and judge tests.
fn programs_key(guest: &GuestPrograms) -> Result<String> {
    Ok(files::key(files::contents([&guest.init].into_iter().chain(&guest.tools))?))
}

/// The name with all characters replaced that are unusual in file names.
pub fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// The first of these tests that is neither in the tree nor in the patches.
fn missing<'t>(tests: &'t [String], source: &Path, last: Option<&Tree>) -> Option<&'t str> {
    let there = |path: &str| {
        source.join(path).is_file() || last.is_some_and(|tree| tree.contains_key(path))
    };
    tests.iter().map(String::as_str).find(|path| !there(path))
}

/// Those of the tests that are not in this state of the tree.
fn absent(tests: &[String], source: &Path, state: &State) -> Vec<String> {
    let there = |path: &&String| {
        state.files.contains_key(*path)
            || source.join(path).is_file() && !state.gone.contains(*path)
    };
    tests.iter().filter(|path| !there(path)).cloned().collect()
}

/// Makes a state the content of the overlay. Hides the tree's files that the state does not have.
fn lay(overlay: &Overlay<'_>, state: &State) -> Result<()> {
    let files = state.files.iter().map(|(path, blob)| Laid {
        path: Path::new(path),
        content: Some(&blob.content),
        executable: blob.mode == Mode::Executable,
    });
    let gone = state.gone.iter().map(|path| Laid {
        path: Path::new(path),
        content: None,
        executable: false,
    });
    overlay.lay(files.chain(gone))
}

/// Whether all of these options (NAME=value) are in effect. Kconfig drops one that it does not know, or
/// whose dependencies are off, without a word: an error if a Kconfig file of the patches has it.
fn is_on(options: &[String], now: &Config, files: &Tree) -> Result<bool> {
    let mut on = true;
    for (name, value) in options.iter().filter_map(|option| option.split_once('=')) {
        let have = now.value(name);
        if have == value {
            continue;
        }
        if let Some(path) = declares(files, name) {
            bail!(
                "CONFIG_{name} is `{have}` and not `{value}`, though {path} has it: is what it depends \
                 on switched off, or misspelt?"
            );
        }
        on = false;
    }
    Ok(on)
}

/// The Kconfig file that has an option.
fn declares<'f>(files: &'f Tree, option: &str) -> Option<&'f str> {
    let is_it = |line: &str| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("config" | "menuconfig")) && words.next() == Some(option)
    };
    let is_kconfig =
        |path: &str| path.rsplit('/').next().is_some_and(|it| it.starts_with("Kconfig"));
    files
        .iter()
        .filter(|(path, _)| is_kconfig(path))
        .find(|(_, blob)| String::from_utf8_lossy(&blob.content).lines().any(is_it))
        .map(|(path, _)| path.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use series::weave::Blob;

    #[test]
    fn other_guest_programs_are_another_judge() {
        let dir = tempfile::tempdir().unwrap();
        let guest = |init: &str, tool: &str| {
            let write = |name: &str, text: &str| {
                let path = dir.path().join(name);
                fs::write(&path, text).unwrap();
                path
            };
            let (init, tools) = (write("init", init), vec![write("tool", tool)]);
            programs_key(&GuestPrograms { init, selftests: Vec::new(), tools }).unwrap()
        };
        let first = guest("a", "b");
        assert_eq!(guest("a", "b"), first);
        assert_ne!(guest("c", "b"), first);
        assert_ne!(guest("a", "c"), first);
    }

    #[test]
    fn an_option_that_is_dropped_is_told_from_one_that_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join(".config");
        fs::write(&config, "CONFIG_A=m\n# CONFIG_B is not set\n").unwrap();
        let now = Config::read(&config).unwrap();
        let content = "config A\n\ttristate \"a\"\nconfig B\n\tdepends on NETFLTER\n".into();
        let files = Tree::from([("net/a/Kconfig".to_owned(), Blob { mode: Mode::Plain, content })]);
        let on = |option: &str, files: &Tree| is_on(&[option.to_owned()], &now, files);
        assert!(on("A=m", &files).unwrap());
        assert!(!on("B=m", &Tree::new()).unwrap() && !on("C=m", &files).unwrap());
        let error = on("B=m", &files).unwrap_err().to_string();
        assert!(error.contains("CONFIG_B is `n` and not `m`, though net/a/Kconfig"), "{error}");
    }

    #[test]
    fn a_test_that_is_nowhere_is_named() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("old.sh"), "").unwrap();
        let blob = Blob { mode: Mode::Plain, content: Vec::new() };
        let last = Tree::from([("new.sh".to_owned(), blob)]);
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            missing(&names, source.path(), Some(&last)).map(str::to_owned)
        };
        assert_eq!(of(&["old.sh", "new.sh"]), None);
        assert_eq!(of(&["old.sh", "odl.sh"]).as_deref(), Some("odl.sh"));
    }

    #[test]
    fn a_test_that_only_some_states_have_is_told_for_the_others() {
        let source = tempfile::tempdir().unwrap();
        for name in ["base.sh", "gone.sh"] {
            fs::write(source.path().join(name), "").unwrap();
        }
        let tests = ["base.sh", "gone.sh", "new.sh"].map(str::to_owned);
        let blob = Blob { mode: Mode::Plain, content: Vec::new() };
        let first = State { files: Tree::new(), gone: Vec::new() };
        let last = State {
            files: Tree::from([("new.sh".to_owned(), blob)]),
            gone: vec!["gone.sh".to_owned()],
        };
        assert_eq!(absent(&tests, source.path(), &first), ["new.sh"]);
        assert_eq!(absent(&tests, source.path(), &last), ["gone.sh"]);
    }
}
