// SPDX-License-Identifier: GPL-2.0

//! A patch as git mails it, with the hunks that the weave knows.

use anyhow::{Context, Result};

use crate::git::Repository;
use crate::unified;
use crate::weave::{Number, Weave};

/// The line between message and statistics.
const CUT: &[u8] = b"\n---\n";

/// A mail of `git format-patch`. Its headers and its message stay, and what it says of files. The
/// hunks become those of the weave, and so do the statistics.
pub fn with_own_hunks(
    repository: &Repository,
    mail: &[u8],
    weave: &Weave,
    number: Number,
) -> Result<Vec<u8>> {
    let Some(start) = position(mail, b"\ndiff --git ") else {
        // It changes nothing.
        return Ok(mail.to_vec());
    };
    let head = &mail[..start + 1];
    let cut = last_position(head, CUT).context("git wrote a mail without ---")?;
    let mut patch = Vec::new();
    for section in sections(&mail[start + 1..]) {
        let first = section.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        let path = unified::section(&first).context("git wrote a strange path")?;
        let own = weave.file(path).map(|file| unified::hunks(file, number)).unwrap_or_default();
        match position(section, b"\n@@ ").filter(|_| !own.is_empty()) {
            Some(end) => {
                patch.extend_from_slice(&section[..end + 1]);
                patch.extend_from_slice(&own);
            }
            None => patch.extend_from_slice(section),
        }
    }
    let mut text = head[..cut + CUT.len()].to_vec();
    for line in repository.statistics(&patch)?.split_inclusive(|byte| *byte == b'\n') {
        // Of a file with few changes among others with many, the bar is only a blank.
        text.extend_from_slice(line.trim_ascii_end());
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(&patch);
    Ok(text)
}

/// The title of a mail, without brackets.
pub fn subject(mail: &str) -> Option<String> {
    let message = mail_parser::MessageParser::default().parse(after_separator(mail).as_bytes())?;
    let subject = message.subject()?;
    let title = subject.split_once("] ").map_or(subject, |(_, title)| title);
    Some(title.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A mail without the line that separates it from others in a mailbox.
fn after_separator(mail: &str) -> &str {
    match mail.split_once('\n') {
        Some((first, rest)) if first.starts_with("From ") => rest,
        _ => mail,
    }
}

/// The parts of a patch, one for each file.
fn sections(patch: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    let mut rest = patch;
    while let Some(next) = position(rest, b"\ndiff --git ") {
        let (section, after) = rest.split_at(next + 1);
        sections.push(section);
        rest = after;
    }
    sections.push(rest);
    sections
}

fn position(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part == word)
}

fn last_position(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).rposition(|part| part == word)
}
