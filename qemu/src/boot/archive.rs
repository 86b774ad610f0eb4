// SPDX-License-Identifier: GPL-2.0

//! Archives for the guest, which the kernel or PID 1 unpacks. All entries belong to root, whoever
//! runs the lab. They are not compressed: an emulated processor would need long to decompress them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc;

pub const DIRECTORY: u32 = 0o040_755;
pub const REGULAR: u32 = 0o100_000;
pub const LINK: u32 = 0o120_777;

/// Folders of sources and build results, which the guest does not need.
const NOT_FOR_GUEST: [&str; 2] = ["target", "src"];

/// A cpio archive that is being written.
pub struct Archive<W> {
    to: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// Begins an empty archive.
    pub fn new(to: W) -> Archive<W> {
        Archive { to, entries: 0 }
    }

    /// Adds a file.
    pub fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entries += 1;
        let length = u32::try_from(bytes.len()).with_context(|| format!("{name} is too large"))?;
        let builder = newc::Builder::new(name).ino(self.entries).nlink(1).mode(mode);
        let mut entry = builder.write(&mut self.to, length);
        entry.write_all(bytes)?;
        entry.finish()?;
        Ok(())
    }

    /// A file, or what a link points to: outside of its folder a link would
    /// lead nowhere.
    pub fn add_path(&mut self, name: &str, path: &Path) -> Result<()> {
        let meta = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
        self.add(name, REGULAR | mode(&meta), &read(path)?)
    }

    pub fn add_tree(&mut self, prefix: &str, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        // So that the same files give the same archive.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let kind = entry.file_type()?;
            let inner = format!("{prefix}/{}", name(&path));
            if kind.is_symlink() {
                let target = fs::read_link(&path)?;
                self.add(&inner, LINK, target.to_string_lossy().as_bytes())?;
            } else if !kind.is_dir() {
                self.add_path(&inner, &path)?;
            } else if !NOT_FOR_GUEST.contains(&name(&path).as_str()) {
                self.add(&inner, DIRECTORY, &[])?;
                self.add_tree(&inner, &path)?;
            }
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<()> {
        newc::trailer(&mut self.to)?.flush()?;
        Ok(())
    }
}

/// The name of a path in an archive: without the slash in front.
pub fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// The mode of a file in the archive. Only the execute bit is taken from the host: the other bits
/// depend on the umask of whoever checked out or built the project.
fn mode(meta: &fs::Metadata) -> u32 {
    if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::path::PathBuf;

    /// Mode and content of every entry.
    pub fn entries(path: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut file = File::open(path).unwrap();
        loop {
            let mut entry = newc::Reader::new(&mut file).unwrap();
            if entry.entry().is_trailer() {
                return found;
            }
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            found.insert(entry.entry().name().to_owned(), (entry.entry().mode(), bytes));
            entry.finish().unwrap();
        }
    }

    pub fn make(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_umask_of_a_checkout_does_not_reach_the_guest() {
        let image = |program: u32, file: u32| {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path(), "a.sh", program);
            make(dir.path(), "lib.sh", file);
            let mut archive = Archive::new(Vec::new());
            archive.add_tree("lab/selftests", dir.path()).unwrap();
            archive.to
        };
        let usual = image(0o755, 0o644);
        for (program, file) in [(0o700, 0o600), (0o777, 0o666), (0o750, 0o640)] {
            assert!(image(program, file) == usual, "{program:o} {file:o}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut archive = Archive::new(Vec::new());
        let error = archive.add_path("lab/modules/x.ko", Path::new("/no/x.ko")).unwrap_err();
        assert_eq!(error.to_string(), "look at /no/x.ko");
    }
}
