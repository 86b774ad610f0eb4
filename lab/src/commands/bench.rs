// SPDX-License-Identifier: GPL-2.0

//! `lab bench`: measures time, then instructions, side by side.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vmlab::boot::engine::{self, Engine};
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::files;
use vmlab::run::job::{self, Work};
use vmlab::run::phases::Phases;
use vmlab::run::print;
use vmlab::run::progress::say;
use vmlab::run::session;

use crate::bench as figures;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::commands::Runner;
use crate::project::{self, Bench};

/// Time limit for a run of all measurements under emulation.
const BENCH_LIMIT: Duration = Duration::from_secs(25 * 60);

impl Runner<'_> {
    /// Measures time, then instructions, and compares.
    pub(super) fn bench(&self) -> Result<u8> {
        let Some(bench) = &self.lab.project.bench else {
            bail!("{} has no section [bench]", project::FILE)
        };
        let targets = bench.targets.as_ref().map(|path| self.lab.root.join(path));
        let rules = figures::Rules::load(targets.as_deref())?;
        let _lock = checkout_lock::take(&self.lab.target)?;
        // From here on, the results of an earlier run would be wrong.
        let path = self.lab.target.with_file_name("bench").join("results.json");
        files::remove_file(&path)?;
        let mut phases = Phases::default();
        let base = pipeline::base(self.lab, self.variant, &mut phases)?;
        let built = pipeline::build(self.lab, &base, &mut phases)?;
        if !built.modules.iter().any(|path| path.ends_with(&bench.module)) {
            bail!("there is no {} to measure with", bench.module);
        }
        let engine = self.lab.engine()?;
        let counting =
            engine::Choice { used: Engine::Counting, why: "to count instructions".to_owned() };
        let mut runs = vec![(&engine, "time")];
        if engine.used == Engine::UserMode {
            say("instructions are not counted: that needs QEMU and another kernel");
        } else {
            runs.push((&counting, "instructions"));
        }
        let mut runs =
            runs.into_iter().zip([figures::Counted::Time, figures::Counted::Instructions]);
        let (mut texts, mut outcome) = (Vec::new(), Outcome::Pass);
        while let (Outcome::Pass, Some(((engine, what), unit))) = (outcome, runs.next()) {
            say(&format!("measuring {what}"));
            let (text, report) = self.measure(bench, &base, &built, engine)?;
            outcome = report.outcome;
            if outcome != Outcome::Pass {
                print::err(&report.table());
            }
            texts.push((unit, text));
        }
        let outputs: Vec<_> =
            texts.iter().map(|(unit, text)| figures::Measurements { unit: *unit, text }).collect();
        let results = figures::results(&engine, &rules, &outputs, outcome == Outcome::Pass)?;
        results.write(&path)?;
        print::out(&results.table());
        Ok(outcome.exit_code())
    }

    /// Runs the measurements and returns their output, even if they failed.
    fn measure(
        &self,
        bench: &Bench,
        base: &Prepared,
        built: &Built,
        engine: &engine::Choice,
    ) -> Result<(String, Report)> {
        let script = self.lab.root.join(&bench.script);
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let test = job::Test { name: name.clone(), timeout: BENCH_LIMIT };
        let mut job = self.job(base, built, Work::one(test), &[])?;
        job.selftests.push(script);
        job.progress = Some(figures::PROGRESS);
        let report = session::run(&job, &base.kernel, engine, Phases::default())?.report;
        let log = job.logs.join("tests").join(format!("{name}.log"));
        let output = match fs::read_to_string(&log) {
            // The run ended before the measurements.
            Err(_) if report.outcome != Outcome::Pass => String::new(),
            output => output.with_context(|| format!("read {}", log.display()))?,
        };
        Ok((output, report))
    }
}
