// SPDX-License-Identifier: GPL-2.0

//! `lab mutants`: selftests that must fail.

use std::num::NonZeroU32;

use anyhow::{Context, Result};
use vmlab::boot::accel;
use vmlab::judge::outcome::Outcome;
use vmlab::run::interrupt;
use vmlab::run::job::Work;
use vmlab::run::phases::Phases;
use vmlab::run::session;

use crate::build::guest_programs::{self, Guest};
use crate::build::modules;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checks::mutants::{self, Mutant};
use crate::commands::Runner;
use crate::context::Lab;
use crate::ui::tally::{Check, Checked};

impl Runner<'_> {
    /// Selftests that must fail.
    pub(super) fn mutants(&self, pattern: Option<&str>) -> Result<u8> {
        let mutants = mutants::load(self.lab, pattern)?;
        let mut checked = Checked::default();
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let guest = guest_programs::build(self.lab, &base)?;
        let accel = accel::choose(self.engine, &self.lab.cache.path("accel"))?;
        let copy = mutants::Copy::new(self.lab)?;
        for mutant in &mutants {
            interrupt::check()?;
            let name = format!("{}: {}", mutant.name, mutant.rule);
            let verdict = match self.mutant(&base, &guest, &copy, mutant, &accel) {
                Ok(who) => Check::of(format!("{name}: noticed by {who}"), Ok(())),
                Err(error) => Check::of::<()>(name, Err(error)),
            };
            checked.tell(&[verdict]);
        }
        println!("{}", checked.tally);
        Ok(if checked.tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    /// Who has noticed one.
    fn mutant(
        &self,
        base: &Prepared,
        guest: &Guest,
        copy: &mutants::Copy,
        mutant: &Mutant,
        accel: &accel::Choice,
    ) -> Result<String> {
        let lab = Lab {
            root: copy.root().to_owned(),
            target: self.lab.target.join("mutants"),
            ..self.lab.clone()
        };
        let modules = copy.with(mutant, || modules::build(&lab, base))?;
        let built = Built { modules, guest: guest.clone() };
        let work = Work::Tests { tests: mutant.tests.clone(), repeat: NonZeroU32::MIN };
        let mut job = self.job(base, &built, work, &[])?;
        job.logs = lab.target.join("logs").join(&mutant.name);
        let report = session::run(&job, &base.kernel, accel, Phases::default())?.report;
        mutants::judge(&report).with_context(|| format!("see {}", job.logs.display()))
    }
}
