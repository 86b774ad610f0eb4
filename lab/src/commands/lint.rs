// SPDX-License-Identifier: GPL-2.0

//! `lab lint`: format and lint checks of host and kernel code.

use anyhow::Result;
use vmlab::judge::outcome::Outcome;
use vmlab::run::interrupt;
use vmlab::run::phases::Phases;

use crate::build::kernel::Variant;
use crate::build::pipeline;
use crate::checks::lint;
use crate::commands::Runner;
use crate::commands::test::Checked;
use crate::ui::tally::Tally;

impl Runner<'_> {
    pub(super) fn lint(&self) -> Result<u8> {
        let mut checked = Checked { tally: Tally::default(), quiet: false };
        checked.host(self.lab)?;
        let base = pipeline::base(self.lab, Variant::Plain, &mut Phases::default())?;
        checked.tell(&lint::kernel(self.lab, &base));
        interrupt::check()?;
        println!("{}", checked.tally);
        Ok(if checked.tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }
}
