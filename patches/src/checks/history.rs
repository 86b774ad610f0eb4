// SPDX-License-Identifier: GPL-2.0

//! What a reviewer saw: a trailer is for the patch as it was when it was given.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::subject::Patch;
use super::{At, Check, Finding, Outcome, Subject};
use crate::git::Repository;
use crate::trailers;
use crate::unified;

/// `Reviewed-by` and its like belong to what the patch still is.
pub struct Reviews;

impl Check for Reviews {
    fn name(&self) -> &'static str {
        "reviews"
    }

    fn about(&self) -> &'static str {
        "the patch is what its reviewers have seen"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let patch = at.patch();
        if reviews(patch).next().is_none() {
            return Ok(Outcome::Nothing);
        }
        let now = changes(&String::from_utf8_lossy(&patch.mail));
        let mut found = Vec::new();
        for (trailer, mail) in &patch.reviewed {
            let then = changes(&String::from_utf8_lossy(mail));
            if then == now {
                continue;
            }
            let differs = now.iter().find(|(path, lines)| then.get(*path) != Some(*lines));
            let differs =
                differs.or_else(|| then.iter().find(|(path, _)| !now.contains_key(*path)));
            let path = differs.map(|(path, _)| path.as_str()).unwrap_or_default();
            let text = format!("\"{trailer}\" was given for another patch: it has changed since");
            found.push(Finding::fail(text).of(path));
        }
        Ok(Outcome::Judged(found))
    }
}

/// The reviewers' trailers of a patch.
fn reviews(patch: &Patch) -> impl Iterator<Item = &str> {
    patch.message.lines().filter(|line| trailers::is_review(line))
}

/// What a mail changes in each file, without what is around it and where.
fn changes(mail: &str) -> BTreeMap<String, Vec<String>> {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut path = None;
    let mut inside = false;
    for line in mail.lines() {
        if let Some(begun) = unified::section(line) {
            path = Some(begun.to_owned());
            inside = false;
            continue;
        }
        let Some(path) = &path else { continue };
        inside |= line.starts_with("@@ -");
        let changed = if inside {
            line.starts_with(['+', '-'])
        } else {
            ["new", "deleted", "old", "rename"].iter().any(|word| line.starts_with(word))
        };
        let lines = files.entry(path.clone()).or_default();
        if changed && line != "-- " {
            lines.push(line.to_owned());
        }
    }
    files
}

impl Subject<'_> {
    /// Looks in the project's own history for the patches that reviewers saw: the folder of this
    /// series when a trailer first was in it. What is in no commit yet has no history.
    pub fn find_reviewed(&mut self, project: &Path, folder: &str) -> Result<()> {
        let repository = Repository::at(project);
        if repository.read(&["rev-parse", "--verify", "HEAD"]).is_err() {
            return Ok(());
        }
        for patch in &mut self.patches {
            let own: Vec<String> = reviews(patch).map(str::to_owned).collect();
            for trailer in own {
                if let Some(mail) = first_with(&repository, folder, patch.subject(), &trailer)? {
                    patch.reviewed.push((trailer, mail.into_bytes()));
                }
            }
        }
        Ok(())
    }
}

/// The oldest mail with this subject and this trailer.
fn first_with(
    repository: &Repository,
    folder: &str,
    subject: &str,
    trailer: &str,
) -> Result<Option<String>> {
    let pick = format!("-S{trailer}");
    let log = repository.read(&["log", "--format=%H", &pick, "--", folder])?;
    for commit in log.lines().rev() {
        let names = repository.read(&["ls-tree", "-r", "--name-only", commit, "--", folder])?;
        for name in names.lines().filter(|name| name.ends_with(".patch")) {
            let mail = repository.read(&["show", &format!("{commit}:{name}")])?;
            // A long subject is folded, so words are compared.
            let head = mail.split("\n\n").next().unwrap_or_default();
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let same = words(head).contains(&words(subject));
            if same && mail.lines().any(|line| line == trailer) {
                return Ok(Some(mail));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};
    use std::fs;

    const TRAILER: &str = "Reviewed-by: R <r@example.org>";

    fn mail(context: &str, line: &str) -> String {
        format!(
            "Subject: [PATCH net 1/1] a: b\n\nWhy.\n\n{TRAILER}\n---\ndiff --git a/x b/x\n\
             --- a/x\n+++ b/x\n@@ -1 +1,2 @@\n {context}\n+{line}\n"
        )
    }

    fn told(then: &str, now: &str) -> Vec<String> {
        let mut subject = subject(&[], &[(&format!("a: b\n\nWhy.\n\n{TRAILER}\n"), &[])]);
        subject.patches[0].mail = now.into();
        subject.patches[0].reviewed = vec![(TRAILER.into(), then.into())];
        found(&Reviews, &subject, 1)
    }

    #[test]
    fn a_review_of_a_patch_that_has_changed_is_named() {
        assert_eq!(told(&mail("1", "2"), &mail("1", "2")), [""; 0]);
        assert_eq!(told(&mail("1", "2"), &mail("0", "2")), [""; 0], "only what is around it");
        let want = format!("x: \"{TRAILER}\" was given for another patch: it has changed since");
        assert_eq!(told(&mail("1", "2"), &mail("1", "3")), [want]);
    }

    #[test]
    fn the_patch_that_was_reviewed_is_found_in_the_projects_history() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::at(dir.path());
        repository.read(&["init", "--quiet"]).unwrap();
        let path = dir.path().join("patches/1-a/v1/0001-a-b.patch");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = mail("1", "2").replace(&format!("{TRAILER}\n"), "");
        for text in [before.as_str(), &mail("1", "2"), &mail("1", "3")] {
            fs::write(&path, text).unwrap();
            repository.read(&["add", "."]).unwrap();
            let author = ["-c", "user.name=J", "-c", "user.email=j@x"];
            let commit = [&author[..], &["commit", "--quiet", "-m", "x"]].concat();
            repository.read(&commit).unwrap();
        }
        let mut subject = subject(&[], &[(&format!("a: b\n\nWhy.\n\n{TRAILER}\n"), &[])]);
        subject.patches[0].mail = mail("1", "3").into_bytes();
        subject.find_reviewed(dir.path(), "patches/1-a").unwrap();
        assert_eq!(found(&Reviews, &subject, 1).len(), 1);
        subject.patches[0].mail = mail("1", "2").into_bytes();
        assert_eq!(found(&Reviews, &subject, 1), [""; 0]);
    }
}
