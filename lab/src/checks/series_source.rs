// SPDX-License-Identifier: GPL-2.0

//! The project's patch series, and the check that they contain all of the source.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use series::change;
use series::project::{self, Base, Project};
use series::source::Source;

use crate::context::Lab;

/// Whether the project has any series.
pub fn has_series(lab: &Lab) -> bool {
    let folders = lab.root.join(&lab.project.series.folder).read_dir().into_iter().flatten();
    folders.flatten().any(|folder| folder.path().join("series.toml").is_file())
}

/// The project's series, and its source. `base` gives the files of the kernel tree.
pub fn project<'a>(lab: &Lab, base: &'a Base<'a>) -> Result<Project<'a>> {
    let places = lab.project.places();
    ensure!(
        !places.is_empty(),
        "lab.toml does not say where the source is in a kernel tree: add a section [upstream]"
    );
    Ok(Project {
        source: Source::new(&lab.root, &places, &lab.project.series.without)?,
        folder: lab.root.join(&lab.project.series.folder),
        work: lab.target.join("series"),
        base,
    })
}

/// Checks that the tree after the last patch equals the source.
pub fn check(lab: &Lab, tree: &Path) -> Result<()> {
    let base = |path: &str| change::read(&tree.join(path));
    let project = project(lab, &base)?;
    let stack = project.stack()?;
    let plan = project.plan(&stack, &[])?;
    if let Some(first) = plan.pieces.first() {
        bail!(
            "{} changes of the source are in no patch yet, the first in {}: run `lab series`",
            plan.pieces.len(),
            project::shown(&project.source, &first.path, Some(first.line))
        );
    }
    Ok(())
}
