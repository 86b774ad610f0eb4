// SPDX-License-Identifier: GPL-2.0

//! Unified diffs, written from the weave and read back into it.
//!
//! git would find the shortest way from one state to the next, which may take a brace of another
//! patch's function. The weave knows which lines a patch brings, and what it writes says so.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::diff::Hunk;
use crate::weave::{File, Line, Number};

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// The most of a function's name that git shows behind `@@`.
const NAME: usize = 80;

/// A line of a diff.
#[derive(Clone, Copy)]
struct Shown<'a> {
    sign: u8,
    text: &'a [u8],
}

/// What a patch does to a file, as hunks of a unified diff; empty if nothing.
pub fn hunks(file: &File, by: Number) -> Vec<u8> {
    let lines = shown(file, by);
    let changed = |index: &usize| lines[*index].sign != b' ';
    let mut out = Vec::new();
    let (mut old, mut new, mut at) = (0, 0, 0);
    let mut name: &[u8] = b"";
    while let Some(first) = (at..lines.len()).find(changed) {
        let start = first.saturating_sub(CONTEXT).max(at);
        for line in &lines[at..start] {
            (old, new) = (old + 1, new + 1);
            name = named(line.text).unwrap_or(name);
        }
        let mut last = first;
        while let Some(next) = (last + 1..lines.len().min(last + 2 * CONTEXT + 2)).find(changed) {
            last = next;
        }
        let end = (last + CONTEXT + 1).min(lines.len());
        let hunk = &lines[start..end];
        let removed = hunk.iter().filter(|line| line.sign != b'+').count();
        let added = hunk.iter().filter(|line| line.sign != b'-').count();
        out.extend_from_slice(
            format!("@@ -{} +{} @@", range(old, removed), range(new, added)).as_bytes(),
        );
        if !name.is_empty() {
            out.push(b' ');
            out.extend_from_slice(name);
        }
        out.push(b'\n');
        for Shown { sign, text } in hunk {
            out.push(*sign);
            out.extend_from_slice(text);
            if !text.ends_with(b"\n") {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
        for line in hunk.iter().filter(|line| line.sign != b'+') {
            name = named(line.text).unwrap_or(name);
        }
        (old, new, at) = (old + removed, new + added, end);
    }
    out
}

/// The lines of both states. Where lines are replaced, the old ones come first.
fn shown(file: &File, by: Number) -> Vec<Shown<'_>> {
    let mut lines = Vec::new();
    let mut added: Vec<Shown<'_>> = Vec::new();
    for Line { text, from, until } in file.both(by) {
        if *from == by {
            added.push(Shown { sign: b'+', text });
            continue;
        }
        if *until == Some(by) {
            lines.push(Shown { sign: b'-', text });
            continue;
        }
        lines.append(&mut added);
        lines.push(Shown { sign: b' ', text });
    }
    lines.append(&mut added);
    lines
}

/// `start,length` as a hunk's head has it. An empty range names the line before it.
fn range(before: usize, length: usize) -> String {
    match length {
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{length}", before + 1),
    }
}

/// The start of a function, as git guesses it: a line that begins with a letter.
fn named(text: &[u8]) -> Option<&[u8]> {
    let first = text.first()?;
    let begins = first.is_ascii_alphabetic() || *first == b'_' || *first == b'$';
    let text = text.trim_ascii_end();
    // Not in the middle of a character.
    let whole = |end: &usize| text.get(*end).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (0..=NAME.min(text.len())).rev().find(whole)?;
    begins.then(|| &text[..end])
}

/// The path of `diff --git a/PATH b/PATH`, where a file's section begins.
pub fn section(line: &str) -> Option<&str> {
    let both = line.strip_prefix("diff --git a/")?;
    both.get(..both.len().saturating_sub(" b/".len()) / 2)
}

/// The changes in each file of a mail: lines of the old and of the new state.
pub fn read(mail: &str) -> Result<BTreeMap<String, Vec<Hunk>>> {
    let mut files: BTreeMap<String, Vec<Hunk>> = BTreeMap::new();
    let mut path = None;
    let mut lines = mail.lines();
    while let Some(line) = lines.next() {
        if let Some(begun) = section(line) {
            path = Some(begun.to_owned());
            continue;
        }
        let (Some(path), Some(head)) = (&path, line.strip_prefix("@@ -")) else {
            continue;
        };
        let wrong = || format!("{path}: a hunk begins with {line}");
        let (old, rest) = head.split_once(" +").with_context(wrong)?;
        let (new, _) = rest.split_once(" @@").with_context(wrong)?;
        let (mut old, mut olds) = bounds(old).with_context(wrong)?;
        let (mut new, mut news) = bounds(new).with_context(wrong)?;
        let hunks = files.entry(path.clone()).or_default();
        let mut open: Option<Hunk> = None;
        while olds > 0 || news > 0 {
            let line = lines.next().with_context(|| format!("{path}: a hunk is cut"))?;
            match line.as_bytes().first() {
                Some(b'-') => {
                    let hunk = open.get_or_insert(Hunk { before: old..old, after: new..new });
                    (old, olds) = (old + 1, olds.saturating_sub(1));
                    hunk.before.end = old;
                }
                Some(b'+') => {
                    let hunk = open.get_or_insert(Hunk { before: old..old, after: new..new });
                    (new, news) = (new + 1, news.saturating_sub(1));
                    hunk.after.end = new;
                }
                Some(b'\\') => {}
                _ => {
                    hunks.extend(open.take());
                    (old, olds) = (old + 1, olds.saturating_sub(1));
                    (new, news) = (new + 1, news.saturating_sub(1));
                }
            }
        }
        hunks.extend(open);
    }
    Ok(files)
}

/// What a mail changes: the lines of each file, without those around them and without places.
pub fn changes(mail: &str) -> String {
    let mut text = String::new();
    let mut in_hunk = false;
    for line in mail.lines() {
        if line.starts_with("diff --git ") {
            in_hunk = false;
        }
        in_hunk |= line.starts_with("@@ -");
        let head = ["diff --git ", "new file ", "deleted file ", "old mode ", "new mode "];
        let tells = if in_hunk {
            line.starts_with(['+', '-'])
        } else {
            head.iter().any(|word| line.starts_with(word))
        };
        if tells {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The index of the first line, and the length.
fn bounds(text: &str) -> Option<(usize, usize)> {
    let (start, length) = text.split_once(',').unwrap_or((text, "1"));
    let (start, length): (usize, usize) = (start.parse().ok()?, length.parse().ok()?);
    Some((if length == 0 { start } else { start.checked_sub(1)? }, length))
}
