// SPDX-License-Identifier: GPL-2.0

//! Builds, boots and tests the tree after each patch of a series.
//!
//! A result is kept by what it was made of. A tree that was seen before costs nothing, wherever it
//! is in a series now and whatever its patch says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use series::weave::{BASE, Mode, Number, Tree, Weave};
use vmlab::boot::accel::{self, Choice};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::vm;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::run::files;
use vmlab::run::job::{self, Budget, Job, Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::session;

use crate::build::guest_programs;
use crate::build::kernel;
use crate::build::modules;
use crate::build::overlay::{self, Laid, Overlay};
use crate::build::pipeline::{Built, Prepared};
use crate::checks::in_tree;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;

/// What is different in the tree after a patch.
pub struct State {
    files: Tree,
    /// Files of the tree that are not there any more.
    gone: Vec<String>,
}

impl State {
    /// After this patch.
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
    /// What was seen: the number of tests, or what is wrong.
    pub text: String,
    /// How long it took when it was made.
    pub ms: u64,
    /// The log, if there is one.
    pub log: Option<PathBuf>,
}

/// What the trees of a series are built from and tested with.
pub struct States<'a> {
    lab: &'a Lab,
    base: &'a Prepared,
    tools: &'a Toolchain,
    /// Options that switch the series' code on, where Kconfig has them.
    config: Vec<String>,
    /// What make builds then.
    target: String,
    /// The folder of the tests in a kernel tree.
    selftests: Option<String>,
    guest: Built,
    accel: Choice,
    root: PathBuf,
}

impl<'a> States<'a> {
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
        Ok(States {
            lab,
            base,
            tools,
            config,
            target,
            selftests,
            guest,
            accel: accel::choose(None, &lab.cache.path("accel"))?,
            root: modules::output(lab, base, "series")?,
        })
    }

    /// Whether this machine can build states of a tree; else why not.
    pub fn possible(&self) -> Result<()> {
        let overlay = self.overlay("strict");
        files::make_dir(&overlay.over)?;
        overlay.works(&self.root)
    }

    /// Builds what the series has of code, strictly: a warning is an error.
    pub fn build(&self, state: &State, name: &str) -> Result<Checked> {
        self.kept("build", state, || {
            let log = self.lab.log(&format!("series-build-{name}"));
            let overlay = self.overlay("strict");
            lay(&overlay, state)?;
            let folder = self.root.join("strict");
            if !folder.join(".config").exists() {
                let seed = &self.base.kernel.build;
                overlay::begin(&folder, seed, in_tree::BEGIN_WITH.iter().map(|p| seed.join(p)))?;
            }
            let made = self.configure(&overlay, &folder, &in_tree::STRICT, &log).and_then(|on| {
                self.make(&overlay, &folder, &in_tree::STRICT, "prepare", &log)?;
                if on {
                    self.make(&overlay, &folder, &in_tree::STRICT, &self.target, &log)?;
                }
                Ok(if on { "without a warning" } else { "without a warning; no module yet" })
            });
            Ok((made.map(str::to_owned), Some(log)))
        })
    }

    /// Links the kernel with the series' code, boots it, and runs the tests that the tree has.
    pub fn test(&self, state: &State, name: &str) -> Result<Checked> {
        self.kept("test", state, || {
            let log = self.lab.log(&format!("series-kernel-{name}"));
            let overlay = self.overlay("boot");
            lay(&overlay, state)?;
            let folder = self.root.join("boot");
            if !folder.join(".config").exists() {
                kernel::begin_from(&self.base.kernel, &folder)?;
            }
            let flags = kernel::flags(self.lab, &self.base.kernel)?;
            let flags = [flags.as_str()];
            let linked = self
                .configure(&overlay, &folder, &flags, &log)
                .and_then(|on| {
                    self.make(&overlay, &folder, &flags, "vmlinux", &log)?;
                    self.make(&overlay, &folder, &flags, "modules", &log)?;
                    Ok(on)
                })
                .and_then(|on| {
                    Ok((kernel::linked(&folder, &self.base.kernel.source, self.tools)?, on))
                });
            match linked {
                Err(error) => Ok((Err(error), Some(log))),
                Ok((kernel, on)) => {
                    let logs = self.lab.target.join("logs/series").join(name);
                    let ended = self.boot(state, &kernel, &folder, on, &logs)?;
                    Ok((ended, Some(logs)))
                }
            }
        })
    }

    /// Runs each test of the state in a guest of its own; without tests, loads the modules once.
    fn boot(
        &self,
        state: &State,
        kernel: &Kernel,
        build: &Path,
        on: bool,
        logs: &Path,
    ) -> Result<Result<String>> {
        let modules = if on { self.modules(build)? } else { Vec::new() };
        let prefix = self.selftests.as_deref();
        let (folder, tests) = write_tests(state, prefix, &self.root.join("selftests"))?;
        let folders = std::iter::once(folder.clone());
        let programs = guest_programs::in_c(self.lab, self.base, folders, &tests)?;
        let load: Vec<String> = if tests.is_empty() {
            let names = modules.iter().filter_map(|path| path.file_name());
            names.map(|name| name.to_string_lossy().into_owned()).collect()
        } else {
            Vec::new()
        };
        let jobs: Vec<Vec<Test>> = if tests.is_empty() {
            vec![Vec::new()]
        } else {
            tests.iter().map(|test| vec![test.clone()]).collect()
        };
        let run = |tests: &Vec<Test>| -> Result<_> {
            let name = tests.first().map_or("boot", |test| test.name.as_str());
            let work = match tests.is_empty() {
                true => Work::Command("true".to_owned()),
                false => Work::Tests(tests.clone()),
            };
            let job = Job {
                work,
                modules: modules.clone(),
                load: load.clone(),
                keep_loaded: false,
                init: self.guest.guest.init.clone(),
                selftests: std::iter::once(&folder).chain(&programs).cloned().collect(),
                tools: self.guest.guest.tools.clone(),
                directory: PathBuf::from("/"),
                env: Vec::new(),
                turns: false,
                memory_mb: 1024,
                // That the kernel boots is a part of what is shown.
                saved: None,
                options: vm::Options::default(),
                progress: None,
                tells: false,
                logs: logs.join(name),
                root: modules::debug_root(self.lab),
            };
            let budget = Budget::for_job(&job, kernel, &self.accel);
            let ended =
                session::run_within(&budget, &job, kernel, &self.accel, &mut Phases::default())?;
            Ok((name.to_owned(), ended.report))
        };
        let mut reports = Vec::new();
        pool::run(&jobs, self.lab.settings.jobs, run, |_, report| {
            reports.push(report);
            true
        });
        let (mut passed, mut skipped, mut wrong) = (0, 0, Vec::new());
        for report in reports {
            let (name, report) = report?;
            match report.outcome {
                Outcome::Pass => passed += 1,
                Outcome::Skipped => skipped += 1,
                _ => wrong.push(format!("{name}: {}", report.message)),
            }
            let failed = report.tests.iter().filter(|test| test.result == TestResult::Fail);
            wrong.extend(failed.map(|test| format!("{}: {}", test.name, test.reason)));
        }
        if !wrong.is_empty() {
            return Ok(Err(anyhow::anyhow!("{}", wrong.join("\n"))));
        }
        let what = match (tests.is_empty(), modules.is_empty()) {
            (true, true) => "boots".to_owned(),
            (true, false) => "boots, and the module loads".to_owned(),
            _ if skipped > 0 => format!("{passed} tests, {skipped} skipped"),
            _ => format!("{passed} tests"),
        };
        Ok(Ok(what))
    }

    /// The modules of the project that the build has.
    fn modules(&self, build: &Path) -> Result<Vec<PathBuf>> {
        let order = build.join("modules.order");
        let text =
            fs::read_to_string(&order).with_context(|| format!("read {}", order.display()))?;
        let wanted = &self.lab.project.modules.load;
        let paths = text.lines().map(|line| build.join(line).with_extension("ko"));
        Ok(paths
            .filter(|path| {
                path.file_name().is_some_and(|name| wanted.iter().any(|w| name == w.as_str()))
            })
            .collect())
    }

    fn overlay(&self, name: &str) -> Overlay<'_> {
        Overlay {
            lab: self.lab,
            base: self.base,
            tools: self.tools,
            over: self.root.join(format!("{name}-over")),
        }
    }

    /// Configures the kernel. Whether the series' code is on: before its Kconfig comes, it cannot.
    fn configure(
        &self,
        overlay: &Overlay<'_>,
        folder: &Path,
        flags: &[&str],
        log: &Path,
    ) -> Result<bool> {
        let now = overlay.configure(folder, &self.config, flags, log)?;
        Ok(self.config.iter().all(|option| {
            option.split_once('=').is_none_or(|(name, value)| now.value(name) == value)
        }))
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

    /// Makes a check, or takes its result from before. Only what passed is kept: what failed may
    /// have had its reason in this machine.
    fn kept(
        &self,
        check: &str,
        state: &State,
        run: impl FnOnce() -> Result<(Result<String>, Option<PathBuf>)>,
    ) -> Result<Checked> {
        let file = self.root.join("results").join(format!("{}.json", self.key(check, state)));
        if let Ok(text) = fs::read(&file)
            && let Ok(ended) = serde_json::from_slice(&text)
        {
            return Ok(ended);
        }
        let start = Instant::now();
        let (result, log) = run()?;
        let ms = start.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let passed = result.is_ok();
        let text = result.unwrap_or_else(|error| format!("{error:#}"));
        let ended = Checked { passed, text, ms, log };
        if passed {
            files::write_whole(&file, &serde_json::to_string(&ended)?)?;
        }
        Ok(ended)
    }

    /// Changes when anything does that a check is made of.
    fn key(&self, check: &str, state: &State) -> String {
        let mut parts: Vec<Vec<u8>> = vec![check.into(), self.target.clone().into()];
        parts.push(self.base.kernel.build.as_os_str().as_encoded_bytes().to_vec());
        parts.extend(self.tools.key_parts().into_iter().map(String::into_bytes));
        parts.extend(self.config.iter().map(|option| option.clone().into_bytes()));
        for (path, blob) in &state.files {
            parts.push(path.clone().into_bytes());
            parts.push(format!("{:?}", blob.mode).into_bytes());
            parts.push(blob.content.clone());
        }
        parts.extend(state.gone.iter().map(|path| path.clone().into_bytes()));
        files::key(parts)
    }
}

/// The folder of all selftests of a kernel tree.
const SELFTESTS: &str = "tools/testing/selftests/";

/// What stands for the kernel's own file of this name, which the Makefiles of tests include: the
/// lab asks for the names of the tests, and nothing else.
const LIB_MK: &str = "\
.PHONY: programs
programs:
\t@printf '%s\\n' $(TEST_PROGS) $(TEST_GEN_PROGS)
";

/// Writes the tests of a state below a folder, where a kernel tree has them below
/// [`SELFTESTS`]: their own folder there, and the list of them.
fn write_tests(state: &State, prefix: Option<&str>, root: &Path) -> Result<(PathBuf, Vec<Test>)> {
    files::remove_dir(root)?;
    files::make_dir(root)?;
    let Some(prefix) = prefix else { return Ok((root.to_owned(), Vec::new())) };
    let folder = root.join(prefix.strip_prefix(SELFTESTS).unwrap_or(prefix));
    files::make_dir(&folder)?;
    files::write_whole(&root.join("lib.mk"), LIB_MK)?;
    let mut any = false;
    for (path, blob) in &state.files {
        let Some(name) = path.strip_prefix(&format!("{prefix}/")) else { continue };
        let to = folder.join(name);
        files::make_dir(to.parent().unwrap_or(&folder))?;
        fs::write(&to, &blob.content).with_context(|| format!("write {}", to.display()))?;
        if blob.mode == Mode::Executable {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("set the mode of {}", to.display()))?;
        }
        any |= name == "Makefile";
    }
    let tests = if any { job::selftests(&folder)? } else { Vec::new() };
    Ok((folder, tests))
}

/// Lays a state over the tree, without the tree's files that it does not have.
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

#[cfg(test)]
mod tests {
    use super::*;
    use series::weave::Blob;

    #[test]
    fn the_tests_of_a_makefile_as_kernel_trees_have_it_are_found() {
        let makefile = "TEST_PROGS := \\\n\ta.sh \\\n\tb.sh \\\n# end of TEST_PROGS\n\n\
                        include ../../lib.mk\n";
        let file = |name: &str, text: &str, mode| {
            let path = format!("tools/testing/selftests/net/demo/{name}");
            (path, Blob { mode, content: text.as_bytes().to_vec() })
        };
        let files = Tree::from([
            file("Makefile", makefile, Mode::Plain),
            file("a.sh", "true\n", Mode::Executable),
            file("b.sh", "true\n", Mode::Executable),
        ]);
        let state = State { files, gone: Vec::new() };
        let root = tempfile::tempdir().unwrap();
        let prefix = "tools/testing/selftests/net/demo";
        let (folder, tests) = write_tests(&state, Some(prefix), root.path()).unwrap();
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["a.sh", "b.sh"]);
        assert!(folder.join("a.sh").is_file());
    }
}
