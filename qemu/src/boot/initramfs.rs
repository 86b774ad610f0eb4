// SPDX-License-Identifier: GPL-2.0

//! The initramfs: PID 1, and a file with its instructions. It needs no device node, since the
//! kernel provides `/dev/console`.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use vmlab_init::protocol::{Beginning, LAB_DIR, START_FILE};

use crate::boot::archive::{Archive, DIRECTORY, REGULAR, inside, read};

/// Writes the archive to `path`, with `init` as PID 1.
pub fn write(path: &Path, init: &Path, beginning: &Beginning) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    let init = read(init)?;
    let mut fill = || {
        archive.add(inside(LAB_DIR), DIRECTORY, &[])?;
        archive.add("init", REGULAR | 0o755, &init)?;
        archive.add(inside(START_FILE), REGULAR | 0o600, &serde_json::to_vec(beginning)?)?;
        archive.finish()
    };
    fill().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::archive::tests::{entries, make};

    #[test]
    fn pid_1_finds_what_it_must_know() {
        let dir = tempfile::tempdir().unwrap();
        let (init, path) = (make(dir.path(), "vmlab-init", 0o755), dir.path().join("initrd"));
        let beginning = Beginning::Save { key: 7 };
        write(&path, &init, &beginning).unwrap();
        let found = entries(&path);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["init", "lab", "lab/start.json"]);
        assert_eq!(found["init"], (0o100_755, b"vmlab-init".to_vec()));
        let read: Beginning = serde_json::from_slice(&found["lab/start.json"].1).unwrap();
        assert_eq!(read, beginning);
    }
}
