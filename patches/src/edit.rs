// SPDX-License-Identifier: GPL-2.0

//! What changed in one file, and whose work each changed line is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::assign::{Doubt, Hidden, Piece, Place, Why};
use crate::diff::{self, Hunk};
use crate::moves::Moves;
use crate::pairing::{self, Way};
use crate::rules::Rules;
use crate::weave::{BASE, Blob, File, Insert, Number, Step};

/// A file in the last state and in the source.
pub struct Edit<'a> {
    pub path: &'a str,
    pub file: &'a File,
    /// The last state.
    pub last: Number,
    /// Its lines, and who brought each.
    pub before: Vec<(&'a [u8], Number)>,
    pub after: Option<&'a Blob>,
    new: Vec<&'a [u8]>,
    hunks: Vec<Hunk>,
    rules: &'a Rules,
}

/// What becomes of the lines of a hunk.
struct Decided {
    removed: Vec<Place>,
    added: Vec<Place>,
}

impl<'a> Edit<'a> {
    pub fn new(
        path: &'a str,
        file: &'a File,
        last: Number,
        after: Option<&'a Blob>,
        rules: &'a Rules,
    ) -> Edit<'a> {
        let before: Vec<_> =
            file.lines(last).map(|line| (line.text.as_slice(), line.from)).collect();
        let new = diff::lines(after.map(|blob| blob.content.as_slice()).unwrap_or_default());
        let old: Vec<&[u8]> = before.iter().map(|(text, _)| *text).collect();
        let hunks = diff::hunks(&old, &new);
        Edit { path, file, last, before, after, new, hunks, rules }
    }

    /// Tells which lines are gone: they may be back somewhere else.
    pub fn tell(&self, moves: &mut Moves<'a>) {
        for Hunk { before, .. } in &self.hunks {
            moves.add(self.path, before.start + 1, &self.before[before.clone()]);
        }
    }

    /// Who removes the whole file.
    pub fn removal(&self) -> Place {
        match self.rules.put(self.path, 1, usize::MAX) {
            Some(by) => Ok((by, Why::Put)),
            None => match self.file.created_by() {
                Some(by) => Ok((by, Why::WholeFile)),
                None => self.by_rule().unwrap_or(Err(Doubt::Base)),
            },
        }
    }

    /// Whose work a change of the file is that is not one of its lines.
    pub fn whole(&self) -> Place {
        let exists = self.file.mode(self.last).is_some();
        match self.rules.put(self.path, 1, usize::MAX) {
            Some(by) => Ok((by, Why::Put)),
            None => match self.file.created_by().filter(|_| exists) {
                Some(by) => Ok((by, Why::WholeFile)),
                None if exists => self.by_rule().unwrap_or(Err(Doubt::Base)),
                None => self.by_rule().unwrap_or(Err(Doubt::NewFile)),
            },
        }
    }

    /// The changed lines, in pieces; and the way from the old lines to the new ones.
    pub fn lines(&self, moves: &Moves<'a>) -> (Vec<Piece>, Vec<Step>) {
        let (mut pieces, mut steps) = (Vec::new(), Vec::new());
        let mut at = 0;
        for hunk in &self.hunks {
            steps.extend((at..hunk.before.start).map(|_| Step::Keep));
            let decided = self.decide(hunk, moves);
            self.pieces(hunk, &decided, &mut pieces);
            self.steps(hunk, &decided, &mut steps);
            at = hunk.before.end;
        }
        steps.extend((at..self.before.len()).map(|_| Step::Keep));
        (pieces, steps)
    }

    /// Lines inside of the hunks that the last state does not show.
    pub fn hidden(&self) -> Vec<Hidden> {
        let gone = self.file.gone(self.last);
        let mut hidden = Vec::new();
        for hunk in &self.hunks {
            let mut of_patches: BTreeMap<Number, usize> = BTreeMap::new();
            for index in hunk.before.clone().skip(1) {
                for line in gone.get(&index).into_iter().flatten() {
                    *of_patches.entry(line.until.unwrap_or(self.last)).or_default() += 1;
                }
            }
            hidden.extend(of_patches.into_iter().map(|(by, lines)| Hidden {
                path: self.path.to_owned(),
                line: hunk.after.start + 1,
                lines,
                by,
            }));
        }
        hidden
    }

    fn by_rule(&self) -> Option<Place> {
        let (pattern, by) = self.rules.file(self.path)?;
        Some(Ok((by, Why::Rule(pattern.to_string()))))
    }

    fn decide(&self, hunk: &Hunk, moves: &Moves<'a>) -> Decided {
        let old = &self.before[hunk.before.clone()];
        let new = &self.new[hunk.after.clone()];
        let first = hunk.after.start + 1;
        if old.is_empty() || new.is_empty() {
            let whole = self.rules.put(self.path, first, first + new.len());
            if let Some(by) = whole {
                let removed = old.iter().map(|(_, from)| put(by, *from)).collect();
                return Decided { removed, added: vec![Ok((by, Why::Put)); new.len()] };
            }
        }
        let mut decided = if old.is_empty() {
            let place = self.inserted(hunk);
            Decided { removed: Vec::new(), added: vec![place; new.len()] }
        } else {
            self.replaced(old, new)
        };
        for (index, origin) in moves.origins(new).into_iter().enumerate() {
            if let Some(origin) = origin.filter(|origin| origin.by != BASE) {
                decided.added[index] = Ok((origin.by, Why::Moved(origin.path, origin.line)));
            }
        }
        self.obey(old, first, &mut decided);
        decided
    }

    /// Each removed line goes with those who brought it; each new one with those that it stands
    /// for.
    fn replaced(&self, old: &[(&[u8], Number)], new: &[&[u8]]) -> Decided {
        let base = || self.by_rule().unwrap_or(Err(Doubt::Base));
        let by = |from: Number| if from == BASE { base() } else { Ok((from, Why::Replaces)) };
        let removed: Vec<Place> = old.iter().map(|(_, from)| by(*from)).collect();
        let owners: BTreeSet<Number> = old.iter().map(|(_, from)| *from).collect();
        let added = if let (Some(one), 1) = (owners.first(), owners.len()) {
            vec![by(*one); new.len()]
        } else {
            let texts: Vec<&[u8]> = old.iter().map(|(text, _)| *text).collect();
            let pairs = pairing::pair(&texts, new);
            let owner = |index: usize| between(&pairs, index, old);
            (0..new.len())
                .map(|index| match owner(index) {
                    Some(from) => by(from),
                    None => Err(Doubt::Several(owners.clone())),
                })
                .collect()
        };
        Decided { removed, added }
    }

    /// A pure insertion.
    fn inserted(&self, hunk: &Hunk) -> Place {
        let (above, below) = self.neighbours(hunk.before.start);
        let slides = self.slides(hunk).map(|at| self.neighbours(at));
        let sides: BTreeSet<Option<Number>> =
            slides.flat_map(|(above, below)| [above, below]).collect();
        let owners = self.file.owners(self.last);
        match (sides.first(), sides.len()) {
            (Some(Some(by)), 1) if *by != BASE => return Ok((*by, Why::Between)),
            _ => {}
        }
        if let (Some(only), 1) = (owners.first(), owners.len())
            && *only != BASE
        {
            return Ok((*only, Why::WholeFile));
        }
        if let Some((line, by)) = self.around(hunk) {
            return Ok((by, Why::Around(line)));
        }
        if let Some(place) = self.by_rule().filter(|_| owners.is_empty() || owners.contains(&BASE))
        {
            return place;
        }
        if owners.is_empty() {
            return Err(if self.file.mode(self.last).is_some() {
                Doubt::Base
            } else {
                Doubt::NewFile
            });
        }
        Err(Doubt::Border(above, below))
    }

    /// Who brought the lines above and below a place; blank lines tell nothing.
    fn neighbours(&self, at: usize) -> (Option<Number>, Option<Number>) {
        let says = |(text, _): &&(&[u8], Number)| !text.trim_ascii().is_empty();
        let above = self.before[..at].iter().rev().find(says);
        let below = self.before[at..].iter().find(says);
        (above.map(|line| line.1), below.map(|line| line.1))
    }

    /// The places where the same insertion could be: the text is the same for each.
    fn slides(&self, hunk: &Hunk) -> Range<usize> {
        let Range { start, end } = hunk.after;
        let (mut first, mut last) = (hunk.before.start, hunk.before.start);
        let (mut low, mut high) = (start, end);
        while low > 0 && first > 0 && self.new[low - 1] == self.new[high - 1] {
            (low, high, first) = (low - 1, high - 1, first - 1);
        }
        let (mut low, mut high) = (start, end);
        while high < self.new.len() && last < self.before.len() && self.new[low] == self.new[high] {
            (low, high, last) = (low + 1, high + 1, last + 1);
        }
        first..last + 1
    }

    /// The line that opens the block around an insertion: its number in the source, and the patch
    /// that brought it.
    fn around(&self, hunk: &Hunk) -> Option<(usize, Number)> {
        let inserted = &self.new[hunk.after.clone()];
        let depth = indent(inserted.iter().find(|line| !line.trim_ascii().is_empty())?);
        let above = self.new[..hunk.after.start].iter().enumerate().rev();
        let opens = |(_, line): &(usize, &&[u8])| {
            let text = line.trim_ascii();
            // A label of C, or a directive of its preprocessor, opens nothing.
            let aside = text.is_empty() || text.ends_with(b":") || text.starts_with(b"#");
            !aside && indent(line) < depth
        };
        let (line, _) = above.into_iter().find(opens)?;
        let by = self.before.get(self.old_index(line)?)?.1;
        (by != BASE).then_some((line + 1, by))
    }

    /// Where a line of the source was, if it is no new one.
    fn old_index(&self, line: usize) -> Option<usize> {
        let mut shift = 0_isize;
        for hunk in &self.hunks {
            if line < hunk.after.start {
                break;
            }
            if line < hunk.after.end {
                return None;
            }
            shift = hunk.before.end as isize - hunk.after.end as isize;
        }
        usize::try_from(line as isize + shift).ok()
    }

    /// What somebody said about single lines of the source counts more than what was found.
    fn obey(&self, old: &[(&[u8], Number)], first: usize, decided: &mut Decided) {
        let mut latest = None;
        for (index, place) in decided.added.iter_mut().enumerate() {
            let line = first + index;
            if let Some(by) = self.rules.put(self.path, line, line + 1) {
                *place = Ok((by, Why::Put));
                latest = latest.max(Some(by));
            }
        }
        let Some(by) = latest else {
            return;
        };
        for (place, (_, from)) in decided.removed.iter_mut().zip(old) {
            if place.is_err() || decided.added.iter().all(|place| *place == Ok((by, Why::Put))) {
                *place = put(by, *from);
            }
        }
    }

    fn pieces(&self, hunk: &Hunk, decided: &Decided, pieces: &mut Vec<Piece>) {
        let mut runs: Vec<Piece> = Vec::new();
        let piece = |line, removed, added, place: &Place| Piece {
            path: self.path.to_owned(),
            line,
            removed,
            added,
            place: place.clone(),
        };
        for (index, place) in decided.added.iter().enumerate() {
            match runs.last_mut().filter(|run| same(&run.place, place)) {
                Some(run) => run.added += 1,
                None => runs.push(piece(hunk.after.start + index + 1, 0, 1, place)),
            }
        }
        let mut gone: Vec<Piece> = Vec::new();
        for place in &decided.removed {
            let patch = |place: &Place| place.clone().map(|(by, _)| by);
            if let Some(run) = runs.iter_mut().find(|run| patch(&run.place) == patch(place)) {
                run.removed += 1;
            } else if let Some(run) = gone.last_mut().filter(|run| same(&run.place, place)) {
                run.removed += 1;
            } else {
                gone.push(piece(hunk.after.start + 1, 1, 0, place));
            }
        }
        pieces.extend(gone);
        pieces.extend(runs);
    }

    fn steps(&self, hunk: &Hunk, decided: &Decided, steps: &mut Vec<Step>) {
        let known = |place: &Place| place.as_ref().map_or(BASE, |(by, _)| *by);
        let old: Vec<&[u8]> =
            self.before[hunk.before.clone()].iter().map(|(text, _)| *text).collect();
        let new = &self.new[hunk.after.clone()];
        let pairs = pairing::pair(&old, new);
        let mut at = hunk.before.start;
        for way in pairing::way(old.len(), &pairs) {
            match way {
                Way::Old(index) => {
                    steps.push(Step::Remove(known(&decided.removed[index])));
                    at += 1;
                }
                Way::New(index) => {
                    let by = known(&decided.added[index]);
                    let above = self.before[..at].last().map(|line| line.1);
                    let below = self.before.get(at).map(|line| line.1);
                    let below = pairs[index].is_none() && above != Some(by) && below == Some(by);
                    let text = new[index].to_vec();
                    steps.push(Step::Insert(Insert { text, by, until: None, below }));
                }
            }
        }
    }
}

/// Whether two lines are told as one.
fn same(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Ok((a, Why::Moved(path, _))), Ok((b, Why::Moved(other, _)))) => a == b && path == other,
        _ => one == other,
    }
}

/// Somebody gave the removal of a line to a patch.
fn put(by: Number, from: Number) -> Place {
    if by < from { Err(Doubt::TooEarly { put: by, brought: from }) } else { Ok((by, Why::Put)) }
}

/// Who brought the old line that a new one stands for; or the two old lines around it, if it
/// stands for none and they have one owner.
fn between(pairs: &[Option<usize>], index: usize, old: &[(&[u8], Number)]) -> Option<Number> {
    if let Some(pair) = pairs[index] {
        return Some(old[pair].1);
    }
    let above = pairs[..index].iter().rev().find_map(|pair| *pair);
    let below = pairs[index..].iter().find_map(|pair| *pair);
    // Old lines in between that nobody stands for may be what this one replaces.
    let from = above.map_or(0, |above| above);
    let to = below.map_or(old.len(), |below| below + 1);
    let owners: BTreeSet<Number> = old[from..to].iter().map(|line| line.1).collect();
    owners.first().copied().filter(|_| owners.len() == 1)
}

/// How deep a line is. A tab is eight columns, as in the kernel.
fn indent(line: &[u8]) -> usize {
    let blank = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    blank.fold(0, |depth, byte| if *byte == b'\t' { depth / 8 * 8 + 8 } else { depth + 1 })
}
