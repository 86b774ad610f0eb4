// SPDX-License-Identifier: GPL-2.0

//! `lab cache`: the size of the cache, and its unused parts.

use std::time::SystemTime;

use anyhow::Result;
use vmlab::run::print;
use vmlab::run::progress::say;

use crate::build::cache::{Entry, KEPT};
use crate::context::Lab;
use crate::host::disk;

const DAY: u64 = 24 * 3600;

pub(super) fn run(lab: &Lab, prune: bool) -> Result<u8> {
    if prune {
        forget(lab)?;
    }
    let entries = lab.cache.entries();
    for entry in &entries {
        print::out(&format!("{}\n", line(entry)));
    }
    let bytes = entries.iter().map(|entry| entry.bytes).sum();
    let (size, dir) = (disk::gigabytes(bytes), lab.cache.dir().display());
    print::out(&format!("{size:>8} in {dir}\n"));
    Ok(0)
}

/// Removes entries that were not used for a month, or whose folder is gone. A run does this at its
/// end, after it has marked its own entries as used. So the first run after a month's break still
/// finds its kernel.
pub(crate) fn forget(lab: &Lab) -> Result<()> {
    let forgotten = lab.cache.forget(KEPT)?;
    if !forgotten.is_empty() {
        let bytes = forgotten.iter().map(|entry| entry.bytes).sum();
        let names: Vec<&str> = forgotten.iter().map(|entry| entry.name.as_str()).collect();
        let (size, names) = (disk::gigabytes(bytes), names.join(", "));
        say(&format!("removed {size} of the cache that nothing uses any more: {names}"));
    }
    Ok(())
}

fn line(entry: &Entry) -> String {
    let age = SystemTime::now().duration_since(entry.used).unwrap_or_default();
    let used = match age.as_secs() / DAY {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    };
    format!("{:>8}  used {used:<13}  {}", disk::gigabytes(entry.bytes), entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_says_how_large_and_how_old() {
        for (days, want) in [
            (0, "  0.5 GB  used today          kernel/k"),
            (1, "  0.5 GB  used yesterday      kernel/k"),
            (31, "  0.5 GB  used 31 days ago    kernel/k"),
        ] {
            let used = SystemTime::now() - Duration::from_secs(days * DAY + 60);
            let entry = Entry { name: "kernel/k".into(), bytes: 455_000_000, used };
            assert_eq!(line(&entry), want);
        }
    }
}
