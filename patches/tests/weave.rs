// SPDX-License-Identifier: GPL-2.0

//! Any stack of patches, and any edits of its source.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use series::assign::Plan;
use series::rules::{Put, Rules};
use series::unified;
use series::weave::{BASE, Blob, Mode, Number, Tree, Weave};

const FILES: [&str; 3] = ["a.rs", "b/c.c", "d"];

/// Few different lines, so that many are alike, and some are blank or deeper than others.
const LINES: [&str; 10] = [
    "fn a() {\n",
    "    x();\n",
    "    y();\n",
    "}\n",
    "\n",
    "label:\n",
    "\tz();\n",
    "{\n",
    "#if\n",
    "w",
];

/// What happens to a tree from one state to the next.
#[derive(Debug, Clone)]
enum Edit {
    Insert { file: usize, at: usize, line: usize },
    Remove { file: usize, at: usize, count: usize },
    Replace { file: usize, at: usize, line: usize },
    Move { file: usize, at: usize, count: usize, to: usize },
    Delete { file: usize },
    Flip { file: usize },
}

fn edit() -> impl Strategy<Value = Edit> {
    let (file, at, line) = (0..FILES.len(), 0..30_usize, 0..LINES.len());
    prop_oneof![
        8 => (file.clone(), at.clone(), line.clone())
            .prop_map(|(file, at, line)| Edit::Insert { file, at, line }),
        3 => (file.clone(), at.clone(), 1..4_usize)
            .prop_map(|(file, at, count)| Edit::Remove { file, at, count }),
        3 => (file.clone(), at.clone(), line).prop_map(|(file, at, line)| Edit::Replace { file, at, line }),
        1 => (file.clone(), at.clone(), 3..6_usize, at)
            .prop_map(|(file, at, count, to)| Edit::Move { file, at, count, to }),
        1 => file.clone().prop_map(|file| Edit::Delete { file }),
        1 => file.prop_map(|file| Edit::Flip { file }),
    ]
}

fn changed(mut tree: Tree, edits: &[Edit]) -> Tree {
    for edit in edits {
        let (Edit::Insert { file, .. }
        | Edit::Remove { file, .. }
        | Edit::Replace { file, .. }
        | Edit::Move { file, .. }
        | Edit::Delete { file }
        | Edit::Flip { file }) = edit;
        let path = FILES[*file].to_owned();
        let old = tree.remove(&path).unwrap_or(Blob { mode: Mode::Plain, content: Vec::new() });
        let mut mode = old.mode;
        let text = String::from_utf8(old.content).unwrap();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let place = |at: usize| at % (lines.len() + 1);
        match edit {
            Edit::Insert { at, line, .. } => lines.insert(place(*at), LINES[*line].to_owned()),
            Edit::Remove { at, count, .. } => {
                let end = (place(*at) + count).min(lines.len());
                drop(lines.drain(place(*at)..end));
            }
            Edit::Replace { at, line, .. } => {
                let at = place(*at);
                lines.splice(at..(at + 1).min(lines.len()), [LINES[*line].to_owned()]);
            }
            Edit::Move { at, count, to, .. } => {
                let end = (place(*at) + count).min(lines.len());
                let moved: Vec<String> = lines.drain(place(*at)..end).collect();
                let to = to % (lines.len() + 1);
                lines.splice(to..to, moved);
            }
            Edit::Delete { .. } => continue,
            Edit::Flip { .. } => {
                mode = if mode == Mode::Plain { Mode::Executable } else { Mode::Plain };
            }
        }
        // Only the last line may be without a line feed.
        let content = lines.concat().into_bytes();
        tree.insert(path, Blob { mode, content });
    }
    tree
}

/// The states of a stack: the base and one for each patch.
fn states() -> impl Strategy<Value = Vec<Tree>> {
    vec(vec(edit(), 0..12), 3..8).prop_map(|all| {
        let mut tree = Tree::new();
        all.iter()
            .map(|edits| {
                tree = changed(std::mem::take(&mut tree), edits);
                tree.clone()
            })
            .collect()
    })
}

fn woven(states: &[Tree]) -> Weave {
    let mut weave = Weave::new(states[0].clone());
    for tree in &states[1..] {
        weave.push(tree.clone());
    }
    weave
}

/// A plan in which nothing is open: what is left goes to the last patch.
fn decided(weave: &Weave, source: &Tree) -> Plan {
    let mut rules = Rules::default();
    loop {
        let plan = Plan::make(weave, source, &rules);
        let open: Vec<Put> = plan
            .open()
            .map(|piece| Put {
                path: piece.path.clone(),
                line: Some(piece.line),
                patch: weave.last(),
            })
            .collect();
        if open.is_empty() {
            return plan;
        }
        let known = rules.put.len();
        rules
            .put
            .extend(open.into_iter().filter(|put| !rules.put.contains(put)).collect::<Vec<_>>());
        assert!(rules.put.len() > known, "still open: {:?}", plan.open().collect::<Vec<_>>());
    }
}

/// Carries a plan out, unless a line without a line feed would not be the last one of a state.
fn applied(plan: &Plan, weave: &mut Weave) -> bool {
    let before = weave.clone();
    match plan.apply(weave) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.to_string().contains("without a line feed"), "{error:#}");
            assert_eq!(*weave, before);
            false
        }
    }
}

/// What each patch does to each file, as its mail says it.
fn mailed(weave: &Weave) -> Vec<BTreeMap<String, String>> {
    let of = |number: Number| {
        let hunks = weave.files().map(|(path, file)| {
            let text = String::from_utf8(unified::hunks(file, number)).unwrap();
            (path.to_owned(), text)
        });
        hunks.filter(|(_, text)| !text.is_empty()).collect()
    };
    (1..=weave.last()).map(of).collect()
}

/// The weave that is read from those.
fn read_back(weave: &Weave) -> Weave {
    let mut read = Weave::new(weave.state(BASE));
    for (index, files) in mailed(weave).into_iter().enumerate() {
        let section = |(path, text)| format!("diff --git a/{path} b/{path}\n{text}");
        let mail: String = files.into_iter().map(section).collect();
        read.push_as(weave.state(index + 1), &unified::read(&mail).unwrap());
    }
    read
}

proptest! {
    #[test]
    fn what_mails_say_is_read_back(
        states in states(),
        at in 0..60_usize,
        edits in vec(edit(), 1..8),
    ) {
        let mut weave = woven(&states);
        let at = 1 + at % weave.last();
        // Whether it is refused or not.
        let _ = weave.amend(at, &changed(states[at].clone(), &edits));
        let source = changed(weave.state(weave.last()), &edits);
        applied(&decided(&weave, &source), &mut weave);
        let read = read_back(&weave);
        for number in BASE..=weave.last() {
            prop_assert_eq!(read.state(number), weave.state(number), "state {}", number);
        }
        prop_assert_eq!(mailed(&read), mailed(&weave));
    }

    #[test]
    fn a_weave_gives_every_state_back(states in states()) {
        let weave = woven(&states);
        weave.check().unwrap();
        for (number, tree) in states.iter().enumerate() {
            prop_assert_eq!(&weave.state(number), tree, "state {}", number);
        }
    }

    #[test]
    fn the_last_state_becomes_the_source_and_earlier_ones_keep_what_is_not_theirs(
        states in states(),
        edits in vec(edit(), 1..8),
    ) {
        let mut weave = woven(&states);
        let source = changed(states.last().unwrap().clone(), &edits);
        let plan = decided(&weave, &source);
        prop_assert_eq!(plan.is_empty(), *states.last().unwrap() == source);
        if !applied(&plan, &mut weave) {
            return Ok(());
        }
        weave.check().unwrap();
        prop_assert_eq!(weave.state(weave.last()), source);
        let first = plan.pieces.iter().map(|piece| piece.place.as_ref().unwrap().0).min();
        for (number, tree) in states.iter().enumerate().take(first.unwrap_or(Number::MAX)) {
            prop_assert_eq!(&weave.state(number), tree, "state {}", number);
        }
    }

    #[test]
    fn a_file_that_no_piece_touches_stays_as_it_is_in_every_state(
        states in states(),
        edits in vec(edit(), 1..8),
    ) {
        let mut weave = woven(&states);
        let source = changed(states.last().unwrap().clone(), &edits);
        let plan = decided(&weave, &source);
        let before = weave.clone();
        if !applied(&plan, &mut weave) {
            return Ok(());
        }
        for path in FILES.iter().filter(|path| plan.pieces.iter().all(|piece| piece.path != **path)) {
            prop_assert_eq!(weave.file(path), before.file(path));
        }
    }

    #[test]
    fn an_amended_patch_leads_to_its_tree_and_earlier_states_stay(
        states in states(),
        at in 0..60_usize,
        edits in vec(edit(), 1..8),
    ) {
        let mut weave = woven(&states);
        let at = 1 + at % weave.last();
        let tree = changed(states[at].clone(), &edits);
        let before = weave.clone();
        if weave.amend(at, &tree).is_err() {
            prop_assert_eq!(weave, before);
            return Ok(());
        }
        prop_assert_eq!(weave.state(at), tree);
        for (number, tree) in states.iter().enumerate().take(at) {
            prop_assert_eq!(&weave.state(number), tree, "state {}", number);
        }
    }

    #[test]
    fn amending_with_the_same_tree_changes_nothing(states in states(), at in 0..60_usize) {
        let mut weave = woven(&states);
        let at = 1 + at % weave.last();
        let before = weave.clone();
        weave.amend(at, &states[at]).unwrap();
        prop_assert_eq!(weave, before);
    }

    #[test]
    fn reordering_back_and_forth_changes_nothing(states in states(), seed in any::<u64>()) {
        let mut weave = woven(&states);
        let last = weave.last();
        let at = 1 + (seed as usize) % (last - 1);
        let mut order: Vec<Number> = (1..=last).collect();
        order.swap(at - 1, at);
        let before = weave.clone();
        if weave.reorder(&order).is_ok() {
            prop_assert_eq!(weave.state(last), before.state(last));
            for number in (BASE..=last).filter(|number| *number != at) {
                prop_assert_eq!(weave.state(number), before.state(number));
            }
            weave.reorder(&order).unwrap();
        }
        prop_assert_eq!(weave, before);
    }

    #[test]
    fn joining_what_was_opened_changes_nothing(states in states(), at in 0..60_usize) {
        let mut weave = woven(&states);
        let before = weave.clone();
        let at = at % (weave.last() + 1);
        weave.open(at);
        prop_assert_eq!(weave.state(at), weave.state(at + 1));
        prop_assert_eq!(weave.state(weave.last()), before.state(before.last()));
        weave.join(at);
        prop_assert_eq!(weave, before);
    }

    #[test]
    fn joining_two_patches_leaves_the_other_states(states in states(), at in 0..60_usize) {
        let mut weave = woven(&states);
        let at = 1 + at % (weave.last() - 1);
        weave.join(at);
        for (number, tree) in states.iter().enumerate().filter(|(number, _)| *number != at) {
            let number = if number > at { number - 1 } else { number };
            prop_assert_eq!(&weave.state(number), tree);
        }
    }
}
