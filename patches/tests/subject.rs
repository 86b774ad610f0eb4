// SPDX-License-Identifier: GPL-2.0

//! One series, read from a tree and from a mailbox.

use std::fs;

use series::checks::subject::{Origin, Subject};
use series::folder::Stack;
use series::git::{Commit, Person, Repository};
use series::weave::{Blob, Mode, Tree};

fn blob(text: &str) -> Blob {
    Blob { mode: Mode::Plain, content: text.into() }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), blob(text))).collect()
}

fn base() -> Tree {
    tree(&[("MAINTAINERS", "nobody\n"), ("net/a.c", "1\n2\n3\n")])
}

/// Somebody's tree with two commits on the base.
fn repository() -> Repository {
    let repository = Repository::scratch().unwrap();
    let commit = |message: &str, a: &str, b: Option<&str>| {
        let mut tree = base();
        tree.insert("net/a.c".into(), blob(a));
        tree.extend(b.map(|text| ("net/b.c".to_owned(), blob(text))));
        Commit {
            message: message.into(),
            author: Person { name: "Jane Doe".into(), mail: "jane@example.org".into() },
            date: "1700000000 +0000".into(),
            tree,
        }
    };
    let commits = [
        commit("net: a: add x\n\nFrom afar.\n", "1\nx\n2\n3\n", None),
        commit("net: b: add it\n\nWhy.\n", "1\nx\n2\n3\ny\n", Some("b\n")),
    ];
    repository.write(&base(), &commits).unwrap();
    repository
}

/// Its commits as a mailbox, with a cover letter and an answer.
fn mailbox(repository: &Repository, file: &std::path::Path, prefix: &str) {
    let mails = repository.mails("stack~2..stack", &[prefix]).unwrap();
    let cover = "From x Mon Sep 17 00:00:00 2001\nFrom: Jane Doe <jane@example.org>\n\
                 Subject: [PATCH net-next 0/2] a series\n\nA text.\n\n";
    let answer = cover.replace("[PATCH net-next 0/2]", "Re: [PATCH net-next 1/2]");
    let mut text = [answer.as_bytes(), cover.as_bytes()].concat();
    // Not in order, as they may arrive.
    for mail in mails.iter().rev() {
        text.extend_from_slice(mail);
        text.push(b'\n');
    }
    fs::write(file, text).unwrap();
}

fn summary(subject: &Subject<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for patch in &subject.patches {
        for change in &patch.changes {
            let added: Vec<_> = change.added().collect();
            lines.push(format!("{} {} {} {added:?}", patch.number, patch.subject(), change.path));
        }
    }
    lines
}

const SUMMARY: [&str; 3] = [
    "1 net: a: add x net/a.c [(2, \"x\")]",
    "2 net: b: add it net/a.c [(5, \"y\")]",
    "2 net: b: add it net/b.c [(1, \"b\")]",
];

#[test]
fn commits_of_a_tree_become_patches_without_touching_the_tree() {
    let repository = repository();
    let refs = || repository.read(&["for-each-ref"]).unwrap();
    let before = refs();
    let subject = Subject::of_range(repository.folder(), "stack~2..stack").unwrap();
    assert_eq!(summary(&subject), SUMMARY);
    assert_eq!(subject.origin, Origin::Range);
    assert_eq!((subject.base)("MAINTAINERS").unwrap(), Some(blob("nobody\n")));
    assert_eq!((subject.base)("none").unwrap(), None);
    assert!(!subject.before.contains_key("MAINTAINERS"), "no patch touches it");
    assert_eq!(refs(), before);
    assert!(!repository.folder().join("net").exists());
    let error = |range: &str| Subject::of_range(repository.folder(), range).err().unwrap();
    assert!(error("stack").to_string().contains("A..B"));
    assert!(error("stack..stack").to_string().contains("no commits"));
}

#[test]
fn a_mailbox_is_the_same_series_in_the_order_of_its_numbers() {
    let repository = repository();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.mbx");
    mailbox(&repository, &file, "--subject-prefix=PATCH net-next");
    let files = base();
    let subject =
        Subject::of_mailbox(&file, Box::new(|path| Ok(files.get(path).cloned()))).unwrap();
    assert_eq!(summary(&subject), SUMMARY);
    assert_eq!(subject.tree.as_deref(), Some("net-next"));
    assert!(subject.cover.as_deref().unwrap().starts_with("a series\n\nA text."));
    assert_eq!(subject.patches[0].author.name, "Jane Doe");
}

#[test]
fn a_mail_that_does_not_apply_is_named() {
    let repository = repository();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.mbx");
    mailbox(&repository, &file, "--subject-prefix=PATCH net");
    let other = tree(&[("net/a.c", "5\n6\n")]);
    let error = Subject::of_mailbox(&file, Box::new(|path| Ok(other.get(path).cloned())));
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("patch 1 \"net: a: add x\" does not apply"), "{error}");
}

/// A folder with two series, the second with `tests`: it changes this file of the base.
fn two_series(changed: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut files = base();
    for (name, path, settings) in
        [("1-own", "net/a.c", ""), ("2-fix", changed, "tests = [\"tools/fix.sh\"]\n")]
    {
        let before = files.clone();
        files.insert(path.to_owned(), blob(&format!("{name}\n")));
        let commit = Commit {
            message: format!("net: {name}: change a file\n\nWhy.\n"),
            author: Person { name: "Jane Doe".into(), mail: "jane@example.org".into() },
            date: "1700000000 +0000".into(),
            tree: files.clone(),
        };
        let repository = Repository::scratch().unwrap();
        repository.write(&before, &[commit]).unwrap();
        let mails = repository.mails("stack~1..stack", &["--subject-prefix=PATCH net"]).unwrap();
        let folder = dir.path().join(name).join("v1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("0001-a.patch"), &mails[0]).unwrap();
        fs::write(dir.path().join(name).join("series.toml"), format!("tree = \"net\"\n{settings}"))
            .unwrap();
    }
    dir
}

fn of_stack(folder: &std::path::Path, name: &str) -> anyhow::Result<Subject<'static>> {
    let base = |path: &str| Ok(base().get(path).cloned());
    let stack = Stack::read(folder, base)?;
    Subject::of_stack(&stack, folder, name, Box::new(base))
}

#[test]
fn a_series_with_tests_of_its_own_is_applied_to_the_base_alone() {
    let dir = two_series("MAINTAINERS");
    let fix = of_stack(dir.path(), "2-fix").unwrap();
    assert_eq!(fix.tests, ["tools/fix.sh"]);
    assert_eq!(fix.before, tree(&[("MAINTAINERS", "nobody\n")]));
    assert_eq!(fix.patches[0].tree, tree(&[("MAINTAINERS", "2-fix\n")]));
    assert_eq!(summary(&fix), ["1 net: 2-fix: change a file MAINTAINERS [(1, \"2-fix\")]"]);
    let own = of_stack(dir.path(), "1-own").unwrap();
    assert!(own.tests.is_empty());
    assert!(own.patches[0].tree.contains_key("MAINTAINERS"), "all that the stack touches");
}

#[test]
fn a_series_with_tests_of_its_own_changes_nothing_that_another_series_changes() {
    let dir = two_series("net/a.c");
    let error = of_stack(dir.path(), "2-fix").err().unwrap().to_string();
    assert!(error.starts_with("2-fix: ") && error.contains("changes net/a.c as well"), "{error}");
}
