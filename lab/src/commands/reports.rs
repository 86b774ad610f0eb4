// SPDX-License-Identifier: GPL-2.0

//! The report files of a run. They are removed when it begins, and written as a whole when it ends.

use std::path::Path;

use anyhow::{Error, Result};
use vmlab::judge::junit;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::files;
use vmlab::run::interrupt::Interrupted;

const JSON: &str = "results.json";
const JUNIT: &str = "results.xml";

/// Removes the reports of the last run: from here on, they would be wrong.
pub(super) fn forget(target: &Path) -> Result<()> {
    for path in [JSON, JUNIT].map(|name| target.join(name)) {
        files::remove_file(&path)?;
    }
    Ok(())
}

/// Writes the reports of this run.
pub(super) fn write(report: &Report, target: &Path) -> Result<()> {
    report.write(&target.join(JSON))?;
    junit::write(report, &target.join(JUNIT))
}

/// How a run ends after this error.
pub(super) fn outcome_of(error: &Error) -> Outcome {
    if error.is::<Interrupted>() { Outcome::Interrupted } else { Outcome::Build }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use vmlab::run::phases::Phases;

    #[test]
    fn a_run_that_dies_leaves_no_report_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        forget(dir.path()).unwrap();
        write(&Report::not_built("no disk".into(), Phases::default()), dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        forget(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
