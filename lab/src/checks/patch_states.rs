// SPDX-License-Identifier: GPL-2.0

//! Builds, boots and tests the tree after each patch of a series.
//!
//! The project's own code is built strictly: a warning is an error. Of other people's patches, the
//! folders are built in which they change something, and only warnings count that the tree did not
//! have before.
//!
//! A result is kept by what it was made of. A tree that was seen before costs nothing, wherever it
//! is in a series now and whatever its patch says.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use series::checks::{self, At, Check, Finding, Subject};
use series::weave::{BASE, Blob, Mode, Number, Tree, Weave};
use vmlab::boot::accel::{self, Choice};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::vm;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::{self, Budget, Job, Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::process;
use vmlab::run::session;

use crate::build::guest_programs;
use crate::build::kconfig::Config;
use crate::build::kernel;
use crate::build::modules;
use crate::build::overlay::{self, Laid, Overlay};
use crate::build::pipeline::{Built, Prepared};
use crate::checks::{in_tree, kunit};
use crate::context::Lab;
use crate::host::toolchain::Toolchain;

/// What is different in the tree after a patch.
pub struct State {
    files: Tree,
    /// Files of the tree that are not there any more.
    gone: Vec<String>,
}

impl State {
    /// After the patch that a check looks at.
    pub fn at(at: &At<'_>) -> State {
        State { files: at.patch().tree.clone(), gone: at.gone() }
    }

    /// Before all patches.
    fn nothing() -> State {
        State { files: Tree::new(), gone: Vec::new() }
    }

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
    what: What,
    guest: Built,
    accel: Choice,
    root: PathBuf,
    /// Of the tests, only this one.
    only: Option<String>,
}

/// What is built and run.
enum What {
    /// The project's code.
    Own {
        /// Options that switch it on, where Kconfig has them.
        config: Vec<String>,
        /// What make builds then.
        target: String,
        /// The folder of the tests in a kernel tree.
        selftests: Option<String>,
    },
    /// What the patches change, whatever that is.
    Touched {
        targets: BTreeSet<String>,
        /// Files with tests, in the tree.
        tests: Vec<String>,
    },
}

impl<'a> States<'a> {
    /// For patches of anybody, with these files of the tree as tests.
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
                "--tests {path}: neither the tree nor the patches have it: give its path in the tree"
            );
        }
        let paths = subject.patches.iter().flat_map(|patch| &patch.changes);
        let targets = targets(paths.map(|change| change.path.as_str()));
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
        Ok(States {
            lab,
            base,
            tools,
            what,
            guest,
            accel: accel::choose(None, &lab.cache.path("accel"))?,
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

    /// Of the tests, runs this one alone.
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
            What::Touched { tests, .. } => tests.iter().any(|path| path.ends_with(test)),
        }
    }

    /// Whether this machine can build states of a tree; else why not.
    pub fn possible(&self) -> Result<()> {
        let overlay = self.overlay("strict");
        files::make_dir(&overlay.over)?;
        overlay.works(&self.root)
    }

    /// Builds what the series has of code. A warning that the base does not have is an error.
    pub fn build(&self, state: &State, name: &str) -> Result<Checked> {
        self.kept("build", state, || {
            let log = self.lab.log(&format!("series-build-{name}"));
            let made = match &self.what {
                What::Own { config, target, .. } => self.build_own(state, config, target, &log),
                What::Touched { targets, .. } => self.build_touched(state, targets, &log),
            };
            Ok((made, Some(log)))
        })
    }

    /// Makes each build that the project names for a kernel tree: as a part of the kernel, and without
    /// options of which a kernel may have none.
    fn variants(&self, state: &State) -> Result<Vec<(String, Checked)>> {
        let Some(in_tree) = &self.lab.project.in_tree else { return Ok(Vec::new()) };
        let overlay = self.overlay("variants");
        let folder = |slug: &str| self.root.join(format!("variant-{slug}"));
        let mut all = Vec::new();
        // What the first one has compiled serves the others.
        let mut seed = self.base.kernel.build.clone();
        for build in &in_tree.builds {
            let slug = in_tree::slug(&build.name);
            let done = self.kept(&format!("variant {}", build.config.join(" ")), state, || {
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

    /// A folder for builds that are not linked, in which all that `make prepare` makes is there.
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
        let on = self.configure(&overlay, &folder, config, &in_tree::STRICT, log)?;
        self.make(&overlay, &folder, &in_tree::STRICT, "prepare", log)?;
        if on {
            self.make(&overlay, &folder, &in_tree::STRICT, target, log)?;
        }
        let what = if on { "without a warning" } else { "without a warning; no module yet" };
        Ok(what.to_owned())
    }

    /// Builds a state where others were built before it, and gives what make warns of.
    fn warnings(
        &self,
        overlay: &Overlay<'_>,
        folder: &Path,
        targets: &BTreeSet<String>,
        state: &State,
        log: &Path,
    ) -> Result<BTreeSet<String>> {
        lay(overlay, state)?;
        self.configure(overlay, folder, &[], &TOUCHED, log)?;
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
        // What make does not compile again does not warn again: the base's are noted down.
        let of_base = State::nothing();
        let key = format!("{}\n{targets:?}", self.key("warnings", &of_base));
        let kept = fs::read_to_string(&file).unwrap_or_default();
        if !kept.starts_with(&key) {
            files::remove_dir(&self.root.join("touched"))?;
        }
        let folder = self.folder("touched")?;
        // Nor does what a build has compiled that failed, or was interrupted. Laid anew, all files of
        // a state are young.
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
            let config = match &self.what {
                What::Own { config, .. } => config.as_slice(),
                What::Touched { .. } => &[],
            };
            let linked = self
                .configure(&overlay, &folder, config, &flags, &log)
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

    /// Runs each test of the state in a guest of its own; without tests, loads the modules once. A
    /// kernel with KUnit has run its tests by then.
    fn boot(
        &self,
        state: &State,
        kernel: &Kernel,
        build: &Path,
        on: bool,
        logs: &Path,
    ) -> Result<Result<String>> {
        let modules = if on { self.modules(build)? } else { Vec::new() };
        let root = self.root.join("selftests");
        let (folder, tests) = match &self.what {
            What::Own { selftests, .. } => write_tests(state, selftests.as_deref(), &root)?,
            What::Touched { tests, .. } => self.copy_tests(state, tests, &root)?,
        };
        let folders = std::iter::once(folder.clone());
        let mut tests = tests;
        tests.retain(|test| self.only.as_ref().is_none_or(|only| test.name == *only));
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
        let first = logs.join(jobs[0].first().map_or("boot", |test| test.name.as_str()));
        pool::run(
            &jobs,
            self.lab.settings.jobs,
            |_| false,
            run,
            |_, report| {
                reports.push(report);
                true
            },
        );
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
        let seen = summary(&Seen {
            modules: !modules.is_empty(),
            // For a bisection, a state that a test cannot be run in is not a bad one.
            may_skip: tests.is_empty() || self.only.is_some(),
            tests: tests.len(),
            passed,
            skipped,
            wrong,
        });
        let Ok(what) = seen else { return Ok(seen) };
        let config = Config::read(&build.join(".config"))?;
        if config.value("KUNIT") != "y" {
            return Ok(Ok(what));
        }
        let log = first.join("dmesg.log");
        let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        Ok(kunit::judge(&text).map(|count| format!("{what}, {count} KUnit tests")))
    }

    /// Copies these tests of the tree, as they are in this state, with all that is in their folder:
    /// they call what is beside them.
    fn copy_tests(
        &self,
        state: &State,
        tests: &[String],
        root: &Path,
    ) -> Result<(PathBuf, Vec<Test>)> {
        files::remove_dir(root)?;
        let Some(first) = tests.first() else {
            files::make_dir(root)?;
            return Ok((root.to_owned(), Vec::new()));
        };
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let prefix = first.strip_suffix(&name(first)).unwrap_or_default();
        if let Some(other) =
            tests.iter().find(|test| test.strip_suffix(&name(test)) != Some(prefix))
        {
            bail!("{first} and {other} are tests of two folders: name those of one");
        }
        let (there, folder) = (self.base.kernel.source.join(prefix), root.join(prefix));
        files::make_dir(&folder)?;
        if there.is_dir() {
            let mut cp = Command::new("cp");
            cp.args(["-rL", "--"]).arg(there.join(".")).arg(&folder);
            process::read(&mut cp).with_context(|| format!("copy {}", there.display()))?;
        }
        for path in &state.gone {
            files::remove_file(&root.join(path))?;
        }
        for (path, blob) in state.files.iter().filter(|(path, _)| path.starts_with(prefix)) {
            write_test(&root.join(path), blob)?;
        }
        let found: Vec<Test> = tests
            .iter()
            .filter(|test| root.join(test).is_file())
            .map(|test| Test { name: name(test), timeout: TIME_OF_A_TEST })
            .collect();
        Ok((folder, found))
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
        config: &[String],
        flags: &[&str],
        log: &Path,
    ) -> Result<bool> {
        let now = overlay.configure(folder, config, flags, log)?;
        Ok(config.iter().all(|option| {
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
        // What an interrupt ended has shown nothing.
        interrupt::check()?;
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
        let mut parts: Vec<Vec<u8>> = vec![check.into()];
        match &self.what {
            What::Own { config, target, .. } => {
                parts.push(target.clone().into());
                parts.extend(config.iter().map(|option| option.clone().into_bytes()));
            }
            What::Touched { targets, tests } => {
                parts.extend(targets.iter().chain(tests).map(|it| it.clone().into_bytes()));
            }
        }
        parts.extend(self.only.iter().map(|test| test.clone().into_bytes()));
        parts.push(self.base.kernel.build.as_os_str().as_encoded_bytes().to_vec());
        parts.extend(self.tools.key_parts().into_iter().map(String::into_bytes));
        for (path, blob) in &state.files {
            parts.push(path.clone().into_bytes());
            parts.push(format!("{:?}", blob.mode).into_bytes());
            parts.push(blob.content.clone());
        }
        parts.extend(state.gone.iter().map(|path| path.clone().into_bytes()));
        files::key(parts)
    }
}

/// What make is told for other people's patches.
const TOUCHED: [&str; 2] = ["W=1", "CLIPPY=1"];

/// kselftest's own, since other people's tests come without a word on it.
const TIME_OF_A_TEST: Duration = Duration::from_secs(300);

/// A check of each state: that it builds. These checks have no key, as [`States`] keeps what passed,
/// and only that.
pub struct Builds<'a>(pub Rc<States<'a>>);

/// A check of each state: that it boots, and passes its tests.
pub struct Boots<'a>(pub Rc<States<'a>>);

impl Check for Builds<'_> {
    fn name(&self) -> &'static str {
        "build"
    }

    fn about(&self) -> &'static str {
        "builds without a warning that the tree did not have before, with W=1 and Clippy"
    }

    fn run(&self, at: &At<'_>) -> Result<checks::Outcome> {
        judged(self.0.build(&State::at(at), &log_name(at))?)
    }
}

impl Check for Boots<'_> {
    fn name(&self) -> &'static str {
        "boot and tests"
    }

    fn about(&self) -> &'static str {
        "the kernel boots, the module loads, and the tests pass that are there by then"
    }

    fn run(&self, at: &At<'_>) -> Result<checks::Outcome> {
        judged(self.0.test(&State::at(at), &log_name(at))?)
    }
}

/// A check of the last state of a series: that it builds as a part of the kernel, too, and without
/// what a kernel may not have.
pub struct Variants<'a>(pub Rc<States<'a>>);

impl Check for Variants<'_> {
    fn name(&self) -> &'static str {
        "variants"
    }

    fn about(&self) -> &'static str {
        "the last tree builds as a part of the kernel, and with options off"
    }

    fn scope(&self) -> checks::Scope {
        checks::Scope::Series
    }

    fn run(&self, at: &At<'_>) -> Result<checks::Outcome> {
        let Some(last) = at.subject.patches.len().checked_sub(1) else {
            return Ok(checks::Outcome::Nothing);
        };
        let mut found = Vec::new();
        for (name, ended) in self.0.variants(&State::at(&At::new(at.subject, last)))? {
            found.extend(wrong(&ended).map(|what| Finding::fail(format!("{name}: {what}"))));
        }
        Ok(checks::Outcome::Judged(found))
    }
}

fn log_name(at: &At<'_>) -> String {
    file_name(&format!("{}-{}", at.subject.name, at.patch().number))
}

/// A name for a file.
pub fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// Why nothing is built, where [`States::possible`] is not.
pub const NOT_LAID: &str = "this machine does not let folders be laid over a kernel tree";

/// What a state that did not pass has wrong, and where its log is.
fn wrong(ended: &Checked) -> Option<String> {
    let log = ended.log.as_ref().map(|log| format!("; see {}", log.display())).unwrap_or_default();
    (!ended.passed).then(|| format!("{}{log}", ended.text))
}

fn judged(ended: Checked) -> Result<checks::Outcome> {
    Ok(checks::Outcome::Judged(wrong(&ended).map(Finding::fail).into_iter().collect()))
}

/// What was seen of a state in its guests.
struct Seen {
    modules: bool,
    may_skip: bool,
    tests: usize,
    passed: usize,
    skipped: usize,
    wrong: Vec<String>,
}

/// What to say of it; an error if something is wrong, or if no test has shown anything.
fn summary(seen: &Seen) -> Result<String> {
    let Seen { modules, may_skip, tests, passed, skipped, wrong } = seen;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    if *passed == 0 && *skipped > 0 && !may_skip {
        bail!("no test has passed, and {skipped} are skipped");
    }
    Ok(match (tests, modules) {
        (0, false) => "boots".to_owned(),
        (0, true) => "boots, and the module loads".to_owned(),
        _ if *skipped > 0 => format!("{passed} tests, {skipped} skipped"),
        _ => format!("{passed} tests"),
    })
}

/// The first of these tests that neither the tree nor the last patch has.
fn missing<'t>(tests: &'t [String], source: &Path, last: Option<&Tree>) -> Option<&'t str> {
    let there = |path: &str| {
        source.join(path).is_file() || last.is_some_and(|tree| tree.contains_key(path))
    };
    tests.iter().map(String::as_str).find(|path| !there(path))
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
        write_test(&folder.join(name), blob)?;
        any |= name == "Makefile";
    }
    let tests = if any { job::selftests(&folder)? } else { Vec::new() };
    Ok((folder, tests))
}

fn write_test(to: &Path, blob: &Blob) -> Result<()> {
    files::make_dir(to.parent().unwrap_or(to))?;
    fs::write(to, &blob.content).with_context(|| format!("write {}", to.display()))?;
    if blob.mode == Mode::Executable {
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("set the mode of {}", to.display()))?;
    }
    Ok(())
}

/// What make is to build for changes of these files: their folders; the whole kernel for a header,
/// which anything may use. Documents and tests are no part of a build.
fn targets<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeSet<String> {
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

/// The warnings in a log of make for this tree, without the number of the line, which moves.
fn warnings(log: &str, source: &str) -> BTreeSet<String> {
    let log = log.replace(source, "");
    let mut found = BTreeSet::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((place, text)) = line.split_once(": warning: ") {
            let path = place.split(':').next().unwrap_or(place);
            found.insert(format!("{path}: {text}"));
        } else if line.starts_with("warning: ") && !line.ends_with(" emitted") {
            // rustc says where in the next line.
            let place = lines.peek().and_then(|next| next.trim().strip_prefix("--> "));
            let path = place.map_or("", |place| place.split(':').next().unwrap_or(place));
            found.insert(format!("{path}: {}", line.trim_start_matches("warning: ")));
        }
    }
    found
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

    #[test]
    fn a_state_of_which_all_tests_are_skipped_has_shown_nothing() {
        let seen = |tests, passed, skipped, may_skip| {
            summary(&Seen { modules: true, may_skip, tests, passed, skipped, wrong: Vec::new() })
        };
        assert_eq!(seen(0, 1, 0, true).unwrap(), "boots, and the module loads");
        assert_eq!(seen(3, 2, 1, false).unwrap(), "2 tests, 1 skipped");
        assert!(seen(3, 0, 3, false).is_err());
        assert!(seen(1, 0, 1, true).is_ok(), "in a bisection");
        let wrong = vec!["a: no".to_owned()];
        let seen = Seen { modules: true, may_skip: true, tests: 1, passed: 1, skipped: 0, wrong };
        assert!(summary(&seen).is_err());
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
