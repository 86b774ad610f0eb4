// SPDX-License-Identifier: GPL-2.0

//! Finds lines that were taken away in one place and are back in another.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::weave::Number;

/// So many lines in a row are no coincidence. Blank lines and those of braces alone do not count.
const ENOUGH: usize = 3;

/// A line that was taken away.
#[derive(Debug, Clone, Copy)]
struct Gone<'a> {
    path: &'a str,
    /// Its number in the last state, from 1 on.
    line: usize,
    text: &'a [u8],
    by: Number,
}

/// Where a line was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedFrom {
    pub path: String,
    pub line: usize,
    /// The patch that brought it.
    pub by: Number,
}

/// Where a line may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    One(MovedFrom),
    /// The same lines were taken away in several places, and these patches had brought them.
    Several(BTreeSet<Number>),
}

/// All lines that were taken away.
#[derive(Debug, Default)]
pub struct Moves<'a> {
    gone: Vec<Gone<'a>>,
    /// Where a text is in that list.
    places: HashMap<&'a [u8], Vec<usize>>,
}

impl<'a> Moves<'a> {
    /// These lines of a file were taken away: text and patch of each.
    pub fn add(&mut self, path: &'a str, first: usize, lines: &[(&'a [u8], Number)]) {
        for (index, (text, by)) in lines.iter().enumerate() {
            let text = text.trim_ascii();
            self.places.entry(text).or_default().push(self.gone.len());
            self.gone.push(Gone { path, line: first + index, text, by: *by });
        }
    }

    /// Where each of these new lines was before. A shift of the indentation does not count.
    pub fn origins(&self, lines: &[&[u8]]) -> Vec<Option<Origin>> {
        let mut origins = vec![None; lines.len()];
        let mut at = 0;
        while at < lines.len() {
            let runs = self.longest(&lines[at..]);
            let Some(first) = runs.first() else {
                at += 1;
                continue;
            };
            for (index, origin) in origins[at..at + first.len()].iter_mut().enumerate() {
                let of_run = |run: &Range<usize>| self.gone[run.start + index];
                let Gone { path, line, by, .. } = of_run(first);
                let patches: BTreeSet<Number> = runs.iter().map(|run| of_run(run).by).collect();
                *origin = Some(match patches.len() {
                    1 => Origin::One(MovedFrom { path: path.to_owned(), line, by }),
                    _ => Origin::Several(patches),
                });
            }
            at += first.len();
        }
        origins
    }

    /// The longest runs of lines that begin like this, if they are long enough.
    fn longest(&self, lines: &[&[u8]]) -> Vec<Range<usize>> {
        let starts = lines.first().and_then(|line| self.places.get(line.trim_ascii()));
        let starts = starts.into_iter().flatten();
        let mut runs: Vec<Range<usize>> =
            starts.map(|start| *start..*start + self.common(*start, lines)).collect();
        let length = runs.iter().map(Range::len).max().unwrap_or(0);
        runs.retain(|run| run.len() == length);
        let says = |gone: &&Gone<'_>| gone.text.iter().any(u8::is_ascii_alphanumeric);
        runs.retain(|run| self.gone[run.clone()].iter().filter(says).count() >= ENOUGH);
        runs
    }

    /// How many lines are the same from here on.
    fn common(&self, start: usize, lines: &[&[u8]]) -> usize {
        let gone = &self.gone[start..];
        let next_to = |index: usize| {
            index == 0
                || gone[index].path == gone[0].path && gone[index].line == gone[0].line + index
        };
        let same = |(index, (gone, line)): &(usize, (&Gone<'_>, &&[u8]))| {
            gone.text == line.trim_ascii() && next_to(*index)
        };
        gone.iter().zip(lines).enumerate().take_while(same).count()
    }
}
