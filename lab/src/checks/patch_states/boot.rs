// SPDX-License-Identifier: GPL-2.0

//! Booting the tree after a patch, and running its tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::vm;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::TestReport;
use vmlab::run::job::{Budget, Job, Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::session;

use super::{Checked, State, States, What, absent, lay, tree_tests};
use crate::build::guest_programs;
use crate::build::kconfig::Config;
use crate::build::kernel;
use crate::build::modules;
use crate::checks::kunit;

impl States<'_> {
    /// Links the kernel with the code of this state, boots it, and runs the tests of this state.
    pub fn test(&self, state: &State, name: &str) -> Result<Checked> {
        let mut ended = self.test_all(state, name)?;
        if let What::Touched { tests, .. } = &self.what {
            ended.absent = absent(tests, &self.base.kernel.source, state);
        }
        Ok(ended)
    }

    fn test_all(&self, state: &State, name: &str) -> Result<Checked> {
        self.kept("test", state, |id| {
            let name = format!("{name}-{id}");
            let log = self.lab.log(&format!("series/{name}/kernel"));
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
                .configure(&overlay, state, &folder, config, &flags, &log)
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

    /// Runs each test of the state in a guest of its own. If there are no tests, loads the modules
    /// once. Also judges the KUnit tests, if the kernel has any: they have run during the boot.
    fn boot(
        &self,
        state: &State,
        kernel: &Kernel,
        build: &Path,
        on: bool,
        logs: &Path,
    ) -> Result<Result<String>> {
        let modules = if on { self.modules(build)? } else { Vec::new() };
        let wanted = &self.lab.project.modules.load;
        if on && self.builds_modules() && modules.is_empty() && !wanted.is_empty() {
            return Ok(Err(anyhow!(
                "the code is on, and the build made none of {}: is there a line for it in the Makefile \
                 of the folder above?",
                wanted.join(", ")
            )));
        }
        let root = self.tests();
        let (folder, mut tests) = match &self.what {
            What::Own { selftests, .. } => {
                let source = &self.base.kernel.source;
                tree_tests::write(source, state, selftests.as_deref(), &root)?
            }
            What::Touched { tests, .. } => {
                tree_tests::copy(&self.base.kernel.source, state, tests, &root)?
            }
        };
        tests.retain(|test| self.only.as_ref().is_none_or(|only| test.name == *only));
        let programs =
            guest_programs::in_c(self.lab, self.base, std::iter::once(folder.clone()), &tests)?;
        let folder = match &self.what {
            What::Own { .. } => folder,
            What::Touched { .. } => {
                tree_tests::as_kselftest(&folder, &tests, &self.root.join("as-kselftest"))?
            }
        };
        let selftests: Vec<PathBuf> = std::iter::once(folder).chain(programs).collect();
        let jobs: Vec<Job> = match tests.is_empty() {
            true => vec![Job {
                load: file_names(&modules),
                ..self.job(kernel, Work::Command("true".to_owned()), &modules, &selftests, logs)
            }],
            false => {
                let job = |test: &Test| {
                    let work = Work::Tests(vec![test.clone()]);
                    self.job(kernel, work, &modules, &selftests, logs)
                };
                tests.iter().map(job).collect()
            }
        };
        let seen = Seen {
            modules: !modules.is_empty(),
            // In a bisection, a state where the test is skipped does not count as bad.
            may_skip: tests.is_empty() || self.only.is_some(),
            tests: tests.len(),
            ..self.run_all(&jobs, kernel)?
        };
        let what = match summary(&seen) {
            Ok(what) => what,
            wrong => return Ok(wrong),
        };
        let config = Config::read(&build.join(".config"))?;
        if config.value("KUNIT") != "y" {
            return Ok(Ok(what));
        }
        let log = jobs[0].logs.join("dmesg.log");
        let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        Ok(kunit::judge(&text).map(|count| format!("{what}, {count} KUnit tests")))
    }

    fn job(
        &self,
        kernel: &Kernel,
        work: Work,
        modules: &[PathBuf],
        selftests: &[PathBuf],
        logs: &Path,
    ) -> Job {
        let logs = logs.join(name(&work));
        // Without that, an emulated kernel dies now and then where it patches its code.
        let turns = self.lab.takes_turns(&work);
        Job {
            work,
            modules: modules.to_vec(),
            load: Vec::new(),
            keep_loaded: false,
            init: self.guest.guest.init.clone(),
            selftests: selftests.to_vec(),
            tools: self.guest.guest.tools.clone(),
            directory: PathBuf::from("/"),
            env: self.environment(),
            turns,
            memory_mb: self.lab.guest_memory(kernel),
            // No snapshots: that this kernel boots is part of the check.
            saved: None,
            options: vm::Options::default(),
            progress: None,
            tells: false,
            logs,
            root: modules::debug_root(self.lab),
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        // The tree is read-only there.
        let mut env = vec![("PYTHONPYCACHEPREFIX".to_owned(), "/tmp/pycache".to_owned())];
        if let What::Own { .. } = &self.what {
            // A guest has the tests in a folder of their own, from which no way leads to their tree.
            env.push(("KERNEL_SOURCE".to_owned(), self.tests().to_string_lossy().into_owned()));
        }
        env
    }

    /// The folder with the tests of a state, and what they use of their tree.
    fn tests(&self) -> PathBuf {
        self.root.join("selftests")
    }

    /// Runs the jobs, as many at once as the user allows.
    fn run_all(&self, jobs: &[Job], kernel: &Kernel) -> Result<Seen> {
        let run = |job: &Job| -> Result<_> {
            let budget = Budget::for_job(job, kernel, &self.engine);
            let phases = &mut Phases::default();
            let ended = session::run_within(&budget, job, kernel, &self.engine, phases)?;
            Ok((name(&job.work).to_owned(), ended.report))
        };
        let mut reports = Vec::new();
        pool::run(
            jobs,
            self.lab.settings.jobs,
            |_| false,
            run,
            |_, report| {
                reports.push(report);
                true
            },
        );
        let mut seen = Seen::default();
        for report in reports {
            let (name, report) = report?;
            match report.outcome {
                Outcome::Pass => seen.passed += 1,
                Outcome::Skipped => seen.skipped.extend(report.tests.iter().map(whole)),
                _ => seen.wrong.push(format!("{name}: {}", report.message)),
            }
            let failed = report.tests.iter().filter(|test| test.result == TestResult::Fail);
            seen.wrong.extend(failed.map(|test| format!("{}: {}", test.name, test.reason)));
        }
        Ok(seen)
    }

    /// Whether the options ask for modules.
    fn builds_modules(&self) -> bool {
        let What::Own { config, .. } = &self.what else { return false };
        config.iter().any(|option| option.ends_with("=m"))
    }

    /// The project's modules that the build has made.
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
}

/// The name of the folder for a job's logs.
fn name(work: &Work) -> &str {
    match work {
        Work::Tests(tests) => tests.first().map_or("boot", |test| test.name.as_str()),
        _ => "boot",
    }
}

/// A skipped test and the reason.
fn whole(test: &TestReport) -> String {
    format!("{} ({})", test.name, test.reason)
}

fn file_names(paths: &[PathBuf]) -> Vec<String> {
    let names = paths.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// The results of a state's guests.
#[derive(Debug, Default)]
struct Seen {
    modules: bool,
    may_skip: bool,
    tests: usize,
    passed: usize,
    /// Each with its reason.
    skipped: Vec<String>,
    wrong: Vec<String>,
}

/// A summary of the results. An error if something is wrong, or if all tests were skipped.
fn summary(seen: &Seen) -> Result<String> {
    let Seen { modules, may_skip, tests, passed, skipped, wrong } = seen;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    let listed = skipped.join("; ");
    if *passed == 0 && !skipped.is_empty() && !may_skip {
        bail!("no test has passed, and {} are skipped: {listed}", skipped.len());
    }
    Ok(match (tests, modules) {
        (0, false) => "boots".to_owned(),
        (0, true) => "boots, and the module loads".to_owned(),
        _ if !skipped.is_empty() => {
            format!("{passed} tests, {} skipped: {listed}", skipped.len())
        }
        _ => format!("{passed} tests"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_which_all_tests_are_skipped_has_shown_nothing() {
        let seen = |tests, passed, skipped, may_skip| {
            let skipped = (1..=skipped).map(|n| format!("{n}.sh (no {n})")).collect();
            summary(&Seen { modules: true, may_skip, tests, passed, skipped, wrong: Vec::new() })
        };
        assert_eq!(seen(0, 1, 0, true).unwrap(), "boots, and the module loads");
        assert_eq!(seen(3, 2, 1, false).unwrap(), "2 tests, 1 skipped: 1.sh (no 1)");
        assert!(seen(3, 0, 3, false).is_err());
        assert!(seen(1, 0, 1, true).is_ok(), "in a bisection");
        let wrong = vec!["a: no".to_owned()];
        let seen =
            Seen { modules: true, may_skip: true, tests: 1, passed: 1, wrong, ..Seen::default() };
        assert!(summary(&seen).is_err());
    }
}
