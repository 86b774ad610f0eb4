// SPDX-License-Identifier: GPL-2.0

//! The guest's first file system: PID 1, the job, modules and selftests.
//!
//! Written anew for each boot, which takes milliseconds, and not compressed,
//! since the guest would pay for that with a slow processor. Entries belong to
//! root whoever runs the lab; no device node is needed, the kernel brings
//! `/dev/console` itself.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc;
use vmlab_init::protocol::{JOB_FILE, MODULES_DIR, SELFTESTS_DIR, TOOLS_DIR};

use crate::boot::strip;
use crate::run::job::{Job, Test, Work};

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// Folders that cargo or kbuild make among sources, of no use in the guest.
const NOT_FOR_GUEST: [&str; 2] = ["target", "src"];

/// Writes the archive to `path`.
pub fn write(path: &Path, job: &Job, guest_job: &vmlab_init::protocol::Job) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut archive = Archive { to: BufWriter::new(file), entries: 0 };
    fill(&mut archive, job, guest_job).with_context(|| format!("write {}", path.display()))
}

fn fill(
    archive: &mut Archive<impl Write>,
    job: &Job,
    guest: &vmlab_init::protocol::Job,
) -> Result<()> {
    for dir in ["lab", "lab/modules", "lab/selftests", "lab/tools"] {
        archive.add(dir, DIRECTORY, &[])?;
    }
    archive.add("init", REGULAR | 0o755, &read(&job.init)?)?;
    archive.add(inside(JOB_FILE), REGULAR | 0o644, &serde_json::to_vec(guest)?)?;
    for path in &job.modules {
        let module = strip::without_debug_information(read(path)?);
        let inner = format!("{}/{}", inside(MODULES_DIR), name(path));
        archive.add(&inner, REGULAR | 0o644, &module)?;
    }
    for tool in &job.tools {
        archive.add_path(&format!("{}/{}", inside(TOOLS_DIR), name(tool)), tool)?;
    }
    for path in &job.selftests {
        if path.is_dir() {
            archive.add_tree(inside(SELFTESTS_DIR), path)?;
        } else {
            let inner = format!("{}/{}", inside(SELFTESTS_DIR), name(path));
            add_program(archive, &inner, path, &job.work)?;
        }
    }
    archive.finish()
}

/// A test that runs is copied. Another test's program is a link to this machine's root, which the
/// guest has, too: there for whoever calls it, but neither written nor unpacked at each boot.
fn add_program(
    archive: &mut Archive<impl Write>,
    inner: &str,
    path: &Path,
    work: &Work,
) -> Result<()> {
    let runs = |tests: &[Test]| tests.iter().any(|test| test.name == name(path));
    if matches!(work, Work::Tests { tests, .. } if runs(tests)) {
        return archive.add_path(inner, path);
    }
    let target = path.canonicalize().with_context(|| format!("look at {}", path.display()))?;
    archive.add(inner, LINK, target.as_os_str().as_bytes())
}

/// Names in an archive have no slash in front.
fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Programs are told from other files; what else the mode says comes from the umask under which
/// somebody checked the project out or built it.
fn mode(meta: &fs::Metadata) -> u32 {
    if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 }
}

struct Archive<W> {
    to: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
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
    fn add_path(&mut self, name: &str, path: &Path) -> Result<()> {
        let meta = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
        self.add(name, REGULAR | mode(&meta), &read(path)?)
    }

    fn add_tree(&mut self, prefix: &str, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        // The same archive for the same files.
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

    fn finish(&mut self) -> Result<()> {
        newc::trailer(&mut self.to)?.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::vm;
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;
    use std::path::PathBuf;
    use std::time::Duration;

    /// Mode and content of every entry.
    fn entries(path: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
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

    fn make(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_guest_finds_its_files_where_the_protocol_says() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let folder = dir.join("selftests");
        make(&folder, "a.sh", 0o755);
        make(&folder, "lib/b.sh", 0o644);
        make(&folder, "target/junk", 0o644);
        std::os::unix::fs::symlink("a.sh", folder.join("link.sh")).unwrap();
        let churn = Test { name: "churn".into(), timeout: Duration::from_secs(1) };
        let job = Job {
            work: Work::Tests { tests: vec![churn], repeat: NonZeroU32::MIN },
            modules: vec![make(dir, "out/sample.ko", 0o644)],
            load: vec!["sample.ko".into()],
            keep_loaded: false,
            init: make(dir, "vmlab-init", 0o755),
            selftests: vec![
                folder,
                make(dir, "built/churn", 0o755),
                make(dir, "built/dumps", 0o755),
            ],
            tools: vec![make(dir, "built/tool", 0o755)],
            directory: "/".into(),
            env: Vec::new(),
            turns: false,
            memory_mb: 1024,
            options: vm::Options::default(),
            progress: None,
            logs: dir.join("logs"),
            root: dir.to_owned(),
        };
        let guest = vmlab_init::protocol::Job {
            work: vmlab_init::protocol::Work::Command("true".into()),
            load: job.load.clone(),
            keep_loaded: job.keep_loaded,
            directory: "/".into(),
            env: Vec::new(),
            writable: Vec::new(),
            settle_ms: 1,
            key: 0,
        };
        let path = dir.join("initrd");
        write(&path, &job, &guest).unwrap();

        let found = entries(&path);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let want = [
            "init",
            "lab",
            "lab/job.json",
            "lab/modules",
            "lab/modules/sample.ko",
            "lab/selftests",
            "lab/selftests/a.sh",
            "lab/selftests/churn",
            "lab/selftests/dumps",
            "lab/selftests/lib",
            "lab/selftests/lib/b.sh",
            "lab/selftests/link.sh",
            "lab/tools",
            "lab/tools/tool",
        ];
        assert_eq!(names, want);
        assert_eq!(found["init"], (0o100_755, b"vmlab-init".to_vec()));
        assert_eq!(found["lab/selftests/lib/b.sh"].0, 0o100_644);
        assert_eq!(found["lab/selftests/churn"], (0o100_755, b"built/churn".to_vec()));
        let other = dir.canonicalize().unwrap().join("built/dumps");
        let link = (0o120_777, other.into_os_string().into_encoded_bytes());
        assert_eq!(found["lab/selftests/dumps"], link, "a test that does not run");
        assert_eq!(found["lab/selftests/link.sh"], (0o120_777, b"a.sh".to_vec()));
        let read: vmlab_init::protocol::Job =
            serde_json::from_slice(&found["lab/job.json"].1).unwrap();
        assert_eq!(read, guest);
    }

    #[test]
    fn the_umask_of_a_checkout_does_not_reach_the_guest() {
        let image = |program: u32, file: u32| {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path(), "a.sh", program);
            make(dir.path(), "lib.sh", file);
            let mut archive = Archive { to: Vec::new(), entries: 0 };
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
        let mut archive = Archive { to: Vec::new(), entries: 0 };
        let error = archive.add_path("lab/modules/x.ko", Path::new("/no/x.ko")).unwrap_err();
        assert_eq!(error.to_string(), "look at /no/x.ko");
    }
}
