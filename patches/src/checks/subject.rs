// SPDX-License-Identifier: GPL-2.0

//! What is checked: a series, wherever it comes from.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mail_parser::MessageParser;
use vmlab::run::{files, process};

use super::fingerprint;
use crate::diff;
use crate::folder::{Accepted, Shown, Stack};
use crate::git::{self, Commit, Person, Repository};
use crate::project::Base;
use crate::unified;
use crate::weave::{BASE, Blob, Tree};

/// Where a series comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A folder of the project: nobody has signed it off yet.
    Stack,
    /// Commits of a tree: they have no mails.
    Range,
    /// Mails, maybe of other people.
    Mailbox,
}

/// A series to check.
pub struct Subject<'a> {
    pub name: String,
    pub origin: Origin,
    /// The tree that it is for, if it says so.
    pub tree: Option<String>,
    /// The cover letter, title first.
    pub cover: Option<String>,
    pub assisted_by: Option<String>,
    pub accept: Vec<Accepted>,
    pub shown: Vec<Shown>,
    /// Tests in the kernel tree, of a series of the kernel's own files.
    pub tests: Vec<String>,
    pub patches: Vec<Patch>,
    /// What a person should know of where it comes from.
    pub notes: Vec<String>,
    /// The files that the series touches, as they were before.
    pub before: Tree,
    pub base: Box<Base<'a>>,
    /// A repository that may know commits which messages name.
    pub history: Option<PathBuf>,
    /// The kernel tree that the series is for, to count files in and to take scripts from.
    pub folder: Option<PathBuf>,
    touched: BTreeSet<String>,
    /// What stands for each patch in keys. To hash all of a series takes a while.
    keys: OnceCell<Vec<String>>,
}

/// A patch of the series.
#[derive(Debug, Clone)]
pub struct Patch {
    /// From 1 on.
    pub number: usize,
    /// Subject, blank line, body.
    pub message: String,
    pub author: Person,
    /// As it is or would be sent.
    pub mail: Vec<u8>,
    pub changes: Vec<FileChange>,
    /// The files that the series touches, after the patch.
    pub tree: Tree,
    /// Trailers of reviewers, and the mail of the patch that each was first seen in.
    pub reviewed: Vec<(String, Vec<u8>)>,
}

/// What a patch does to a file.
#[derive(Debug, Clone)]
pub struct FileChange {
    pub path: String,
    pub before: Option<Blob>,
    pub after: Option<Blob>,
    /// Lines of `after` that the patch brings, from 1 on.
    pub added: BTreeSet<usize>,
    /// Lines of `before` that it takes away, from 1 on.
    pub removed: BTreeSet<usize>,
}

impl FileChange {
    fn new(
        path: &str,
        before: Option<Blob>,
        after: Option<Blob>,
        hunks: Option<&Vec<diff::Hunk>>,
    ) -> FileChange {
        let content = |blob: &Option<Blob>| blob.as_ref().map_or(Vec::new(), |b| b.content.clone());
        let computed = || {
            let (old, new) = (content(&before), content(&after));
            diff::hunks(&diff::lines(&old), &diff::lines(&new))
        };
        let hunks = hunks.cloned().unwrap_or_else(computed);
        let added = hunks.iter().flat_map(|hunk| hunk.after.clone()).map(|line| line + 1).collect();
        let removed =
            hunks.iter().flat_map(|hunk| hunk.before.clone()).map(|line| line + 1).collect();
        FileChange { path: path.to_owned(), before, after, added, removed }
    }

    /// The file after the patch, if it is a text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.after.as_ref()?.content).ok()
    }

    /// The file before the patch, if it is a text.
    pub fn text_before(&self) -> Option<&str> {
        std::str::from_utf8(&self.before.as_ref()?.content).ok()
    }

    /// The added lines with their numbers.
    pub fn added(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text().unwrap_or_default().lines().enumerate();
        lines.map(|(index, line)| (index + 1, line)).filter(|(line, _)| self.added.contains(line))
    }

    /// The lines that are gone.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        let lines = self.text_before().unwrap_or_default().lines().enumerate();
        lines.filter(|(index, _)| self.removed.contains(&(index + 1))).map(|(_, line)| line)
    }

    pub fn is_new(&self) -> bool {
        self.before.is_none() && self.after.is_some()
    }

    /// What is behind the last dot of its name.
    pub fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|ext| ext.to_str()).unwrap_or_default()
    }
}

impl Patch {
    /// The first line of its message.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    fn key(&self) -> String {
        let mut parts = vec![self.message.clone().into_bytes(), self.mail.clone()];
        for FileChange { path, before, after, .. } in &self.changes {
            parts.push(path.clone().into_bytes());
            parts.extend([before, after].map(|blob| fingerprint(blob.as_ref()).into_bytes()));
        }
        files::key(parts)
    }

    /// What it does to one file.
    pub fn change(&self, path: &str) -> Option<&FileChange> {
        self.changes.iter().find(|change| change.path == path)
    }

    /// The value of a header of its mail, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&String::from_utf8_lossy(&self.mail), name)
    }
}

/// The value of a header of a mail, unfolded.
fn header(mail: &str, name: &str) -> Option<String> {
    let head: Vec<&str> = mail.lines().take_while(|line| !line.is_empty()).collect();
    let is =
        |line: &&str| line.split_once(':').is_some_and(|(word, _)| word.eq_ignore_ascii_case(name));
    let start = head.iter().position(is)?;
    let mut value = head[start].split_once(':')?.1.trim().to_owned();
    for line in head[start + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])) {
        value.push(' ');
        value.push_str(line.trim());
    }
    Some(value)
}

impl<'a> Subject<'a> {
    /// A series of the project.
    pub fn of_stack(
        stack: &Stack,
        folder: &Path,
        name: &str,
        base: Box<Base<'a>>,
    ) -> Result<Subject<'a>> {
        let index = stack.series_named(name)?;
        let (series, first, last) = stack.bounds().nth(index).context("a series without bounds")?;
        let version = PathBuf::from(&series.name).join(format!("v{}", series.settings.version));
        let mails: Vec<Vec<u8>> = stack
            .mails()?
            .into_iter()
            .filter(|(path, _)| path.starts_with(&version))
            .map(|(_, mail)| mail)
            .collect();
        let mut before = stack.weave.state(first - 1);
        let mut commits: Vec<Commit> = stack.commits().drain(first - 1..last).collect();
        if !series.settings.tests.is_empty() {
            let own: BTreeSet<String> =
                mails.iter().flat_map(|mail| git::paths(&String::from_utf8_lossy(mail))).collect();
            let base = stack.weave.state(BASE);
            let other = own.iter().find(|path| before.get(*path) != base.get(*path));
            ensure!(
                other.is_none(),
                "{}: it has `tests`, so it is applied to the base alone, but another series \
                 changes {} as well",
                series.name,
                other.map_or("", String::as_str)
            );
            before.retain(|path, _| own.contains(path));
            for commit in &mut commits {
                commit.tree.retain(|path, _| own.contains(path));
            }
        }
        let mut subject =
            Subject::new(&series.name, Origin::Stack, before, commits, mails, true, base)?;
        subject.tree = Some(series.settings.tree.clone());
        subject.cover = match fs::read_to_string(folder.join(&series.name).join("cover.md")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            text => Some(text.with_context(|| format!("read cover.md of {}", series.name))?),
        };
        subject.assisted_by = series.settings.assisted_by.clone();
        subject.accept = series.settings.accept.clone();
        subject.shown = series.settings.shown.clone();
        let subjects: BTreeSet<&str> = subject.patches.iter().map(Patch::subject).collect();
        for Shown { patch, .. } in &subject.shown {
            ensure!(
                subjects.contains(patch.as_str()),
                "{}/series.toml: [[shown]]: no patch has the subject \"{patch}\"",
                series.name
            );
        }
        subject.tests = series.settings.tests.clone();
        Ok(subject)
    }

    /// Commits of somebody's tree, which is only read.
    pub fn of_range(folder: &Path, range: &str) -> Result<Subject<'static>> {
        let repository = Repository::at(folder);
        let Some((from, to)) = range.split_once("..").filter(|(from, _)| !from.is_empty()) else {
            bail!("{range}: name the commits as A..B");
        };
        let from = repository.read(&["rev-parse", "--verify", &format!("{from}^{{commit}}")])?;
        let to = if to.is_empty() { "HEAD" } else { to };
        let to = repository.read(&["rev-parse", "--verify", &format!("{to}^{{commit}}")])?;
        let commits = format!("{from}..{to}");
        let merges = repository.read(&["rev-list", "--merges", &commits])?;
        ensure!(merges.is_empty(), "{range} has merges: a series is a line of commits");
        let names =
            repository.read(&["log", "--format=", "--name-only", "--no-renames", &commits])?;
        let paths: BTreeSet<&str> = names.lines().filter(|line| !line.is_empty()).collect();
        let before = repository.files(&from, &paths)?;
        let mails = repository.mails(&commits, &[])?;
        let patches = repository.commits(&commits, &before)?;
        ensure!(!patches.is_empty(), "{range} has no commits");
        let base = Box::new(move |path: &str| {
            let mut files = Repository::at(repository.folder()).files(&from, &[path].into())?;
            Ok(files.remove(path))
        });
        let mut subject = Subject::new(range, Origin::Range, before, patches, mails, false, base)?;
        subject.history = Some(folder.to_owned());
        subject.folder = Some(folder.to_owned());
        Ok(subject)
    }

    /// A mailbox, applied to the base. Its cover letter is the mail with number 0; answers are left
    /// out, and so are older versions.
    pub fn of_mailbox(file: &Path, base: Box<Base<'a>>) -> Result<Subject<'a>> {
        let repository = Repository::scratch()?;
        let folder = tempfile::tempdir().context("create a folder for mails")?;
        let out = format!("-o{}", folder.path().display());
        let box_file = file.to_string_lossy();
        repository
            .read(&["mailsplit", "--mboxrd", "-b", &out, "--", &box_file])
            .with_context(|| format!("read the mails of {}", file.display()))?;
        let mut mails = BTreeMap::new();
        for entry in fs::read_dir(folder.path()).context("read a folder of mails")? {
            let path = entry.context("read a folder of mails")?.path();
            let text = fs::read(&path).context("read a mail")?;
            let mail = MessageParser::default().parse(&text);
            let title = mail.as_ref().and_then(|mail| mail.subject()).unwrap_or_default();
            if let Some(place) = Place::of(title) {
                mails.insert((place.number, path), (place, text));
            }
        }
        let mut notes = Vec::new();
        let versions: BTreeSet<u32> = mails.values().map(|(place, _)| place.version).collect();
        if let (Some(last), 2..) = (versions.last(), versions.len()) {
            mails.retain(|_, (place, _)| place.version == *last);
            let all: Vec<String> = versions.iter().map(|version| format!("v{version}")).collect();
            notes.push(format!("{} has {}: v{last} is checked", file.display(), all.join(" and ")));
        }
        let cover = mails.iter().find(|((number, _), _)| *number == 0);
        let cover = cover.map(|(_, (place, text))| {
            let text = String::from_utf8_lossy(text).into_owned();
            let body = text.split_once("\n\n").map_or("", |(_, body)| body);
            format!("{}\n\n{body}", place.title)
        });
        let tree = mails.values().find_map(|(place, _)| place.tree.clone());
        mails.retain(|(number, _), _| *number > 0);
        ensure!(!mails.is_empty(), "{} has no mail with a patch", file.display());
        let paths: BTreeSet<String> = mails
            .values()
            .flat_map(|(_, text)| git::paths(&String::from_utf8_lossy(text)))
            .collect();
        let mut before = Tree::new();
        for path in paths {
            if let Some(blob) = base(&path)? {
                before.insert(path, blob);
            }
        }
        repository.write(&before, &[])?;
        repository.read(&["reset", "--quiet", "--hard", "stack"])?;
        for ((_, path), (place, _)) in &mails {
            let mut am = repository.command(&["am", "--quiet", "--no-3way", "--empty=keep"]);
            am.args(["--whitespace=nowarn", "--"]).arg(path);
            process::read(&mut am).with_context(|| {
                format!("patch {} \"{}\" does not apply", place.number, place.title)
            })?;
        }
        let range = format!("stack~{}..stack", mails.len());
        let commits = repository.commits(&range, &before)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mails = mails.into_values().map(|(_, text)| text).collect();
        let mut subject =
            Subject::new(&name, Origin::Mailbox, before, commits, mails, false, base)?;
        subject.tree = tree;
        subject.cover = cover;
        subject.notes = notes;
        Ok(subject)
    }

    fn new(
        name: &str,
        origin: Origin,
        before: Tree,
        commits: Vec<Commit>,
        mails: Vec<Vec<u8>>,
        own_hunks: bool,
        base: Box<Base<'a>>,
    ) -> Result<Subject<'a>> {
        ensure!(
            commits.len() == mails.len(),
            "{name}: {} patches and {} mails",
            commits.len(),
            mails.len()
        );
        let mut touched: BTreeSet<String> = before.keys().cloned().collect();
        touched.extend(commits.iter().flat_map(|commit| commit.tree.keys().cloned()));
        let mut last = &before;
        let mut patches = Vec::new();
        for (index, (commit, mail)) in commits.iter().zip(mails).enumerate() {
            let hunks = match own_hunks {
                true => unified::read(&String::from_utf8_lossy(&mail))?,
                false => BTreeMap::new(),
            };
            let changed = touched.iter().filter(|path| last.get(*path) != commit.tree.get(*path));
            let changes = changed
                .map(|path| {
                    let blob = |tree: &Tree| tree.get(path).cloned();
                    FileChange::new(path, blob(last), blob(&commit.tree), hunks.get(path))
                })
                .collect();
            patches.push(Patch {
                number: index + 1,
                message: commit.message.clone(),
                author: commit.author.clone(),
                mail,
                changes,
                tree: commit.tree.clone(),
                reviewed: Vec::new(),
            });
            last = &commit.tree;
        }
        Ok(Subject {
            name: name.to_owned(),
            origin,
            tree: None,
            cover: None,
            assisted_by: None,
            accept: Vec::new(),
            shown: Vec::new(),
            tests: Vec::new(),
            patches,
            notes: Vec::new(),
            before,
            base,
            history: None,
            folder: None,
            touched,
            keys: OnceCell::new(),
        })
    }

    /// A key for each patch, which changes with it.
    pub(super) fn keys(&self) -> &[String] {
        self.keys.get_or_init(|| self.patches.iter().map(Patch::key).collect())
    }

    /// Whether the series knows the file, so that its states say what it is.
    pub fn touches(&self, path: &str) -> bool {
        self.touched.contains(path)
    }
}

/// What the subject of a mail says of its place: `[PATCH net-next v2 3/7] net: demo: add it`.
struct Place {
    number: usize,
    version: u32,
    tree: Option<String>,
    title: String,
}

impl Place {
    /// None for answers and for mails without a patch.
    fn of(subject: &str) -> Option<Place> {
        let (words, title) = subject.strip_prefix('[')?.split_once(']')?;
        let words: Vec<&str> = words.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        if !words.iter().any(|word| matches!(*word, "PATCH" | "RFC")) {
            return None;
        }
        let number = words.iter().find_map(|word| word.split_once('/')?.0.parse().ok());
        let version = |word: &str| -> Option<u32> {
            word.strip_prefix(['v', 'V']).and_then(|rest| rest.parse().ok())
        };
        let tree = words.iter().find(|word| {
            let known = matches!(**word, "PATCH" | "RFC" | "RESEND");
            !known && !word.contains('/') && version(word).is_none()
        });
        Some(Place {
            number: number.unwrap_or(1),
            version: words.iter().find_map(|word| version(word)).unwrap_or(1),
            tree: tree.map(|word| (*word).to_owned()),
            title: title.trim().to_owned(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::weave::Mode;

    fn blob(text: &str) -> Blob {
        Blob { mode: Mode::Plain, content: text.into() }
    }

    /// An empty text stands for no file.
    pub(crate) fn change(path: &str, before: &str, after: &str) -> FileChange {
        let file = |text: &str| (!text.is_empty()).then(|| blob(text));
        FileChange::new(path, file(before), file(after), None)
    }

    /// A series of commits on a base: each has a message, and files with their new texts.
    pub(crate) fn subject(
        base: &[(&str, &str)],
        patches: &[(&str, &[(&str, &str)])],
    ) -> Subject<'static> {
        let all: Tree = base.iter().map(|(path, text)| ((*path).to_owned(), blob(text))).collect();
        let touched: BTreeSet<&str> =
            patches.iter().flat_map(|(_, files)| files.iter().map(|file| file.0)).collect();
        let mut tree = all.clone();
        tree.retain(|path, _| touched.contains(path.as_str()));
        let before = tree.clone();
        let mut commits = Vec::new();
        for (message, files) in patches {
            for (path, text) in *files {
                match *text {
                    "" => tree.remove(*path),
                    text => tree.insert((*path).to_owned(), blob(text)),
                };
            }
            commits.push(Commit {
                message: (*message).to_owned(),
                author: Person { name: "Jane Doe".into(), mail: "jane@example.org".into() },
                date: "1700000000 +0000".into(),
                tree: tree.clone(),
            });
        }
        let mails = vec![Vec::new(); commits.len()];
        let base = Box::new(move |path: &str| Ok(all.get(path).cloned()));
        Subject::new("demo", Origin::Stack, before, commits, mails, false, base).unwrap()
    }

    /// What a check finds in one patch: places and texts.
    pub(crate) fn found(
        check: &dyn crate::checks::Check,
        subject: &Subject<'_>,
        number: usize,
    ) -> Vec<String> {
        let outcome = check.run(&crate::checks::At::new(subject, number - 1)).unwrap();
        let findings = outcome.findings().iter();
        findings.map(|finding| format!("{}{}", finding.place(), finding.text)).collect()
    }

    #[test]
    fn the_place_of_a_mail_is_read_from_its_subject() {
        let place = |subject: &str| {
            let Place { number, tree, title, .. } = Place::of(subject)?;
            Some((number, tree.unwrap_or_default(), title))
        };
        let of = |number, tree: &str, title: &str| Some((number, tree.into(), title.into()));
        assert_eq!(place("[PATCH net-next v2 03/12] net: a: b"), of(3, "net-next", "net: a: b"));
        assert_eq!(place("[RFC PATCH 0/2] a"), of(0, "", "a"));
        assert_eq!(place("[PATCH] a: [b]"), of(1, "", "a: [b]"));
        assert_eq!(place("Re: [PATCH] a"), None);
        assert_eq!(place("[ANNOUNCE] a"), None);
    }

    #[test]
    fn of_a_mailbox_with_two_versions_the_last_one_is_checked() {
        let mail = |subject: &str, new: &str| {
            format!(
                "From a@z Thu Jan  1 00:00:00 1970\nFrom: Jane <j@example.org>\n\
                 Date: Tue, 14 Nov 2023 22:13:20 +0000\nSubject: {subject}\n\nWhy.\n---\n\
                 diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-0\n+{new}\n\n"
            )
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("thread.mbx");
        fs::write(&file, mail("[PATCH] a: b", "1") + &mail("[PATCH v2] a: b", "2")).unwrap();
        let base = Box::new(|path: &str| Ok((path == "a").then(|| blob("0\n"))));
        let subject = Subject::of_mailbox(&file, base).unwrap();
        assert_eq!(subject.patches.len(), 1);
        assert_eq!(subject.patches[0].tree["a"], blob("2\n"));
        assert!(subject.notes[0].ends_with("has v1 and v2: v2 is checked"), "{:?}", subject.notes);
    }

    #[test]
    fn a_patch_knows_the_lines_that_it_adds() {
        let changed = change("a", "1\n2\n3\n", "1\nx\n3\ny\n");
        assert_eq!(changed.added().collect::<Vec<_>>(), [(2, "x"), (4, "y")]);
        assert_eq!(changed.removed().collect::<Vec<_>>(), ["2"]);
        assert!(!changed.is_new() && change("a", "", "1\n").is_new());
    }

    #[test]
    fn a_file_that_no_patch_touches_is_that_of_the_base() {
        let base = [("M", "base\n"), ("a", "1\n")];
        let subject = subject(&base, &[("a: b\n", &[("a", "2\n")]), ("a: c\n", &[("a", "3\n")])]);
        let at = crate::checks::At::new(&subject, 0);
        let text = |blob: Option<Blob>| String::from_utf8(blob.unwrap().content).unwrap();
        assert_eq!(text(at.file("a").unwrap()), "2\n");
        assert_eq!(text(at.last_file("a").unwrap()), "3\n");
        assert!(at.reads().is_empty());
        assert_eq!(text(at.file("M").unwrap()), "base\n");
        assert_eq!(at.file("none").unwrap(), None);
        assert_eq!(at.reads().keys().collect::<Vec<_>>(), ["M", "none"]);
    }
}
