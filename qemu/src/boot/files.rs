// SPDX-License-Identifier: GPL-2.0

//! The job's files for the guest: modules, selftests, tools. PID 1 reads them from the host when it
//! gets the job.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use vmlab_init::protocol::{LAB_DIR, MODULES_DIR, SELFTESTS_DIR, TOOLS_DIR};

use crate::boot::archive::{Archive, DIRECTORY, LINK, REGULAR, inside, name, read};
use crate::boot::strip;
use crate::run::job::{Job, Test, Work};

/// Writes the archive to `path`.
pub fn write(path: &Path, job: &Job) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    fill(&mut archive, job).with_context(|| format!("write {}", path.display()))
}

fn fill(archive: &mut Archive<impl Write>, job: &Job) -> Result<()> {
    for dir in [LAB_DIR, MODULES_DIR, SELFTESTS_DIR, TOOLS_DIR] {
        archive.add(inside(dir), DIRECTORY, &[])?;
    }
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

/// Adds a program of the selftests. The tests that run are copied. Other programs, which a test may
/// call, become links into the host's root, which the guest mounts: so they cost no time at boot.
fn add_program(
    archive: &mut Archive<impl Write>,
    inner: &str,
    path: &Path,
    work: &Work,
) -> Result<()> {
    let runs = |tests: &[Test]| tests.iter().any(|test| test.name == name(path));
    if matches!(work, Work::Tests(tests) if runs(tests)) {
        return archive.add_path(inner, path);
    }
    let target = path.canonicalize().with_context(|| format!("look at {}", path.display()))?;
    archive.add(inner, LINK, target.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::archive::tests::{entries, make};
    use crate::boot::vm;
    use std::time::Duration;

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
            work: Work::one(churn),
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
            saved: None,
            options: vm::Options::default(),
            progress: None,
            tells: false,
            logs: dir.join("logs"),
            root: dir.to_owned(),
        };
        let path = dir.join("files");
        write(&path, &job).unwrap();

        let found = entries(&path);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let want = [
            "lab",
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
        assert_eq!(found["lab/selftests/lib/b.sh"].0, 0o100_644);
        assert_eq!(found["lab/selftests/churn"], (0o100_755, b"built/churn".to_vec()));
        let other = dir.canonicalize().unwrap().join("built/dumps");
        let link = (0o120_777, other.into_os_string().into_encoded_bytes());
        assert_eq!(found["lab/selftests/dumps"], link, "a test that does not run");
        assert_eq!(found["lab/selftests/link.sh"], (0o120_777, b"a.sh".to_vec()));
    }
}
