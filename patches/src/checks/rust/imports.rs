// SPDX-License-Identifier: GPL-2.0

//! Imports as Documentation/rust/coding-guidelines.rst wants them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::judged;
use crate::checks::{At, Check, Finding, Outcome, Scope};

/// One item a line, and none that the prelude has.
pub struct Imports;

const PRELUDE: &str = "rust/kernel/prelude.rs";

/// A name that is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Import {
    /// From 1 on.
    line: usize,
    /// Without the crate, if that is the kernel's.
    path: String,
    /// Whether more than one stands in this line.
    crowded: bool,
}

impl Check for Imports {
    fn name(&self) -> &'static str {
        "rust_imports"
    }

    fn about(&self) -> &'static str {
        "one import a line, and none of what the prelude has"
    }

    fn scope(&self) -> Scope {
        Scope::PatchInSeries
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let prelude = match at.file(PRELUDE)? {
            Some(blob) => exported(&String::from_utf8_lossy(&blob.content)),
            None => BTreeMap::new(),
        };
        Ok(judged(at, |text| {
            let imports = imports(text, "use ");
            let has_prelude = imports.iter().any(|import| import.path.ends_with("prelude::*"));
            let mut found = Vec::new();
            for Import { line, path, crowded } in &imports {
                if *crowded {
                    let text = "several imports in a line: one in each, the last with `//`";
                    found.push(Finding::warning(text).at(*line));
                }
                let name = path.rsplit("::").next().unwrap_or(path);
                if has_prelude && prelude.get(name) == Some(path) {
                    let text = format!("the prelude has {name}");
                    found.push(Finding::warning(text).at(*line));
                }
            }
            found.dedup();
            found
        }))
    }
}

/// What a prelude exports: names, and their paths.
fn exported(text: &str) -> BTreeMap<String, String> {
    let all = imports(text, "pub use ").into_iter();
    all.map(|import| {
        let name = import.path.rsplit("::").next().unwrap_or(&import.path).to_owned();
        (name, import.path)
    })
    .collect()
}

/// Imports that begin with these words, in all scopes.
fn imports(text: &str, words: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start();
        let start = ["", "pub ", "pub(crate) ", "pub(super) "].iter().find_map(|public| {
            if words.starts_with("pub") && !public.is_empty() {
                return None;
            }
            line.strip_prefix(public)?.strip_prefix(words)
        });
        let Some(start) = start else { continue };
        let mut tree = vec![(index + 1, without_comment(start))];
        while !tree.last().is_some_and(|(_, line)| line.contains(';')) {
            let Some((index, line)) = lines.next() else { break };
            tree.push((index + 1, without_comment(line)));
        }
        read(&tree, &mut imports);
    }
    imports
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Reads one import: `a::{b, c::d};`.
fn read(tree: &[(usize, &str)], imports: &mut Vec<Import>) {
    let first = imports.len();
    let mut above: Vec<String> = Vec::new();
    let mut path = String::new();
    let mut end = |path: &mut String, above: &[String], line: usize| {
        let own = path.trim();
        if !own.is_empty() {
            let own = own.split(" as ").next().unwrap_or(own).trim();
            let whole = format!("{}{own}", above.concat());
            imports.push(Import { line, path: plain(&whole), crowded: false });
        }
        path.clear();
    };
    for (line, text) in tree {
        for letter in text.chars() {
            match letter {
                '{' => above.push(std::mem::take(&mut path).trim().to_owned()),
                '}' => {
                    end(&mut path, &above, *line);
                    above.pop();
                }
                ',' | ';' => end(&mut path, &above, *line),
                letter => path.push(letter),
            }
        }
    }
    // A line with two names, or with a whole list.
    let lines: Vec<usize> = imports[first..].iter().map(|import| import.line).collect();
    for import in &mut imports[first..] {
        import.crowded = lines.iter().filter(|line| **line == import.line).count() > 1;
    }
}

/// A path as every crate would write it.
fn plain(path: &str) -> String {
    let path = path.trim_start_matches("::");
    let path =
        ["kernel::", "crate::"].iter().find_map(|start| path.strip_prefix(start)).unwrap_or(path);
    path.trim_end_matches("::self").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    const PRELUDE_TEXT: &str = "#[doc(no_inline)]\npub use core::{\n    mem::{\n        size_of, //\n    },\n    pin::Pin, //\n};\npub use super::error::Error;\npub use crate::error::{\n    Result, //\n};\n";

    fn told(text: &str) -> Vec<String> {
        let path = "net/demo/a.rs";
        let files: &[(&str, &str)] = &[(path, text)];
        let subject = subject(&[(PRELUDE, PRELUDE_TEXT)], &[("a: b\n", files)]);
        let told = found(&Imports, &subject, 1);
        told.into_iter().map(|text| text.replace("net/demo/a.rs:", "")).collect()
    }

    #[test]
    fn imports_are_vertical() {
        let good = "use kernel::{\n    a,\n    b::{\n        c,\n        d, //\n    },\n    e::f, //\n};\nuse a::b;\n";
        assert_eq!(told(good), [""; 0]);
        let several = "several imports in a line: one in each, the last with `//`";
        assert_eq!(told("use kernel::{a, b};\n"), [format!("1: {several}")]);
        let inner = "use kernel::{\n    a::{b, c},\n    d, //\n};\n";
        assert_eq!(told(inner), [format!("2: {several}")]);
        let crowded = "use kernel::{\n    a, b,\n    d, //\n};\n";
        assert_eq!(told(crowded), [format!("2: {several}")]);
    }

    #[test]
    fn what_the_prelude_has_is_not_imported_again() {
        let with = |import: &str| told(&format!("use kernel::prelude::*;\n{import}\n"));
        assert_eq!(with("use core::pin::Pin;"), ["2: the prelude has Pin"]);
        assert_eq!(with("use kernel::error::Result;"), ["2: the prelude has Result"]);
        assert_eq!(with("use core::{\n    mem::size_of, //\n};"), ["3: the prelude has size_of"]);
        assert_eq!(with("use core::fmt::Result;"), [""; 0], "another one");
        assert_eq!(told("use core::pin::Pin;\n"), [""; 0], "without the prelude");
    }
}
