// SPDX-License-Identifier: GPL-2.0

//! Where edits of the source go, and why.

use glob::Pattern;
use series::assign::{Doubt, Plan, Why};
use series::diff::Hunk;
use series::rules::{Put, Rules};
use series::weave::{Blob, Mode, Number, Tree, Weave};

const PATH: &str = "net/x.rs";

fn tree(files: &[(&str, &str)]) -> Tree {
    let blob = |text: &str| Blob { mode: Mode::Plain, content: text.as_bytes().to_vec() };
    files.iter().map(|(path, text)| ((*path).to_owned(), blob(text))).collect()
}

/// Patch 1 brings `one`, patch 2 brings `two` behind it and a line into `one`.
const FIRST: &str = "fn one() {\n    a();\n    b();\n}\n";
const SECOND: &str = "fn one() {\n    a();\n    added();\n    b();\n}\n\nfn two() {\n    c();\n}\n";

fn stack() -> Weave {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, FIRST)]));
    weave.push(tree(&[(PATH, SECOND)]));
    weave
}

type Placed = (usize, usize, usize, Result<(Number, Why), Doubt>);

/// The pieces of a plan: line, lines removed, lines added, place.
fn placed(weave: &Weave, text: &str, rules: &Rules) -> Vec<Placed> {
    let plan = Plan::make(weave, &tree(&[(PATH, text)]), rules);
    plan.pieces.into_iter().map(|p| (p.line, p.removed, p.added, p.place)).collect()
}

fn plainly(text: &str) -> Vec<Placed> {
    placed(&stack(), text, &Rules::default())
}

#[test]
fn a_replaced_line_goes_to_the_patch_that_brought_it() {
    let text = SECOND.replace("added()", "changed()");
    assert_eq!(plainly(&text), [(3, 1, 1, Ok((2, Why::Replaces)))]);
    let text = SECOND.replace("b();", "bb();");
    assert_eq!(plainly(&text), [(4, 1, 1, Ok((1, Why::Replaces)))]);
}

#[test]
fn a_hunk_over_lines_of_two_patches_is_split() {
    let text = SECOND.replace("a();", "a()?;").replace("added();", "added()?;");
    let want = [(2, 1, 1, Ok((1, Why::Replaces))), (3, 1, 1, Ok((2, Why::Replaces)))];
    assert_eq!(plainly(&text), want);
    let mut weave = stack();
    let source = tree(&[(PATH, &text)]);
    Plan::make(&weave, &source, &Rules::default()).apply(&mut weave).unwrap();
    assert_eq!(weave.state(1), tree(&[(PATH, &FIRST.replace("a();", "a()?;"))]));
    assert_eq!(weave.state(2), source);
}

#[test]
fn a_line_between_two_lines_of_one_patch_goes_to_that_patch() {
    let text = SECOND.replace("    c();\n", "    c();\n    d();\n");
    assert_eq!(plainly(&text), [(9, 0, 1, Ok((2, Why::Between)))]);
}

#[test]
fn a_line_beside_another_patchs_line_goes_to_the_function_around_it() {
    let text = SECOND.replace("    added();\n", "    added();\n    beside();\n");
    assert_eq!(plainly(&text), [(4, 0, 1, Ok((1, Why::Around(1))))]);
}

#[test]
fn an_item_between_the_items_of_two_patches_is_not_guessed() {
    let text = SECOND.replace("\nfn two", "\nfn between() {\n    x();\n}\n\nfn two");
    let placed = plainly(&text);
    assert!(matches!(placed[..], [(_, 0, 4, Err(Doubt::Border(Some(1), Some(2))))]), "{placed:?}");
}

#[test]
fn put_decides_what_is_open() {
    let text = SECOND.replace("\nfn two", "\nfn between() {\n    x();\n}\n\nfn two");
    let put = Put { path: PATH.into(), line: Some(8), patch: 2 };
    let rules = Rules { put: vec![put], ..Rules::default() };
    let placed = placed(&stack(), &text, &rules);
    assert!(matches!(placed[..], [(_, 0, 4, Ok((2, Why::Put)))]), "{placed:?}");
}

#[test]
fn a_new_file_goes_where_a_rule_says_and_nowhere_else() {
    let source = tree(&[(PATH, SECOND), ("net/new.rs", "fn new() {}\n")]);
    let plan = Plan::make(&stack(), &source, &Rules::default());
    assert_eq!(plan.open().next().unwrap().place, Err(Doubt::NewFile));
    let files = vec![(Pattern::new("net/*.rs").unwrap(), 2)];
    let plan = Plan::make(&stack(), &source, &Rules { files, ..Rules::default() });
    assert_eq!(plan.pieces[0].place, Ok((2, Why::Rule("net/*.rs".into()))));
    let mut weave = stack();
    plan.apply(&mut weave).unwrap();
    assert_eq!(weave.state(1), tree(&[(PATH, FIRST)]));
    assert_eq!(weave.state(2), source);
}

#[test]
fn a_function_that_moves_keeps_its_patch() {
    let one = "fn one() {\n    a();\n    b();\n}\n";
    let two = "fn two() {\n    c();\n    d();\n}\n";
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, one)]));
    weave.push(tree(&[(PATH, &format!("{one}\n{two}"))]));
    let placed = placed(&weave, &format!("{two}\n{one}"), &Rules::default());
    let moved = |place: &Placed| matches!(place.3, Ok((_, Why::Moved(..))));
    assert!(placed.iter().any(moved), "{placed:?}");
}

#[test]
fn a_removed_file_is_in_no_state_any_more() {
    let mut weave = stack();
    weave.push(tree(&[(PATH, SECOND), ("y.rs", "y\n")]));
    Plan::make(&weave, &tree(&[("y.rs", "y\n")]), &Rules::default()).apply(&mut weave).unwrap();
    assert_eq!(weave.state(2), Tree::new());
    assert_eq!(weave.state(3), tree(&[("y.rs", "y\n")]));
}

#[test]
fn lines_of_the_base_are_not_changed_without_a_rule() {
    let mut weave = Weave::new(tree(&[("Kconfig", "a\nb\n")]));
    weave.push(tree(&[("Kconfig", "a\nb\nours\n")]));
    let source = tree(&[("Kconfig", "a\nbb\nours\n")]);
    let plan = Plan::make(&weave, &source, &Rules::default());
    assert_eq!(plan.pieces[0].place, Err(Doubt::Base));
}

#[test]
fn a_line_that_a_later_patch_takes_away_does_not_come_back_by_an_edit() {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, "fn f() {\n    refuse();\n    work();\n}\n")]));
    weave.push(tree(&[(PATH, "fn f() {\n    work();\n}\n")]));
    let edited = "fn f() {\n    refuse(loudly);\n    work();\n}\n";
    weave.amend(1, &tree(&[(PATH, edited)])).unwrap();
    assert_eq!(weave.state(1), tree(&[(PATH, edited)]));
    assert_eq!(weave.state(2), tree(&[(PATH, "fn f() {\n    work();\n}\n")]));
}

/// Patch 1 brings three lines, patch 2 replaces the one in the middle.
fn replaced() -> Weave {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, "one(net);\nold(net);\nthree(net);\n")]));
    weave.push(tree(&[(PATH, "one(net);\ntwo(net);\nthree(net);\n")]));
    weave
}

#[test]
fn a_hunk_across_a_replaced_line_leaves_every_line_in_its_place() {
    let mut weave = replaced();
    let source = tree(&[(PATH, "one(net, 1);\ntwo(net, 1);\nthree(net, 1);\n")]);
    let plan = Plan::make(&weave, &source, &Rules::default());
    // A line in the middle that keeps its text is told.
    let hidden: Vec<_> = plan.hidden.iter().map(|it| (it.line, it.lines, it.by)).collect();
    assert_eq!(hidden, [(1, 1, 2)]);
    plan.apply(&mut weave).unwrap();
    assert_eq!(weave.state(1), tree(&[(PATH, "one(net, 1);\nold(net);\nthree(net, 1);\n")]));
    assert_eq!(weave.state(2), source);
    let hunk = String::from_utf8(series::unified::hunks(weave.file(PATH).unwrap(), 2)).unwrap();
    assert_eq!(
        hunk,
        "@@ -1,3 +1,3 @@\n one(net, 1);\n-old(net);\n+two(net, 1);\n three(net, 1);\n"
    );
}

#[test]
fn an_edited_line_ends_where_the_line_ends_that_it_stands_for() {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, "first(a);\nsecond(b);\n")]));
    weave.push(tree(&[(PATH, "first(a);\nSECOND(b);\n")]));
    let edited = tree(&[(PATH, "first(a1);\nsecond(b1);\n")]);
    weave.amend(1, &edited).unwrap();
    assert_eq!(weave.state(1), edited);
    assert_eq!(weave.state(2), tree(&[(PATH, "first(a1);\nSECOND(b);\n")]));
}

#[test]
fn a_line_that_stands_for_none_of_several_that_end_differently_is_not_guessed() {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, "first(a);\nsecond(b);\n")]));
    weave.push(tree(&[(PATH, "first(a);\nSECOND(b);\n")]));
    let before = weave.clone();
    let error = weave.amend(1, &tree(&[(PATH, "nothing alike\n")])).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("net/x.rs") && error.contains("nothing alike"), "{error}");
    assert_eq!(weave, before);
}

#[test]
fn a_given_line_takes_the_removal_along_of_the_line_that_it_replaces() {
    let mut weave = replaced();
    weave.give(PATH, 2, &[1], 1).unwrap();
    assert_eq!(weave.state(1), weave.state(2));
    assert_eq!(weave.state(1), tree(&[(PATH, "one(net);\ntwo(net);\nthree(net);\n")]));
}

#[test]
fn lines_of_braces_alone_are_no_move() {
    let nested = |[a, b, c, call]: [&str; 4]| {
        format!(
            "    if {a} {{\n        if {b} {{\n            if {c} {{\n                {call}\n            }}\n        }}\n    }}\n"
        )
    };
    let old = nested(["a", "b", "c", "call();"]);
    let first = format!("fn one() {{\n{old}    rest();\n}}\n");
    let second = format!("{first}\nfn two() {{\n    x();\n    y();\n}}\n");
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, &first)]));
    weave.push(tree(&[(PATH, &second)]));
    // Patch 1 loses its braces, and patch 2 gets as many.
    let text = second
        .replace(&old, "    call();\n")
        .replace("    x();\n", &nested(["d", "e", "f", "x();"]));
    let placed = placed(&weave, &text, &Rules::default());
    let moved = |place: &Placed| matches!(place.3, Ok((_, Why::Moved(..))));
    assert!(!placed.iter().any(moved), "{placed:?}");
}

#[test]
fn what_may_come_from_two_places_is_not_guessed() {
    let same = "    lock();\n    count();\n    unlock();\n";
    let one = format!("fn one() {{\n    a();\n{same}}}\n");
    let two = format!("{one}\nfn two() {{\n    b();\n{same}}}\n");
    let three = format!("{two}\nfn three() {{\n    c();\n}}\n");
    let mut weave = Weave::new(Tree::new());
    for text in [&one, &two, &three] {
        weave.push(tree(&[(PATH, text)]));
    }
    let text = three.replace(same, "").replace("    c();\n", &format!("    c();\n{same}"));
    let placed = placed(&weave, &text, &Rules::default());
    let doubt = placed.iter().find(|place| place.2 == 3).unwrap();
    assert_eq!(doubt.3, Err(Doubt::MovedFrom([1, 2].into())), "{placed:?}");
}

#[test]
fn a_put_for_a_file_decides_only_what_is_open() {
    let text = SECOND
        .replace("a();", "a(1);")
        .replace("\nfn two", "\nfn between() {\n    x();\n}\n\nfn two");
    let put = Put { path: PATH.into(), line: None, patch: 2 };
    let rules = Rules { put: vec![put], ..Rules::default() };
    let placed = placed(&stack(), &text, &rules);
    assert_eq!(placed[0], (2, 1, 1, Ok((1, Why::Replaces))), "{placed:?}");
    assert!(matches!(placed[1..], [(_, 0, 4, Ok((2, Why::Put)))]), "{placed:?}");
    let mut weave = stack();
    Plan::make(&weave, &tree(&[(PATH, &text)]), &rules).apply(&mut weave).unwrap();
    assert_eq!(weave.state(1), tree(&[(PATH, &FIRST.replace("a();", "a(1);"))]));
    // A new file has no owner; its rule is only what is usual.
    let source = tree(&[(PATH, SECOND), ("net/new.rs", "fn new() {}\n")]);
    let rules = Rules {
        files: vec![(Pattern::new("net/*.rs").unwrap(), 1)],
        put: vec![Put { path: "net/new.rs".into(), line: None, patch: 2 }],
    };
    assert_eq!(Plan::make(&stack(), &source, &rules).pieces[0].place, Ok((2, Why::Put)));
}

#[test]
fn a_removed_function_takes_its_own_brace_along() {
    let first = "fn one() {\n    a();\n}\n";
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, &format!("{first}\nfn three() {{\n    c();\n}}\n"))]));
    let middle = format!("{first}\nfn two() {{\n    b();\n}}\n\nfn three() {{\n    c();\n}}\n");
    // Its mail has the brace above the function, not the one below.
    let hunk = Hunk { before: 2..2, after: 2..6 };
    weave.push_as(tree(&[(PATH, &middle)]), &[(PATH.to_owned(), vec![hunk])].into());
    let before = weave.state(1);
    // Of the text it cannot be seen which brace and which blank line are gone.
    let source = before.clone();
    let plan = Plan::make(&weave, &source, &Rules::default());
    let owners: Vec<_> = plan.pieces.iter().map(|piece| piece.place.clone()).collect();
    assert_eq!(owners, [Ok((2, Why::Replaces))]);
    plan.apply(&mut weave).unwrap();
    assert_eq!(weave.state(1), before);
    assert_eq!(weave.state(2), source);
}

#[test]
fn which_of_two_equal_lines_is_gone_is_not_guessed() {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, "a();\nx();\nb();\n")]));
    weave.push(tree(&[(PATH, "a();\nx();\nx();\nb();\n")]));
    let source = tree(&[(PATH, "a();\nx();\nb();\n")]);
    let open = placed(&weave, "a();\nx();\nb();\n", &Rules::default());
    assert!(matches!(open[..], [(_, 1, 0, Err(Doubt::Several(_)))]), "{open:?}");
    for (by, first) in [(1, "a();\nb();\n"), (2, "a();\nx();\nb();\n")] {
        let rules = Rules {
            put: vec![Put { path: PATH.into(), line: Some(3), patch: by }],
            ..Rules::default()
        };
        let mut weave = weave.clone();
        Plan::make(&weave, &source, &rules).apply(&mut weave).unwrap();
        assert_eq!(weave.state(1), tree(&[(PATH, first)]));
        assert_eq!(weave.state(2), source);
    }
}

#[test]
fn a_line_feed_that_later_states_need_is_not_lost() {
    let mut weave = Weave::new(Tree::new());
    weave.push(tree(&[(PATH, "a();\n")]));
    weave.push(tree(&[(PATH, "a();\nb();\n")]));
    let before = weave.clone();
    let error = weave.amend(1, &tree(&[(PATH, "a();")])).unwrap_err().to_string();
    assert!(error.contains("net/x.rs: after patch 2, \"a();\" without a line feed"), "{error}");
    assert_eq!(weave, before);
}
