// SPDX-License-Identifier: GPL-2.0

//! Finds which new line stands for which old one.

/// Lines that have less in common than this are strangers.
const ALIKE: f64 = 0.5;

/// More pairs than this are not compared: nobody could follow the result.
const MOST: usize = 40_000;

/// For each new line the old line that it stands for, in order.
pub fn pair(old: &[&[u8]], new: &[&[u8]]) -> Vec<Option<usize>> {
    let mut pairs = vec![None; new.len()];
    if old.len() * new.len() > MOST {
        return pairs;
    }
    let likeness = likeness(old, new);
    // The best sum of likenesses for the lines from here on: a longest common subsequence with
    // weights.
    let mut best = vec![vec![0.0_f64; new.len() + 1]; old.len() + 1];
    for o in (0..old.len()).rev() {
        for n in (0..new.len()).rev() {
            let both = likeness[o][n] + best[o + 1][n + 1];
            best[o][n] = both.max(best[o + 1][n]).max(best[o][n + 1]);
        }
    }
    let (mut o, mut n) = (0, 0);
    while o < old.len() && n < new.len() {
        if best[o][n] == best[o + 1][n] {
            o += 1;
        } else if best[o][n] == best[o][n + 1] {
            n += 1;
        } else {
            pairs[n] = Some(o);
            (o, n) = (o + 1, n + 1);
        }
    }
    pairs
}

/// A line on the way from old lines to new ones, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// An old line goes.
    Old(usize),
    /// A new line comes.
    New(usize),
}

/// The way from old lines to new ones, both in their order: each new line comes right behind the old
/// one that it stands for, and those that stand for none behind the old lines between.
pub fn way(old: usize, pairs: &[Option<usize>]) -> Vec<Way> {
    let mut way = Vec::new();
    let mut next = 0;
    for index in 0..old {
        let partner = pairs.iter().position(|pair| *pair == Some(index));
        if let Some(partner) = partner {
            way.extend((next..partner).map(Way::New));
        }
        way.push(Way::Old(index));
        if let Some(partner) = partner {
            way.push(Way::New(partner));
            next = partner + 1;
        }
    }
    way.extend((next..pairs.len()).map(Way::New));
    way
}

/// The old lines around a new one that stands for none, from the last one that another new line in
/// front of it stands for to the first one that another behind it stands for, both not included.
pub fn gap(old: usize, pairs: &[Option<usize>], index: usize) -> std::ops::Range<usize> {
    let above = pairs[..index].iter().rev().find_map(|pair| *pair);
    let below = pairs[index..].iter().find_map(|pair| *pair);
    above.map_or(0, |above| above + 1)..below.unwrap_or(old)
}

/// How much each old line has in common with each new one; zero for strangers.
fn likeness(old: &[&[u8]], new: &[&[u8]]) -> Vec<Vec<f64>> {
    let text = |line: &&[u8]| String::from_utf8_lossy(line).into_owned();
    let new: Vec<String> = new.iter().map(text).collect();
    let row = |old: String| {
        let like = |new: &String| {
            let like = strsim::sorensen_dice(&old, new);
            if like < ALIKE { 0.0 } else { like }
        };
        new.iter().map(like).collect()
    };
    old.iter().map(text).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{Way, gap, pair, way};

    #[test]
    fn a_changed_line_stands_for_the_one_that_it_resembles() {
        let old: [&[u8]; 2] = [b"let first = one(net);", b"let second = two(net);"];
        let new: [&[u8]; 3] =
            [b"let first = one(net)?;", b"something else entirely", b"let second = two(net)?;"];
        assert_eq!(pair(&old, &new), [Some(0), None, Some(1)]);
    }

    #[test]
    fn strangers_stand_for_nobody() {
        assert_eq!(pair(&[b"fn open() {"], &[b"// xyz"]), [None]);
    }
    #[test]
    fn a_new_line_comes_right_behind_the_old_one_that_it_stands_for() {
        let (old, new) = (Way::Old, Way::New);
        assert_eq!(way(2, &[Some(0), Some(1)]), [old(0), new(0), old(1), new(1)]);
        assert_eq!(way(2, &[None, None]), [old(0), old(1), new(0), new(1)]);
        assert_eq!(
            way(3, &[None, Some(2), None]),
            [old(0), old(1), new(0), old(2), new(1), new(2)]
        );
        assert_eq!(way(0, &[None]), [new(0)]);
    }

    #[test]
    fn a_stranger_lies_between_the_old_lines_that_its_neighbours_stand_for() {
        let pairs = [Some(0), None, Some(3), None];
        assert_eq!((gap(5, &pairs, 1), gap(5, &pairs, 3)), (1..3, 4..5));
        assert_eq!(gap(2, &[Some(0), None, Some(1)], 1), 1..1);
    }
}
