// SPDX-License-Identifier: GPL-2.0

//! White space that nobody sees.

use anyhow::Result;

use super::subject::FileChange;
use super::{At, Check, Finding, Outcome};

/// Ends of lines and of files.
pub struct Whitespace;

impl Check for Whitespace {
    fn name(&self) -> &'static str {
        "whitespace"
    }

    fn about(&self) -> &'static str {
        "no blanks at the end of a line, no CR, a line feed at the end of a file"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let texts: Vec<&FileChange> =
            at.patch().changes.iter().filter(|change| change.text().is_some()).collect();
        if texts.is_empty() {
            return Ok(Outcome::Nothing);
        }
        Ok(Outcome::Judged(texts.into_iter().flat_map(judge).collect()))
    }
}

fn judge(change: &FileChange) -> Vec<Finding> {
    let text = change.text().unwrap_or_default();
    let mut found = Vec::new();
    // `lines` takes a CR along.
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        if !change.added.contains(&number) {
            continue;
        }
        let plain = line.trim_end_matches('\r');
        if plain.len() < line.len() {
            found.push(Finding::fail("a CR at the end of the line").at(number));
        }
        if plain.ends_with([' ', '\t']) {
            found.push(Finding::fail("blanks at the end of the line").at(number));
        }
    }
    let last = text.split_inclusive('\n').count();
    let ends = |text: &str| text.is_empty() || text.ends_with('\n');
    if !ends(text) && change.text_before().is_none_or(ends) {
        found.push(Finding::fail("no line feed at the end of the file").at(last));
    }
    if text.ends_with("\n\n") && change.added.contains(&last) {
        found.push(Finding::warning("a blank line at the end of the file").at(last));
    }
    found.into_iter().map(|finding| finding.of(&change.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::change;

    fn told(before: &str, after: &str) -> Vec<String> {
        let found = judge(&change("a", before, after));
        found.iter().map(|finding| format!("{}{}", finding.place(), finding.text)).collect()
    }

    #[test]
    fn blanks_at_the_end_of_an_added_line_are_named_with_the_line() {
        assert_eq!(told("1\n", "1\n2 \n"), ["a:2: blanks at the end of the line"]);
        assert_eq!(told("1\n", "1\n2\t\n"), ["a:2: blanks at the end of the line"]);
        assert_eq!(told("1 \n", "1 \n2\n"), [""; 0], "it was there before");
        assert_eq!(told("", "1\n \n2\n"), ["a:2: blanks at the end of the line"]);
    }

    #[test]
    fn ends_of_lines_and_files_are_those_of_the_kernel() {
        assert_eq!(told("1\n", "1\n2\r\n"), ["a:2: a CR at the end of the line"]);
        assert_eq!(told("1\n", "1\n2"), ["a:2: no line feed at the end of the file"]);
        assert_eq!(told("1", "2"), [""; 0], "it was so before");
        assert_eq!(told("1\n", "1\n\n"), ["a:2: a blank line at the end of the file"]);
        assert_eq!(told("1\n", "1\n\n2\n"), [""; 0]);
    }
}
