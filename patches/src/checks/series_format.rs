// SPDX-License-Identifier: GPL-2.0

//! The form of a series, as netdev wants it.

use anyhow::Result;

use super::message::too_wide;
use super::subject::Origin;
use super::{At, Check, Finding, Outcome, Scope};

/// The most patches of a series.
const MOST: usize = 15;
/// So many patches need a cover letter.
const COVERED: usize = 3;

/// Cover letter, length, tree.
pub struct SeriesFormat;

impl Check for SeriesFormat {
    fn name(&self) -> &'static str {
        "series_format"
    }

    fn about(&self) -> &'static str {
        "a cover letter from 3 patches on, in lines of at most 75 columns; at most 15 patches; the \
         tree in the subject"
    }

    fn scope(&self) -> Scope {
        Scope::Series
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let subject = at.subject;
        let mut found = Vec::new();
        let patches = subject.patches.len();
        if patches > MOST {
            found.push(Finding::fail(format!("{patches} patches: {MOST} are allowed at a time")));
        }
        // Commits have neither a letter nor a subject prefix.
        if subject.origin != Origin::Range {
            if subject.tree.as_ref().is_none_or(|tree| tree.is_empty()) {
                found.push(Finding::warning("no tree in the subjects: [PATCH net-next ...]"));
            }
            match &subject.cover {
                None if patches >= COVERED => {
                    found.push(Finding::fail(format!("{patches} patches, no cover letter")));
                }
                Some(cover) => {
                    let open = cover.lines().filter(|line| line.contains("EDITME"));
                    let text = |line| Finding::fail(format!("unfinished cover letter: {line}"));
                    found.extend(open.map(text));
                    // The first line is the title.
                    found.extend(cover.lines().enumerate().skip(1).filter_map(|(index, line)| {
                        let text = too_wide(line)?;
                        let number = index + 1;
                        Some(Finding::warning(format!("line {number} of the cover letter: {text}")))
                    }));
                    if cover.trim().lines().nth(1).is_none() {
                        found.push(Finding::fail("the cover letter has a title and no text"));
                    }
                }
                None => {}
            }
        }
        for (index, patch) in subject.patches.iter().enumerate() {
            let same = |other: &&super::Patch| other.subject() == patch.subject();
            if let Some(first) = subject.patches[..index].iter().find(same) {
                let text =
                    format!("patches {} and {} have one subject", first.number, patch.number);
                found.push(Finding::warning(text));
            }
        }
        Ok(Outcome::Judged(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    fn told(length: usize, cover: Option<&str>, tree: &str) -> Vec<String> {
        let messages: Vec<String> = (0..length).map(|number| format!("a: b{number}\n")).collect();
        let none: &[(&str, &str)] = &[];
        let patches: Vec<_> = messages.iter().map(|message| (message.as_str(), none)).collect();
        let mut subject = subject(&[], &patches);
        subject.cover = cover.map(str::to_owned);
        subject.tree = Some(tree.to_owned());
        found(&SeriesFormat, &subject, 1)
    }

    #[test]
    fn the_form_is_what_netdev_asks_for() {
        let cover = Some("Title\n\nText.\n");
        assert_eq!(told(15, cover, "net-next"), [""; 0]);
        assert_eq!(told(2, None, "net-next"), [""; 0]);
        assert_eq!(told(3, None, "net-next"), ["3 patches, no cover letter"]);
        assert_eq!(told(16, cover, "net-next"), ["16 patches: 15 are allowed at a time"]);
        assert_eq!(told(3, cover, "").len(), 1);
        assert_eq!(told(3, Some("Title\n\nEDITME\n"), "net").len(), 1);
        assert_eq!(told(3, Some("Title\n"), "net").len(), 1);
    }

    #[test]
    fn the_lines_of_a_cover_letter_are_as_long_as_those_of_a_message() {
        let with = |line: &str| told(3, Some(&format!("Title\n\n{line}\n")), "net");
        let words = "word ".repeat(15);
        assert_eq!(with(words.trim_end()), [""; 0]);
        assert_eq!(
            with(&format!("{words}ends")),
            ["line 3 of the cover letter: 79 columns, 75 are enough"]
        );
        assert_eq!(with(&format!(" {words}is quoted")), [""; 0]);
        assert_eq!(with(&format!("[1] https://example.org/{}", "a".repeat(60))), [""; 0]);
    }

    #[test]
    fn two_patches_with_one_subject_are_named() {
        let mut subject = subject(&[], &[("a: b\n", &[]), ("a: b\n", &[])]);
        subject.tree = Some("net".into());
        assert_eq!(found(&SeriesFormat, &subject, 1), ["patches 1 and 2 have one subject"]);
    }
}
