// SPDX-License-Identifier: GPL-2.0

//! What a person or a project decided beforehand about files and lines.

use glob::{MatchOptions, Pattern};

use crate::weave::Number;

/// Decisions that come before all others.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The patch that brings such a file, or that changes such a file of the base. The first
    /// pattern that fits counts.
    pub files: Vec<(Pattern, Number)>,
    /// Decisions for this time.
    pub put: Vec<Put>,
}

/// What changed in this line of the source goes to that patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub path: String,
    /// From 1 on; none: what is open in the file.
    pub line: Option<usize>,
    pub patch: Number,
}

/// Whether a path fits a pattern: `*` stands for characters of one name, `**` for folders.
pub fn fits(pattern: &Pattern, path: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    pattern.matches_with(path, options)
}

impl Rules {
    /// The rule for a file: its pattern, and the patch.
    pub fn file(&self, path: &str) -> Option<(&Pattern, Number)> {
        let fits = |(pattern, _): &&(Pattern, Number)| fits(pattern, path);
        self.files.iter().find(fits).map(|(pattern, patch)| (pattern, *patch))
    }

    /// The decision for lines of the source, from 1 on. An empty range: lines were taken away in
    /// front of its start.
    pub fn put(&self, path: &str, first: usize, end: usize) -> Option<Number> {
        let fits = |put: &&Put| {
            let line = |line| (first..end.max(first + 1)).contains(&line);
            put.path == path && put.line.is_some_and(line)
        };
        self.put.iter().find(fits).map(|put| put.patch)
    }

    /// The decision for what is open in a file.
    pub fn put_open(&self, path: &str) -> Option<Number> {
        let fits = |put: &&Put| put.path == path && put.line.is_none();
        self.put.iter().find(fits).map(|put| put.patch)
    }
}
