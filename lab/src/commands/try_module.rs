// SPDX-License-Identifier: GPL-2.0

//! `lab try`: a verdict on any module. It needs only the module's source or its `.ko`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vmlab::boot::kernel::Kernel;
use vmlab::judge::report::Report;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::{self, Job, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::process::{self, quote};
use vmlab::run::progress::say;
use vmlab::run::session;

use crate::build::cache::ORIGIN;
use crate::build::guest_programs::{self, GuestPrograms};
use crate::build::modules;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::checks::as_kselftest::{run_as_kselftest, write_script};
use crate::cli::TryArgs;
use crate::commands::{Runner, gdb, reports};
use crate::context::Lab;
use crate::host::machine::Host;
use crate::project::Project;
use crate::ui::colour;

/// The test of a module without tests: it can be loaded twice.
const LOADS_AGAIN: &str = "loads_again";

/// The file of kselftest's beside a test, with its time limit.
const SETTINGS: &str = "settings";

/// A test in the guest.
struct Script {
    path: PathBuf,
    /// Before the engine's factor.
    timeout: Duration,
}

/// The modules, and the folder for the output.
struct Tried {
    lab: Lab,
    base: Prepared,
    modules: Vec<PathBuf>,
}

impl Runner<'_> {
    /// Builds the module, boots guests, loads, tests and unloads the module, and judges all of
    /// that.
    pub(super) fn try_module(&self, args: &TryArgs) -> Result<u8> {
        let mut phases = Phases::default();
        let path = args.path.canonicalize().with_context(|| args.path.display().to_string())?;
        let lab = self.lab_of(&path);
        let _lock = checkout_lock::take(&lab.target)?;
        files::make_dir(&lab.target)?;
        let origin = lab.target.join(ORIGIN);
        fs::write(&origin, path.as_os_str().as_bytes())
            .with_context(|| format!("write {}", origin.display()))?;
        reports::forget(&lab.target)?;
        let mut parts = Vec::new();
        let ran = self.try_all(&lab, &path, args, &mut phases, &mut parts);
        if self.dry_run {
            return ran.map(|()| 0);
        }
        let mut report = Report::whole(parts, phases);
        if let Err(error) = &ran {
            report.outcome = reports::outcome_of(error);
            report.message = format!("{error:#}");
        }
        reports::write(&report, &lab.target)?;
        ran?;
        colour::print(&report.table());
        say(&format!("logs and results.json in {}", lab.target.display()));
        Ok(report.outcome.exit_code())
    }

    /// The lab with the module's folder as its root. Builds go to the cache, since the module's
    /// folder is not the lab's.
    fn lab_of(&self, path: &Path) -> Lab {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let key = files::key([path.display().to_string()]);
        let root = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        // The kernel of the current project is used, but not its tests, which are for other
        // modules.
        let mut settings = self.lab.settings.clone();
        let config = self.lab.project.config.iter().map(|path| self.lab.root.join(path));
        settings.config.splice(0..0, config);
        Lab {
            root: root.to_owned(),
            target: self.lab.cache.path(&format!("try/{name}-{}", &key[..6])),
            project: Project::none(),
            settings,
            ..self.lab.clone()
        }
    }

    /// Builds the modules, and runs each test in a guest of its own, several at once. The results
    /// are in `parts`, even after an error.
    fn try_all(
        &self,
        lab: &Lab,
        path: &Path,
        args: &TryArgs,
        phases: &mut Phases,
        parts: &mut Vec<Report>,
    ) -> Result<()> {
        let base = pipeline::base(lab, self.variant, phases)?;
        let found = phases.time("module", || modules_of(lab, &base, path))?;
        let tried = Tried { modules: in_order(found)?, lab: lab.clone(), base };
        let scripts = tried.scripts(&args.tests)?;
        let runner = Runner { lab, ..self.clone() };
        let init = guest_programs::init(lab)?;
        let guest = GuestPrograms { init, selftests: Vec::new(), tools: Vec::new() };
        let built = Built { modules: tried.modules.clone(), guest };
        let load: Vec<String> = tried.modules.iter().map(|path| name(path)).collect();
        let engine = lab.engine()?;
        let job = |Script { path, timeout }: &Script| -> Result<Job> {
            let test = job::Test { name: name(path), timeout: *timeout };
            let mut job = runner.job(&tried.base, &built, Work::one(test), &load)?;
            job.selftests = vec![path.clone()];
            job.keep_loaded = name(path) != LOADS_AGAIN;
            job.directory = lab.root.clone();
            job.logs = job.logs.join(name(path));
            Ok(job)
        };
        let jobs: Vec<Job> = scripts.iter().map(job).collect::<Result<_>>()?;
        if self.dry_run {
            return jobs.iter().try_for_each(|job| runner.show(job, &tried.base.kernel, &engine));
        }
        if let Some(port) = self.options.gdb {
            gdb::explain(&tried.base.kernel, port, &built.modules);
        }
        let run = |job: &Job| session::run(job, &tried.base.kernel, &engine, Phases::default());
        let mut result = Ok(());
        pool::run(
            &jobs,
            lab.settings.jobs,
            |_| false,
            run,
            |_, ended| {
                match ended {
                    Ok(ended) => parts.push(ended.report),
                    Err(error) => result = Err(error),
                }
                result.is_ok() && !interrupt::requested()
            },
        );
        result?;
        interrupt::check()
    }
}

impl Tried {
    /// A script in the guest for each test.
    fn scripts(&self, tests: &[PathBuf]) -> Result<Vec<Script>> {
        let folder = self.lab.target.join("scripts");
        files::remove_dir(&folder)?;
        files::make_dir(&folder)?;
        if tests.is_empty() {
            let names: Vec<String> = self.modules.iter().map(|path| name(path)).collect();
            let path = write_script(&folder, LOADS_AGAIN, &loads_again(&names))?;
            return Ok(vec![Script { path, timeout: job::timeout(&folder.join(SETTINGS))? }]);
        }
        let mut scripts: Vec<Script> = Vec::new();
        for test in tests {
            let program = self.program(test)?;
            let path = write_script(&folder, &name(&program), &run_as_kselftest(&program))?;
            if scripts.iter().any(|script| script.path == path) {
                bail!("two tests are called {}", name(&program));
            }
            let timeout = job::timeout(&test.with_file_name(SETTINGS))?;
            scripts.push(Script { path, timeout });
        }
        Ok(scripts)
    }

    /// The program of a test. Compiles a C file.
    fn program(&self, test: &Path) -> Result<PathBuf> {
        let path = test.canonicalize().with_context(|| test.display().to_string())?;
        if path.extension().is_some_and(|ending| ending == "c") {
            return guest_programs::compile(&self.lab, &self.base, &path);
        }
        let mode = path.metadata().with_context(|| test.display().to_string())?;
        if !path.is_file() || mode.permissions().mode() & 0o111 == 0 {
            bail!("{} is neither a program nor a C file: make it executable", test.display());
        }
        Ok(path)
    }
}

/// The modules of a folder, or the module at this path.
fn modules_of(lab: &Lab, base: &Prepared, path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        if path.extension().is_none_or(|ending| ending != "ko") {
            bail!("{} is neither a folder nor a module (NAME.ko)", path.display());
        }
        fits(path, &base.kernel)?;
        return Ok(vec![path.to_owned()]);
    }
    has_modules(path)?;
    let modules = modules::build_folder(lab, base, path)?;
    if modules.is_empty() {
        bail!("{}: kbuild made no module: is obj-m empty?", path.display());
    }
    Ok(modules)
}

/// Checks that kbuild finds a module to build in the folder.
fn has_modules(folder: &Path) -> Result<()> {
    let files = ["Kbuild", "Makefile"].map(|name| folder.join(name));
    let Some(file) = files.iter().find(|path| path.is_file()) else {
        bail!("{} has neither a Kbuild file nor a Makefile", folder.display());
    };
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    // Other files and variables may set it, too.
    if !String::from_utf8_lossy(&text).contains("obj-") {
        bail!("{} names no module: it needs a line like `obj-m := NAME.o`", file.display());
    }
    Ok(())
}

/// Checks that a finished module is for this kernel, by its version magic.
fn fits(module: &Path, kernel: &Kernel) -> Result<()> {
    let magic = modinfo("vermagic", module)?;
    let built_for = magic.split(' ').next().unwrap_or_default();
    if built_for == kernel.release {
        return Ok(());
    }
    bail!(
        "{} was built for Linux {built_for}, but the guest runs {}, which would refuse it: try the \
         folder with its source, or give the kernel that it was built for with --kernel",
        module.display(),
        kernel.release
    )
}

fn modinfo(field: &str, module: &Path) -> Result<String> {
    process::read(Host::this().command("modinfo").args(["-F", field]).arg(module))
}

/// Sorts modules, so that each comes after the modules that it needs.
fn in_order(modules: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut needs = Vec::new();
    for module in modules {
        let depends = modinfo("depends", &module)?;
        let depends: Vec<String> = depends.split(',').map(str::to_owned).collect();
        needs.push((module, depends));
    }
    Ok(sorted(needs))
}

/// Sorts by dependencies. A module with an unknown dependency keeps its place.
fn sorted(mut left: Vec<(PathBuf, Vec<String>)>) -> Vec<PathBuf> {
    let mut done = Vec::new();
    while !left.is_empty() {
        let names: Vec<String> = left.iter().map(|(path, _)| module_name(path)).collect();
        let ready = |(_, needs): &(PathBuf, Vec<String>)| !needs.iter().any(|n| names.contains(n));
        let next = left.iter().position(ready).unwrap_or(0);
        done.push(left.remove(next).0);
    }
    done
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The kernel's name for a module file.
fn module_name(path: &Path) -> String {
    name(path).trim_end_matches(".ko").replace('-', "_")
}

/// A test that loads all modules a second time. It fails if something is still registered from the
/// first time.
fn loads_again(modules: &[String]) -> String {
    let load: Vec<String> =
        modules.iter().map(|name| format!("insmod \"$MODULES_DIR\"/{}", quote(name))).collect();
    let unload: Vec<String> = modules
        .iter()
        .rev()
        .map(|name| format!("rmmod {}", quote(&module_name(Path::new(name)))))
        .collect();
    format!(
        "#!/bin/sh\n\
         step() {{ if \"$2\"; then echo \"ok $1 $2\"; else echo \"not ok $1 $2\"; exit 1; fi; }}\n\
         load() {{ {}; }}\n\
         unload() {{ {}; }}\n\
         echo KTAP version 1\n\
         echo 1..2\n\
         step 1 load\n\
         step 2 unload\n",
        load.join(" && "),
        unload.join(" && ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_module_comes_after_those_that_it_needs() {
        let module = |path: &str, needs: &str| {
            (PathBuf::from(path), needs.split(',').map(str::to_owned).collect())
        };
        let all = vec![
            module("/o/user.ko", "my_lib,crc32"),
            module("/o/other.ko", ""),
            module("/o/my-lib.ko", ""),
        ];
        let order: Vec<String> = sorted(all).iter().map(|path| name(path)).collect();
        assert_eq!(order, ["other.ko", "my-lib.ko", "user.ko"]);
        let round = vec![module("/o/a.ko", "b"), module("/o/b.ko", "a")];
        assert_eq!(sorted(round).len(), 2, "a circle does not hang");
    }

    #[test]
    fn a_folder_that_kbuild_cannot_use_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let error = has_modules(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("has neither a Kbuild file nor a Makefile"), "{error}");
        fs::write(dir.path().join("Makefile"), "all:\n").unwrap();
        let error = has_modules(dir.path()).unwrap_err().to_string();
        assert!(error.contains("obj-m := NAME.o"), "{error}");
        fs::write(dir.path().join("Kbuild"), "obj-m := x.o\n").unwrap();
        has_modules(dir.path()).unwrap();
    }
}
