// SPDX-License-Identifier: GPL-2.0

//! Versions of a series, and what reviewers say of them.
//!
//! Reviewers answer what was exported. Edits change the mails of the version that is worked on, so
//! those that were exported are kept beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use vmlab::run::files;

use crate::change::{self, Change};
use crate::folder::{Patch, Stack, patch_files};
use crate::git::Repository;
use crate::mail;
use crate::project::{Done, Project};
use crate::trailers::{self, Given};
use crate::unified;
use crate::weave::{Blob, Mode, Number};

impl Project<'_> {
    /// Begins the next version of a series: the mails of this one stay as they were sent. If somebody
    /// says its number, it has to be that.
    pub fn next_version(&self, name: &str, wanted: Option<u32>) -> Result<Done> {
        let mut stack = self.stack()?;
        let before = stack.clone();
        let index = stack.series_named(name)?;
        let series = &mut stack.series[index];
        let old = series.settings.version;
        series.settings.version += 1;
        let new = series.settings.version;
        ensure!(
            wanted.is_none_or(|wanted| wanted == new),
            "the next version of {} is {new}",
            series.name
        );
        let name = series.name.clone();
        let folder = self.folder.join(&name);
        let mut change = Change::default();
        let settings = folder.join("series.toml");
        edit_text(&settings, &mut change, |text| {
            let mut document: toml_edit::DocumentMut = text.parse()?;
            document["version"] = toml_edit::value(i64::from(new));
            Ok(document.to_string())
        })?;
        let cover = folder.join("cover.md");
        if cover.exists() {
            let (_, first, last) = before.bounds().nth(index).context("a series without bounds")?;
            let stubs: String = before.patches[first - 1..last]
                .iter()
                .enumerate()
                .map(|(own, patch)| {
                    format!("- [{}] \"{}\": EDITME or nothing\n", own + 1, patch.subject())
                })
                .collect();
            let note = format!("Changes in v{new}:\n{stubs}- Link to v{old}: EDITME\n");
            edit_text(&cover, &mut change, |text| Ok(format!("{}\n\n{note}", text.trim_end())))?;
        }
        // What was sent counts, not what was edited afterwards.
        let (sent, frozen) = (sent(&folder, old), folder.join(format!("v{old}")));
        let texts = |folder: &Path| -> Result<BTreeMap<PathBuf, Blob>> {
            let files = patch_files(folder)?.into_iter();
            files
                .map(|file| {
                    let blob = change::read(&folder.join(&file))?.context("a mail is gone")?;
                    Ok((file, blob))
                })
                .collect()
        };
        let mails = texts(&sent)?;
        if !mails.is_empty() {
            for file in texts(&frozen)?.into_keys().filter(|file| !mails.contains_key(file)) {
                change.remove(frozen.join(file));
            }
            for (file, blob) in mails {
                change.remove(sent.join(&file));
                change.write(frozen.join(file), blob);
            }
        }
        stack.keep_version(&name, old);
        let done = self.store_with(&before, stack, change)?;
        // It may hold other versions.
        let _ = fs::remove_dir(folder.join("sent"));
        Ok(done)
    }

    /// Keeps the mails of a series as they are exported: reviewers answer these, whatever is edited
    /// afterwards. Returns whether another version of them was kept.
    pub fn keep_sent(&self, stack: &Stack, name: &str) -> Result<bool> {
        let series = &stack.series[stack.series_named(name)?];
        let version = series.settings.version;
        let folder = sent(&self.folder.join(&series.name), version);
        let own = PathBuf::from(&series.name).join(format!("v{version}"));
        let old = patch_files(&folder)?;
        let mut new = BTreeMap::new();
        for (path, mail) in stack.mails()? {
            if let Ok(file) = path.strip_prefix(&own) {
                new.insert(file.to_owned(), mail);
            }
        }
        let mut changed = false;
        for file in &old {
            let was = change::read(&folder.join(file))?.map(|blob| blob.content);
            changed |= was.as_ref() != new.get(file);
            files::remove_file(&folder.join(file))?;
        }
        for (file, content) in new {
            change::put(&folder.join(file), Some(&Blob { mode: Mode::Plain, content }))?;
        }
        Ok(changed)
    }

    /// Puts trailers of reviewers on the patches that they are for. Not on a patch that has
    /// changed since the version that they saw.
    pub fn collect(&self, name: &str, given: &[Given]) -> Result<(Done, Vec<String>)> {
        let mut stack = self.stack()?;
        let before = stack.clone();
        let index = stack.series_named(name)?;
        let (_, first, last) = stack.bounds().nth(index).context("a series without bounds")?;
        let mails = stack.mails()?;
        let title = self.title(&stack.series[index].name)?;
        let mut notes = Vec::new();
        for Given { subject, version, all, trailer, stranger } in given {
            if let Some(sender) = stranger {
                notes.push(format!("{sender} sent \"{trailer}\": it names somebody else"));
                continue;
            }
            if *all && title.as_ref() != Some(subject) {
                notes.push(format!(
                    "\"{trailer}\" is for the cover letter \"{subject}\", which is another one"
                ));
                continue;
            }
            let fits = |number: &Number| *all || stack.patches[number - 1].subject() == subject;
            let numbers: Vec<Number> = (first..=last).filter(fits).collect();
            if numbers.is_empty() {
                notes.push(format!("\"{trailer}\" is for \"{subject}\", which is no patch of it"));
            }
            for number in numbers {
                let name = stack.name(number);
                let seen = self.version_of(&stack, number, *version)?;
                let now = mails.iter().find(|(path, _)| stack.is_mail_of(path, number));
                let now = now.map(|(_, mail)| unified::changes(&String::from_utf8_lossy(mail)));
                if seen.is_none() {
                    notes.push(format!(
                        "{name} was not exported as v{version}, so it is not known what \
                         \"{trailer}\" is for"
                    ));
                    continue;
                }
                if seen != now {
                    notes.push(format!(
                        "{name} has changed since v{version}, which \"{trailer}\" is for"
                    ));
                    continue;
                }
                let message = &mut stack.patches[number - 1].message;
                if !message.lines().any(|line| line == trailer) {
                    let text = message.trim_end();
                    let gap = if text.lines().last().is_some_and(trailers::is_trailer) {
                        ""
                    } else {
                        "\n"
                    };
                    *message = format!("{text}\n{gap}{trailer}\n");
                }
            }
        }
        Ok((self.store(&before, stack)?, notes))
    }

    /// What changed from the version before to this one, as git compares them.
    pub fn compare(&self, name: &str) -> Result<String> {
        let stack = self.stack()?;
        let index = stack.series_named(name)?;
        let (series, first, last) = stack.bounds().nth(index).context("a series without bounds")?;
        let version = series.settings.version;
        ensure!(version > 1, "{} has one version only", series.name);
        let folder = self.folder.join(&series.name).join(format!("v{}", version - 1));
        let repository = Repository::scratch()?;
        repository.write(&stack.weave.state(first - 1), &stack.commits()[first - 1..last])?;
        let base = format!("stack~{}", last - first + 1);
        let old = patch_files(&folder)?.into_iter().map(|file| folder.join(file));
        repository.apply_beside("old", &base, &old.collect::<Vec<_>>()).with_context(|| {
            format!("v{} does not fit the series below it any more", version - 1)
        })?;
        repository.read(&["range-diff", "--no-color", &base, "old", "stack"])
    }

    /// The title of a series' cover letter.
    fn title(&self, name: &str) -> Result<Option<String>> {
        let file = self.folder.join(name).join("cover.md");
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("read {}", file.display()))?,
        };
        let words = text.lines().next().unwrap_or_default().trim_start_matches('#');
        Ok(Some(words.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// What the patch with the same subject changes in what was sent as this version.
    fn version_of(&self, stack: &Stack, number: Number, version: u32) -> Result<Option<String>> {
        let (series, _) = stack.place(number).context("a patch without a series")?;
        let folder = self.folder.join(&series.name);
        // Edits change the mails of the version that is worked on.
        let folder = if version < series.settings.version {
            folder.join(format!("v{version}"))
        } else {
            sent(&folder, version)
        };
        let subject = stack.patches[number - 1].subject();
        for file in patch_files(&folder)? {
            let path = folder.join(file);
            let mail = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let mail = String::from_utf8_lossy(&mail);
            if mail::subject(&mail).as_deref() == Some(subject) {
                return Ok(Some(unified::changes(&mail)));
            }
        }
        Ok(None)
    }
}

/// Where the mails of a version are as they were exported, while the version is worked on.
fn sent(series: &Path, version: u32) -> PathBuf {
    series.join("sent").join(format!("v{version}"))
}

/// Takes the reviewers' trailers from patches that change something else than before.
pub(crate) fn drop_trailers(before: &Stack, stack: &mut Stack) -> Vec<(Number, String)> {
    let mut dropped = Vec::new();
    let has_review = |patch: &Patch| patch.message.lines().any(trailers::is_review);
    if !stack.patches.iter().any(has_review) {
        return dropped;
    }
    let old: BTreeSet<String> =
        (1..=before.patches.len()).map(|own| diff_of(before, own)).collect();
    for number in 1..=stack.patches.len() {
        let message = stack.patches[number - 1].message.clone();
        if !message.lines().any(trailers::is_review) {
            continue;
        }
        if old.contains(&diff_of(stack, number)) {
            continue;
        }
        dropped.extend(
            message
                .lines()
                .filter(|line| trailers::is_review(line))
                .map(|line| (number, line.to_owned())),
        );
        let rest: Vec<&str> = message.lines().filter(|line| !trailers::is_review(line)).collect();
        stack.patches[number - 1].message = format!("{}\n", rest.join("\n").trim_end());
    }
    dropped
}

/// What a patch changes, without what is around it and where.
fn diff_of(stack: &Stack, number: Number) -> String {
    let mut text = String::new();
    for (path, file) in stack.weave.files() {
        let brought = file.lines(number).filter(|line| line.from == number);
        let gone = file.lines(number - 1).filter(|line| line.until == Some(number));
        let modes = (file.mode(number - 1), file.mode(number));
        let lines: Vec<String> = gone
            .map(|line| format!("-{}", String::from_utf8_lossy(&line.text)))
            .chain(brought.map(|line| format!("+{}", String::from_utf8_lossy(&line.text))))
            .collect();
        if !lines.is_empty() || modes.0 != modes.1 {
            text.push_str(&format!("{path} {modes:?}\n{}", lines.concat()));
        }
    }
    text
}

/// Changes a text file.
fn edit_text(
    file: &Path,
    change: &mut Change,
    edit: impl Fn(&str) -> Result<String>,
) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let text = edit(&text).with_context(|| format!("understand {}", file.display()))?;
    change.write(file.to_owned(), Blob { mode: Mode::Plain, content: text.into_bytes() });
    Ok(())
}
