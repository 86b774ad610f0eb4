// SPDX-License-Identifier: GPL-2.0

//! What an exported series is based on, and who gets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use series::base::Release;
use series::export::Recipients;
use series::folder::Stack;
use series::git::{Person, Repository};
use series::weave::BASE;
use vmlab::run::process;

use crate::build::source::{self, Source};
use crate::context::Lab;

/// The base of an exported series.
pub(super) struct Base {
    pub tree: PathBuf,
    /// Its upstream commit, if it is known.
    pub commit: Option<String>,
    /// Whether the tree is a repository with this commit.
    pub has_commit: bool,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

/// Finds the commit of the base, and checks that its files are those of the commit.
pub(super) fn find(lab: &Lab, stack: &Stack, folder: &Path) -> Result<Base> {
    let Source { dir: tree, version, .. } = source::find(lab)?;
    let stored = Release::read(folder)?;
    let now = Release::of(stack, &version)?;
    let differ = stored.map(|stored| (stored.differences(&now), stored.version));
    let (differ, of) = differ.unwrap_or_default();
    if lab.settings.ksrc.is_none() {
        ensure!(
            differ.is_empty(),
            "the series are made for Linux {of}, and these files of Linux {version} are others: {}. \
             Check the patches again",
            differ.join(", ")
        );
        let commit = lab.base.kernel.commit.clone();
        let missing = format!(
            "the cover letter has no base-commit: `commit` of [kernel] in pins.toml is to name \
             upstream's commit of {version}"
        );
        let notes = commit.is_none().then_some(missing).into_iter().collect();
        return Ok(Base { tree, commit, has_commit: false, notes });
    }
    let mut notes: Vec<String> = differ
        .iter()
        .map(|path| {
            format!("{path} is another one than in Linux {of}, which the series are made for")
        })
        .collect();
    if !tree.join(".git").exists() {
        notes.push(format!(
            "{} is no git tree, so the cover letter has no base-commit: set KSRC to a git tree",
            tree.display()
        ));
        return Ok(Base { tree, commit: None, has_commit: false, notes });
    }
    let repository = Repository::at(&tree);
    let head = repository.read(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    let before = stack.weave.state(BASE);
    let touched = stack.weave.files().map(|(path, _)| path).collect();
    let committed = repository.files(&head, &touched)?;
    let changed: Vec<&str> =
        touched.iter().copied().filter(|path| committed.get(*path) != before.get(*path)).collect();
    if !changed.is_empty() {
        bail!(
            "these files of {} are not as its commit has them: {}. Commit them or restore them",
            tree.display(),
            changed.join(", ")
        );
    }
    if !is_upstream(&repository, &head)? {
        notes.push(format!(
            "the cover letter has no base-commit: no tag of a release and no branch of a remote in \
             {} has the commit {head}, so others do not have it",
            tree.display()
        ));
        return Ok(Base { tree, commit: None, has_commit: false, notes });
    }
    Ok(Base { tree, commit: Some(head), has_commit: true, notes })
}

/// Whether others have a commit: a release, or a branch of a remote, contains it.
fn is_upstream(repository: &Repository, commit: &str) -> Result<bool> {
    let refs = repository.read(&[
        "for-each-ref",
        "--count=1",
        "--format=%(refname)",
        &format!("--contains={commit}"),
        "refs/remotes",
        "refs/tags/v[0-9]*",
        "refs/tags/next-*",
    ])?;
    Ok(!refs.is_empty())
}

const SCRIPT: &str = "scripts/get_maintainer.pl";

/// Everybody whom the tree's own script names for these mails; nobody without the script. The author
/// knows of the patches, and the list of everything is for nobody, as netdev sees it.
pub(super) fn recipients(
    tree: &Path,
    mails: &[Vec<u8>],
    maintainers: Option<&[u8]>,
    person: &Person,
) -> Result<Recipients> {
    let script = tree.join(SCRIPT);
    if !script.is_file() {
        return Ok(Recipients::default());
    }
    let folder = tempfile::tempdir().context("create a folder for mails")?;
    let list = match maintainers {
        Some(text) => {
            let list = folder.path().join("MAINTAINERS");
            fs::write(&list, text).with_context(|| format!("write {}", list.display()))?;
            list
        }
        None => tree.join("MAINTAINERS"),
    };
    let mut files = Vec::new();
    for (index, mail) in mails.iter().enumerate() {
        let file = folder.path().join(format!("{index:04}.patch"));
        fs::write(&file, mail).with_context(|| format!("write {}", file.display()))?;
        files.push(file);
    }
    let ask = |kinds: &[&str]| -> Result<Vec<String>> {
        let mut command = Command::new("perl");
        command.current_dir(tree).arg(&script).arg("--mpath").arg(&list);
        command.args(["--no-git", "--no-git-fallback", "--no-rolestats"]).args(kinds);
        let said = process::read(command.args(&files)).context("ask who maintains this")?;
        let own = person.mail.to_lowercase();
        let wanted = |line: &&str| {
            let line = line.to_lowercase();
            !line.is_empty()
                && !line.contains(&own)
                && !line.contains("linux-kernel@vger.kernel.org")
        };
        Ok(said.lines().map(str::trim).filter(wanted).map(str::to_owned).collect())
    };
    Ok(Recipients { to: ask(&["--no-l"])?, cc: ask(&["--no-m", "--no-r"])? })
}
