// SPDX-License-Identifier: GPL-2.0

//! Finds, for each line that changed in the source, the patch that it belongs to, and says why.
//!
//! - A line that replaces others belongs to the patch that brought those. A hunk that replaces
//!   lines of several patches is split.
//! - A line between two lines of one patch belongs to that patch.
//! - A line between lines of two patches belongs to the patch that brought the line that opens the
//!   block around it.
//! - Lines that moved keep their patches.
//! - New files, and lines of the base, go where a rule says.
//!
//! What is still open then is not guessed.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, ensure};

use crate::edit::Edit;
use crate::moves::Moves;
use crate::rules::Rules;
use crate::weave::{File, Mode, Number, Step, Tree, Weave};

/// Why lines go to a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It brought the lines that they replace, or that are gone.
    Replaces,
    /// They lie between two lines of it.
    Between,
    /// All of the file is its work.
    WholeFile,
    /// It brought the line with this number, which opens the block around them.
    Around(usize),
    /// They were somewhere else before: path and line.
    Moved(String, usize),
    /// A rule of the project: its pattern.
    Rule(String),
    /// Somebody said so.
    Put,
}

impl fmt::Display for Why {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Replaces => write!(to, "brought what is replaced"),
            Why::Between => write!(to, "brought the lines on both sides"),
            Why::WholeFile => write!(to, "brought all of the file"),
            Why::Around(line) => write!(to, "brought line {line}, which this is inside of"),
            Why::Moved(path, line) => write!(to, "brought it; moved from {path}:{line}"),
            Why::Rule(pattern) => write!(to, "by the rule for {pattern}"),
            Why::Put => write!(to, "as PUT says"),
        }
    }
}

/// Why it cannot be said where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The patches on both sides; none: the end of the file.
    Border(Option<Number>, Option<Number>),
    /// They replace lines of these patches, and it is not clear which.
    Several(BTreeSet<Number>),
    /// They were in several places before, in the same words: the patches that brought those.
    MovedFrom(BTreeSet<Number>),
    /// They change what no patch brought.
    Base,
    /// No rule is for this new file.
    NewFile,
    /// The patch that PUT names comes before the one that brought what is replaced.
    TooEarly { put: Number, brought: Number },
}

/// What was decided for some lines.
pub type Place = Result<(Number, Why), Doubt>;

/// Neighbouring lines of the source that share their fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub path: String,
    /// The first line in the source, from 1 on; where lines are gone, the line that follows.
    pub line: usize,
    pub removed: usize,
    pub added: usize,
    pub place: Place,
}

/// Lines that the last state does not show, inside of lines of the source that changed. A patch
/// takes them away, and they keep their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    pub path: String,
    /// The first changed line around them, from 1 on.
    pub line: usize,
    pub lines: usize,
    /// The patch that takes them away.
    pub by: Number,
}

/// Everything that changed, and where it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub pieces: Vec<Piece>,
    /// What stays as it is in the middle of changed lines.
    pub hidden: Vec<Hidden>,
    changes: Vec<(String, Effect)>,
}

/// What happens to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    /// The way from the lines of the last state to those of the source; and the patch that gives
    /// it this mode, if it has another one now, or none.
    Edit { steps: Vec<Step>, mode: Mode, by: Option<Number> },
    /// No patch brings it any more.
    Forget,
    /// This patch removes a file of the base.
    Remove(Number),
}

impl Plan {
    /// Compares the last state with the source.
    pub fn make(weave: &Weave, source: &Tree, rules: &Rules) -> Plan {
        let last = weave.last();
        let before = weave.state(last);
        let paths: BTreeSet<&String> = before.keys().chain(source.keys()).collect();
        let nothing = File::default();
        let edits: Vec<Edit<'_>> = paths
            .into_iter()
            .filter(|path| before.get(*path) != source.get(*path))
            .map(|path| {
                let file = weave.file(path).unwrap_or(&nothing);
                Edit::new(path, file, last, source.get(path), rules)
            })
            .collect();
        let mut moves = Moves::default();
        for edit in &edits {
            edit.tell(&mut moves);
        }
        let mut plan = Plan::default();
        for edit in &edits {
            plan.add(edit, &moves);
        }
        plan
    }

    /// Whether the source is the last state already.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What could not be decided.
    pub fn open(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| piece.place.is_err())
    }

    /// Edits the stack, so that its last state is the source.
    ///
    /// # Errors
    ///
    /// Nothing changes while something is open.
    pub fn apply(&self, weave: &mut Weave) -> Result<()> {
        let open = self.open().count();
        ensure!(open == 0, "{open} changes have no patch yet");
        let mut edited = weave.clone();
        for (path, change) in &self.changes {
            apply(&mut edited, path, change).with_context(|| format!("edit {path}"))?;
        }
        edited.check()?;
        *weave = edited;
        Ok(())
    }

    fn add(&mut self, edit: &Edit<'_>, moves: &Moves<'_>) {
        let path = edit.path.to_owned();
        let Some(blob) = edit.after else {
            let place = edit.removal();
            if let Ok((by, _)) = &place {
                let own = edit.file.created_by().is_some_and(|created| created == *by);
                let change = if own { Effect::Forget } else { Effect::Remove(*by) };
                self.changes.push((path.clone(), change));
            }
            let removed = edit.before.len();
            self.pieces.push(Piece { path, line: 1, removed, added: 0, place });
            return;
        };
        let (mut pieces, steps) = edit.lines(moves);
        let old = edit.file.mode(edit.last);
        let mut by = None;
        if old.is_none() {
            let known = pieces.iter().filter_map(|piece| piece.place.as_ref().ok());
            by = known.map(|(by, _)| *by).min();
        }
        // Another mode, or a new file that is empty.
        if old.map_or(pieces.is_empty(), |old| old != blob.mode) {
            let place = edit.whole();
            by = place.as_ref().ok().map(|(by, _)| *by);
            pieces.push(Piece { path: path.clone(), line: 1, removed: 0, added: 0, place });
        }
        self.pieces.extend(pieces);
        self.hidden.extend(edit.hidden());
        self.changes.push((path, Effect::Edit { steps, mode: blob.mode, by }));
    }
}

fn apply(weave: &mut Weave, path: &str, change: &Effect) -> Result<()> {
    let last = weave.last();
    match change {
        Effect::Forget => weave.forget(path),
        Effect::Remove(by) => {
            let file = weave.file_mut(path);
            let steps = vec![Step::Remove(*by); file.lines(last).count()];
            file.edit(last, &steps)?;
            file.set_mode(*by, None);
        }
        Effect::Edit { steps, mode, by } => {
            let file = weave.file_mut(path);
            file.edit(last, steps)?;
            if let Some(by) = by {
                file.set_mode_from(*by, *mode);
            }
            // A line may go to a patch before the one that brought the file.
            if let Some(first) = file.owners(last).into_iter().next()
                && file.mode(first).is_none()
            {
                file.set_mode(first, Some(*mode));
            }
        }
    }
    Ok(())
}
