// SPDX-License-Identifier: GPL-2.0

//! A project with series: its source, its folder of series, and what can be done with both.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::assign::{Doubt, Piece, Plan, Why};
use crate::base::Release;
use crate::change::{self, Change};
use crate::editing::{Edited, Editing};
use crate::folder::{Patch, Stack};
use crate::git::Person;
use crate::rules::Put;
use crate::source::Source;
use crate::versions::drop_trailers;
use crate::weave::{BASE, Blob, File, Mode, Number, Undecided};

/// Gives a file of the tree below a series, or below all of them.
pub type Base<'a> = dyn Fn(&str) -> Result<Option<Blob>> + 'a;

/// The folder in [`Project::work`] with what takes changes back.
pub const UNDO: &str = "undo";

/// Where everything is.
pub struct Project<'a> {
    pub source: Source,
    /// The folder of the series.
    pub folder: PathBuf,
    /// Where what can be made again is kept: trees to edit, and what is needed for undo.
    pub work: PathBuf,
    pub base: &'a Base<'a>,
    /// The version of the base, if it is a release that never changes: what the series need of it is
    /// stored with them.
    pub release: Option<String>,
}

/// What somebody asks to be decided: `FILE:LINE=PATCH`, or `FILE=PATCH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    file: String,
    line: Option<usize>,
    patch: String,
}

impl std::str::FromStr for Wish {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Wish> {
        let (place, patch) = text
            .rsplit_once('=')
            .with_context(|| format!("{text}: write FILE:LINE=PATCH, as a/b.rs:12=name/3"))?;
        let (file, line) = match place.rsplit_once(':') {
            Some((file, line)) => {
                let line = line.parse().with_context(|| format!("{text}: the line"))?;
                (file, Some(line))
            }
            None => (place, None),
        };
        Ok(Wish { file: file.to_owned(), line, patch: patch.to_owned() })
    }
}

/// Lines of a file of the source: `FILE:FIRST-LAST`, or `FILE:LINE`. `FILE:-LINE` are the lines that
/// patches took away between this line and the one above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    file: String,
    first: usize,
    last: usize,
    gone: bool,
}

impl std::str::FromStr for Lines {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Lines> {
        let wrong = || {
            format!(
                "{text}: write FILE:FIRST-LAST, as a/b.rs:10-20, or FILE:-LINE for what is taken \
                 away in front of a line"
            )
        };
        let (file, lines) = text.rsplit_once(':').with_context(wrong)?;
        let (gone, lines) = match lines.strip_prefix('-') {
            Some(line) => (true, line),
            None => (false, lines),
        };
        let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
        let first: usize = first.parse().with_context(wrong)?;
        let last: usize = last.parse().with_context(wrong)?;
        ensure!(0 < first && first <= last && !(gone && first < last), "{}", wrong());
        Ok(Lines { file: file.to_owned(), first, last, gone })
    }
}

impl Project<'_> {
    /// Reads all series.
    pub fn stack(&self) -> Result<Stack> {
        Stack::read(&self.folder, self.base)
    }

    /// Finds a patch for all that changed in the source.
    pub fn plan(&self, stack: &Stack, wishes: &[Wish]) -> Result<Plan> {
        let mut rules = stack.rules()?;
        for Wish { file, line, patch } in wishes {
            let path = self.source.upstream(file).unwrap_or_else(|| file.clone());
            rules.put.push(Put { path, line: *line, patch: stack.find(patch)? });
        }
        let plan = Plan::make(&stack.weave, &self.source.over(&stack.weave)?, &rules);
        for Put { path, line, .. } in &rules.put {
            let used = plan.pieces.iter().filter(|piece| piece.path == *path).any(|piece| {
                let decided =
                    || matches!(piece.place, Ok((_, Why::Put)) | Err(Doubt::TooEarly { .. }));
                let lines = piece.line..piece.line + piece.added.max(1);
                line.map_or_else(decided, |line| lines.contains(&line))
            });
            let place = shown(&self.source, path, *line);
            match line {
                Some(_) => ensure!(used, "nothing changed at {place}"),
                None => ensure!(
                    used,
                    "nothing is open in {place}: name the line of a change that is to go elsewhere"
                ),
            }
        }
        Ok(plan)
    }

    /// Carries a plan out: patches with other changes lose the trailers of their reviewers.
    pub fn absorb(&self, mut stack: Stack, plan: &Plan) -> Result<Done> {
        let before = stack.clone();
        plan.apply(&mut stack.weave)?;
        self.store(&before, stack)
    }

    /// Writes the mails anew where they are not what this program writes: somebody may have changed
    /// them by hand, or an older program.
    pub fn refresh(&self, stack: Stack) -> Result<Done> {
        let before = stack.clone();
        self.store(&before, stack)
    }

    /// Takes the last change back.
    pub fn undo(&self) -> Result<Vec<PathBuf>> {
        change::undo(&self.work.join(UNDO))
    }

    /// Writes the tree after a patch into a folder, to be edited. It has the files that patches
    /// touch, and these of the base.
    pub fn begin_edit(&self, patch: &str, with: &[String]) -> Result<PathBuf> {
        let mut stack = self.in_step()?;
        let number = stack.find(patch)?;
        for path in with {
            let blob = (self.base)(path)?.with_context(|| format!("the base has no {path}"))?;
            stack.weave.learn(path, &blob);
        }
        Editing::begin(&self.work, &stack, number)
    }

    /// The edit of a patch that has begun and is not finished.
    pub fn edited(&self) -> Result<Option<Editing>> {
        Editing::read(&self.work)
    }

    /// Makes what was edited part of its patch.
    pub fn finish_edit(&self) -> Result<(String, Done)> {
        let mut stack = self.in_step()?;
        let editing =
            self.edited()?.context("no patch is being edited: begin with an edit of one")?;
        let number = editing.find(&stack)?;
        let mut edited = Edited::read(&self.work)?;
        for path in edited.paths() {
            if stack.weave.file(&path).is_none()
                && let Some(blob) = (self.base)(&path)?
            {
                stack.weave.learn(&path, &blob);
                edited.learn(&path, blob);
            }
        }
        let tree = edited.merged(&stack.weave.state(number))?;
        let before = stack.clone();
        stack.weave.amend(number, &tree).map_err(|error| match error.downcast::<Undecided>() {
            Ok(undecided) => anyhow::anyhow!(undecided.advice(|number| stack.name(number))),
            Err(error) => error,
        })?;
        let done = self.store(&before, stack)?;
        Editing::end(&self.work)?;
        Ok((done.stack.name(number), done))
    }

    /// Adds a patch without changes behind another one of the same series, or at the start of a
    /// series: `SERIES/0`.
    pub fn add(&self, after: &str, message: &str, author: Person, date: String) -> Result<Done> {
        let mut stack = self.stack()?;
        let before = stack.clone();
        let (series, number) = behind(&stack, after)?;
        stack.weave.open(number);
        let patch = Patch { message: message.to_owned(), author, date };
        stack.patches.insert(number, patch);
        stack.series[series].length += 1;
        self.store(&before, stack)
    }

    /// Makes a patch of lines of another one, behind it.
    pub fn split(
        &self,
        patch: &str,
        lines: &[Lines],
        message: &str,
        author: Person,
        date: String,
    ) -> Result<Done> {
        let mut stack = self.in_step()?;
        let before = stack.clone();
        let number = stack.find(patch)?;
        let series = series_of(&stack, patch, number)?;
        stack.weave.open(number);
        stack.patches.insert(number, Patch { message: message.to_owned(), author, date });
        stack.series[series].length += 1;
        self.hand_over(&mut stack, lines, Some(number), number + 1)?;
        self.store(&before, stack)
    }

    /// Makes one patch of this one and the next one. The message is that of the first.
    pub fn join(&self, patch: &str) -> Result<Done> {
        let mut stack = self.stack()?;
        let before = stack.clone();
        let number = stack.find(patch)?;
        let series = series_of(&stack, patch, number)?;
        let (_, own) = stack.place(number).context("a patch without a series")?;
        ensure!(own < stack.series[series].length, "{patch} is the last patch of its series");
        stack.weave.join(number);
        let gone = stack.patches.remove(number);
        stack.series[series].length -= 1;
        let mut change = Change::default();
        let kept = stack.patches[number - 1].subject().to_owned();
        self.follow_rules(&stack, series, gone.subject(), &kept, &mut change)?;
        let name = stack.series[series].name.clone();
        let done = self.store_with(&before, stack, change)?;
        Editing::follow(&self.work, &name, gone.subject(), &kept)?;
        Ok(done)
    }

    /// Puts a patch behind another one.
    pub fn reorder(&self, patch: &str, after: &str) -> Result<Done> {
        let mut stack = self.stack()?;
        let before = stack.clone();
        let number = stack.find(patch)?;
        let series = series_of(&stack, patch, number)?;
        let (target, to) = behind(&stack, after)?;
        let mut order: Vec<Number> = (1..=stack.patches.len()).filter(|n| *n != number).collect();
        let at = order.iter().take_while(|n| **n <= to).count();
        order.insert(at, number);
        stack.weave.reorder(&order)?;
        stack.patches = order.iter().map(|old| stack.patches[old - 1].clone()).collect();
        stack.series[series].length -= 1;
        stack.series[target].length += 1;
        self.store(&before, stack)
    }

    /// Gives lines of the source to another patch.
    pub fn give(&self, lines: &[Lines], to: &str) -> Result<Done> {
        let mut stack = self.in_step()?;
        let before = stack.clone();
        let to = stack.find(to)?;
        self.hand_over(&mut stack, lines, None, to)?;
        self.store(&before, stack)
    }

    /// Gives a patch another message. Rules that name it by its subject follow.
    pub fn reword(&self, patch: &str, message: &str) -> Result<Done> {
        let mut stack = self.stack()?;
        let before = stack.clone();
        let number = stack.find(patch)?;
        ensure!(!message.trim().is_empty(), "the message is empty: nothing was changed");
        let own = &mut stack.patches[number - 1];
        let old = own.subject().to_owned();
        own.message = format!("{}\n", message.trim_end());
        let new = own.subject().to_owned();
        let series = series_of(&stack, patch, number)?;
        let mut change = Change::default();
        self.follow_rules(&stack, series, &old, &new, &mut change)?;
        let name = stack.series[series].name.clone();
        let done = self.store_with(&before, stack, change)?;
        Editing::follow(&self.work, &name, &old, &new)?;
        Ok(done)
    }

    /// Rules that name a patch by its subject name it by another one.
    fn follow_rules(
        &self,
        stack: &Stack,
        series: usize,
        old: &str,
        new: &str,
        change: &mut Change,
    ) -> Result<()> {
        let series = &stack.series[series];
        let files = series.settings.file.iter().map(|rule| &rule.patch);
        let mut named = files.chain(series.settings.shown.iter().map(|shown| &shown.patch));
        if old == new || named.all(|patch| patch != old) {
            return Ok(());
        }
        let file = self.folder.join(&series.name).join("series.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let text =
            renamed(&text, old, new).with_context(|| format!("understand {}", file.display()))?;
        change.write(file, Blob { mode: Mode::Plain, content: text.into_bytes() });
        Ok(())
    }

    /// The stack, if the source is its last state.
    fn in_step(&self) -> Result<Stack> {
        let stack = self.stack()?;
        let plan = self.plan(&stack, &[])?;
        let pieces = plan.pieces.len();
        ensure!(
            pieces == 0,
            "{pieces} changes of the source are in no patch yet, the first in {}: run \
             `lab series` first",
            plan.pieces
                .first()
                .map(|piece| shown(&self.source, &piece.path, Some(piece.line)))
                .unwrap_or_default()
        );
        Ok(stack)
    }

    fn hand_over(
        &self,
        stack: &mut Stack,
        lines: &[Lines],
        from: Option<Number>,
        to: Number,
    ) -> Result<()> {
        let last = stack.weave.last();
        for Lines { file, first, last: end, gone } in lines {
            let path = self.source.upstream(file).unwrap_or_else(|| file.clone());
            let woven = stack.weave.file(&path).with_context(|| format!("{file}: no such file"))?;
            if *gone {
                let of = taken_away(stack, woven, first - 1, from)
                    .with_context(|| format!("{file}:-{first}"))?;
                stack.weave.give_removal(&path, last, first - 1, of, to)?;
                continue;
            }
            let brought: Vec<Number> = woven.lines(last).map(|line| line.from).collect();
            ensure!(*end <= brought.len(), "{file} has {} lines", brought.len());
            let own: Vec<usize> = (first - 1..*end)
                .filter(|index| from.is_none_or(|from| brought[*index] == from))
                .collect();
            ensure!(!own.is_empty(), "{file}:{first}-{end}: the patch brings none of these lines");
            stack.weave.give(&path, last, &own, to)?;
        }
        Ok(())
    }

    pub(crate) fn store(&self, before: &Stack, stack: Stack) -> Result<Done> {
        self.store_with(before, stack, Change::default())
    }

    /// Writes series and source.
    pub(crate) fn store_with(
        &self,
        before: &Stack,
        mut stack: Stack,
        mut change: Change,
    ) -> Result<Done> {
        stack.weave.check()?;
        stack.check_subjects()?;
        let dropped = drop_trailers(before, &mut stack);
        let old = before.weave.state(before.weave.last());
        // Edits of an earlier state show in the source as well.
        self.source.follow(&stack.weave, &old, &mut change)?;
        stack.store(&self.folder, &mut change)?;
        if let Some(version) = &self.release {
            let release = Release::of(&stack, version)?;
            if Release::read(&self.folder)?.as_ref() != Some(&release) {
                let content = release.text()?.into_bytes();
                let blob = Blob { mode: Mode::Plain, content };
                change.write(Release::place(&self.folder), blob);
            }
        }
        if !change.is_empty() {
            change.make(&self.work.join(UNDO))?;
        }
        let files = change.paths().map(Path::to_owned).collect();
        Ok(Done { stack, files, dropped })
    }
}

/// The patch that took the lines away which were in front of this line of the last state, by its
/// index; `from`, if it did.
fn taken_away(stack: &Stack, woven: &File, index: usize, from: Option<Number>) -> Result<Number> {
    let gone = woven.gone(stack.weave.last()).remove(&index).unwrap_or_default();
    let by = gone.iter().filter_map(|line| line.until);
    let by: BTreeSet<Number> = by.filter(|by| from.is_none_or(|from| from == *by)).collect();
    let names: Vec<String> = by.iter().map(|by| stack.name(*by)).collect();
    match (by.first(), by.len()) {
        (Some(one), 1) => Ok(*one),
        (None, _) => bail!("the patch takes nothing away in front of this line"),
        _ => bail!("{} take lines away here: which is meant is not clear", names.join(" and ")),
    }
}

/// What was done.
pub struct Done {
    pub stack: Stack,
    /// The files that changed.
    pub files: Vec<PathBuf>,
    /// Trailers of reviewers who saw another patch: patch, and the line.
    pub dropped: Vec<(Number, String)>,
}

/// Behind which patch something goes, and in which series: `SERIES/NUMBER`; `SERIES/0` is in front of
/// all of it.
fn behind(stack: &Stack, after: &str) -> Result<(usize, Number)> {
    let number = match after.rsplit_once('/').unwrap_or(("", after)) {
        (name, "0") => {
            let index = stack.series_named(name)?;
            stack.bounds().nth(index).context("a series without bounds")?.1 - 1
        }
        _ => stack.find(after)?,
    };
    Ok((series_of(stack, after, number)?, number))
}

/// The index of the series that a patch is in. At the border of two the name decides.
fn series_of(stack: &Stack, name: &str, number: Number) -> Result<usize> {
    let name = name.rsplit_once('/').map_or(name, |(series, _)| series);
    let fits = |(series, first, last): &(&crate::folder::Series, Number, Number)| {
        series.name.starts_with(name) && first - 1 <= number && number <= *last
    };
    stack
        .bounds()
        .position(|bounds| fits(&bounds))
        .with_context(|| format!("which series is {name}?"))
}

/// A place for a person: the file of the source, if it comes from there.
pub fn shown(source: &Source, path: &str, line: Option<usize>) -> String {
    let path = source.local(path).unwrap_or_else(|| path.to_owned());
    match line {
        Some(line) => format!("{path}:{line}"),
        None => path,
    }
}

/// `series.toml` with another subject in its rules.
fn renamed(text: &str, old: &str, new: &str) -> Result<String> {
    let mut document: toml_edit::DocumentMut = text.parse()?;
    for name in ["file", "shown"] {
        let rules = document.get_mut(name).and_then(|rules| rules.as_array_of_tables_mut());
        for rule in rules.into_iter().flat_map(|rules| rules.iter_mut()) {
            if rule.get("patch").and_then(|patch| patch.as_str()) == Some(old) {
                rule["patch"] = toml_edit::value(new);
            }
        }
    }
    Ok(document.to_string())
}

/// Why something is open, and how to decide it, for a person.
pub fn advice(stack: &Stack, source: &Source, piece: &Piece) -> Option<String> {
    let Err(doubt) = &piece.place else { return None };
    let name = |number: &Number| {
        let subject = stack.patches.get(number.wrapping_sub(1)).map_or("", |p| p.subject());
        format!("{} \"{subject}\"", stack.name(*number))
    };
    let place = shown(source, &piece.path, Some(piece.line));
    let put = |patch: &str| format!("decide with PUT={place}={patch}");
    Some(match doubt {
        Doubt::Border(above, below) => {
            let sides: Vec<String> = [above, below].into_iter().flatten().map(name).collect();
            let first = above.or(*below).map(|number| stack.name(number)).unwrap_or_default();
            match (above, below) {
                (Some(_), Some(_)) => {
                    format!("it lies between {}: {}", sides.join(" and "), put(&first))
                }
                _ => format!("at the end of the file, beside {}: {}", sides.join(""), put(&first)),
            }
        }
        Doubt::Several(owners) => {
            let names: Vec<String> = owners.iter().map(name).collect();
            let first = owners.first().map(|number| stack.name(*number)).unwrap_or_default();
            format!("it replaces lines of {}: {}", names.join(" and "), put(&first))
        }
        Doubt::MovedFrom(owners) => {
            let names: Vec<String> = owners.iter().map(name).collect();
            let first = owners.iter().find(|number| **number != BASE);
            let first = first.map(|number| stack.name(*number)).unwrap_or_default();
            format!("it may be moved lines of {}: {}", names.join(" and "), put(&first))
        }
        Doubt::Base => format!("no patch brought these lines: {}", put("SERIES/N")),
        Doubt::NewFile => format!(
            "no rule is for this file: add it to [[file]] of a series.toml, or {}",
            put("SERIES/N")
        ),
        Doubt::TooEarly { put, brought } => {
            format!("{} comes before {}, which brought what is replaced", name(put), name(brought))
        }
    })
}
