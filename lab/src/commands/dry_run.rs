// SPDX-License-Identifier: GPL-2.0

//! `--dry-run` and `--list`: show what a run would do.

use anyhow::Result;
use vmlab::boot::engine::Choice;
use vmlab::boot::kernel::Kernel;
use vmlab::run::dry;
use vmlab::run::job::{self, Job, Work};
use vmlab::run::phases::Phases;
use vmlab::run::print;
use vmlab::run::process;

use crate::build::pipeline;
use crate::cli::TestArgs;
use crate::commands::Runner;

impl Runner<'_> {
    /// The names of the selftests.
    pub(super) fn list(&self, args: &TestArgs) -> Result<u8> {
        for test in job::select(self.lab.selftests()?, &args.patterns)? {
            print::out(&format!("{}\n", test.name));
        }
        Ok(0)
    }

    /// QEMU's command line for each selftest.
    pub(super) fn show_tests(&self, args: &TestArgs) -> Result<u8> {
        let mut phases = Phases::default();
        let tests = job::select(self.lab.selftests()?, &args.patterns)?;
        let base = pipeline::base(self.lab, self.variant, &mut phases)?;
        let built = pipeline::build(self.lab, &base, &mut phases)?;
        let engine = self.lab.engine()?;
        for test in tests {
            let name = test.name.clone();
            let work = Work::one(test);
            let mut job = self.job(&base, &built, work, &[])?;
            job.logs = job.logs.join(name);
            self.show(&job, &base.kernel, &engine)?;
        }
        Ok(0)
    }

    /// QEMU's command line for one job, to paste. Its initramfs is kept for that.
    pub(super) fn show(&self, job: &Job, kernel: &Kernel, engine: &Choice) -> Result<()> {
        let name = job.logs.file_name().unwrap_or_default();
        let folder = self.lab.target.join("dry-run").join(name);
        let command = dry::command(job, kernel, engine, &folder)?;
        print::out(&format!("{}\n", process::display(&command)));
        Ok(())
    }
}
