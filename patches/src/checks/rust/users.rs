// SPDX-License-Identifier: GPL-2.0

//! Whether somebody uses what a patch makes public.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

use super::code;
use crate::checks::message::regex;
use crate::checks::{At, Check, Finding, Outcome, Scope, words};

/// Each public item has a user in the series.
///
/// It looks in the code of all files of Rust that the series has, in the state after the patch and in
/// all later ones; comments and examples are no users, and the item's own file is none either. A
/// function of a type is used as `.name` or `Type::name`, one of a module as `name` or `module::name`,
/// everything else by its word. It cannot see of which type a method is: `.len()` has a user in most
/// series. It does not know users in macros that put names together, nor those in the base that get
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
                let sought = Sought::new(kind, name, &lines, number - 1);
                let users = |own: bool| {
                    counted.iter().any(|files| {
                        let mut all =
                            files.iter().filter(|(path, _)| (**path == change.path) == own);
                        all.any(|(_, used)| sought.is_in(used, own))
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

/// How an item is used.
#[derive(Debug, PartialEq, Eq)]
enum Sought<'a> {
    Word(&'a str),
    /// A function of a module.
    Free(&'a str),
    /// A function of this type, which takes a value of it.
    Method(&'a str, &'a str),
    /// A function of this type that takes none.
    Associated(&'a str, &'a str),
}

static IMPL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\s*(?:unsafe\s+)?impl(?:<.*?>)?\s+(?:.*\bfor\s+)?(?:\w+::)*(\w+)"));

impl<'a> Sought<'a> {
    /// The item in this line, by its index.
    fn new(kind: &str, name: &'a str, lines: &[&'a str], index: usize) -> Sought<'a> {
        if kind != "fn" {
            return Sought::Word(name);
        }
        let indent = |line: &str| line.len() - line.trim_start().len();
        let own = indent(lines[index]);
        if own == 0 {
            return Sought::Free(name);
        }
        let above = lines[..index].iter().rev();
        let mut outside = above.filter(|line| !line.trim().is_empty() && indent(line) < own);
        // The head of a block may be cut into lines, the last of which is its brace.
        let head = outside.find(|line| line.trim() != "{" && !line.starts_with("where"));
        let Some(of) = head.and_then(|line| IMPL.captures(line)?.get(1)) else {
            return Sought::Word(name);
        };
        let head: Vec<&str> = lines[index..].iter().take(8).copied().collect();
        let head = head.join(" ");
        let behind = head.split_once(&format!("fn {name}")).map_or("", |(_, rest)| rest);
        let first = behind.split_once('(').map_or("", |(_, rest)| rest);
        let first = first.split([',', ')']).next().unwrap_or_default();
        match words(first).any(|word| word == "self") {
            true => Sought::Method(of.as_str(), name),
            false => Sought::Associated(of.as_str(), name),
        }
    }

    /// Whether a file uses it. In its own file the item itself is no use.
    fn is_in(&self, used: &Used, own: bool) -> bool {
        match self {
            Sought::Word(name) => {
                used.words.get(*name).is_some_and(|count| *count > usize::from(own))
            }
            Sought::Free(name) => {
                let lower = |of: &String| of.chars().next().is_none_or(|c| !c.is_uppercase());
                used.bare.contains(*name)
                    || used.paths.get(*name).is_some_and(|all| all.iter().any(lower))
            }
            Sought::Method(of, name) => {
                used.methods.contains(*name) || used.has_path(of, name, own)
            }
            Sought::Associated(of, name) => used.has_path(of, name, own),
        }
    }
}

/// What the code of a file uses.
#[derive(Debug, Clone, Default)]
struct Used {
    words: BTreeMap<String, usize>,
    /// Words that stand for themselves, where they are not made.
    bare: BTreeSet<String>,
    /// `.name`
    methods: BTreeSet<String>,
    /// `of::name`, by name; an empty word is for what ends with `>`.
    paths: BTreeMap<String, BTreeSet<String>>,
    /// Other names of types: the words of what each stands for.
    aliases: BTreeMap<String, BTreeSet<String>>,
}

static ALIAS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\s*(?:pub(?:\([a-z]+\))?\s+)?type\s+(\w+)[^=]*=\s*(.*)"));
static RENAMED: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\w+)\s+as\s+(\w+)\b"));

impl Used {
    fn read(text: &str) -> Used {
        let mut used = Used::default();
        for line in text.lines() {
            let line = code(line);
            let renamed = line.contains(" as ").then(|| RENAMED.captures_iter(&line));
            for renamed in renamed.into_iter().flatten() {
                used.aliases
                    .entry(renamed[2].to_owned())
                    .or_default()
                    .insert(renamed[1].to_owned());
            }
            // An import alone is no use, and neither is a new name for others.
            let import = line.trim_start();
            if import.starts_with("use ") || import.starts_with("pub use ") {
                continue;
            }
            if line.contains("type ")
                && let Some(alias) = ALIAS.captures(&line)
            {
                let of = words(&alias[2]).map(str::to_owned);
                used.aliases.entry(alias[1].to_owned()).or_default().extend(of);
            }
            used.line(&line);
        }
        used
    }

    fn line(&mut self, line: &str) {
        for word in words(line) {
            *self.words.entry(word.to_owned()).or_default() += 1;
            let at = word.as_ptr() as usize - line.as_ptr() as usize;
            let before = line[..at].trim_end();
            if let Some(of) = before.strip_suffix("::") {
                let of = words(of).last().filter(|of_word| of.ends_with(of_word)).unwrap_or("");
                self.paths.entry(word.to_owned()).or_default().insert(of.to_owned());
            } else if before.ends_with('.') && !before.ends_with("..") {
                self.methods.insert(word.to_owned());
            } else if words(before).last() != Some("fn") || !before.ends_with("fn") {
                self.bare.insert(word.to_owned());
            }
        }
    }

    /// Whether a function of a type is named by its path. `Self` is the type in its own file alone.
    fn has_path(&self, of: &str, name: &str, own: bool) -> bool {
        let alias =
            |other: &String| self.aliases.get(other).is_some_and(|words| words.contains(of));
        let is = |other: &String| {
            // A type in brackets, or a parameter, may be any.
            let any = other.chars().all(char::is_uppercase) && other.len() <= 1;
            other == of || any || (own && other == "Self") || alias(other)
        };
        self.paths.get(name).is_some_and(|all| all.iter().any(is))
    }
}

/// What the code of each file uses, in each state from here on.
fn counts<'a>(at: &At<'a>) -> Vec<BTreeMap<&'a str, Rc<Used>>> {
    let mut states: Vec<BTreeMap<&str, Rc<Used>>> = Vec::new();
    for patch in at.from_here() {
        let mut state = states.last().cloned().unwrap_or_default();
        for (path, blob) in patch.tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
            if state.contains_key(path.as_str()) && patch.change(path).is_none() {
                continue;
            }
            state.insert(path, Rc::new(Used::read(&String::from_utf8_lossy(&blob.content))));
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

    /// What is said of a type with a constructor and a method, and this user.
    fn told_of_type(user: &str) -> Vec<String> {
        let made = "pub struct Thing;\n\nimpl<'a, T: Ops<T>> Thing<'a, T>\nwhere\n    T: X,\n{\n    \
                    pub fn make(a: u32) -> Self {}\n\n    pub(crate) fn len(\n        &self,\n    ) {}\n}\n";
        let found = found(
            &Users,
            &subject(&[], &[("a: b\n", &[(PATH, made)]), ("a: c\n", &[("net/a/b.rs", user)])]),
            1,
        );
        found.iter().filter_map(|it| it.split(" uses ").nth(1).map(str::to_owned)).collect()
    }

    #[test]
    fn a_function_of_a_type_is_used_by_its_type() {
        assert_eq!(told_of_type("let a: Thing = Thing::make(1);\na.len();\n"), [""; 0]);
        assert_eq!(told_of_type("let a: Thing = Other::make(1).len();\n"), ["fn make"]);
        assert_eq!(told_of_type("Thing::<'_, T>::make(1);\nThing::len(&a);\n"), [""; 0]);
        assert_eq!(told_of_type("type B<T> = a::Thing<'static, T>;\nB::make(1).len();\n"), [""; 0]);
        let others = "let (len, make) = (Thing, a.make());\nb::len(len);\n";
        assert_eq!(told_of_type(others), ["fn make", "fn len"]);
    }

    #[test]
    fn a_function_of_a_module_is_not_used_by_a_method_of_its_name() {
        let none = [format!("{PATH}:2: nothing in the series uses fn do_it")];
        assert_eq!(told(&[("net/a/b.rs", "x.do_it();\n")]), none);
        assert_eq!(told(&[("net/a/b.rs", "Other::do_it();\n")]), none);
        assert_eq!(told(&[("net/a/b.rs", "impl A {\n    fn do_it() {}\n}\n")]), none);
        assert_eq!(told(&[("net/a/b.rs", "iter.map(do_it)\n")]), [""; 0]);
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
