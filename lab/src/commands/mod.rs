// SPDX-License-Identifier: GPL-2.0

//! What each command does, in its order.

mod bench;
pub(crate) mod cache;
mod doctor;
mod lint;
mod mutants;
mod net;
mod picture;
mod run;
mod rust_analyzer;
mod test;

use anyhow::{Context, Result};
use vmlab::boot::accel::{self, Engine};
use vmlab::run::files;
use vmlab::run::job::{Job, Work};
use vmlab::run::phases::Phases;
use vmlab::run::progress::say;
use vmlab::run::session::{self, Ended};

use crate::build::kernel::Variant;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checks::ynl;
use crate::cli::{self, Accel, Action, Cli, TestArgs};
use crate::context::Lab;

/// Runs the command; gives the exit status.
pub fn run(lab: &Lab, cli: &Cli) -> Result<u8> {
    let engine = match (cli.options.engine, cli.options.accel) {
        (cli::Engine::Uml, _) => Some(Engine::UserMode),
        (cli::Engine::Qemu, Some(Accel::Kvm)) => Some(Engine::Kvm),
        (cli::Engine::Qemu, Some(Accel::Tcg)) => Some(Engine::Tcg),
        (cli::Engine::Qemu, None) => None,
    };
    let variant = match (&cli.command, engine) {
        (Action::TestDebug(_), _) => Variant::Debug,
        (Action::SelftestsNet { .. }, _) => Variant::NetSelftests,
        (_, Some(Engine::UserMode)) => Variant::UserMode,
        _ => Variant::Plain,
    };
    let job = Runner { lab, engine, variant, memory_mb: cli.options.memory };
    match &cli.command {
        Action::All => job.test(&TestArgs::default(), false),
        Action::Test(args) => job.test(args, args.pattern.is_none()),
        Action::TestDebug(args) => job.test(args, false),
        Action::SelftestsNet { tests } => job.selftests_net(tests),
        Action::Mutants { pattern } => job.mutants(pattern.as_deref()),
        Action::Shell => job.command(Work::Shell),
        Action::Run { command } => job.command(Work::Command(command.join(" "))),
        Action::Bench => job.bench(),
        Action::Kernel { variant } => {
            let variant = match variant {
                None => job.variant,
                Some(cli::Variant::Debug) => Variant::Debug,
                Some(cli::Variant::Net) => Variant::NetSelftests,
            };
            let base = pipeline::base(lab, variant, &mut Phases::default())?;
            say(&format!("Linux {} in {}", base.kernel.release, base.kernel.build.display()));
            Ok(0)
        }
        Action::Picture { out, command } => picture::run(lab, command, out),
        Action::Netlink => {
            let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
            ynl::generate(lab, &base.kernel)?;
            Ok(0)
        }
        Action::Cache { prune } => cache::run(lab, *prune),
        Action::Doctor => doctor::run(lab, engine),
        Action::Lint => job.lint(),
        Action::RustAnalyzer => rust_analyzer::run(lab),
        Action::Clean => files::remove_dir(&lab.target).map(|()| 0),
        Action::Distclean => {
            files::remove_dir(&lab.target)?;
            lab.cache.clear()?;
            say(&format!("removed {}", lab.cache.dir().display()));
            Ok(0)
        }
    }
}

/// A run of the lab.
#[derive(Debug, Clone, Copy)]
struct Runner<'a> {
    lab: &'a Lab,
    engine: Option<Engine>,
    variant: Variant,
    /// What was asked for.
    memory_mb: Option<u32>,
}
impl Runner<'_> {
    /// Boots a guest for one job.
    pub(super) fn boot(
        &self,
        base: &Prepared,
        built: &Built,
        work: Work,
        load: &[String],
        phases: Phases,
    ) -> Result<Ended> {
        let job = self.job(base, built, work, load)?;
        let accel = accel::choose(self.engine, &self.lab.cache.path("accel"))?;
        session::run(&job, &base.kernel, &accel, phases)
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
            work,
            modules: built.modules.clone(),
            load: load.to_vec(),
            keep_loaded: false,
            init: built.guest.init.clone(),
            tools: built.guest.tools.clone(),
            selftests,
            directory: std::env::current_dir().context("find the current directory")?,
            // They are under the host's root, which the guest has as its own.
            env: ynl::environment(lab, &base.kernel),
            turns: false,
            memory_mb: self.memory_mb.unwrap_or(if base.kernel.debug { 2048 } else { 1024 }),
            progress: None,
            logs: lab.target.join("logs"),
            root: lab.root.clone(),
        })
    }
}
