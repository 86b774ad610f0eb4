// SPDX-License-Identifier: GPL-2.0

//! `lab lint`: format and lint checks of host and kernel code.

use anyhow::Result;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::TestReport;
use vmlab::judge::tally::Tally;
use vmlab::run::interrupt;
use vmlab::run::phases::Phases;
use vmlab::run::print;

use crate::build::kernel::Variant;
use crate::build::pipeline;
use crate::checkout_lock;
use crate::checks::lint;
use crate::commands::Runner;
use crate::expected_skips::ExpectedSkips;
use crate::host::packages;
use crate::ui::tally;

impl Runner<'_> {
    pub(super) fn lint(&self) -> Result<u8> {
        let mut tally = Tally::default();
        // Some of the host's code needs libraries to build.
        packages::ensure(self.lab)?;
        let _lock = checkout_lock::take(&self.lab.target)?;
        let expected = ExpectedSkips::of_checks(self.lab);
        let tell = |tally: &mut Tally, mut checks: Vec<TestReport>| {
            checks.iter_mut().for_each(|check| check.group = lint::GROUP.to_owned());
            expected.judge_all(&mut checks);
            tally::tell(tally, &checks);
        };
        tell(&mut tally, lint::host(self.lab));
        interrupt::check()?;
        let base = pipeline::base(self.lab, Variant::Plain, &mut Phases::default())?;
        tell(&mut tally, lint::kernel(self.lab, &base));
        interrupt::check()?;
        print::out(&format!("{tally}\n"));
        Ok(if tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }
}
