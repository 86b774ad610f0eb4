// SPDX-License-Identifier: GPL-2.0

//! The commands: each is a sequence of steps.

mod bench;
pub(crate) mod cache;
mod check_series;
mod clean;
mod doctor;
mod dry_run;
mod export_base;
mod gdb;
mod lint;
mod mutants;
mod net;
mod new;
mod new_series;
mod picture;
mod reports;
mod run;
mod rust_analyzer;
mod series;
mod study;
mod test;
mod try_module;
mod watch;

pub use self::run::of_the_lab;
pub use self::watch::run as watch;

use anyhow::{Context, Result, bail};
use vmlab::boot::engine::{self, Engine};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::saved;
use vmlab::boot::vm;
use vmlab::run::job::{Job, Work};
use vmlab::run::phases::Phases;
use vmlab::run::progress::say;
use vmlab::run::session::{self, Ended, Started};

use crate::build::kernel::{self, Variant};
use crate::build::modules;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock::{self, CheckoutLock};
use crate::checks::ynl;
use crate::cli::{Action, Cli, TestArgs};
use crate::context::Lab;
use crate::log_folder;

/// Runs the command. Returns the exit status.
pub fn run(lab: &Lab, cli: &Cli) -> Result<u8> {
    let variant = match (&cli.command, lab.settings.engine) {
        (Action::TestDebug(_), _) => Variant::Debug,
        (Action::SelftestsNet { .. }, _) => Variant::NetSelftests,
        (Action::Study { .. }, _) => Variant::Study,
        (_, Some(Engine::UserMode)) => Variant::UserMode,
        _ => Variant::Plain,
    };
    let job = Runner { lab, variant, options: options(cli)?, dry_run: cli.command.dry_run() };
    match &cli.command {
        Action::All => job.test(&TestArgs::default(), false),
        Action::Test(args) | Action::TestDebug(args) if args.list => job.list(args),
        Action::Test(args) | Action::TestDebug(args) if job.dry_run => job.show_tests(args),
        Action::Test(args) => job.test(args, args.patterns.is_empty()),
        Action::TestDebug(args) => job.test(args, false),
        Action::SelftestsNet { tests } => job.selftests_net(tests),
        Action::Mutants { made: Some(number), seed, .. } => job.made_mutants(number.get(), *seed),
        Action::Mutants { pattern, .. } => job.mutants(pattern.as_deref()),
        Action::Shell(_) => job.command(Work::Shell),
        Action::Run(args) => job.command(Work::Command(run::line(&args.command)?)),
        Action::Try(args) => job.try_module(args),
        Action::New { dir } => new::run(dir),
        Action::Bench => job.bench(),
        Action::Study { quick, parts } => job.study(*quick, parts),
        Action::Kernel { variant } => {
            let variant = variant.unwrap_or(job.variant);
            let base = pipeline::base(lab, variant, &mut Phases::default())?;
            say(&format!("Linux {} in {}", base.kernel.release, base.kernel.build.display()));
            Ok(0)
        }
        Action::Series(args) => series::run(lab, args),
        Action::CheckSeries(args) => check_series::run(lab, args),
        Action::Picture { out, command } => picture::run(lab, command, out),
        Action::Netlink => {
            let _lock = checkout_lock::take(&lab.target)?;
            let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
            ynl::generate(lab, &base.kernel)?;
            Ok(0)
        }
        Action::Cache { prune } => cache::run(lab, *prune),
        Action::Doctor => doctor::run(lab),
        Action::Lint => job.lint(),
        Action::RustAnalyzer => rust_analyzer::run(lab),
        // Handled in main, since it needs no `Lab`.
        Action::Completions { .. } => Ok(0),
        Action::Clean => clean::run(lab, &checkout_lock::take(&lab.target)?).map(|()| 0),
        Action::Distclean => {
            // Held until the cache is empty, too.
            let lock = checkout_lock::take(&lab.target)?;
            clean::run(lab, &lock)?;
            lab.cache.clear()?;
            say(&format!("removed {}", lab.cache.dir().display()));
            Ok(0)
        }
    }
}

/// The options of the requested guest, with absolute paths, which are valid for QEMU and in the
/// guest.
fn options(cli: &Cli) -> Result<vm::Options> {
    let mut options = cli.guest();
    for folder in &mut options.writable {
        let shown = folder.display().to_string();
        *folder = folder.canonicalize().with_context(|| format!("--rw {shown}"))?;
        if !folder.is_dir() {
            bail!("--rw {shown}: not a folder");
        }
    }
    if let Some(file) = &mut options.dump {
        *file = std::path::absolute(&*file).context("find the current directory")?;
    }
    Ok(options)
}

/// What dpkg knows of the host's packages: it changes with each that is installed.
const PACKAGES: &str = "/var/lib/dpkg/status";

/// A run of the lab.
#[derive(Debug, Clone)]
struct Runner<'a> {
    lab: &'a Lab,
    variant: Variant,
    options: vm::Options,
    /// Whether to print QEMU's command line instead of running it.
    dry_run: bool,
}

impl Runner<'_> {
    /// Builds modules and programs, and boots a guest for one job meanwhile. When the guest has its
    /// files, the locks of the checkout and of the build of a user's own tree are released: a person
    /// may stay in the guest all day.
    pub(super) fn boot(
        &self,
        base: &Prepared,
        work: Work,
        load: &[String],
        mut phases: Phases,
        lock: CheckoutLock,
    ) -> Result<Ended> {
        let engine = self.lab.engine()?;
        let name = if matches!(work, Work::Shell) { "shell" } else { "run" };
        let folder = log_folder::take(&self.lab.target.join("logs"), name)?;
        let job = |built: &Built, work| -> Result<Job> {
            Ok(Job { logs: folder.path.clone(), ..self.job(base, built, work, load)? })
        };
        let early = job(&Built::nothing(self.lab)?, work)?;
        let work = early.work.clone();
        let early = self.early(&early, base, &engine)?;
        let built = pipeline::build(self.lab, base, &mut phases)?;
        let job = job(&built, work)?;
        let ready = || {
            drop(lock);
            self.lab.cache.release(kernel::OF_A_TREE);
        };
        match early {
            Some(guest) => guest.run_then(&job, &base.kernel, &engine, phases, ready),
            None => {
                if let Some(port) = self.options.gdb {
                    gdb::explain(&base.kernel, port, &built.modules);
                }
                session::run_then(&job, &base.kernel, &engine, phases, ready)
            }
        }
    }

    /// Starts the guest of a job whose files are not built yet. `None` with a debugger, which
    /// starts the guest itself, and with User Mode Linux, which boots at once.
    pub(super) fn early(
        &self,
        job: &Job,
        base: &Prepared,
        engine: &engine::Choice,
    ) -> Result<Option<Started>> {
        if self.options.gdb.is_some() || engine.used == Engine::UserMode {
            return Ok(None);
        }
        Started::early(job, &base.kernel, engine).map(Some)
    }

    pub(super) fn job(
        &self,
        base: &Prepared,
        built: &Built,
        work: Work,
        load: &[String],
    ) -> Result<Job> {
        let lab = self.lab;
        let folders = lab.project.selftests.folders.iter().map(|folder| lab.root.join(folder));
        let selftests = folders.chain(built.guest.selftests.iter().cloned()).collect();
        Ok(Job {
            modules: built.modules.clone(),
            load: load.to_vec(),
            keep_loaded: false,
            init: built.guest.init.clone(),
            tools: built.guest.tools.clone(),
            selftests,
            directory: std::env::current_dir().context("find the current directory")?,
            // The guest has these files, too, since it mounts the host's root.
            env: ynl::environment(lab, &base.kernel),
            turns: lab.takes_turns(&work),
            memory_mb: lab.guest_memory(&base.kernel),
            saved: Some(lab.cache.path(saved::FOLDER)),
            options: self.options.clone(),
            progress: None,
            // A person who types needs the whole terminal.
            tells: !matches!(work, Work::Shell),
            logs: lab.target.join("logs"),
            root: modules::debug_root(lab),
            work,
        })
    }

    /// What decides on the result of a guest besides the files that it gets, for the keys of results
    /// that are kept: how it is run and judged, and the host's programs, which are the guest's.
    pub(super) fn guest_key_parts(&self, kernel: &Kernel, engine: Engine) -> Result<Vec<String>> {
        let qemu = match engine {
            Engine::UserMode => String::new(),
            _ => engine::qemu_version()?,
        };
        let packages = std::fs::metadata(PACKAGES).map(|file| (file.len(), file.modified().ok()));
        let modules = &self.lab.project.modules.load;
        let sequential = &self.lab.project.selftests.sequential;
        Ok(vec![
            env!("LAB_JUDGE").to_owned(),
            engine.name().to_owned(),
            qemu,
            format!("{} {:?}", self.lab.guest_memory(kernel), self.options),
            format!("{modules:?} {sequential:?}"),
            format!("{:?}", packages.ok()),
        ])
    }
}
