// SPDX-License-Identifier: GPL-2.0

//! How long each test took in the last run. The longest test starts first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use vmlab::run::files;

/// The file in the project's folder of results.
const NAME: &str = "durations.json";

/// Milliseconds by name.
#[derive(Debug)]
pub struct Durations {
    path: PathBuf,
    last: BTreeMap<String, u64>,
}

impl Durations {
    /// Reads the file of the last run. It may be missing, since it only decides on an order.
    pub fn load(target: &Path) -> Durations {
        let path = target.join(NAME);
        let text = fs::read(&path).unwrap_or_default();
        Durations { last: serde_json::from_slice(&text).unwrap_or_default(), path }
    }

    /// The expected duration of a test. A test that has never run counts as the longest.
    pub fn expected(&self, name: &str) -> u64 {
        self.last.get(name).copied().unwrap_or(u64::MAX)
    }

    pub fn set(&mut self, name: &str, took: Duration) {
        self.last.insert(name.to_owned(), vmlab::run::phases::millis(took));
    }

    /// Writes the file for the next run.
    pub fn store(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.last).context("encode durations")?;
        files::write_whole(&self.path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_knows_how_long_each_took() {
        let dir = tempfile::tempdir().unwrap();
        let mut durations = Durations::load(dir.path());
        durations.set("a", Duration::from_millis(7));
        durations.store().unwrap();
        let next = Durations::load(dir.path());
        assert_eq!((next.expected("a"), next.expected("b")), (7, u64::MAX));
    }
}
