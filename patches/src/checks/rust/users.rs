// SPDX-License-Identifier: GPL-2.0

//! Whether somebody uses what a patch makes public.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

use super::code;
use crate::checks::message::regex;
use crate::checks::{At, Check, Finding, Outcome, Scope, words};

/// Each public item has a user in the series.
///
/// It looks for the word in the code of all files of Rust that the series has, in the state after
/// the patch and in all later ones; comments and examples are no users, and the item's own file is
/// none either. It cannot see that the word is the name of something else: `new` always has a
/// user. It does not know users in macros that put names together, nor those in the base that get
/// an item by a glob, and none in another series.
pub struct Users;

static ITEM: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"^\s*pub(?:\(crate\))?\s+(?:const\s+)?(?:async\s+)?(?:unsafe\s+)?(?:extern\s+"C"\s+)?(fn|struct|enum|union|trait|type|const|static)\s+(?:mut\s+)?(\w+)"#,
    )
});
static MACRO: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*macro_rules!\s+(\w+)"));

impl Check for Users {
    fn name(&self) -> &'static str {
        "rust_users"
    }

    fn about(&self) -> &'static str {
        "each public item has a user in the same series"
    }

    fn scope(&self) -> Scope {
        Scope::PatchInSeries
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let patch = at.patch();
        let files = patch.changes.iter().filter(|change| change.extension() == "rs");
        let files: Vec<_> = files.filter(|change| !change.path.starts_with("tools/")).collect();
        if files.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let mut found = Vec::new();
        let counted = counts(at);
        for change in files {
            let lines: Vec<&str> = change.text().unwrap_or_default().lines().collect();
            let gone: Vec<&str> =
                change.removed().filter_map(|line| Some(item(line, "")?.1)).collect();
            for (number, line) in change.added() {
                let above = number.checked_sub(2).map_or("", |above| lines[above].trim());
                let Some((kind, name)) = item(line, above) else { continue };
                // What only changes had its users before.
                if name.starts_with('_') || gone.contains(&name) {
                    continue;
                }
                let users = |own: bool| {
                    counted.iter().any(|files| {
                        files.iter().any(|(path, words)| {
                            (*path == change.path) == own
                                && words.get(name).is_some_and(|count| *count > usize::from(own))
                        })
                    })
                };
                let finding = if users(false) {
                    continue;
                } else if users(true) {
                    // A type may be that of another item's argument.
                    if !matches!(kind, "fn" | "const" | "static" | "macro") {
                        continue;
                    }
                    Finding::warning(format!("only this file uses {kind} {name}: is it public?"))
                } else {
                    Finding::fail(format!("nothing in the series uses {kind} {name}"))
                };
                found.push(finding.of(&change.path).at(number));
            }
        }
        Ok(Outcome::Judged(found))
    }
}

/// The kind and the name of an item that a line makes public.
fn item<'a>(line: &'a str, above: &str) -> Option<(&'a str, &'a str)> {
    if let Some(item) = ITEM.captures(line) {
        return Some((item.get(1)?.as_str(), item.get(2)?.as_str()));
    }
    let name = MACRO.captures(line)?.get(1)?.as_str();
    (above == "#[macro_export]").then_some(("macro", name))
}

/// How often each word is in the code of each file, in each state from here on.
fn counts<'a>(at: &At<'a>) -> Vec<BTreeMap<&'a str, BTreeMap<String, usize>>> {
    let mut states: Vec<BTreeMap<&str, BTreeMap<String, usize>>> = Vec::new();
    for patch in at.from_here() {
        let mut state = states.last().cloned().unwrap_or_default();
        for (path, blob) in patch.tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
            if state.contains_key(path.as_str()) && patch.change(path).is_none() {
                continue;
            }
            let mut count = BTreeMap::new();
            for line in String::from_utf8_lossy(&blob.content).lines() {
                let line = code(line);
                // An import alone is no use, and neither is a new name for others.
                let import = line.trim_start();
                if import.starts_with("use ") || import.starts_with("pub use ") {
                    continue;
                }
                for word in words(&line) {
                    *count.entry(word.to_owned()).or_default() += 1;
                }
            }
            state.insert(path, count);
        }
        states.push(state);
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    const PATH: &str = "rust/kernel/net/a.rs";
    const MADE: &str = "/// Does it.\npub fn do_it() {}\n";

    fn told(later: &[(&str, &str)]) -> Vec<String> {
        let made: &[(&str, &str)] = &[(PATH, MADE)];
        found(&Users, &subject(&[], &[("a: b\n", made), ("a: c\n", later)]), 1)
    }

    #[test]
    fn a_public_function_without_a_user_is_named() {
        let none = [format!("{PATH}:2: nothing in the series uses fn do_it")];
        assert_eq!(told(&[]), none);
        assert_eq!(told(&[("net/a/b.rs", "fn f() {\n    a::do_it();\n}\n")]), [""; 0]);
        assert_eq!(told(&[("net/a/b.rs", "// do_it();\nlet a = \"do_it\";\n")]), none);
        assert_eq!(told(&[("net/a/b.rs", "/// a::do_it();\nfn f() {}\n")]), none);
        assert_eq!(told(&[("net/a/b.rs", "use kernel::net::do_it;\n")]), none);
        assert_eq!(told(&[("net/a/b.c", "do_it();\n")]), none);
    }

    #[test]
    fn a_user_in_the_same_file_does_not_make_it_public() {
        let own = format!("{MADE}fn f() {{\n    do_it();\n}}\n");
        let want = [format!("{PATH}:2: only this file uses fn do_it: is it public?")];
        assert_eq!(told(&[(PATH, &own)]), want);
        let with_type = "pub struct A;\nfn f(a: A) {}\n";
        let types: &[(&str, &str)] = &[(PATH, with_type)];
        assert_eq!(found(&Users, &subject(&[], &[("a: b\n", types)]), 1), [""; 0]);
    }

    #[test]
    fn a_user_that_is_there_before_the_last_patch_counts() {
        let user: &[(&str, &str)] = &[("net/a/b.rs", "do_it();\n")];
        let made: &[(&str, &str)] = &[(PATH, MADE)];
        let gone: &[(&str, &str)] = &[("net/a/b.rs", "")];
        let all = subject(&[], &[("a: b\n", made), ("a: c\n", user), ("a: d\n", gone)]);
        assert_eq!(found(&Users, &all, 1), [""; 0]);
    }

    #[test]
    fn what_was_public_before_is_not_asked_again() {
        let changed: &[(&str, &str)] = &[(PATH, "/// Does it.\npub fn do_it(a: u32) {}\n")];
        let subject = subject(&[(PATH, MADE)], &[("a: b\n", changed)]);
        assert_eq!(found(&Users, &subject, 1), [""; 0]);
    }

    #[test]
    fn all_kinds_of_items_are_seen() {
        for (line, name) in [
            ("pub struct A;", "A"),
            ("    pub const fn a() {}", "a"),
            ("pub(crate) unsafe fn a() {}", "a"),
            ("pub unsafe extern \"C\" fn a() {}", "a"),
            ("pub const A: u32 = 1;", "A"),
            ("pub static mut A: u32 = 1;", "A"),
        ] {
            assert_eq!(item(line, "").map(|item| item.1), Some(name), "{line}");
        }
        assert_eq!(item("macro_rules! a {", "#[macro_export]").map(|item| item.1), Some("a"));
        assert_eq!(item("macro_rules! a {", ""), None);
        assert_eq!(item("pub mod a;", ""), None);
        assert_eq!(item("    pub a: u32,", ""), None);
    }
}
