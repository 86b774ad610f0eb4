// SPDX-License-Identifier: GPL-2.0

//! The files that say how a run ended: gone when it begins, written whole when it ends.

use std::path::Path;

use anyhow::Result;
use vmlab::judge::junit;
use vmlab::judge::report::Report;
use vmlab::run::files;

const JSON: &str = "results.json";
const JUNIT: &str = "results.xml";

/// Removes the last run's reports: from here on they would be lies.
pub(super) fn forget(target: &Path) -> Result<()> {
    for path in [JSON, JUNIT].map(|name| target.join(name)) {
        files::remove_file(&path)?;
    }
    Ok(())
}

/// Writes this run's.
pub(super) fn write(report: &Report, target: &Path) -> Result<()> {
    report.write(&target.join(JSON))?;
    junit::write(report, &target.join(JUNIT))
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
