// SPDX-License-Identifier: GPL-2.0

//! What changed in one file, and whose work each changed line is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::assign::{Doubt, Hidden, Piece, Place, Why};
use crate::diff::{self, Hunk};
use crate::moves::{Moves, Origin};
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
    hunks: Vec<Settled>,
    rules: &'a Rules,
}

/// A hunk, where it is taken to be.
struct Settled {
    hunk: Hunk,
    /// The line of the source where it is told: the diff may have another place for it.
    line: usize,
    /// Lines are gone, and it could be those of one of these patches or of another: the text is the
    /// same.
    doubt: BTreeSet<Number>,
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
        let hunks = settled(diff::hunks(&old, &new), &before, |line| rules.put(path, line, line));
        Edit { path, file, last, before, after, new, hunks, rules }
    }

    /// Tells which lines are gone: they may be back somewhere else.
    pub fn tell(&self, moves: &mut Moves<'a>) {
        for Settled { hunk: Hunk { before, .. }, .. } in &self.hunks {
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
        for settled in &self.hunks {
            let hunk = &settled.hunk;
            steps.extend((at..hunk.before.start).map(|_| Step::Keep));
            let decided = self.decide(settled, moves);
            self.pieces(settled, &decided, &mut pieces);
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
        for Settled { hunk, line: first, .. } in &self.hunks {
            let mut of_patches: BTreeMap<Number, usize> = BTreeMap::new();
            for index in hunk.before.clone().skip(1) {
                for line in gone.get(&index).into_iter().flatten() {
                    *of_patches.entry(line.until.unwrap_or(self.last)).or_default() += 1;
                }
            }
            hidden.extend(of_patches.into_iter().map(|(by, lines)| Hidden {
                path: self.path.to_owned(),
                line: *first,
                lines,
                by,
            }));
        }
        hidden
    }

    /// Who changes what nobody owns.
    fn by_rule(&self) -> Option<Place> {
        if let Some(by) = self.rules.put_open(self.path) {
            return Some(Ok((by, Why::Put)));
        }
        let (pattern, by) = self.rules.file(self.path)?;
        Some(Ok((by, Why::Rule(pattern.to_string()))))
    }

    fn decide(&self, settled: &Settled, moves: &Moves<'a>) -> Decided {
        let Settled { hunk, line: first, doubt } = settled;
        let first = *first;
        let old = &self.before[hunk.before.clone()];
        let new = &self.new[hunk.after.clone()];
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
        } else if !doubt.is_empty() {
            let open = Err(Doubt::Several(doubt.clone()));
            Decided { removed: vec![open; old.len()], added: Vec::new() }
        } else {
            self.replaced(old, new)
        };
        for (index, origin) in moves.origins(new).into_iter().enumerate() {
            match origin {
                Some(Origin::One(origin)) if origin.by != BASE => {
                    decided.added[index] = Ok((origin.by, Why::Moved(origin.path, origin.line)));
                }
                Some(Origin::Several(patches)) => {
                    decided.added[index] = Err(Doubt::MovedFrom(patches));
                }
                _ => {}
            }
        }
        self.obey(old, first, &mut decided);
        if let Some(by) = self.rules.put_open(self.path) {
            for place in decided.added.iter_mut().filter(|place| place.is_err()) {
                *place = Ok((by, Why::Put));
            }
            let removed = decided.removed.iter_mut().zip(old);
            for (place, (_, from)) in removed.filter(|(place, _)| place.is_err()) {
                *place = put(by, *from);
            }
        }
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
        for Settled { hunk, .. } in &self.hunks {
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

    fn pieces(&self, settled: &Settled, decided: &Decided, pieces: &mut Vec<Piece>) {
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
                None => runs.push(piece(settled.line + index, 0, 1, place)),
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
                gone.push(piece(settled.line, 1, 0, place));
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

/// Where hunks are taken to be. Lines that are gone could be others, where the text would be the same:
/// it is those of one patch, if it can be. `wish` is what somebody said about a line of the source.
fn settled(
    hunks: Vec<Hunk>,
    before: &[(&[u8], Number)],
    wish: impl Fn(usize) -> Option<Number>,
) -> Vec<Settled> {
    let mut all: Vec<Settled> = Vec::new();
    for (index, hunk) in hunks.iter().enumerate() {
        let line = hunk.after.start + 1;
        let mut settled = Settled { hunk: hunk.clone(), line, doubt: BTreeSet::new() };
        if hunk.after.is_empty() {
            // A line stays between two hunks.
            let above = all.last().map_or(0, |last| last.hunk.before.end + 1);
            let below = hunks.get(index + 1).map_or(before.len(), |next| next.before.start - 1);
            let places = slides_of(&hunk.before, before, above..below);
            settled.settle(&places, before, wish(line));
        }
        all.push(settled);
    }
    all
}

/// The ranges of lines that could be gone instead of this one, between these bounds: the rest is the
/// same text.
fn slides_of(
    gone: &Range<usize>,
    before: &[(&[u8], Number)],
    bounds: Range<usize>,
) -> Vec<Range<usize>> {
    let mut places = vec![gone.clone()];
    let (mut low, mut high) = (gone.start, gone.end);
    while low > bounds.start && before[low - 1].0 == before[high - 1].0 {
        (low, high) = (low - 1, high - 1);
        places.push(low..high);
    }
    (low, high) = (gone.start, gone.end);
    while high < bounds.end && before[low].0 == before[high].0 {
        (low, high) = (low + 1, high + 1);
        places.push(low..high);
    }
    places
}

impl Settled {
    /// Chooses one of these places for a hunk of lines that are gone. The first is that of the diff.
    fn settle(
        &mut self,
        places: &[Range<usize>],
        before: &[(&[u8], Number)],
        wish: Option<Number>,
    ) {
        let owners = |place: &Range<usize>| -> BTreeSet<Number> {
            before[place.clone()].iter().map(|line| line.1).collect()
        };
        let wished = wish.and_then(|by| places.iter().find(|place| owners(place) == [by].into()));
        let fewest = places.iter().map(|place| owners(place).len()).min();
        let best: Vec<&Range<usize>> =
            places.iter().filter(|place| Some(owners(place).len()) == fewest).collect();
        let Some(chosen) = wished.or(best.first().copied()) else { return };
        let says = |place: &Range<usize>| {
            before[place.clone()].iter().any(|line| !line.0.trim_ascii().is_empty())
        };
        if wish.is_none()
            && says(chosen)
            && best.iter().any(|place| owners(place) != owners(chosen))
        {
            self.doubt = best.iter().flat_map(|place| owners(place)).collect();
            return;
        }
        let Hunk { before: gone, after } = &mut self.hunk;
        let at = after.start + chosen.start - gone.start;
        (*gone, *after) = (chosen.clone(), at..at);
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
