// SPDX-License-Identifier: GPL-2.0

//! House rules that no other tool checks: licence headers, and no hard-coded paths or mirrors.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::run::files::{self, Content};

/// The first line of every source file, as a comment.
const SPDX: &str = "SPDX-License-Identifier: GPL-2.0";
/// The licence of files that user space includes, or that the kernel's netlink tool writes.
const SPDX_UAPI: &str =
    "SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)";

/// Extensions and names of files that can have comments, and so a licence.
const SOURCES: [&str; 10] =
    ["rs", "c", "h", "S", "sh", "toml", "config", "yaml", "Makefile", "Kbuild"];

/// Files that programs write.
const GENERATED: [&str; 2] = ["Cargo.lock", "rust-project.json"];

/// Texts that no file may contain: names of mirrors, which each machine chooses itself, and
/// absolute paths, which exist on one machine only. They are split in two, so that this file does
/// not contain them.
const NOT_OURS: [(&str, &str); 7] = [
    ("deb.", "debian.org"),
    ("ftp.", "debian.org"),
    ("index.", "crates.io"),
    ("/wor", "k/"),
    ("/tmp", "/w/"),
    ("/roo", "t/"),
    ("/hom", "e/"),
];

/// Every source file starts with its licence.
pub fn licences(root: &Path) -> Result<()> {
    report(root, |name, text| {
        let source = SOURCES.contains(&name.rsplit('.').next().unwrap_or(name));
        let head = text.lines().take(2).any(|line| line.contains(SPDX) || line.contains(SPDX_UAPI));
        if source && !head { vec![format!("no `{SPDX}` on top")] } else { Vec::new() }
    })
}

/// No file names a mirror or a path of one machine.
pub fn nothing_of_one_machine(root: &Path) -> Result<()> {
    report(root, |_, text| {
        text.lines()
            .enumerate()
            .flat_map(|(number, line)| {
                NOT_OURS
                    .iter()
                    .map(|(a, b)| format!("{a}{b}"))
                    .filter(|word| names(line, word))
                    .map(move |word| format!("line {}: `{word}`", number + 1))
            })
            .collect()
    })
}

/// Whether `line` contains `word`. A path only counts if it is not the end of a longer path such as
/// `net/work/`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !word.starts_with('/')
            || !before.is_some_and(|c| c.is_alphanumeric() || "_-.*~".contains(c))
    })
}

fn report(root: &Path, check: impl Fn(&str, &str) -> Vec<String>) -> Result<()> {
    let mut found = Vec::new();
    for path in files(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        // Recorded logs and the like may contain any bytes.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        found.extend(check(&name, &text).iter().map(|what| format!("{shown}: {what}")));
    }
    if found.is_empty() { Ok(()) } else { bail!("{}", found.join("\n")) }
}

/// The project's files: all below `root`, except build results and git's own.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = content(root)?.files;
    files.retain(|path| path.is_file() && !path.is_symlink());
    Ok(files)
}

/// The folders that may contain such files.
pub fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(content(root)?.folders)
}

fn content(root: &Path) -> Result<Content> {
    files::walk(root, |name, _| {
        let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
        !hidden && name != "target" && !GENERATED.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, String)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_lab_does_not_know_the_project_that_it_grew_up_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let name = crate::project::Project::load(&root).unwrap().name;
        for folder in ["lab/src", "lab/templates", "lab/config", "qemu"] {
            let folder = root.join(folder);
            let found = report(&folder, |_, text| {
                let lines = text.lines().enumerate().filter(|(_, line)| line.contains(&name));
                lines.map(|(number, _)| format!("line {}", number + 1)).collect()
            });
            found.unwrap_or_else(|error| panic!("{name} in {}: {error}", folder.display()));
        }
    }

    #[test]
    fn a_source_without_a_licence_is_named() {
        let with = |comment: &str| format!("{comment} {SPDX}\n");
        let dir = project(&[
            ("rust/a.rs", with("//")),
            ("selftests/t.sh", format!("#!/bin/sh\n{}", with("#"))),
            ("rust/b.c", "int x;\n".into()),
            ("Kbuild", "obj-m := x.o\n".into()),
            ("README.md", "# x\n".into()),
            ("target/c.rs", "built\n".into()),
        ]);
        let error = licences(dir.path()).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(lines[0].starts_with("Kbuild: no") && lines[1].starts_with("rust/b.c: no"));
    }

    #[test]
    fn a_path_or_mirror_of_one_machine_is_named_with_its_line() {
        let (host, dir_name) = (["deb.", "debian.org"].concat(), ["/tmp", "/w/x"].concat());
        let dir = project(&[
            ("a.sh", format!("ok\ncurl http://{host}/\n")),
            ("b.rs", format!("// {dir_name}\n")),
            ("c.rs", "// net/work/queue and ~/home/x\n".into()),
        ]);
        let error = nothing_of_one_machine(dir.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("a.sh: line 2: `{host}`\nb.rs: line 1: `{}`", ["/tmp", "/w/"].concat())
        );
    }
}
