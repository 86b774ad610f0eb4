// SPDX-License-Identifier: GPL-2.0

//! A small project with a series of three patches, from its first mail to edits of all kinds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::{prop_assert, prop_assert_eq};
use proptest::test_runner::{Config, TestRunner};
use series::git::Person;
use series::project::{Lines, Project, Wish};
use series::source::Source;
use series::weave::{Blob, Mode, Number};

const SERIES: &str = "1-demo";
const ADD: &str = "net: demo: add the driver";
const COUNT: &str = "net: demo: count packets";
const TEST: &str = "selftests: net: add demo";

const DRIVER: &str = "fn init() {\n    start();\n}\n";

/// A project in a folder of its own.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// Three patches: a driver with its line in a Makefile of the base, a counter, a test. They are
    /// made once, and each test has a copy: to make them takes longer than most tests.
    fn new() -> Bench {
        static FILES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
            let bench = Bench::make();
            let root = format!("{}/", bench.root().display());
            let inside = |path: String| path.strip_prefix(&root).unwrap().to_owned();
            bench.files().into_iter().map(|(path, text)| (inside(path), text)).collect()
        });
        let bench = Bench::empty();
        for (path, text) in FILES.iter() {
            bench.write(path, text);
        }
        bench
    }

    fn empty() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        let mut git = Command::new("git");
        assert!(git.args(["init", "-q"]).arg(bench.root()).status().unwrap().success());
        bench
    }

    fn make() -> Bench {
        let bench = Bench::empty();
        let project = bench.project();
        // The rules come when the patches are there that they name.
        bench.write("patches/1-demo/series.toml", "tree = \"net-next\"\n");
        for (index, subject) in [ADD, COUNT, TEST].into_iter().enumerate() {
            let message = format!("{subject}\n\nA reason.\n");
            project.add(&format!("{SERIES}/{index}"), &message, jane(), DATE.into()).unwrap();
        }
        bench.write("drivers/demo.rs", DRIVER);
        bench.write("patches/1-demo/series.toml", format!(
            "tree = \"net-next\"\n\n[[file]]\npattern = \"drivers/net/*\"\npatch = \"{ADD}\"\n\n\
             [[file]]\npattern = \"tools/**\"\npatch = \"{TEST}\"\n"
        ));
        bench.absorb(&[]);
        let tree = project.begin_edit("1/1", &["drivers/net/Makefile".into()]).unwrap();
        let makefile = tree.join("drivers/net/Makefile");
        fs::write(&makefile, fs::read_to_string(&makefile).unwrap() + "obj-m += demo.o\n").unwrap();
        project.finish_edit().unwrap();
        let counter = format!("{DRIVER}\nfn count() {{\n    COUNT.add(1);\n}}\n");
        bench.write("drivers/demo.rs", &counter);
        bench.absorb(&["drivers/demo.rs:4=2"]);
        bench.write("drivers/demo.rs", counter.replace("start();\n", "start();\n    count();\n"));
        bench.absorb(&["drivers/demo.rs:3=2"]);
        bench.write("selftests/demo.sh", "#!/bin/sh\ntrue\n");
        bench.absorb(&[]);
        bench
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn project(&self) -> Project<'static> {
        let places = [("drivers", "drivers/net"), ("selftests", "tools/testing/selftests/net")];
        let places = places.map(|(here, there)| (here.to_owned(), there.to_owned())).into();
        Project {
            source: Source::new(self.root(), &places, &[]).unwrap(),
            folder: self.root().join("patches"),
            work: self.root().join("target/series"),
            base: &|path| {
                let text = (path == "drivers/net/Makefile").then_some("obj-y += base.o\n");
                Ok(text.map(|text| Blob { mode: Mode::Plain, content: text.into() }))
            },
            release: None,
        }
    }

    fn absorb(&self, wishes: &[&str]) {
        let project = self.project();
        let stack = project.stack().unwrap();
        let wishes: Vec<Wish> = wishes.iter().map(|wish| wish.parse().unwrap()).collect();
        let plan = project.plan(&stack, &wishes).unwrap();
        project.absorb(stack, &plan).unwrap();
    }

    /// A file after a patch.
    fn at(&self, number: Number, path: &str) -> Option<String> {
        let state = self.project().stack().unwrap().weave.state(number);
        state.get(path).map(|blob| String::from_utf8(blob.content.clone()).unwrap())
    }

    fn subjects(&self) -> Vec<String> {
        let stack = self.project().stack().unwrap();
        stack.patches.iter().map(|patch| patch.subject().to_owned()).collect()
    }

    /// Every file that a person could see, but those that can be made again.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for folder in ["drivers", "selftests", "patches"] {
            walk(&self.root().join(folder), &mut files);
        }
        files
    }
}

fn walk(folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
}

const DATE: &str = "1700000000 +0000";

fn jane() -> Person {
    Person { name: "Jane Doe".into(), mail: "jane@example.org".into() }
}

#[test]
fn the_series_has_what_each_patch_brings() {
    let bench = Bench::new();
    assert_eq!(bench.subjects(), [ADD, COUNT, TEST]);
    assert_eq!(bench.at(1, "drivers/net/demo.rs").unwrap(), DRIVER);
    assert_eq!(bench.at(1, "drivers/net/Makefile").unwrap(), "obj-y += base.o\nobj-m += demo.o\n");
    assert_eq!(bench.at(2, "drivers/net/demo.rs").unwrap(), bench.read("drivers/demo.rs"));
    let second = bench.read("patches/1-demo/v1/0002-net-demo-count-packets.patch");
    assert!(second.contains(" }\n+\n+fn count() {\n+    COUNT.add(1);\n+}\n"), "{second}");
    assert_eq!(bench.at(2, "tools/testing/selftests/net/demo.sh"), None);
    let first = bench.read("patches/1-demo/v1/0001-net-demo-add-the-driver.patch");
    assert!(first.contains("Subject: [PATCH net-next 1/3] net: demo: add the driver"), "{first}");
    assert!(first.contains("From: Jane Doe <jane@example.org>"), "{first}");
    assert!(!bench.root().join("drivers/Makefile").exists(), "it is none of the source's");
    assert!(first.contains("\n obj-y += base.o\n+obj-m += demo.o\n"), "{first}");
}

#[test]
fn nothing_changes_when_nothing_was_edited() {
    let bench = Bench::new();
    let before = bench.files();
    bench.absorb(&[]);
    assert_eq!(bench.files(), before);
}

#[test]
fn nothing_changes_while_something_is_open() {
    let bench = Bench::new();
    let text = bench.read("drivers/demo.rs").replace("\nfn count", "\nfn new() {\n}\n\nfn count");
    bench.write("drivers/demo.rs", &text);
    let before = bench.files();
    let project = bench.project();
    let stack = project.stack().unwrap();
    let plan = project.plan(&stack, &[]).unwrap();
    let piece = plan.open().next().unwrap();
    let advice = series::project::advice(&stack, &project.source, piece).unwrap();
    assert!(advice.contains("1-demo/1") && advice.contains("1-demo/2"), "{advice}");
    assert!(advice.contains("PUT=drivers/demo.rs:"), "{advice}");
    assert!(project.absorb(stack, &plan).is_err());
    assert_eq!(bench.files(), before);
}

#[test]
fn an_edit_of_the_first_patch_shows_in_all_states_and_in_the_source() {
    let bench = Bench::new();
    let project = bench.project();
    let tree = project.begin_edit("1/1", &[]).unwrap();
    let file = tree.join("drivers/net/demo.rs");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("start()", "start()?")).unwrap();
    project.finish_edit().unwrap();
    assert_eq!(bench.at(1, "drivers/net/demo.rs").unwrap(), DRIVER.replace("start()", "start()?"));
    assert!(bench.at(3, "drivers/net/demo.rs").unwrap().contains("start()?;\n    count();\n"));
    assert!(bench.read("drivers/demo.rs").contains("start()?;\n    count();\n"));
}

#[test]
fn an_edit_that_was_begun_earlier_takes_nothing_back() {
    let bench = Bench::new();
    let project = bench.project();
    let tree = project.begin_edit("1/1", &[]).unwrap();
    // Meanwhile the source gets another line, and another file, in the same patch.
    let text =
        bench.read("drivers/demo.rs").replace("fn init() {\n", "fn init() {\n    early();\n");
    bench.write("drivers/demo.rs", &text);
    bench.absorb(&[]);
    bench.write("drivers/more.rs", "fn more() {}\n");
    bench.absorb(&[]);
    let file = tree.join("drivers/net/Makefile");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "obj-m += more.o\n").unwrap();
    project.finish_edit().unwrap();
    assert!(bench.at(1, "drivers/net/demo.rs").unwrap().contains("early();"));
    assert!(bench.at(1, "drivers/net/Makefile").unwrap().ends_with("obj-m += more.o\n"));
    assert_eq!(bench.read("drivers/demo.rs"), text);
    assert_eq!(bench.read("drivers/more.rs"), "fn more() {}\n");
}

#[test]
fn an_edit_of_what_has_changed_since_is_merged_or_refused() {
    let bench = Bench::new();
    let project = bench.project();
    let edited = |old: &str, new: &str, meanwhile: (&str, &str)| {
        let tree = project.begin_edit("1/1", &[]).unwrap();
        let file = tree.join("drivers/net/demo.rs");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace(old, new)).unwrap();
        let text = bench.read("drivers/demo.rs").replace(meanwhile.0, meanwhile.1);
        bench.write("drivers/demo.rs", &text);
        bench.absorb(&[]);
        project.finish_edit().map(|_| ())
    };
    // Lines far from each other.
    let long = "fn init() {\n    one();\n    two();\n    three();\n    start();\n";
    bench.write(
        "drivers/demo.rs",
        bench.read("drivers/demo.rs").replace("fn init() {\n    start();\n", long),
    );
    bench.absorb(&[]);
    edited("one()", "one(1)", ("three()", "three(3)")).unwrap();
    let first = bench.at(1, "drivers/net/demo.rs").unwrap();
    assert!(first.contains("one(1);\n    two();\n    three(3);"), "{first}");
    // One line.
    let error = edited("two()", "two(2)", ("two()", "two(22)")).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("drivers/net/demo.rs") && error.contains("has changed since"),
        "{error}"
    );
    assert!(bench.at(1, "drivers/net/demo.rs").unwrap().contains("two(22);"));
}

#[test]
fn an_edit_stays_with_its_patch_whatever_its_number_and_its_subject_are_by_then() {
    let bench = Bench::new();
    let project = bench.project();
    let tree = project.begin_edit("1/2", &[]).unwrap();
    project.add("1/0", "net: demo: prepare\n\nA reason.\n", jane(), DATE.into()).unwrap();
    project.reword("1/3", "net: demo: count all packets\n\nA reason.\n").unwrap();
    let file = tree.join("drivers/net/demo.rs");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("add(1)", "add(2)")).unwrap();
    let (name, _) = project.finish_edit().unwrap();
    assert_eq!(name, "1-demo/3");
    assert_eq!(bench.at(2, "drivers/net/demo.rs").unwrap(), DRIVER);
    assert!(bench.at(3, "drivers/net/demo.rs").unwrap().contains("add(2)"));
}

#[test]
fn an_edit_of_a_patch_that_is_gone_is_refused() {
    let bench = Bench::new();
    let project = bench.project();
    project.begin_edit("1/2", &[]).unwrap();
    let record = bench.root().join("target/series/edit.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("net: demo: ", "net: gone: ")).unwrap();
    let error = format!("{:#}", project.finish_edit().map(|_| ()).unwrap_err());
    assert!(error.contains("no patch has the subject \"net: gone: "), "{error}");
}

#[test]
fn what_an_editor_leaves_behind_is_no_part_of_an_edit() {
    let bench = Bench::new();
    let project = bench.project();
    let before = bench.files();
    let tree = project.begin_edit("1/1", &[]).unwrap();
    for name in
        ["demo.rs~", ".demo.rs.swp", "#demo.rs#", ".#demo.rs", "demo.rs.orig", "demo.rs.rej"]
    {
        fs::write(tree.join("drivers/net").join(name), "left\n").unwrap();
    }
    project.finish_edit().unwrap();
    assert_eq!(bench.files(), before);
}

#[test]
fn undo_restores_every_byte() {
    let bench = Bench::new();
    let project = bench.project();
    let before = bench.files();
    project.reword("1/2", "net: demo: count all packets\n\nAnother reason.\n").unwrap();
    project.join("1/2").unwrap();
    let tree = project.begin_edit("1/1", &[]).unwrap();
    fs::write(tree.join("drivers/net/demo.rs"), "fn init() {\n}\n").unwrap();
    project.finish_edit().unwrap();
    assert_ne!(bench.files(), before);
    for _ in 0..3 {
        assert!(!project.undo().unwrap().is_empty());
    }
    assert_eq!(bench.files(), before);
}

#[test]
fn undo_restores_every_byte_after_any_changes() {
    let bench = Bench::new();
    let project = bench.project();
    let before = bench.files();
    let message = |number: u8| format!("net: demo: change number {number}\n\nA reason.\n");
    let change = |kind: u8, number: u8| {
        let patch = format!("1/{}", 1 + number % 3);
        let line: Lines = format!("drivers/demo.rs:{}", 1 + number % 8).parse().unwrap();
        match kind {
            0 => project.reword(&patch, &message(number)).map(|_| ()),
            1 => project.join(&patch).map(|_| ()),
            2 => project.give(&[line], &patch).map(|_| ()),
            3 => project.split(&patch, &[line], &message(number), jane(), DATE.into()).map(|_| ()),
            4 => project.reorder(&patch, &format!("1/{}", number % 3)).map(|_| ()),
            5 => project.next_version("1", None).map(|_| ()),
            _ => project.begin_edit(&patch, &[]).and_then(|tree| {
                let file = tree.join("drivers/net/demo.rs");
                let text = fs::read_to_string(&file).unwrap();
                let new = format!("start();\n    more({number});");
                fs::write(&file, text.replace("start();", &new)).unwrap();
                project.finish_edit().map(|_| ())
            }),
        }
    };
    let mut runner = TestRunner::new(Config { cases: 6, ..Config::default() });
    let all = proptest::collection::vec((0..7_u8, 0..40_u8), 1..4);
    let undone = runner.run(&all, |changes| {
        let mut steps = Vec::new();
        for (kind, number) in changes {
            let files = bench.files();
            // A change may be refused; then it is none.
            let done = change(kind, number);
            prop_assert!(done.is_ok() || bench.files() == files, "{done:?} changed something");
            if bench.files() != files {
                steps.push(files);
            }
        }
        while let Some(files) = steps.pop() {
            prop_assert!(!project.undo().unwrap().is_empty());
            prop_assert_eq!(bench.files(), files);
        }
        prop_assert_eq!(bench.files(), before.clone());
        Ok(())
    });
    undone.unwrap();
}

#[test]
fn a_patch_is_split_by_lines_and_joined_again() {
    let bench = Bench::new();
    let project = bench.project();
    let before = bench.files();
    let message = "net: demo: add a counter\n\nFirst.\n";
    let lines = ["drivers/demo.rs:5-8".parse().unwrap()];
    let error = project.split("1/1", &lines, message, jane(), DATE.into()).err().unwrap();
    assert!(error.to_string().contains("brings none of these lines"), "{error}");
    assert_eq!(bench.files(), before);
    project.split("1/2", &lines, message, jane(), DATE.into()).unwrap();
    assert_eq!(bench.subjects(), [ADD, COUNT, "net: demo: add a counter", TEST]);
    assert!(!bench.at(2, "drivers/net/demo.rs").unwrap().contains("fn count()"));
    assert!(bench.at(3, "drivers/net/demo.rs").unwrap().contains("fn count()"));
    project.join("1/2").unwrap();
    assert_eq!(bench.files(), before);
}

#[test]
fn a_patch_cannot_come_before_the_one_whose_file_it_changes() {
    let bench = Bench::new();
    let project = bench.project();
    let before = bench.files();
    let error = project.reorder("1/2", "1/0").err().unwrap().to_string();
    assert!(error.contains("demo.rs"), "{error}");
    assert_eq!(bench.files(), before);
    project.reorder("1/3", "1/1").unwrap();
    assert_eq!(bench.subjects(), [ADD, TEST, COUNT]);
    assert_eq!(bench.at(2, "drivers/net/demo.rs").unwrap(), DRIVER);
}

#[test]
fn lines_go_to_another_patch() {
    let bench = Bench::new();
    let project = bench.project();
    project.give(&["drivers/demo.rs:5-8".parse().unwrap()], "1/1").unwrap();
    assert!(bench.at(1, "drivers/net/demo.rs").unwrap().contains("fn count()"));
    assert!(!bench.at(1, "drivers/net/demo.rs").unwrap().contains("    count();"));
}

#[test]
fn lines_go_to_another_patch_with_what_they_replace() {
    let bench = Bench::new();
    let project = bench.project();
    // Patch 2 changes a line of patch 1, and takes one away.
    let text = bench.read("drivers/demo.rs");
    let tree = project.begin_edit("1/1", &[]).unwrap();
    fs::write(
        tree.join("drivers/net/demo.rs"),
        DRIVER.replace("start()", "start(1);\n    refuse()"),
    )
    .unwrap();
    project.finish_edit().unwrap();
    let tree = project.begin_edit("1/2", &[]).unwrap();
    fs::write(tree.join("drivers/net/demo.rs"), &text).unwrap();
    project.finish_edit().unwrap();
    assert_eq!(bench.read("drivers/demo.rs"), text);
    assert!(bench.at(1, "drivers/net/demo.rs").unwrap().contains("start(1);\n    refuse();"));
    let before = bench.files();
    project.give(&["drivers/demo.rs:2".parse().unwrap()], "1/1").unwrap();
    let first = bench.at(1, "drivers/net/demo.rs").unwrap();
    assert!(
        first.contains("    start();\n    refuse();") && !first.contains("start(1)"),
        "{first}"
    );
    project.undo().unwrap();
    assert_eq!(bench.files(), before);
    let lines = ["drivers/demo.rs:-3".parse().unwrap()];
    let message = "net: demo: do not refuse\n";
    project.split("1/2", &lines, message, jane(), DATE.into()).unwrap();
    let states = [1, 2, 3].map(|k| bench.at(k, "drivers/net/demo.rs").unwrap());
    let refuses = states.map(|state| state.contains("refuse();"));
    assert_eq!(refuses, [true, true, false]);
    let error = project.give(&["drivers/demo.rs:-1".parse().unwrap()], "1/1").err().unwrap();
    assert!(format!("{error:#}").contains("takes nothing away"), "{error:#}");
    assert_eq!(bench.read("drivers/demo.rs"), text);
}

#[test]
fn a_file_goes_with_all_its_lines() {
    let bench = Bench::new();
    let project = bench.project();
    let before = bench.files();
    let (here, there) = ("drivers/other.rs", "drivers/net/other.rs");
    bench.write(here, "fn other() {}\n");
    bench.absorb(&[]);
    assert_eq!(bench.at(1, there).as_deref(), Some("fn other() {}\n"));
    let lines = ["drivers/other.rs:1".parse().unwrap()];
    project.split("1/1", &lines, "net: demo: add another\n", jane(), DATE.into()).unwrap();
    assert_eq!(bench.at(1, there), None, "not an empty file");
    assert_eq!(bench.at(2, there).as_deref(), Some("fn other() {}\n"));
    project.give(&lines, "1/1").unwrap();
    assert_eq!(bench.at(1, there).as_deref(), Some("fn other() {}\n"));
    fs::remove_file(bench.root().join(here)).unwrap();
    bench.absorb(&[]);
    project.join("1/1").unwrap();
    assert_eq!(bench.files(), before);
}

#[test]
fn a_reworded_subject_is_followed_by_the_rules_that_name_it() {
    let bench = Bench::new();
    let project = bench.project();
    let settings = "patches/1-demo/series.toml";
    let shown = format!("\n[[shown]]\npatch = \"{ADD}\"\ncommand = \"make test\"\n");
    bench.write(settings, &(bench.read(settings) + &shown));
    project.reword("1/1", "net: demo: bring the driver\n\nA reason.\n").unwrap();
    assert!(bench.read(settings).contains("[[shown]]\npatch = \"net: demo: bring the driver\""));
    bench.write("drivers/more.rs", "fn more() {}\n");
    bench.absorb(&[]);
    assert!(bench.at(1, "drivers/net/more.rs").is_some());
}

#[test]
fn a_review_goes_when_its_patch_changes_and_stays_when_another_one_does() {
    let bench = Bench::new();
    let project = bench.project();
    let reviewed =
        |subject: &str| format!("{subject}\n\nA reason.\n\nReviewed-by: R <r@example.org>\n");
    project.reword("1/1", &reviewed(ADD)).unwrap();
    project.reword("1/2", &reviewed(COUNT)).unwrap();
    let text = bench.read("drivers/demo.rs").replace("COUNT.add(1)", "COUNT.add(2)");
    bench.write("drivers/demo.rs", &text);
    let stack = project.stack().unwrap();
    let plan = project.plan(&stack, &[]).unwrap();
    let done = project.absorb(stack, &plan).unwrap();
    assert_eq!(done.dropped, [(2, "Reviewed-by: R <r@example.org>".to_owned())]);
    let messages: Vec<bool> = project
        .stack()
        .unwrap()
        .patches
        .iter()
        .map(|patch| patch.message.contains("Reviewed-by"))
        .collect();
    assert_eq!(messages, [true, false, false]);
}

#[test]
fn a_mail_that_was_changed_by_hand_is_written_as_the_program_writes_it() {
    let bench = Bench::new();
    let before = bench.files();
    let mail = "patches/1-demo/v1/0001-net-demo-add-the-driver.patch";
    bench.write(mail, bench.read(mail).replace("---\n drivers", "---\nA note.\n\n drivers"));
    assert_ne!(bench.files(), before);
    let project = bench.project();
    project.refresh(project.stack().unwrap()).unwrap();
    assert_eq!(bench.files(), before);
    assert!(bench.read(mail).lines().all(|line| line.trim_end() == line || line == " "));
}

#[test]
fn a_series_or_a_patch_is_chosen_by_its_name() {
    let bench = Bench::new();
    bench.write("patches/2-more/series.toml", "tree = \"net-next\"\nafter = \"1-demo\"\n");
    bench.project().add("2-more/0", "net: demo: more\n\nA reason.\n", jane(), DATE.into()).unwrap();
    let stack = bench.project().stack().unwrap();
    let numbers = |name| stack.numbers(name).map_err(|error| error.to_string());
    assert_eq!(numbers(None), Ok(1..=4));
    assert_eq!(numbers(Some("1")), Ok(1..=3));
    assert_eq!(numbers(Some("2-more")), Ok(4..=4));
    assert_eq!(numbers(Some("1-demo/2")), Ok(2..=2));
    assert!(numbers(Some("2/2")).is_err());
    assert!(numbers(Some("3")).is_err());
}

#[test]
fn two_patches_cannot_have_one_subject() {
    let bench = Bench::new();
    let before = bench.files();
    let error = bench.project().reword("1/2", &format!("{ADD}\n\nA reason.\n")).err().unwrap();
    assert!(error.to_string().contains("two patches would have the subject"), "{error}");
    assert_eq!(bench.files(), before);
}

/// Answers to all patches of the first version.
const THREAD: &str = "From a@z Thu Jan  1 00:00:00 1970\n\
    From: Rita <rita@example.org>\n\
    Subject: Re: [PATCH net-next 1/3] net: demo: add the driver\n\n\
    Reviewed-by: Rita <rita@example.org>\n\n\
    From a@z Thu Jan  1 00:00:00 1970\n\
    From: Rita <rita@example.org>\n\
    Subject: Re: [PATCH net-next 2/3] net: demo: count packets\n\n\
    Reviewed-by: Rita <rita@example.org>\n\n";

#[test]
fn a_new_version_leaves_the_mails_of_the_old_one() {
    let bench = Bench::new();
    let project = bench.project();
    bench.write("patches/1-demo/cover.md", "# net: demo\n\nWhy.\n");
    let old = "patches/1-demo/v1/0002-net-demo-count-packets.patch";
    let sent = bench.read(old);
    project.next_version("1-demo", None).unwrap();
    let text = bench.read("drivers/demo.rs").replace("COUNT.add(1)", "COUNT.add(2)");
    bench.write("drivers/demo.rs", &text);
    bench.absorb(&[]);
    assert_eq!(bench.read(old), sent);
    let new = bench.read(&old.replace("v1", "v2"));
    assert!(new.contains("Subject: [PATCH net-next v2 2/3] net: demo: count packets"), "{new}");
    assert!(new.contains("+    COUNT.add(2);"), "{new}");
    assert!(
        bench.read("patches/1-demo/cover.md").contains("Changes in v2:\n- [1] \"net: demo: add")
    );
    let difference = project.compare("1").unwrap();
    assert!(difference.contains("1:  "), "{difference}");
    assert!(difference.contains(" = 1:  ") && difference.contains(" ! 2:  "), "{difference}");
    assert!(difference.contains("-+    COUNT.add(1);"), "{difference}");
}

#[test]
fn what_is_edited_after_an_export_is_not_what_was_sent() {
    let bench = Bench::new();
    let project = bench.project();
    bench.write("patches/1-demo/cover.md", "# net: demo\n\nWhy.\n");
    let given = series::trailers::read(THREAD.as_bytes()).unwrap();
    let (_, notes) = project.collect("1-demo", &given).unwrap();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("was not exported as v1"), "{notes:?}");
    let second = "patches/1-demo/v1/0002-net-demo-count-packets.patch";
    let sent = bench.read(second);
    assert!(!project.keep_sent(&project.stack().unwrap(), "1").unwrap());
    let text = bench.read("drivers/demo.rs").replace("COUNT.add(1)", "COUNT.add(2)");
    bench.write("drivers/demo.rs", &text);
    bench.absorb(&[]);
    assert_ne!(bench.read(second), sent);
    let (_, notes) = project.collect("1-demo", &given).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("1-demo/2 has changed since v1"), "{notes:?}");
    let first = |bench: &Bench| bench.project().stack().unwrap().patches[0].message.clone();
    assert!(first(&bench).contains("Reviewed-by: Rita"));
    // The next version leaves what was sent, and tells what has changed since.
    assert!(project.next_version("1", Some(3)).is_err());
    project.next_version("1", Some(2)).unwrap();
    assert_eq!(bench.read(second), sent);
    assert!(!bench.root().join("patches/1-demo/sent").exists());
    let cover = bench.read("patches/1-demo/cover.md");
    assert!(cover.contains("- [2] \"net: demo: count packets\": EDITME"), "{cover}");
    let difference = project.compare("1").unwrap();
    assert!(difference.contains("-+    COUNT.add(1);"), "{difference}");
}

#[test]
fn an_answer_to_another_cover_letter_is_for_no_patch() {
    let bench = Bench::new();
    let project = bench.project();
    bench.write("patches/1-demo/cover.md", "# net: demo:  count\n\nWhy.\n");
    project.keep_sent(&project.stack().unwrap(), "1").unwrap();
    let answer = |title: &str| {
        let mail = format!(
            "From a@z Thu Jan  1 00:00:00 1970\nFrom: Tom <tom@example.org>\n\
             Subject: Re: [PATCH net-next 0/3] {title}\n\nTested-by: Tom <tom@example.org>\n\n"
        );
        series::trailers::read(mail.as_bytes()).unwrap()
    };
    let (done, notes) = project.collect("1", &answer("net: other")).unwrap();
    assert!(done.files.is_empty() && notes[0].contains("\"net: other\""), "{notes:?}");
    let (_, notes) = project.collect("1", &answer("net: demo: count")).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    let stack = project.stack().unwrap();
    assert!(stack.patches.iter().all(|patch| patch.message.contains("Tested-by: Tom")));
}

#[test]
fn a_review_is_put_on_its_patch_unless_that_has_changed_since() {
    let bench = Bench::new();
    let project = bench.project();
    project.next_version("1-demo", None).unwrap();
    let text = bench.read("drivers/demo.rs").replace("COUNT.add(1)", "COUNT.add(2)");
    bench.write("drivers/demo.rs", &text);
    bench.absorb(&[]);
    let given = series::trailers::read(THREAD.as_bytes()).unwrap();
    let (_, notes) = project.collect("1-demo", &given).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("1-demo/2 has changed since v1"), "{notes:?}");
    let stack = project.stack().unwrap();
    let reviewed = |index: usize| stack.patches[index].message.contains("Reviewed-by: Rita");
    assert_eq!([reviewed(0), reviewed(1), reviewed(2)], [true, false, false]);
    assert!(
        stack.patches[0].message.ends_with("A reason.\n\nReviewed-by: Rita <rita@example.org>\n")
    );
    // Twice is once.
    project.collect("1-demo", &given).unwrap();
    let stack = project.stack().unwrap();
    assert_eq!(stack.patches[0].message.matches("Reviewed-by").count(), 1);
}
