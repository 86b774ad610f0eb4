// SPDX-License-Identifier: GPL-2.0

//! `lab lint`: format and lint checks of host and kernel code.

use anyhow::Result;
use vmlab::judge::outcome::Outcome;
use vmlab::run::interrupt;
use vmlab::run::phases::Phases;
use vmlab::run::print;

use crate::build::kernel::Variant;
use crate::build::pipeline;
use crate::checkout_lock;
use crate::checks::lint;
use crate::commands::Runner;
use crate::host::packages;
use crate::ui::tally::Tally;

impl Runner<'_> {
    pub(super) fn lint(&self) -> Result<u8> {
        let mut tally = Tally::default();
        // Some of the host's code needs libraries to build.
        packages::ensure(self.lab)?;
        let _lock = checkout_lock::take(&self.lab.target)?;
        tally.tell(&lint::host(self.lab));
        interrupt::check()?;
        let base = pipeline::base(self.lab, Variant::Plain, &mut Phases::default())?;
        tally.tell(&lint::kernel(self.lab, &base));
        interrupt::check()?;
        print::out(&format!("{tally}\n"));
        Ok(if tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }
}
