// SPDX-License-Identifier: GPL-2.0

//! MAINTAINERS: every new file has somebody.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use glob::{MatchOptions, Pattern};
use vmlab::run::files;

use super::{At, Check, Finding, Outcome, Scope};

/// netdev's machine calls a section wide from so many files on, and does not count it from the
/// second number on.
const WIDE: usize = 75;
const TOO_WIDE: usize = 500;

/// New files are covered by a section.
pub struct Maintainers;

/// A section of MAINTAINERS.
struct Section {
    title: String,
    files: Vec<String>,
    without: Vec<String>,
}

impl Check for Maintainers {
    fn name(&self) -> &'static str {
        "maintainers"
    }

    fn about(&self) -> &'static str {
        "each new file is covered by a section of MAINTAINERS, after the series"
    }

    fn scope(&self) -> Scope {
        Scope::PatchInSeries
    }

    /// To count the files of wide sections takes a while. Files that come and go in the tree do not
    /// make a wide section a narrow one.
    fn key(&self, at: &At<'_>) -> Option<String> {
        let folder = at.subject.folder.as_ref().map(|folder| folder.display().to_string());
        let parts =
            [at.series_key(), folder.unwrap_or_default(), include_str!("maintainers.rs").into()];
        Some(files::key(parts))
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let new: Vec<&str> = at
            .patch()
            .changes
            .iter()
            .filter(|change| change.is_new())
            .map(|change| change.path.as_str())
            .filter(|path| !path.starts_with("Documentation/"))
            .filter(|path| !path.starts_with("tools/testing/"))
            .collect();
        if new.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let Some(blob) = at.last_file("MAINTAINERS")? else {
            return Ok(Outcome::Skipped("the tree has no MAINTAINERS".into()));
        };
        let sections = sections(&String::from_utf8_lossy(&blob.content));
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for path in new {
            let own: Vec<&Section> =
                sections.iter().filter(|section| section.covers(path)).collect();
            let widths = own.iter().map(|section| {
                let count = || section.width(at.subject.folder.as_deref());
                (*counted.entry(&section.title).or_insert_with(count), section)
            });
            let finding = match widths.min_by_key(|(width, _)| *width) {
                None => Some(Finding::fail("no section of MAINTAINERS has it")),
                Some((width, section)) if width >= TOO_WIDE => Some(Finding::fail(format!(
                    "only {} has it, which is about {TOO_WIDE} files or more",
                    section.title
                ))),
                Some((width, section)) if width >= WIDE => Some(Finding::warning(format!(
                    "only {} has it, which is about {width} files",
                    section.title
                ))),
                Some(_) => None,
            };
            found.extend(finding.map(|finding| finding.of(path)));
        }
        Ok(Outcome::Judged(found))
    }
}

/// All sections but that which has everything.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut title = "";
    for line in text.lines() {
        let value = |letter: &str| line.strip_prefix(letter).map(|rest| rest.trim().to_owned());
        if line.as_bytes().get(1) != Some(&b':') {
            if !line.trim().is_empty() && !line.starts_with([' ', '\t']) {
                title = line.trim();
            }
            continue;
        }
        let (files, without) = (value("F:"), value("X:"));
        if files.is_none() && without.is_none() {
            continue;
        }
        if sections.last().is_none_or(|section| section.title != title) {
            let (files, without) = (Vec::new(), Vec::new());
            sections.push(Section { title: title.to_owned(), files, without });
        }
        if let Some(section) = sections.last_mut() {
            section.files.extend(files);
            section.without.extend(without);
        }
    }
    sections.retain(|section| section.title != "THE REST");
    sections
}

impl Section {
    fn covers(&self, path: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, path));
        any(&self.files) && !any(&self.without)
    }

    /// How many files of the tree it covers, as far as that matters.
    fn width(&self, tree: Option<&Path>) -> usize {
        let Some(tree) = tree else { return 0 };
        let mut count = 0;
        for pattern in &self.files {
            let path = tree.join(pattern);
            let matches = glob::glob(&path.to_string_lossy()).into_iter().flatten().flatten();
            for path in matches.filter(|_| pattern.contains('*') || !pattern.ends_with('/')) {
                count_files(&path, &mut count);
            }
            if pattern.ends_with('/') && !pattern.contains('*') {
                count_files(&path, &mut count);
            }
            if count >= TOO_WIDE {
                break;
            }
        }
        count
    }
}

/// Whether get_maintainer.pl takes the path for one of the pattern.
fn fits(pattern: &str, path: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    if let Some(folder) = pattern.strip_suffix('/') {
        // A folder has all that is below it.
        let parts = folder.matches('/').count() + 1;
        let above: Vec<&str> = path.splitn(parts + 1, '/').collect();
        return above.len() > parts
            && Pattern::new(folder)
                .is_ok_and(|folder| folder.matches_with(&above[..parts].join("/"), options));
    }
    let deep = format!("{pattern}/");
    path == pattern
        || path.starts_with(&deep)
        || Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(path, options))
}

fn count_files(path: &Path, count: &mut usize) {
    if !path.is_dir() {
        *count += usize::from(path.exists());
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if *count >= TOO_WIDE {
            return;
        }
        count_files(&entry.path(), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    const BEFORE: &str = "List\n\nNETWORKING\nM:\tA <a@b>\nF:\tnet/\n\nTHE REST\nF:\t*\nF:\t*/\n";

    #[test]
    fn patterns_mean_what_they_mean_to_the_kernels_script() {
        for (pattern, path, want) in [
            ("net/demo/", "net/demo/a/b.c", true),
            ("net/demo/", "net/demo2/a.c", false),
            ("net/demo/", "net/demo", false),
            ("net/*", "net/a.c", true),
            ("net/*", "net/a/b.c", false),
            ("include/*/demo/", "include/uapi/demo/a.h", true),
            ("include/linux/demo*", "include/linux/demo_a.h", true),
            ("net/demo/a.c", "net/demo/a.c", true),
            ("net/demo", "net/demo/a.c", true),
        ] {
            assert_eq!(fits(pattern, path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn a_new_file_without_a_section_is_named_and_a_later_patch_may_bring_it() {
        let file: &[(&str, &str)] = &[("drivers/demo/a.c", "x\n"), ("Documentation/a.rst", "x\n")];
        let alone = subject(&[("MAINTAINERS", BEFORE)], &[("a: b\n", file)]);
        let want = ["drivers/demo/a.c: no section of MAINTAINERS has it"];
        assert_eq!(found(&Maintainers, &alone, 1), want);
        let after = BEFORE.replace("THE REST", "DEMO\nM:\tA <a@b>\nF:\tdrivers/demo/\n\nTHE REST");
        let entry: &[(&str, &str)] = &[("MAINTAINERS", &after)];
        let both = subject(&[("MAINTAINERS", BEFORE)], &[("a: b\n", file), ("a: c\n", entry)]);
        assert_eq!(found(&Maintainers, &both, 1), [""; 0]);
        let old = subject(
            &[("MAINTAINERS", BEFORE), ("drivers/demo/a.c", "1\n")],
            &[("a: b\n", &[("drivers/demo/a.c", "2\n")])],
        );
        assert_eq!(found(&Maintainers, &old, 1), [""; 0], "it is not new");
    }

    #[test]
    fn a_section_of_too_many_files_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("net")).unwrap();
        let with = |files: usize| {
            for number in 0..files {
                fs::write(dir.path().join(format!("net/{number}.c")), "").unwrap();
            }
            let base = [("MAINTAINERS", BEFORE)];
            let mut subject = subject(&base, &[("a: b\n", &[("net/a.c", "x\n")])]);
            subject.folder = Some(dir.path().to_owned());
            found(&Maintainers, &subject, 1)
        };
        assert_eq!(with(10), [""; 0]);
        assert!(with(80)[0].contains("about 80 files"));
        assert!(with(500)[0].contains("500 files or more"));
    }
}
