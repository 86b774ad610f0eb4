// SPDX-License-Identifier: GPL-2.0

//! A weave: all states of a stack of patches at once.
//!
//! A file is the list of the lines of all its states. Each line knows the patch that brings it and
//! the patch that takes it away, if any. The state of the file after patch `k` is a filter of that
//! list. So an edit of one state cannot conflict with another state: nothing is applied anew.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::diff::{self, Hunk};
use crate::pairing::{self, Way};

/// The number of a patch in the stack, from 1 on.
pub type Number = usize;

/// Stands for the tree below the first patch where a [`Number`] is asked for.
pub const BASE: Number = 0;

/// The files of one state, by path.
pub type Tree = BTreeMap<String, Blob>;

/// A file of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub mode: Mode,
    pub content: Vec<u8>,
}

/// What git knows of the rights of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Plain,
    Executable,
    Symlink,
}

/// A line of a file in some of its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// With its line feed, unless it is the last one of a file without.
    pub text: Vec<u8>,
    /// The patch that brings it, or [`BASE`].
    pub from: Number,
    /// The patch that takes it away.
    pub until: Option<Number>,
}

impl Line {
    fn visible(&self, state: Number) -> bool {
        self.from <= state && self.until.is_none_or(|until| state < until)
    }
}

/// One step through the lines of a state, to make it into another text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The next line stays.
    Keep,
    /// A patch takes the next line away. If it is the patch that brings it, there is no such line.
    Remove(Number),
    /// A patch brings a line here.
    Insert(Insert),
}

/// A line to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    pub text: Vec<u8>,
    pub by: Number,
    /// The patch that takes it away again.
    pub until: Option<Number>,
    /// Other states may have lines here that this one does not show. Whether the line belongs to
    /// the line below, rather than to the one above.
    pub below: bool,
}

/// A file in all its states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    lines: Vec<Line>,
    /// From which patch on the file has which mode; none: there is no such file. In order.
    modes: Vec<(Number, Option<Mode>)>,
}

impl File {
    /// Its mode in a state, if it exists there.
    pub fn mode(&self, state: Number) -> Option<Mode> {
        self.modes.iter().take_while(|(from, _)| *from <= state).last()?.1
    }

    /// The lines of a state.
    pub fn lines(&self, state: Number) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.visible(state))
    }

    /// The lines of the states before and after a patch.
    pub fn both(&self, by: Number) -> impl Iterator<Item = &Line> {
        let before = by.saturating_sub(1);
        self.lines.iter().filter(move |line| line.visible(before) || line.visible(by))
    }

    fn blob(&self, state: Number) -> Option<Blob> {
        let mode = self.mode(state)?;
        let content = self.lines(state).flat_map(|line| line.text.iter().copied()).collect();
        Some(Blob { mode, content })
    }

    /// The patch that brings the file; `None` if the base has it, or nobody.
    pub fn created_by(&self) -> Option<Number> {
        self.modes.first().map(|(from, _)| *from).filter(|from| *from != BASE)
    }

    /// The patches that bring one of its lines.
    pub fn owners(&self, state: Number) -> BTreeSet<Number> {
        self.lines(state).map(|line| line.from).collect()
    }

    /// Edits the state after a patch. States that do not have the edited lines stay as they are.
    ///
    /// # Errors
    ///
    /// A patch cannot take away what only a later one brings, and cannot change what is not there.
    pub fn edit(&mut self, state: Number, steps: &[Step]) -> Result<()> {
        let mut old = std::mem::take(&mut self.lines).into_iter().peekable();
        let mut new = Vec::new();
        let mut below: Vec<Line> = Vec::new();
        for step in steps {
            if let Step::Insert(insert) = step {
                let line = Line { text: insert.text.clone(), from: insert.by, until: insert.until };
                if insert.below || !below.is_empty() {
                    below.push(line);
                } else {
                    new.push(line);
                }
                continue;
            }
            while let Some(hidden) = old.next_if(|line| !line.visible(state)) {
                new.push(hidden);
            }
            new.append(&mut below);
            let Some(mut line) = old.next() else {
                anyhow::bail!("an edit goes beyond the end of the file");
            };
            match step {
                Step::Remove(by) if *by == line.from => continue,
                Step::Remove(by) => {
                    ensure!(
                        *by > line.from,
                        "patch {by} cannot remove a line that patch {} brings",
                        line.from
                    );
                    line.until = Some(line.until.map_or(*by, |until| until.min(*by)));
                }
                Step::Keep | Step::Insert(_) => {}
            }
            new.push(line);
        }
        let rest: Vec<Line> = old.collect();
        ensure!(!rest.iter().any(|line| line.visible(state)), "an edit ends before the file does");
        new.extend(rest);
        new.append(&mut below);
        self.lines = new;
        Ok(())
    }

    /// From this patch on the file exists with this mode, or does not exist.
    pub fn set_mode(&mut self, by: Number, mode: Option<Mode>) {
        self.modes.retain(|(from, _)| *from != by);
        let at = self.modes.partition_point(|(from, _)| *from < by);
        self.modes.insert(at, (by, mode));
        self.tidy();
    }

    /// From this patch on the file has this mode, whatever later patches said.
    pub fn set_mode_from(&mut self, by: Number, mode: Mode) {
        self.modes.retain(|(from, _)| *from < by);
        self.set_mode(by, Some(mode));
    }

    /// A file that a patch has created and that has lost all its lines there comes with the first of
    /// the others.
    fn create_with_first_line(&mut self, created: Number) {
        let first = self.lines.iter().map(|line| line.from).min();
        let Some(first) = first.filter(|first| *first > created) else { return };
        let mode = self.mode(first);
        self.modes.retain(|(from, _)| *from > first);
        self.set_mode(first, mode);
    }

    /// Leaves out what says nothing new.
    fn tidy(&mut self) {
        let mut last = None;
        self.modes.retain(|(_, mode)| std::mem::replace(&mut last, *mode) != *mode);
    }

    /// The lines of other states that were taken away by now, by the index of the line of this state
    /// that they are above of.
    pub fn gone(&self, state: Number) -> BTreeMap<usize, Vec<&Line>> {
        let mut gone: BTreeMap<usize, Vec<&Line>> = BTreeMap::new();
        let mut shown = 0;
        for line in &self.lines {
            if line.visible(state) {
                shown += 1;
            } else if line.until.is_some_and(|until| until <= state) {
                gone.entry(shown).or_default().push(line);
            }
        }
        gone
    }

    /// The lines that these ones replace in the patches that bring them: places in the list of all.
    fn replaced(&self, chosen: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut replaced = BTreeSet::new();
        let owners: BTreeSet<Number> = chosen.iter().map(|at| self.lines[*at].from).collect();
        for by in owners {
            let (mut old, mut new) = (Vec::new(), Vec::new());
            for (at, line) in self.lines.iter().enumerate() {
                if line.from == by {
                    new.push(at);
                } else if line.until == Some(by) {
                    old.push(at);
                } else if line.visible(by) {
                    // The end of what the patch changes in a row.
                    replaced.extend(self.replaced_in(&old, &new, chosen));
                    (old, new) = (Vec::new(), Vec::new());
                }
            }
            replaced.extend(self.replaced_in(&old, &new, chosen));
        }
        replaced
    }

    /// The same, of lines in a row.
    fn replaced_in(&self, old: &[usize], new: &[usize], chosen: &BTreeSet<usize>) -> Vec<usize> {
        if !new.iter().any(|at| chosen.contains(at)) {
            return Vec::new();
        }
        if new.iter().all(|at| chosen.contains(at)) {
            return old.to_vec();
        }
        let texts = |places: &[usize]| -> Vec<&[u8]> {
            places.iter().map(|at| self.lines[*at].text.as_slice()).collect()
        };
        let pairs = pairing::pair(&texts(old), &texts(new));
        let own = new.iter().zip(pairs).filter(|(at, _)| chosen.contains(at));
        own.filter_map(|(_, pair)| Some(old[pair?])).collect()
    }

    /// Leaves out those of these lines that one patch brings and takes away.
    fn leave_out(&mut self, lines: &BTreeSet<usize>) {
        let mut at = 0;
        self.lines.retain(|line| {
            at += 1;
            !lines.contains(&(at - 1)) || line.until != Some(line.from)
        });
    }

    /// Gives patches other numbers.
    fn renumber(&mut self, number: &impl Fn(Number) -> Number) {
        for line in &mut self.lines {
            line.from = number(line.from);
            line.until = line.until.map(number);
        }
        // A line that one patch brings and takes away is none.
        self.lines.retain(|line| line.until != Some(line.from));
        for (from, _) in &mut self.modes {
            *from = number(*from);
        }
        // Of two changes by one patch the last counts.
        self.modes.reverse();
        self.modes.sort_by_key(|(from, _)| *from);
        self.modes.dedup_by_key(|(from, _)| *from);
        self.tidy();
    }

    /// Why the file makes no sense, if it does not.
    fn fault(&self) -> Option<String> {
        let backwards = self.lines.iter().find(|line| line.until.is_some_and(|u| u <= line.from));
        if let Some(line) = backwards {
            let text = String::from_utf8_lossy(&line.text);
            return Some(format!(
                "patch {} would take away what patch {} brings: {}",
                line.until.unwrap_or_default(),
                line.from,
                text.trim()
            ));
        }
        // What is there changes at these patches only.
        let edges = self.lines.iter().flat_map(|line| [Some(line.from), line.until]).flatten();
        let changes = self.modes.iter().map(|(from, _)| *from);
        let states: BTreeSet<Number> = edges.chain(changes).collect();
        let cut = self.lines.iter().any(|line| !line.text.ends_with(b"\n"));
        states.into_iter().find_map(|state| {
            if self.mode(state).is_none() && self.lines(state).next().is_some() {
                return Some(format!("lines of patch {state} or before come without their file"));
            }
            // Only the last line can be without one.
            let mut before = None;
            for line in self.lines(state).filter(|_| cut) {
                if let Some(before) = before.replace(line)
                    && !before.text.ends_with(b"\n")
                {
                    let texts = [before, line].map(|line| String::from_utf8_lossy(&line.text));
                    let [one, two] = texts.each_ref().map(|text| text.trim());
                    return Some(format!(
                        "after patch {state}, \"{one}\" without a line feed would be followed by \
                         \"{two}\""
                    ));
                }
            }
            None
        })
    }
}

/// A stack of patches: the files that they touch, in all states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weave {
    files: BTreeMap<String, File>,
    /// The number of patches.
    patches: Number,
}

impl Weave {
    /// A stack without patches. The base needs only the files that patches touch.
    pub fn new(base: Tree) -> Weave {
        let mut weave = Weave::default();
        weave.set(BASE, base, &BTreeMap::new());
        weave
    }

    /// How many patches there are: the number of the last one.
    pub fn last(&self) -> Number {
        self.patches
    }

    /// A file, if any state has it.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// The same, to edit it. The file is made if there is none.
    pub fn file_mut(&mut self, path: &str) -> &mut File {
        self.files.entry(path.to_owned()).or_default()
    }

    /// Learns of a file of the base that no patch touches yet.
    pub fn learn(&mut self, path: &str, blob: &Blob) {
        if !self.files.contains_key(path) {
            let mut file = File::default();
            file.become_at(BASE, Some(blob), None);
            self.files.insert(path.to_owned(), file);
        }
    }

    /// Leaves a file out of every state.
    pub fn forget(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Every file of any state, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The tree after a patch.
    pub fn state(&self, state: Number) -> Tree {
        let files = self.files.iter();
        files.filter_map(|(path, file)| Some((path.clone(), file.blob(state)?))).collect()
    }

    /// Adds a patch on top that leads to this tree.
    pub fn push(&mut self, tree: Tree) -> Number {
        self.push_as(tree, &BTreeMap::new())
    }

    /// The same. Where `hunks` lead from the last state of a file to the new one, they say which
    /// lines the patch brings and takes away.
    pub fn push_as(&mut self, tree: Tree, hunks: &BTreeMap<String, Vec<Hunk>>) -> Number {
        self.patches += 1;
        self.set(self.patches, tree, hunks);
        self.patches
    }

    /// Makes a patch the one that leads from the state before it to `tree`. Nothing later may be
    /// there yet.
    fn set(&mut self, by: Number, tree: Tree, hunks: &BTreeMap<String, Vec<Hunk>>) {
        let gone: Vec<String> =
            self.files.keys().filter(|path| !tree.contains_key(*path)).cloned().collect();
        for (path, blob) in tree {
            let hunks = hunks.get(&path).map(Vec::as_slice);
            self.file_mut(&path).become_at(by, Some(&blob), hunks);
        }
        for path in gone {
            self.file_mut(&path).become_at(by, None, None);
        }
    }

    /// Gives every patch another number: `order[k - 1]` is the old number of patch `k`.
    ///
    /// # Errors
    ///
    /// A patch cannot come before another one whose lines it changes.
    pub fn reorder(&mut self, order: &[Number]) -> Result<()> {
        let mut new = vec![BASE; self.patches + 1];
        for (at, old) in order.iter().enumerate() {
            new[*old] = at + 1;
        }
        let mut weave = self.clone();
        for (path, file) in &mut weave.files {
            let modes = file.modes.windows(2);
            for pair in modes.map(|pair| [pair[0].0, pair[1].0]) {
                ensure!(
                    new[pair[0]] < new[pair[1]],
                    "{path}: patches {} and {} both create it, remove it or change its mode",
                    pair[0],
                    pair[1]
                );
            }
            file.renumber(&|old| new[old]);
        }
        weave.check()?;
        *self = weave;
        Ok(())
    }

    /// Makes room for a patch after this one. It changes nothing yet.
    pub fn open(&mut self, after: Number) {
        let later = |old| if old > after { old + 1 } else { old };
        self.files.values_mut().for_each(|file| file.renumber(&later));
        self.patches += 1;
    }

    /// Makes one patch of this one and the next one.
    pub fn join(&mut self, first: Number) {
        let later = |old| if old > first { old - 1 } else { old };
        self.files.values_mut().for_each(|file| file.renumber(&later));
        self.patches -= 1;
    }

    /// Gives lines of a file to another patch: those with these indices in a state. It also takes away
    /// what they replace.
    ///
    /// # Errors
    ///
    /// See [`Weave::reorder`].
    pub fn give(&mut self, path: &str, state: Number, lines: &[usize], to: Number) -> Result<()> {
        let mut weave = self.clone();
        let file = weave.file_mut(path);
        let mode = file.mode(state);
        let created = file.created_by().filter(|by| file.lines(*by).next().is_some());
        let shown = file.lines.iter().enumerate().filter(|(_, line)| line.visible(state));
        let mut chosen = BTreeSet::new();
        for (index, (at, line)) in shown.enumerate() {
            if lines.contains(&index) {
                ensure!(line.from != BASE, "{path}:{}: no patch brings this line", index + 1);
                // It may be there already.
                if line.from != to {
                    chosen.insert(at);
                }
            }
        }
        let replaced = file.replaced(&chosen);
        for at in &replaced {
            file.lines[*at].until = Some(to);
        }
        for at in &chosen {
            file.lines[*at].from = to;
        }
        file.leave_out(&replaced);
        if file.mode(to).is_none() {
            file.set_mode(to, mode);
        }
        if let Some(created) = created {
            file.create_with_first_line(created);
        }
        weave.check()?;
        *self = weave;
        Ok(())
    }

    /// Makes another patch take lines away: of those between two lines of a state, above the one with
    /// this index, the ones that patch `of` takes away.
    ///
    /// # Errors
    ///
    /// See [`Weave::reorder`].
    pub fn give_removal(
        &mut self,
        path: &str,
        state: Number,
        index: usize,
        of: Number,
        to: Number,
    ) -> Result<()> {
        let mut weave = self.clone();
        let file = weave.file_mut(path);
        let mut own = BTreeSet::new();
        let mut shown = 0;
        for (at, line) in file.lines.iter().enumerate() {
            if line.visible(state) {
                shown += 1;
            } else if shown == index && line.until == Some(of) {
                own.insert(at);
            }
        }
        for at in &own {
            file.lines[*at].until = Some(to);
        }
        file.leave_out(&own);
        weave.check()?;
        *self = weave;
        Ok(())
    }

    /// Makes `tree` the state after patch `by`, which the edits become part of. Later states have
    /// them as well, and keep what later patches do.
    ///
    /// # Errors
    ///
    /// [`Undecided`], if it is not clear for how long a new line stays. Nothing changes then.
    pub fn amend(&mut self, by: Number, tree: &Tree) -> Result<()> {
        let before = self.state(by);
        let mut weave = self.clone();
        for path in before.keys().filter(|path| !tree.contains_key(*path)) {
            let file = weave.file_mut(path);
            if file.remove_from(by) {
                weave.files.remove(path);
            }
        }
        for (path, blob) in tree.iter().filter(|(path, blob)| before.get(*path) != Some(blob)) {
            weave.file_mut(path).amend(path, by, blob)?;
        }
        weave.check()?;
        *self = weave;
        Ok(())
    }

    /// Looks for what makes no sense: a patch that takes away what a later one brings, say.
    pub fn check(&self) -> Result<()> {
        for (path, file) in &self.files {
            if let Some(fault) = file.fault() {
                anyhow::bail!("{path}: {fault}");
            }
        }
        Ok(())
    }
}

impl File {
    /// Makes the state after a patch lead to this content.
    fn amend(&mut self, path: &str, by: Number, blob: &Blob) -> Result<()> {
        let after = diff::lines(&blob.content);
        let steps = {
            let before: Vec<&Line> = self.lines(by).collect();
            let texts: Vec<&[u8]> = before.iter().map(|line| line.text.as_slice()).collect();
            let hunks = diff::hunks(&texts, &after);
            let ends = self.ends(path, by, &before, &after, &hunks)?;
            steps(by, &texts, &after, &hunks, |line| ends.get(&line).copied())
        };
        self.edit(by, &steps).with_context(|| format!("edit {path}"))?;
        if self.mode(by) != Some(blob.mode) {
            self.set_mode(by, Some(blob.mode));
        }
        Ok(())
    }

    /// Which patch takes each new line of an edit away again, by its index, if one does. A line that
    /// stands for another one goes with that; one that stands for none, with those that it replaces;
    /// one that replaces none, with both its neighbours.
    fn ends(
        &self,
        path: &str,
        state: Number,
        before: &[&Line],
        after: &[&[u8]],
        hunks: &[Hunk],
    ) -> Result<BTreeMap<usize, Number>> {
        // The patch that removes the whole file.
        let gone = self.modes.iter().find(|(from, mode)| *from > state && mode.is_none());
        let gone = gone.map(|(from, _)| *from);
        let mut ends = BTreeMap::new();
        for hunk in hunks {
            let old: Vec<&[u8]> =
                before[hunk.before.clone()].iter().map(|line| line.text.as_slice()).collect();
            let pairs = pairing::pair(&old, &after[hunk.after.clone()]);
            for (index, pair) in pairs.iter().enumerate() {
                let start = hunk.before.start;
                let end = if let Some(pair) = pair {
                    before[start + pair].until
                } else {
                    let gap = pairing::gap(old.len(), &pairs, index);
                    let (from, to) = (start + gap.start, start + gap.end);
                    let replaced: BTreeSet<Option<Number>> =
                        before[from..to].iter().map(|line| line.until).collect();
                    if replaced.is_empty() {
                        let around = &before[from.saturating_sub(1)..(to + 1).min(before.len())];
                        let first = around.first().and_then(|line| line.until);
                        first.filter(|_| around.iter().all(|line| line.until == first))
                    } else if replaced.len() == 1 {
                        replaced.into_iter().next().flatten()
                    } else {
                        let line = hunk.after.start + index;
                        let text = String::from_utf8_lossy(after[line]).trim().to_owned();
                        let path = path.to_owned();
                        return Err(Undecided { path, line: line + 1, text, ends: replaced }.into());
                    }
                };
                if let Some(end) = end.into_iter().chain(gone).min() {
                    ends.insert(hunk.after.start + index, end);
                }
            }
        }
        Ok(ends)
    }

    /// From this patch on there is no such file. Whether no state has it then.
    fn remove_from(&mut self, by: Number) -> bool {
        self.lines.retain(|line| line.from < by);
        for line in &mut self.lines {
            line.until = Some(line.until.map_or(by, |until| until.min(by)));
        }
        self.modes.retain(|(from, _)| *from < by);
        self.set_mode(by, None);
        self.modes.is_empty()
    }

    /// Makes the last patch lead to this content.
    fn become_at(&mut self, by: Number, blob: Option<&Blob>, hunks: Option<&[Hunk]>) {
        let content = blob.map(|blob| blob.content.as_slice()).unwrap_or_default();
        let after = diff::lines(content);
        let steps = {
            let before: Vec<&[u8]> = self.lines(by).map(|line| line.text.as_slice()).collect();
            match hunks.filter(|hunks| diff::lead(hunks, &before, &after)) {
                Some(hunks) => steps(by, &before, &after, hunks, |_| None),
                None => steps(by, &before, &after, &diff::hunks(&before, &after), |_| None),
            }
        };
        self.edit(by, &steps).expect("the last patch may change all that is there");
        let mode = blob.map(|blob| blob.mode);
        if self.mode(by) != mode {
            self.set_mode(by, mode);
        }
    }
}

/// The way from one text to another one, as work of one patch. `until` knows which patch takes a new
/// line away again.
fn steps(
    by: Number,
    before: &[&[u8]],
    after: &[&[u8]],
    hunks: &[Hunk],
    until: impl Fn(usize) -> Option<Number>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = 0;
    for hunk in hunks {
        steps.extend((at..hunk.before.start).map(|_| Step::Keep));
        let old = &before[hunk.before.clone()];
        let pairs = pairing::pair(old, &after[hunk.after.clone()]);
        for way in pairing::way(old.len(), &pairs) {
            steps.push(match way {
                Way::Old(_) => Step::Remove(by),
                Way::New(index) => {
                    let line = hunk.after.start + index;
                    let (text, until) = (after[line].to_vec(), until(line));
                    Step::Insert(Insert { text, by, until, below: false })
                }
            });
        }
        at = hunk.before.end;
    }
    steps.extend((at..before.len()).map(|_| Step::Keep));
    steps
}

/// A new line of an edit replaces lines that are not taken away by the same patch. So it is not clear
/// for how long it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    pub path: String,
    /// Its number in the edited file, from 1 on.
    pub line: usize,
    pub text: String,
    /// The patches that take away what it replaces; none: that stays.
    pub ends: BTreeSet<Option<Number>>,
}

impl Undecided {
    /// What is not clear, and what can be done. Patches have these names.
    pub fn advice(&self, name: impl Fn(Number) -> String) -> String {
        let end = |end: &Option<Number>| match end {
            Some(by) => format!("lines that {} takes away later", name(*by)),
            None => "lines that stay".to_owned(),
        };
        let ends: Vec<String> = self.ends.iter().map(end).collect();
        format!(
            "{}:{}: \"{}\" replaces {}: is it there in later states? Take the old lines away in \
             one edit, and add this one in the next: then it stays",
            self.path,
            self.line,
            self.text,
            ends.join(" and ")
        )
    }
}

impl std::fmt::Display for Undecided {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.advice(|number| format!("patch {number}")))
    }
}

impl std::error::Error for Undecided {}
