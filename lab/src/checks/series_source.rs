// SPDX-License-Identifier: GPL-2.0

//! The project's patch series, and the check that they contain all of the source.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use series::base::Release;
use series::change;
use series::project::{self, Base, Project};
use series::source::Source;

use crate::build::wiring;
use crate::context::Lab;

/// Whether the project has any series.
pub fn has_series(lab: &Lab) -> bool {
    let folders = lab.root.join(&lab.project.series.folder).read_dir().into_iter().flatten();
    folders.flatten().any(|folder| folder.path().join("series.toml").is_file())
}

/// The project's series, and its source. `base` gives the files of the kernel tree, which is of this
/// release.
pub fn project<'a>(lab: &Lab, base: &'a Base<'a>, release: Option<String>) -> Result<Project<'a>> {
    let places = lab.project.places();
    ensure!(
        !places.is_empty(),
        "lab.toml does not say where the source is in a kernel tree: add a section [upstream]"
    );
    Ok(Project {
        source: Source::new(&lab.root, &places, &lab.project.series.without)?,
        folder: lab.root.join(&lab.project.series.folder),
        work: work(lab),
        base,
        release,
    })
}

/// The folder for patches that are being edited, for what takes changes back, and for results.
pub fn work(lab: &Lab) -> PathBuf {
    lab.target.join("series")
}

/// Checks that the tree after the last patch equals the source, and gives its own files the lines
/// that they get where the project is built inside of a tree.
pub fn check(lab: &Lab, tree: &Path) -> Result<()> {
    let base = |path: &str| change::read(&tree.join(path));
    let project = project(lab, &base, None)?;
    let stack = project.stack()?;
    // Without it, the series were never written for this base: those of a new project, say.
    if let Some(stored) = Release::read(&project.folder)? {
        let now = Release::of(&stack, &stored.version)?;
        if let Some(path) = stored.differences(&now).first() {
            bail!("{path} of the base is not what the series are made for: run `lab series`");
        }
        if let Some(mail) = stack.stale()?.first() {
            bail!("{} is not what the program writes: run `lab series`", mail.display());
        }
    }
    let plan = project.plan(&stack, &[])?;
    if let Some(first) = plan.pieces.first() {
        bail!(
            "{} changes of the source are in no patch yet, the first in {}: run `lab series`",
            plan.pieces.len(),
            project::shown(&project.source, &first.path, Some(first.line))
        );
    }
    let Some(in_tree) = &lab.project.in_tree else { return Ok(()) };
    let last = stack.weave.state(stack.weave.last());
    for (path, wired) in wiring::files(&lab.root, &lab.project, in_tree, tree)? {
        let path = path.to_string_lossy();
        let in_series = last.get(&*path).map_or(&[][..], |blob| &blob.content);
        same_lines(&wired, in_series).with_context(|| {
            format!("{path} as {} has it, and as the series have it", in_tree.wiring.display())
        })?;
    }
    Ok(())
}

/// Whether two texts have the same lines, in whatever order: the lists of a tree are sorted, and what
/// is put into one in a row need not be.
fn same_lines(wired: &[u8], in_series: &[u8]) -> Result<()> {
    let sorted = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let mut lines: Vec<String> =
            text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (wired, in_series) = (sorted(wired), sorted(in_series));
    let at = wired.iter().zip(&in_series).take_while(|(a, b)| a == b).count();
    match (wired.get(at), in_series.get(at)) {
        (None, None) => Ok(()),
        (Some(line), other) if other.is_none_or(|other| line < other) => {
            bail!("the wiring has this line, and the series do not, or less often: {line}")
        }
        (_, line) => {
            let line = line.map_or("", String::as_str);
            bail!("the series have this line, and the wiring does not, or less often: {line}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_only_the_wiring_or_only_the_series_have_is_named() {
        let told = |wired: &str, in_series: &str| {
            same_lines(wired.as_bytes(), in_series.as_bytes()).unwrap_err().to_string()
        };
        assert!(same_lines(b"a\n\nc\nb\n", b"a\nb\nc\n").is_ok());
        assert_eq!(
            told("a\nb\n", "a\n"),
            "the wiring has this line, and the series do not, or less often: b"
        );
        assert_eq!(
            told("a\nc\n", "a\nb\nc\n"),
            "the series have this line, and the wiring does not, or less often: b"
        );
        assert_eq!(
            told("a\na\n", "a\n"),
            "the wiring has this line, and the series do not, or less often: a"
        );
        assert_eq!(
            told("", "a\n"),
            "the series have this line, and the wiring does not, or less often: a"
        );
    }
}
