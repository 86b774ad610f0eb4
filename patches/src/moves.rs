// SPDX-License-Identifier: GPL-2.0

//! Finds lines that were taken away in one place and are back in another.

use std::collections::HashMap;
use std::ops::Range;

use crate::weave::Number;

/// So many lines in a row, blank ones not counted, are no coincidence.
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
    pub fn origins(&self, lines: &[&[u8]]) -> Vec<Option<MovedFrom>> {
        let mut origins = vec![None; lines.len()];
        let mut at = 0;
        while at < lines.len() {
            let Some(run) = self.longest(&lines[at..]) else {
                at += 1;
                continue;
            };
            let length = run.len();
            for (origin, gone) in origins[at..].iter_mut().zip(&self.gone[run]) {
                let Gone { path, line, by, .. } = *gone;
                *origin = Some(MovedFrom { path: path.to_owned(), line, by });
            }
            at += length;
        }
        origins
    }

    /// The longest run of lines that begins like this, if it is long enough.
    fn longest(&self, lines: &[&[u8]]) -> Option<Range<usize>> {
        let starts = self.places.get(lines.first()?.trim_ascii())?;
        let runs = starts.iter().map(|start| *start..*start + self.common(*start, lines));
        let run = runs.max_by_key(|run| run.len())?;
        let words = self.gone[run.clone()].iter().filter(|gone| !gone.text.is_empty()).count();
        (words >= ENOUGH).then_some(run)
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
