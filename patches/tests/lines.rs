// SPDX-License-Identifier: GPL-2.0

//! Lines that can be told apart, in any stack of patches: an edit keeps their order in every state,
//! and brings none back.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use series::assign::Plan;
use series::rules::{Put, Rules};
use series::weave::{BASE, Blob, Mode, Number, Tree, Weave};

const PATH: &str = "net/x.rs";

/// A line that keeps its word when its arguments change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    id: u32,
    arguments: usize,
}

/// A word of eight letters. Two of them have next to nothing in common.
fn word(id: u32) -> String {
    let mut seed = id.wrapping_add(1).wrapping_mul(0x9e37_79b1);
    let mut letter = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        char::from(b'a' + (seed % 26) as u8)
    };
    (0..8).map(|_| letter()).collect()
}

fn text(lines: &[Line]) -> Tree {
    let line =
        |line: &Line| format!("    {}(net{});\n", word(line.id), ", 1".repeat(line.arguments));
    let content = lines.iter().map(line).collect::<String>().into_bytes();
    Tree::from([(PATH.to_owned(), Blob { mode: Mode::Plain, content })])
}

/// The words of a state, in order.
fn words(tree: &Tree) -> Vec<String> {
    let content = tree.get(PATH).map(|blob| blob.content.as_slice()).unwrap_or_default();
    let text = String::from_utf8_lossy(content).into_owned();
    text.lines().map(|line| line.trim().split('(').next().unwrap().to_owned()).collect()
}

#[derive(Debug, Clone)]
enum Edit {
    Insert {
        at: usize,
        count: usize,
    },
    Remove {
        at: usize,
        count: usize,
    },
    /// Lines next to each other get another argument.
    Change {
        at: usize,
        count: usize,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, count) = (0..40_usize, 1..4_usize);
    prop_oneof![
        2 => (at.clone(), count.clone()).prop_map(|(at, count)| Edit::Insert { at, count }),
        1 => (at.clone(), count.clone()).prop_map(|(at, count)| Edit::Remove { at, count }),
        4 => (at, count).prop_map(|(at, count)| Edit::Change { at, count }),
    ]
}

fn changed(mut lines: Vec<Line>, edits: &[Edit], next: &mut u32) -> Vec<Line> {
    for edit in edits {
        let (Edit::Insert { at, count } | Edit::Remove { at, count } | Edit::Change { at, count }) =
            edit;
        let at = at % (lines.len() + 1);
        let end = (at + count).min(lines.len());
        match edit {
            Edit::Insert { .. } => {
                let new = (0..*count as u32).map(|index| Line { id: *next + index, arguments: 0 });
                lines.splice(at..at, new.collect::<Vec<_>>());
                *next += *count as u32;
            }
            Edit::Remove { .. } => drop(lines.drain(at..end)),
            Edit::Change { .. } => lines[at..end].iter_mut().for_each(|line| line.arguments += 1),
        }
    }
    lines
}

/// The states of a stack, without the base, which is empty; and the next word.
fn states() -> impl Strategy<Value = (Vec<Vec<Line>>, u32)> {
    vec(vec(edit(), 1..5), 1..5).prop_map(|patches| {
        let mut lines: Vec<Line> = (0..8).map(|id| Line { id, arguments: 0 }).collect();
        let mut next = 8;
        let mut all = vec![lines.clone()];
        for edits in &patches {
            lines = changed(lines, edits, &mut next);
            all.push(lines.clone());
        }
        (all, next)
    })
}

fn woven(states: &[Vec<Line>]) -> Weave {
    let mut weave = Weave::new(Tree::new());
    for lines in states {
        weave.push(text(lines));
    }
    weave
}

/// What is open goes to the last patch.
fn decided(weave: &Weave, source: &Tree) -> Plan {
    let mut rules = Rules::default();
    for _ in 0..100 {
        let plan = Plan::make(weave, source, &rules);
        let put = |line| Put { path: PATH.into(), line: Some(line), patch: weave.last() };
        let open: Vec<Put> = plan.open().map(|piece| put(piece.line)).collect();
        if open.is_empty() {
            return plan;
        }
        rules.put.extend(open);
    }
    panic!("something stays open");
}

/// No state has a word twice, and the words that it had before are in the order of before.
fn kept_in_order(before: &Weave, after: &Weave) -> Result<(), TestCaseError> {
    for state in BASE..=before.last() {
        let (old, new) = (words(&before.state(state)), words(&after.state(state)));
        let (olds, news) = (BTreeSet::from_iter(&old), BTreeSet::from_iter(&new));
        prop_assert_eq!(news.len(), new.len(), "state {} has a word twice: {:?}", state, new);
        let common = |words: &[String]| -> Vec<String> {
            let both = words.iter().filter(|word| olds.contains(word) && news.contains(word));
            both.cloned().collect()
        };
        prop_assert_eq!(common(&old), common(&new), "state {}", state);
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_edit_of_the_source_keeps_the_order_of_lines_in_every_state(
        (states, next) in states(),
        edits in vec(edit(), 1..5),
    ) {
        let before = woven(&states);
        let mut next = next;
        let source = text(&changed(states.last().unwrap().clone(), &edits, &mut next));
        let mut after = before.clone();
        decided(&before, &source).apply(&mut after).unwrap();
        prop_assert_eq!(&after.state(after.last()), &source);
        kept_in_order(&before, &after)?;
    }

    #[test]
    fn an_edit_of_an_earlier_state_brings_no_line_back_that_a_later_patch_takes_away(
        (states, next) in states(),
        at in 0..60_usize,
        edits in vec(edit(), 1..5),
    ) {
        let before = woven(&states);
        let at = 1 + at % before.last();
        let mut next = next;
        let edited = changed(states[at - 1].clone(), &edits, &mut next);
        let tree = text(&edited);
        let mut after = before.clone();
        if after.amend(at, &tree).is_err() {
            prop_assert_eq!(after, before, "an edit that is refused changes nothing");
            return Ok(());
        }
        prop_assert_eq!(&after.state(at), &tree);
        kept_in_order(&before, &after)?;
        let (old, new) = (words(&before.state(at)), words(&tree));
        for state in at..=before.last() {
            let was = words(&before.state(state));
            for word in words(&after.state(state)) {
                prop_assert!(
                    was.contains(&word) || !old.contains(&word),
                    "state {} has {} again", state, word
                );
            }
            // What the edit took away is gone, unless a later patch has it in other words.
            for word in was.iter().filter(|word| old.contains(word) && new.contains(word)) {
                prop_assert!(words(&after.state(state)).contains(word));
            }
        }
    }

    #[test]
    fn lines_that_go_to_another_patch_take_the_place_of_those_that_they_replace(
        (states, _) in states(),
        at in 0..60_usize,
        count in 1..4_usize,
        to in 0..60_usize,
    ) {
        let before = woven(&states);
        let (last, to) = (before.last(), 1 + to % before.last());
        let lines: Vec<Number> =
            before.file(PATH).unwrap().lines(last).map(|line| line.from).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let at = at % lines.len();
        let given: Vec<usize> = (at..(at + count).min(lines.len())).collect();
        let mut after = before.clone();
        if after.give(PATH, last, &given, to).is_err() {
            prop_assert_eq!(after, before);
            return Ok(());
        }
        let owners = || given.iter().map(|index| lines[*index]).chain([to]);
        let between = owners().min().unwrap()..owners().max().unwrap();
        for state in (BASE..=last).filter(|state| !between.contains(state)) {
            prop_assert_eq!(after.state(state), before.state(state), "state {}", state);
        }
        kept_in_order(&before, &after)?;
    }
}
