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
    use super::pair;

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
}
