// SPDX-License-Identifier: GPL-2.0

//! The page in the checkout is what the results beside it say, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use rnetns_study_report::{FOLDER, PAGE, PATCHED, RESULTS, TEXT, write};

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
    // There need not be any.
    let patched = fs::read_to_string(root().join(FOLDER).join(PATCHED)).ok();
    write(&results, patched.as_deref(), copy.path()).unwrap();
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

/// Numbers as words. Small ones are words of any text.
const WORDS: [&str; 30] = [
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "dozen",
    "hundred",
    "hundreds",
    "thousand",
    "thousands",
    "million",
    "millions",
    "billion",
    "percent",
];

/// The numbers in a text without questions, quotations, code, comments and links.
fn numbers(text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for (begin, end) in [("{{", "}}"), ("<!--", "-->"), ("`", "`"), ("\"", "\""), ("](", ")")] {
        while let Some(at) = text.find(begin) {
            let after = at + begin.len();
            let length =
                text[after..].find(end).map_or(text.len() - after, |length| length + end.len());
            text.replace_range(at..after + length, " ");
        }
    }
    let is_number = |word: &&str| {
        let is_word = |part: &str| WORDS.contains(&part.to_lowercase().as_str());
        let has_digit = word.starts_with(|c: char| c.is_ascii_digit());
        (has_digit && !NAMES.contains(word)) || word.split('-').any(is_word)
    };
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(is_number)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_text_itself_has_no_numbers() {
    let numbers = numbers(TEXT);
    assert!(numbers.is_empty(), "numbers that are no answers of the results: {numbers:?}");
}

#[test]
fn numbers_are_found_as_digits_and_as_words() {
    let found = numbers(
        "In 2007 `5` and {{copies 6}} of \"7\" were 8,000. <!-- 9 --> A hundred and sixty, \
         Twenty-one and (ten) for one or two.",
    );
    assert_eq!(found, ["8,000", "hundred", "sixty", "Twenty-one", "ten"]);
}
