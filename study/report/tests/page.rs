// SPDX-License-Identifier: GPL-2.0

//! The page in the checkout is what the results beside it say, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use rnetns_study_report::{FOLDER, PAGE, RESULTS, TEXT, write};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(root: &Path) -> Vec<(String, String)> {
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let mut files = vec![(PAGE.to_owned(), text(&root.join(PAGE)))];
    for entry in fs::read_dir(root.join(FOLDER)).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.file_name().unwrap().to_string_lossy().into_owned(), text(&path)));
    }
    files.sort();
    files
}

#[test]
fn page_and_pictures_are_those_of_the_results_beside_them() {
    let results = fs::read_to_string(root().join(FOLDER).join(RESULTS)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    write(&results, copy.path()).unwrap();
    let (have, want) = (files(&root()), files(copy.path()));
    let names = |files: &[(String, String)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&have), names(&want), "`make study` writes these files");
    for ((name, have), (_, want)) in have.iter().zip(&want) {
        assert!(have == want, "{name} is not what the results say: edit study/report/study.md.in");
    }
}

/// Words with digits that are no figures.
const NAMES: [&str; 1] = ["2007"];

#[test]
fn the_text_itself_has_no_numbers() {
    let mut text = TEXT.to_owned();
    // Questions, code and comments.
    for (begin, end) in [("{{", "}}"), ("`", "`"), ("<!--", "-->"), ("](", ")")] {
        while let Some(at) = text.find(begin) {
            let after = at + begin.len();
            let length =
                text[after..].find(end).map_or(text.len() - after, |length| length + end.len());
            text.replace_range(at..after + length, " ");
        }
    }
    let is_number = |word: &&str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.starts_with(|c: char| c.is_ascii_digit()) && !NAMES.contains(&word)
    };
    let numbers: Vec<&str> = text.split_whitespace().filter(is_number).collect();
    assert!(numbers.is_empty(), "numbers that are no answers of the results: {numbers:?}");
}
