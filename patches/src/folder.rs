// SPDX-License-Identifier: GPL-2.0

//! The folder of a project's series: for each one `series.toml`, `cover.md`, and the mails of each
//! version. Nothing else is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use glob::Pattern;
use serde::Deserialize;

use crate::change::Change;
use crate::git::{self, Commit, Person, Repository};
use crate::mail;
use crate::rules::Rules;
use crate::unified;
use crate::weave::{BASE, Blob, Mode, Number, Tree, Weave};

const SETTINGS: &str = "series.toml";

/// `series.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The tree that it is for: `net-next`.
    pub tree: String,
    /// What stands in front of it in a subject.
    #[serde(default = "patch")]
    pub prefix: String,
    #[serde(default = "first")]
    pub version: u32,
    /// The series that it needs.
    pub after: Option<String>,
    /// Names the series in all its versions: `20261127-name-0123456789ab`.
    pub change_id: Option<String>,
    /// Whom and what an AI helped with, as Documentation/process/coding-assistants.rst wants it:
    /// what stands behind `Assisted-by:`.
    pub assisted_by: Option<String>,
    /// Where new files go, and changes of files of the base.
    #[serde(default)]
    pub file: Vec<FileRule>,
    /// Findings of checks that stay, with the reason.
    #[serde(default)]
    pub accept: Vec<Accepted>,
    /// Commands that show patches working.
    #[serde(default)]
    pub shown: Vec<Shown>,
    /// Tests in the kernel tree that show the series working. It is one of the kernel's own files
    /// then, not of the project's source: its patches are applied to the base alone, built where they
    /// change something, and booted with these tests.
    #[serde(default)]
    pub tests: Vec<String>,
}

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// Path in the kernel tree; `*` stands for characters of one name, `**` for folders.
    pub pattern: String,
    /// The subject of a patch of this series.
    pub patch: String,
}

/// A finding that stays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The name of the check.
    pub check: String,
    /// Part of the finding's text.
    pub finding: String,
    pub reason: String,
}

/// What a person types to see a patch working.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The subject of a patch of this series.
    pub patch: String,
    pub command: String,
}

fn patch() -> String {
    "PATCH".to_owned()
}

fn first() -> u32 {
    1
}

/// A patch without its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Subject, blank line, body.
    pub message: String,
    pub author: Person,
    /// As git stores it.
    pub date: String,
}

impl Patch {
    /// The first line of its message.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// A series of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The name of its folder.
    pub name: String,
    pub settings: Settings,
    /// How many patches it has.
    pub length: usize,
}

/// All series of a project, one upon the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    pub weave: Weave,
    pub patches: Vec<Patch>,
    pub series: Vec<Series>,
    /// The mails that are stored, by path below the folder.
    stored: BTreeMap<PathBuf, Vec<u8>>,
}

impl Stack {
    /// Reads all series of a folder. `base` gives a file of the kernel tree below them.
    pub fn read(folder: &Path, base: impl Fn(&str) -> Result<Option<Blob>>) -> Result<Stack> {
        let all = in_order(settings(folder)?)?;
        let mut stored = BTreeMap::new();
        let mut series = Vec::new();
        let mut mails = Vec::new();
        for (name, settings) in all {
            let version = PathBuf::from(&name).join(format!("v{}", settings.version));
            let own = patch_files(&folder.join(&version))?;
            series.push(Series { name, settings, length: own.len() });
            for file in own {
                let path = folder.join(&version).join(&file);
                let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                stored.insert(version.join(file), text);
                mails.push(path);
            }
        }
        let touched: BTreeSet<String> =
            stored.values().flat_map(|mail| git::paths(&String::from_utf8_lossy(mail))).collect();
        let mut tree = Tree::new();
        for path in touched {
            if let Some(blob) = base(&path).with_context(|| format!("read {path} of the base"))? {
                tree.insert(path, blob);
            }
        }
        let commits = applied(&tree, &mails)?;
        ensure!(
            commits.len() == mails.len(),
            "{} mails became {} commits",
            mails.len(),
            commits.len()
        );
        let mut weave = Weave::new(tree);
        let mut patches = Vec::new();
        for (Commit { message, author, date, tree }, mail) in commits.into_iter().zip(&mails) {
            let text = fs::read(mail).with_context(|| format!("read {}", mail.display()))?;
            let hunks = unified::read(&String::from_utf8_lossy(&text))
                .with_context(|| format!("understand {}", mail.display()))?;
            weave.push_as(tree, &hunks);
            patches.push(Patch { message, author, date });
        }
        Ok(Stack { weave, patches, series, stored })
    }

    /// Where each series begins, and its last patch.
    pub fn bounds(&self) -> impl Iterator<Item = (&Series, Number, Number)> {
        let mut before = BASE;
        self.series.iter().map(move |series| {
            let first = before + 1;
            before += series.length;
            (series, first, before)
        })
    }

    /// The series of a patch, and its number there.
    pub fn place(&self, number: Number) -> Option<(&Series, usize)> {
        let (series, first, _) =
            self.bounds().find(|(_, first, last)| (*first..=*last).contains(&number))?;
        Some((series, number - first + 1))
    }

    /// How a patch is called: series and number.
    pub fn name(&self, number: Number) -> String {
        match self.place(number) {
            Some((series, own)) => format!("{}/{own}", series.name),
            None => "the base".to_owned(),
        }
    }

    /// The patch that somebody names: `SERIES/NUMBER`, where the start of the series' name is
    /// enough; or its number alone, if there is one series.
    pub fn find(&self, name: &str) -> Result<Number> {
        let (series, own) = name.rsplit_once('/').unwrap_or(("", name));
        let fitting: Vec<_> =
            self.bounds().filter(|(each, ..)| each.name.starts_with(series)).collect();
        let names = || {
            let names = self.bounds().map(|(series, ..)| format!("{}/N", series.name));
            names.collect::<Vec<_>>().join(", ")
        };
        let [(series, first, _)] = fitting[..] else {
            bail!("which patch is {name}? Name series and number: {}", names());
        };
        let own: usize = own.parse().with_context(|| format!("which patch is {name}?"))?;
        ensure!(
            (1..=series.length).contains(&own),
            "{} has {} patches, no number {own}",
            series.name,
            series.length
        );
        Ok(first + own - 1)
    }

    /// The index of the series whose name begins like this.
    pub fn series_named(&self, name: &str) -> Result<usize> {
        let fits = |(_, series): &(usize, &Series)| series.name.starts_with(name);
        let mut fitting = self.series.iter().enumerate().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some((index, _)), None) => Ok(index),
            _ => {
                let names: Vec<&str> = self.series.iter().map(|each| each.name.as_str()).collect();
                bail!("which series is {name}? There are {}", names.join(", "))
            }
        }
    }

    /// Rules name patches by their subjects, and so do reviewers: no two of a series have the same.
    pub fn check_subjects(&self) -> Result<()> {
        for (series, first, last) in self.bounds() {
            let mut seen = BTreeSet::new();
            for patch in &self.patches[first - 1..last] {
                ensure!(
                    seen.insert(patch.subject()),
                    "{}: two patches would have the subject \"{}\"",
                    series.name,
                    patch.subject()
                );
            }
        }
        Ok(())
    }

    /// The patches of a series, where the start of its name is enough; one patch, `SERIES/NUMBER`;
    /// without a name, all.
    pub fn numbers(&self, name: Option<&str>) -> Result<RangeInclusive<Number>> {
        // Who asks for patches would take none for a success.
        ensure!(!self.patches.is_empty(), "no series has a patch yet");
        let Some(name) = name else { return Ok(1..=self.patches.len()) };
        if name.contains('/') {
            let number = self.find(name)?;
            return Ok(number..=number);
        }
        let index = self.series_named(name)?;
        let (series, first, last) = self.bounds().nth(index).context("a series without bounds")?;
        ensure!(first <= last, "{} has no patch yet", series.name);
        Ok(first..=last)
    }

    /// The stored mails of a version stay, although the series has another one now.
    pub fn keep_version(&mut self, name: &str, version: u32) {
        let folder = PathBuf::from(name).join(format!("v{version}"));
        self.stored.retain(|path, _| !path.starts_with(&folder));
    }

    /// Whether this path below the folder is the mail of that patch.
    pub fn is_mail_of(&self, path: &Path, number: Number) -> bool {
        self.place(number).is_some_and(|(series, own)| {
            let version = PathBuf::from(&series.name).join(format!("v{}", series.settings.version));
            let subject = self.patches[number - 1].subject();
            path == version.join(file_name(own, subject))
        })
    }

    /// The rules of all series for files.
    pub fn rules(&self) -> Result<Rules> {
        let mut files = Vec::new();
        for (series, first, last) in self.bounds() {
            for rule in &series.settings.file {
                let what = || format!("{}/{SETTINGS}: {}", series.name, rule.pattern);
                let pattern = Pattern::new(&rule.pattern).with_context(what)?;
                let own = (first..=last).find(|n| self.patches[n - 1].subject() == rule.patch);
                let number = own.with_context(|| {
                    format!("{}: no patch has the subject \"{}\"", what(), rule.patch)
                })?;
                files.push((pattern, number));
            }
        }
        Ok(Rules { files, put: Vec::new() })
    }

    /// The commits of the stack.
    pub fn commits(&self) -> Vec<Commit> {
        let commit = |(index, patch): (usize, &Patch)| Commit {
            message: patch.message.clone(),
            author: patch.author.clone(),
            date: patch.date.clone(),
            tree: self.weave.state(index + 1),
        };
        self.patches.iter().enumerate().map(commit).collect()
    }

    /// The mails of all series, by path below the folder.
    pub fn mails(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let repository = Repository::scratch()?;
        repository.write(&self.weave.state(BASE), &self.commits())?;
        let total = self.patches.len();
        let mut mails = BTreeMap::new();
        for (series, first, last) in self.bounds().filter(|(series, ..)| series.length > 0) {
            let range = format!("stack~{}..stack~{}", total + 1 - first, total - last);
            let subject = format!("--subject-prefix={}", series.prefix());
            let version = PathBuf::from(&series.name).join(format!("v{}", series.settings.version));
            for (number, text) in (first..=last).zip(repository.mails(&range, &[&subject])?) {
                let text = mail::with_own_hunks(&repository, &text, &self.weave, number)?;
                let own = number - first + 1;
                let name = file_name(own, self.patches[number - 1].subject());
                mails.insert(version.join(name), text);
            }
        }
        Ok(mails)
    }

    /// The stored mails that are not what would be written.
    pub fn stale(&self) -> Result<Vec<PathBuf>> {
        let mut change = Change::default();
        self.store(Path::new(""), &mut change)?;
        Ok(change.paths().map(Path::to_owned).collect())
    }

    /// What is to be written and removed below the folder, for the stack to be stored.
    pub fn store(&self, folder: &Path, change: &mut Change) -> Result<()> {
        let mails = self.mails()?;
        for path in self.stored.keys().filter(|path| !mails.contains_key(*path)) {
            change.remove(folder.join(path));
        }
        for (path, content) in mails {
            if self.stored.get(&path) != Some(&content) {
                change.write(folder.join(path), Blob { mode: Mode::Plain, content });
            }
        }
        Ok(())
    }
}

impl Series {
    /// What stands between the brackets of a subject, without the number.
    pub fn prefix(&self) -> String {
        let Settings { tree, prefix, version, .. } = &self.settings;
        let version = if *version > 1 { format!(" v{version}") } else { String::new() };
        format!("{prefix} {tree}{version}")
    }
}

/// The longest name of a file that git gives a mail.
const LONGEST: usize = 64 - ".patch".len();

/// `0001-net-demo-add-the-driver.patch`, as git names it.
fn file_name(number: usize, subject: &str) -> String {
    let mut name = format!("{number:04}");
    let words = subject.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
    for word in words.filter(|word| !word.is_empty()) {
        name.push('-');
        name.push_str(word);
    }
    name.truncate(LONGEST);
    format!("{}.patch", name.trim_end_matches(['-', '.']))
}

/// The commits that mails make on top of a tree.
fn applied(base: &Tree, mails: &[PathBuf]) -> Result<Vec<Commit>> {
    let repository = Repository::scratch()?;
    repository.write(base, &[])?;
    let start = repository.read(&["rev-parse", "stack"])?;
    repository.am(mails)?;
    repository.commits(&format!("{start}..HEAD"), base)
}

/// The settings of every series of a folder.
fn settings(folder: &Path) -> Result<BTreeMap<String, Settings>> {
    let mut all = BTreeMap::new();
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let file = entry.path().join(SETTINGS);
        if !file.is_file() {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let settings =
            toml::from_str(&text).with_context(|| format!("understand {}", file.display()))?;
        all.insert(entry.file_name().to_string_lossy().into_owned(), settings);
    }
    ensure!(!all.is_empty(), "{}: no folder in it has a {SETTINGS}", folder.display());
    Ok(all)
}

/// Each series behind the one that it needs.
fn in_order(mut all: BTreeMap<String, Settings>) -> Result<Vec<(String, Settings)>> {
    let mut ordered: Vec<(String, Settings)> = Vec::new();
    while !all.is_empty() {
        let done = |name: &String| ordered.iter().any(|(done, _)| done == name);
        let ready = all.iter().find(|(_, settings)| settings.after.as_ref().is_none_or(done));
        let Some(name) = ready.map(|(name, _)| name.clone()) else {
            let (name, settings) = all.first_key_value().context("a series")?;
            let after = settings.after.as_deref().unwrap_or_default();
            bail!(
                "{name}/{SETTINGS}: `after = \"{after}\"`: there is no such series, or they wait for \
                 each other"
            );
        };
        if let Some(settings) = all.remove(&name) {
            ordered.push((name, settings));
        }
    }
    Ok(ordered)
}

/// The names of the mails of a folder, in order, without the cover letter.
pub(crate) fn patch_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    let mut files = BTreeSet::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".patch") && !name.starts_with("0000-") {
            files.insert(PathBuf::from(name));
        }
    }
    Ok(files.into_iter().collect())
}
