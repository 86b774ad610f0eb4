// SPDX-License-Identifier: GPL-2.0

//! Differences between two texts, by lines, as git shows them.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

/// Lines `before` that became lines `after`; one of both may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    pub before: Range<usize>,
    pub after: Range<usize>,
}

/// The lines of a text, each with its line feed.
pub fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// What differs, in order.
pub fn hunks(before: &[&[u8]], after: &[&[u8]]) -> Vec<Hunk> {
    let mut input = InternedInput::default();
    input.update_before(before.iter().copied());
    input.update_after(after.iter().copied());
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    // Where a hunk may slide, it lies as a person would have typed it.
    diff.postprocess_lines(&input);
    let range = |range: Range<u32>| range.start as usize..range.end as usize;
    diff.hunks().map(|hunk| Hunk { before: range(hunk.before), after: range(hunk.after) }).collect()
}

/// Whether hunks lead from one text to the other.
pub fn lead(hunks: &[Hunk], before: &[&[u8]], after: &[&[u8]]) -> bool {
    let (mut old, mut new) = (0, 0);
    for Hunk { before: removed, after: added } in hunks {
        let same = match (before.get(old..removed.start), after.get(new..added.start)) {
            (Some(old), Some(new)) => old == new,
            _ => false,
        };
        if !same || removed.end > before.len() || added.end > after.len() {
            return false;
        }
        (old, new) = (removed.end, added.end);
    }
    before[old..] == after[new..]
}
