// SPDX-License-Identifier: GPL-2.0

//! What reviewers of Rust ask for, and no tool of the tree looks for.
//!
//! These checks read lines, not Rust: they know where a comment, an attribute and a statement end
//! as rustfmt writes them.

pub mod imports;
pub mod users;

use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

use super::findings::news;
use super::message::regex;
use super::{At, Check, FileChange, Finding, Outcome};

/// A reason for each `unsafe`.
pub struct Safety;

/// What the caller of an unsafe function must know.
pub struct SafetyDocs;

/// C wrappers are marked.
pub struct Helpers;

/// A function that only calls another one is inlined.
pub struct Inline;

/// What was for the author's own eyes.
pub struct Leftovers;

/// Fewer words are no reason.
const WORDS: usize = 4;

static UNSAFE: LazyLock<Regex> = LazyLock::new(|| regex(r"\bunsafe\s*(?:\{|impl\b)"));
static UNSAFE_ITEM: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"^\s*pub(?:\([^)]*\))?\s+(?:const\s+)?(?:async\s+)?unsafe\s+(?:extern\s+"C"\s+)?(?:fn|trait)\s+(\w+)"#,
    )
});
static HELPER: LazyLock<Regex> = LazyLock::new(|| regex(r"\brust_helper_\w+\s*\("));
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^(\s*)pub(?:\([^)]*\))?\s+(?:const\s+)?(?:unsafe\s+)?fn\s+(\w+)(<[^(]*>)?\s*\(")
});
static ALLOW: LazyLock<Regex> = LazyLock::new(|| regex(r"#!?\[(?:cfg_attr\(.*,\s*)?allow\("));

/// Judges what a patch brings in its files of Rust for the kernel. Tools have rules of their own.
fn judged(at: &At<'_>, judge: impl Fn(&str) -> Vec<Finding>) -> Outcome {
    let kernel =
        |change: &&FileChange| change.extension() == "rs" && !change.path.starts_with("tools/");
    let files = at.patch().changes.iter().filter(kernel);
    let files: Vec<_> = files.filter(|change| change.after.is_some()).collect();
    if files.is_empty() {
        return Outcome::Nothing;
    }
    Outcome::Judged(files.into_iter().flat_map(|change| news(change, &judge)).collect())
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The code of a line, without its comment and what stands between quotes.
fn code(line: &str) -> String {
    if is_comment(line) {
        return String::new();
    }
    let mut out = String::new();
    let mut inside = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if inside => {
                letters.next();
            }
            // Not the quote of a character.
            '"' if !out.ends_with('\'') => inside = !inside,
            '/' if !inside && letters.peek() == Some(&'/') => break,
            _ if inside => {}
            _ => out.push(letter),
        }
    }
    out
}

/// Whether a line ends what comes before the next one.
fn ends(line: &str) -> bool {
    let code = code(line);
    let code = code.trim_end();
    code.is_empty() || code.ends_with([';', '{', '}', ','])
}

/// The comments directly above a line, and above the start of its statement, without attributes.
fn comments_above<'a>(lines: &[&'a str], index: usize) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in lines[..index].iter().rev() {
        let text = line.trim();
        if is_comment(text) {
            found.push(text);
        } else if !found.is_empty() {
            break;
        } else if text.starts_with("#[") || text.starts_with("#![") {
            continue;
        } else if text.is_empty() || ends(text) {
            break;
        }
    }
    found.reverse();
    found
}

/// What a comment says behind `SAFETY:`; comments of other kinds may come before it.
fn reason(comments: &[&str]) -> Option<String> {
    let start = comments.iter().rposition(|line| line.starts_with("// SAFETY:"))?;
    let words = comments[start..].iter().map(|line| line.trim_start_matches('/').trim());
    let text = words.collect::<Vec<_>>().join(" ");
    Some(text.trim_start_matches("SAFETY:").trim().to_owned())
}

impl Check for Safety {
    fn name(&self) -> &'static str {
        "rust_safety"
    }

    fn about(&self) -> &'static str {
        "`// SAFETY:` with a reason before each `unsafe` block and `unsafe impl`"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        Ok(judged(at, |text| {
            let lines: Vec<&str> = text.lines().collect();
            let mut found = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                if !UNSAFE.is_match(&code(line)) {
                    continue;
                }
                let finding = match reason(&comments_above(&lines, index)) {
                    None => Finding::fail("unsafe without a `// SAFETY:` comment above it"),
                    Some(reason) if reason.split_whitespace().count() < WORDS => {
                        Finding::warning(format!("\"SAFETY: {reason}\" says what, and not why"))
                    }
                    Some(_) => continue,
                };
                found.push(finding.at(index + 1));
            }
            found
        }))
    }
}

impl Check for SafetyDocs {
    fn name(&self) -> &'static str {
        "rust_safety_docs"
    }

    fn about(&self) -> &'static str {
        "a section `# Safety` in the documentation of each public unsafe function"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        Ok(judged(at, |text| {
            let lines: Vec<&str> = text.lines().collect();
            let mut found = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                let Some(item) = UNSAFE_ITEM.captures(line) else { continue };
                let docs = comments_above(&lines, index);
                if !docs.iter().any(|line| line.trim_end() == "/// # Safety") {
                    let text = format!("{} is unsafe: document `# Safety`", &item[1]);
                    found.push(Finding::fail(text).at(index + 1));
                }
            }
            found
        }))
    }
}

impl Check for Helpers {
    fn name(&self) -> &'static str {
        "rust_helpers"
    }

    fn about(&self) -> &'static str {
        "each C helper for Rust is marked `__rust_helper`"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let helpers = |path: &str| path.starts_with("rust/helpers/") && path.ends_with(".c");
        let files: Vec<_> =
            at.patch().changes.iter().filter(|change| helpers(&change.path)).collect();
        if files.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let judge = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let mut found = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                // Its type may stand on the line above.
                let above = index.checked_sub(1).map_or("", |above| lines[above]);
                let start = !line.starts_with(['\t', ' ', '*', '/']);
                let above = if above.ends_with([';', '}', '/']) { "" } else { above };
                let marked = line.contains("__rust_helper") || above.contains("__rust_helper");
                if start && HELPER.is_match(line) && !marked {
                    found.push(Finding::fail("a helper without `__rust_helper`").at(index + 1));
                }
            }
            found
        };
        Ok(Outcome::Judged(files.into_iter().flat_map(|change| news(change, judge)).collect()))
    }
}

impl Check for Inline {
    fn name(&self) -> &'static str {
        "rust_inline"
    }

    fn about(&self) -> &'static str {
        "`#[inline]` on abstractions that only call something else"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        // Elsewhere nobody calls from another crate.
        if !at.patch().changes.iter().any(|change| change.path.starts_with("rust/kernel/")) {
            return Ok(Outcome::Nothing);
        }
        let Outcome::Judged(found) = judged(at, forwarding) else { return Ok(Outcome::Nothing) };
        let kernel = |finding: &Finding| {
            finding.path.as_ref().is_some_and(|path| path.starts_with("rust/kernel/"))
        };
        Ok(Outcome::Judged(found.into_iter().filter(kernel).collect()))
    }
}

/// Public functions of one call without `#[inline]`. Generic ones are instantiated where they are
/// used, so they need none.
fn forwarding(text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(function) = FUNCTION.captures(line) else { continue };
        let generic = function.get(3).is_some_and(|list| {
            let mut names = list.as_str().trim_matches(['<', '>']).split(',');
            names.any(|name| !name.trim().starts_with('\''))
        });
        if generic || is_inline(&lines, index) {
            continue;
        }
        let end = format!("{}}}", &function[1]);
        let Some(open) = lines[index..].iter().position(|line| line.trim_end().ends_with('{'))
        else {
            continue;
        };
        let body = lines[index + open + 1..].iter().take_while(|line| **line != end);
        let body: Vec<&str> = body.copied().filter(|line| !is_comment(line)).collect();
        let signature = lines[index..=index + open].concat();
        if let [only] = body[..]
            && is_call(only)
            && !signature.contains(';')
            && !signature.contains("impl ")
        {
            let text = format!("{} only calls something else: `#[inline]`", &function[2]);
            found.push(Finding::warning(text).at(index + 1));
        }
    }
    found
}

/// Whether an attribute above says how to inline.
fn is_inline(lines: &[&str], index: usize) -> bool {
    let above = lines[..index].iter().rev();
    let mut above = above.take_while(|line| {
        let line = line.trim_start();
        line.starts_with("#[") || line.starts_with("//")
    });
    above.any(|line| line.trim_start().starts_with("#[inline"))
}

/// Whether a line is a call and nothing else.
fn is_call(line: &str) -> bool {
    let code = code(line);
    let words = ["if ", "match ", "for ", "while ", "loop ", "?", "=", "&&", "||", ";\n"];
    code.contains('(') && !words.iter().any(|word| code.contains(word))
}

impl Check for Leftovers {
    fn name(&self) -> &'static str {
        "leftovers"
    }

    fn about(&self) -> &'static str {
        "no `TODO`, `FIXME`, `dbg!`; `expect` rather than `allow`"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let judge = |text: &str| {
            let mut found = Vec::new();
            for (index, line) in text.lines().enumerate() {
                let mut words = super::words(line);
                if words.any(|word| matches!(word, "TODO" | "FIXME" | "EDITME" | "XXX")) {
                    found.push(Finding::warning("something is still to be done").at(index + 1));
                }
                let code = code(line);
                let macros = ["dbg!(", "todo!(", "unimplemented!("];
                if let Some(name) = macros.iter().find(|name| code.contains(**name)) {
                    found.push(Finding::fail(format!("{name}...)")).at(index + 1));
                }
                if ALLOW.is_match(line) && !is_comment(line) {
                    let text = "allow: `expect` says when it is needed no more";
                    found.push(Finding::warning(text).at(index + 1));
                }
            }
            found
        };
        let sources = ["rs", "c", "h", "S", "sh", "py", "rst", "yaml"];
        let files = at.patch().changes.iter();
        let files: Vec<_> = files.filter(|change| sources.contains(&change.extension())).collect();
        if files.is_empty() {
            return Ok(Outcome::Nothing);
        }
        Ok(Outcome::Judged(files.into_iter().flat_map(|change| news(change, judge)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    fn told(check: &dyn Check, text: &str) -> Vec<String> {
        let path = "rust/kernel/a.rs";
        let told = found(check, &subject(&[], &[("a: b\n", &[(path, text)])]), 1);
        told.into_iter().map(|text| text.replace("rust/kernel/a.rs:", "")).collect()
    }

    #[test]
    fn each_unsafe_block_has_a_reason_above_it() {
        for good in [
            "// SAFETY: The caller promises that it lives.\nunsafe { a() };\n",
            "// SAFETY: The caller promises\n// it lives.\n#[inline]\nlet a =\n    unsafe { b() };\n",
            "// INVARIANT: x.\n// SAFETY: The caller promises it lives.\nlet a = unsafe { b() };\n",
            "/// unsafe { a() }\nfn b() {}\n",
            "let a = \"unsafe { b }\";\n",
            "pub unsafe fn a() {}\n",
            "// SAFETY: All of it is plain data.\nunsafe impl Send for A {}\n",
        ] {
            assert_eq!(told(&Safety, good), [""; 0], "{good}");
        }
        let missing = "unsafe without a `// SAFETY:` comment above it";
        for (bad, line) in [
            ("unsafe { a() };\n", 1),
            ("// Safe enough, believe me.\nunsafe { a() };\n", 2),
            ("// SAFETY: The caller promises it.\nunsafe { a() };\nunsafe { b() };\n", 3),
            ("// SAFETY: The caller promises it.\n\nunsafe { b() };\n", 3),
            ("unsafe impl Send for A {}\n", 1),
        ] {
            assert_eq!(told(&Safety, bad), [format!("{line}: {missing}")], "{bad}");
        }
        let short = told(&Safety, "// SAFETY: FFI call.\nunsafe { a() };\n");
        assert_eq!(short, ["2: \"SAFETY: FFI call.\" says what, and not why"]);
    }

    #[test]
    fn tools_have_rules_of_their_own() {
        let tool: &[(&str, &str)] = &[("tools/a.rs", "unsafe { a() };\n")];
        let subject = subject(&[], &[("a: b\n", tool)]);
        assert_eq!(Safety.run(&At::new(&subject, 0)).unwrap(), Outcome::Nothing);
    }

    #[test]
    fn a_reason_that_is_taken_away_is_missed() {
        let with = "// SAFETY: The caller promises it.\nunsafe { a() };\n";
        let path = "rust/kernel/a.rs";
        let without = &[(path, "unsafe { a() };\n")];
        let taken = subject(&[(path, with)], &[("a: b\n", without)]);
        assert_eq!(found(&Safety, &taken, 1).len(), 1);
        let before = subject(
            &[(path, "unsafe { a() };\n")],
            &[("a: b\n", &[(path, "x;\nunsafe { a() };\n")])],
        );
        assert_eq!(found(&Safety, &before, 1), [""; 0]);
    }

    #[test]
    fn an_unsafe_function_that_others_call_documents_its_conditions() {
        let good = "/// Does it.\n///\n/// # Safety\n///\n/// It must live.\n#[inline]\npub unsafe fn a() {}\n";
        assert_eq!(told(&SafetyDocs, good), [""; 0]);
        assert_eq!(told(&SafetyDocs, "unsafe fn a() {}\n"), [""; 0]);
        let bad = good.replace("/// # Safety\n", "/// SAFETY: it must live.\n");
        assert_eq!(told(&SafetyDocs, &bad), ["7: a is unsafe: document `# Safety`"]);
        assert_eq!(told(&SafetyDocs, "pub unsafe trait A {}\n").len(), 1);
    }

    #[test]
    fn helpers_in_c_are_marked() {
        let told = |text: &str| {
            found(&Helpers, &subject(&[], &[("a: b\n", &[("rust/helpers/net.c", text)])]), 1)
        };
        assert_eq!(told("__rust_helper void rust_helper_a(void)\n{\n\ta();\n}\n"), [""; 0]);
        assert_eq!(told("__rust_helper struct a *\nrust_helper_a(void)\n{\n}\n"), [""; 0]);
        assert_eq!(told("void rust_helper_a(void)\n{\n}\n").len(), 1);
        let second = "__rust_helper void rust_helper_a(void) {}\nvoid rust_helper_b(void)\n{\n}\n";
        assert_eq!(told(second).len(), 1);
    }

    #[test]
    fn a_function_that_only_forwards_is_inline() {
        let bare = "impl A {\n    pub fn a(&self) -> u32 {\n        // SAFETY: x.\n        unsafe { bindings::a(self.0) }\n    }\n}\n";
        assert_eq!(told(&Inline, bare), ["2: a only calls something else: `#[inline]`"]);
        for good in [
            bare.replace("    pub fn", "    #[inline]\n    pub fn"),
            bare.replace("a(&self)", "a<T>(&self)"),
            bare.replace("unsafe {", "b();\n        unsafe {"),
            bare.replace("unsafe { bindings::a(self.0) }", "if self.b() { 1 } else { 2 }"),
            bare.replace("unsafe { bindings::a(self.0) }", "self.0"),
            bare.replace("pub fn", "fn"),
        ] {
            assert_eq!(told(&Inline, &good), [""; 0], "{good}");
        }
        let leaf = subject(&[], &[("a: b\n", &[("net/a/a.rs", bare)])]);
        assert_eq!(found(&Inline, &leaf, 1), [""; 0]);
    }

    #[test]
    fn what_was_for_the_authors_eyes_is_named() {
        for (bad, what) in [
            ("// TODO: later\n", "still to be done"),
            ("let a = dbg!(b);\n", "dbg!("),
            ("todo!()\n", "todo!("),
            ("#[allow(dead_code)]\n", "`expect`"),
            ("#![allow(dead_code)]\n", "`expect`"),
        ] {
            let told = told(&Leftovers, bad);
            assert!(told.len() == 1 && told[0].contains(what), "{bad}: {told:?}");
        }
        let good = "#[expect(dead_code)]\nlet mastodon = \"dbg!(x)\";\n// all() allow(x)\n";
        assert_eq!(told(&Leftovers, good), [""; 0]);
    }
}
