// SPDX-License-Identifier: GPL-2.0

//! The kernel log: lines of ours in it, and what it says since a moment.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

const KMSG: &str = "/dev/kmsg";

/// Writes a line into the kernel log. It is a marker for people and for the lab;
/// a guest that cannot write it has worse things to report.
pub fn write(line: &str) {
    if let Ok(mut file) = File::options().write(true).open(KMSG) {
        // Priority 6, info. One write is one record.
        let _ = file.write_all(format!("<6>{line}\n").as_bytes());
    }
}

/// The kernel log from now on.
pub struct Since(File);

impl Since {
    /// Starts listening.
    pub fn now() -> Result<Since> {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open(KMSG).with_context(|| format!("open {KMSG}"))?;
        file.seek(SeekFrom::End(0)).with_context(|| format!("seek in {KMSG}"))?;
        Ok(Since(file))
    }

    /// The messages since then.
    pub fn lines(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // Larger than any record; each read gives one, or an error at the end.
        let mut record = vec![0; 8192];
        while let Ok(length) = self.0.read(&mut record) {
            lines.extend(message(&String::from_utf8_lossy(&record[..length])));
        }
        lines
    }
}

/// The text of a record: `priority,sequence,time,flags;text\n KEY=value...`.
fn message(record: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    Some(text.lines().next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_reduced_to_its_text() {
        let record = "6,339,5140900,-;rnetns: Unknown symbol x; (err -2)\n SUBSYSTEM=module\n";
        assert_eq!(message(record).as_deref(), Some("rnetns: Unknown symbol x; (err -2)"));
        assert_eq!(message("nonsense"), None);
    }
}
