// SPDX-License-Identifier: GPL-2.0

//! README and Documentation/ name only files, commands, options and exit codes that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vmlab::judge::outcome::Outcome;

/// The most lines of the README: people would not read more.
const README_LINES: usize = 120;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The path and text of every page.
fn pages() -> Vec<(PathBuf, String)> {
    let folder = fs::read_dir(root().join("Documentation")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.push(root().join("README.md"));
    assert!(paths.len() > 1, "no pages: nothing would be checked");
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The targets of Markdown links and pictures: `](TARGET)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Each line of a code block, and each text between backquotes elsewhere.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let mut block = false;
    text.lines().flat_map(move |line| {
        block ^= line.starts_with("```");
        let found: Vec<&str> = match block {
            true => vec![line.trim_start_matches("$ ")],
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        found
    })
}

/// The targets after `make ` at the beginning of code.
fn make_targets(text: &str) -> impl Iterator<Item = &str> {
    code(text)
        .filter_map(|code| code.strip_prefix("make ")?.split_whitespace().next())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The words of each `lab …`, up to a comment or to the command for the guest.
fn lab_commands(text: &str) -> impl Iterator<Item = Vec<&str>> {
    code(text)
        .filter_map(|code| code.strip_prefix("lab "))
        .filter(|code| code.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(|code| {
            let words = code.split_whitespace();
            words.take_while(|word| !["#", "--"].contains(word)).collect()
        })
}

/// All `--option` words.
fn options(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let begins = |word: &&str| {
        word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic()))
    };
    words.filter(begins).collect()
}

fn help(command: &[&str]) -> String {
    let lab = Command::new(env!("CARGO_BIN_EXE_lab")).arg("help").args(command).output().unwrap();
    assert!(lab.status.success(), "{command:?}");
    String::from_utf8(lab.stdout).unwrap()
}

fn can_help(command: &[&str]) -> bool {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.arg("help").args(command).output().unwrap().status.success()
}

fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_lowercase())
}

#[test]
fn the_readme_is_one_page() {
    let lines = text("README.md").lines().count();
    assert!(lines <= README_LINES, "{lines} lines, {README_LINES} at most");
}

#[test]
fn every_link_leads_to_a_file() {
    for (page, text) in pages() {
        for link in links(&text).filter(|link| !link.starts_with("http")) {
            let file = link.split('#').next().unwrap_or_default();
            let path = page.with_file_name(file);
            assert!(path.exists(), "{}: there is no {link}", page.display());
        }
    }
}

#[test]
fn every_page_is_in_the_index() {
    let index = text("Documentation/index.md");
    for (page, _) in pages().iter().filter(|(page, _)| !page.ends_with("index.md")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(&format!("{name})")), "{name}");
    }
}

#[test]
fn every_make_command_exists() {
    let makefile = text("Makefile");
    for (page, text) in pages() {
        for target in make_targets(&text) {
            let rule = format!("\n{target}: ##");
            assert!(makefile.contains(&rule), "{}: make {target}", page.display());
        }
    }
}

#[test]
fn every_option_in_the_labs_page_exists() {
    let commands = [&[][..], &["test"], &["run"], &["shell"], &["try"], &["cache"]];
    let known: String = commands.iter().map(|command| help(command)).collect();
    let known = options(&known);
    for option in options(&text("Documentation/lab.md")) {
        assert!(known.contains(option), "{option}");
    }
}

#[test]
fn every_command_of_the_lab_exists_with_its_options() {
    let mut checked = 0;
    for (page, text) in pages() {
        for words in lab_commands(&text) {
            let page = page.display();
            let group = words[0] == "series" && words.get(1).is_some_and(|it| is_name(it));
            let command = &words[..if group { 2 } else { 1 }];
            assert!(can_help(command), "{page}: lab {}", command.join(" "));
            let known = help(command);
            for option in options(&words.join(" ")) {
                assert!(options(&known).contains(option), "{page}: lab {}", words.join(" "));
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} commands: nothing would be checked");
}

#[test]
fn every_outcome_has_a_line_with_its_exit_code() {
    let page = text("Documentation/lab.md");
    for outcome in Outcome::ALL {
        let name = serde_json::to_value(outcome).unwrap();
        let line = format!("| {} | `{}` |", outcome.exit_code(), name.as_str().unwrap());
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn the_parts_of_a_page_are_found() {
    assert_eq!(links("a [b](c.md) ![d](e.svg)").collect::<Vec<_>>(), ["c.md", "e.svg"]);
    let text = "make them\n```\nmake all\n$ make test T=x\n```\nRun `make lint`, or `make`.\n`make KSRC=/x`";
    assert_eq!(make_targets(text).collect::<Vec<_>>(), ["all", "test", "lint"]);
    let text =
        "```\nlab run --cpus 2 -- ls -l\n```\nthe\nlab is `lab test --list # all`; `lab ...`";
    assert_eq!(
        lab_commands(text).collect::<Vec<_>>(),
        [vec!["run", "--cpus", "2"], vec!["test", "--list"]]
    );
    assert_eq!(options("`--a-b N`, -- c").into_iter().collect::<Vec<_>>(), ["--a-b"]);
}
