// SPDX-License-Identifier: GPL-2.0

//! The message of a patch: subject, body, trailers.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

use super::subject::{Origin, Patch};
use super::{At, Check, Finding, Outcome};
use crate::git::Repository;

/// The most columns of a subject, and of a line of the body.
const COLUMNS: usize = 75;

/// The first line.
pub struct Title;

/// What explains the patch.
pub struct Body;

/// The lines at the end, and their order.
pub struct Trailers;

/// Who signs off.
pub struct SignedOff;

/// `Fixes:` names a commit.
pub struct Fixes;

/// A regular expression that a test has compiled.
pub(super) fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

static PREFIX: LazyLock<Regex> = LazyLock::new(|| regex(r"^[\w.,/*+-]+(?: [\w.,/*+-]+){0,2}: +"));
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"[A-Za-z_]\w*(?:::\w+)+|\w+\(\)|[a-z0-9]+_\w+|[A-Z]\w*[a-z]\w*[A-Z]\w*")
});
static TRAILER: LazyLock<Regex> = LazyLock::new(|| regex(r"^([A-Z][A-Za-z-]*): \S"));
static FIXES: LazyLock<Regex> = LazyLock::new(|| regex(r#"^Fixes: ([0-9a-f]{12,40}) \("(.+)"\)$"#));

/// Verbs of subjects. Their third person is wrong there; another word with an `s` at its end may
/// be anything.
const VERBS: [&str; 48] = [
    "add",
    "allow",
    "avoid",
    "change",
    "check",
    "clean",
    "convert",
    "correct",
    "create",
    "disable",
    "document",
    "drop",
    "enable",
    "ensure",
    "export",
    "extend",
    "fix",
    "give",
    "handle",
    "implement",
    "improve",
    "introduce",
    "keep",
    "let",
    "make",
    "move",
    "pass",
    "prevent",
    "provide",
    "refactor",
    "refuse",
    "register",
    "remove",
    "rename",
    "replace",
    "report",
    "return",
    "set",
    "show",
    "split",
    "stop",
    "support",
    "switch",
    "teach",
    "test",
    "update",
    "use",
    "wire",
];

/// Words that end like a participle, and are none.
const NO_PARTICIPLES: [&str; 20] = [
    "bed", "bleed", "bring", "embed", "exceed", "feed", "king", "need", "ping", "proceed", "red",
    "ring", "seed", "shed", "speed", "spring", "string", "succeed", "swing", "weed",
];

/// What stands behind the prefixes of a subject.
fn described(subject: &str) -> Option<&str> {
    let first = PREFIX.find(subject)?;
    let mut rest = &subject[first.end()..];
    while let Some(more) = PREFIX.find(rest) {
        rest = &rest[more.end()..];
    }
    Some(rest)
}

/// Why a word does not begin an order.
fn mood(word: &str) -> Option<String> {
    let low = word.to_ascii_lowercase();
    if !low.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let third = VERBS.iter().find(|verb| {
        let rest = low.strip_prefix(**verb);
        rest.is_some_and(|rest| rest == "s" || rest == "es")
    });
    let participle = (low.len() > 4 && (low.ends_with("ing") || low.ends_with("ed")))
        && !NO_PARTICIPLES.contains(&low.as_str());
    match third {
        Some(verb) => Some(format!("say what is to be done: \"{verb}\", not \"{word}\"")),
        None if participle => Some(format!("say what is to be done, without \"{word}\"")),
        None => None,
    }
}

/// A text without what stands in backticks.
fn unquoted(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

impl Check for Title {
    fn name(&self) -> &'static str {
        "subject"
    }

    fn about(&self) -> &'static str {
        "`subsystem: do something`, short, code of Rust in backticks"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let patch = at.patch();
        let subject = patch.subject();
        let mut found = Vec::new();
        let revert = subject.starts_with("Revert \"");
        match described(subject) {
            None if !revert => found.push(Finding::fail("no prefix: write `subsystem: ...`")),
            Some(rest) => {
                let word = rest.split([' ', ',']).next().unwrap_or_default();
                found.extend(mood(word).map(Finding::warning));
            }
            None => {}
        }
        let length = subject.chars().count();
        if length > COLUMNS {
            found.push(Finding::warning(format!("{length} characters, {COLUMNS} are enough")));
        }
        if subject.ends_with('.') {
            found.push(Finding::warning("a period at its end"));
        }
        for name in bare_code(patch) {
            found.push(Finding::warning(format!("{name} is code: write `{name}`")));
        }
        found.iter_mut().for_each(|finding| finding.line = Some(1));
        Ok(Outcome::Judged(found))
    }
}

/// Names of the subject that lines of Rust have which the patch changes, and that stand without
/// backticks. Rust-for-Linux wants them there; nobody wants that in patches of C alone.
fn bare_code(patch: &Patch) -> Vec<String> {
    let rust: Vec<&str> = patch
        .changes
        .iter()
        .filter(|change| change.extension() == "rs")
        .flat_map(|change| change.added().map(|(_, line)| line).chain(change.removed()))
        .collect();
    let subject = unquoted(described(patch.subject()).unwrap_or_default());
    let names: BTreeSet<&str> = CODE.find_iter(&subject).map(|found| found.as_str()).collect();
    let known = |name: &&str| {
        let last = name.rsplit("::").next().unwrap_or(name).trim_end_matches("()");
        rust.iter().any(|line| super::words(line).any(|word| word == last))
    };
    names.into_iter().filter(known).map(str::to_owned).collect()
}

/// The lines of a message with their numbers, from 1 on; what is behind the last blank line, if it
/// has nothing but trailers.
struct Message<'a> {
    body: Vec<(usize, &'a str)>,
    trailers: Vec<(usize, &'a str)>,
}

impl<'a> Message<'a> {
    fn of(patch: &'a Patch) -> Message<'a> {
        let mut lines: Vec<_> =
            patch.message.lines().enumerate().skip(1).map(|(n, line)| (n + 1, line)).collect();
        while lines.last().is_some_and(|(_, line)| line.is_empty()) {
            lines.pop();
        }
        let start = lines.iter().rposition(|(_, line)| line.is_empty()).map_or(0, |at| at + 1);
        let trailer = |line: &str| {
            TRAILER.is_match(line) || line.starts_with([' ', '\t']) || line.starts_with('[')
        };
        let all = lines[start..].iter().all(|(_, line)| trailer(line))
            && lines[start..].iter().any(|(_, line)| TRAILER.is_match(line));
        let trailers = if all { lines.split_off(start) } else { Vec::new() };
        Message { body: lines, trailers }
    }

    /// Names and values.
    fn named(&self) -> impl Iterator<Item = (usize, &'a str, &'a str)> {
        self.trailers.iter().filter_map(|(number, line)| {
            let (name, value) = line.split_once(": ")?;
            Some((*number, name, value.trim()))
        })
    }
}

/// What to say of a line that is longer than it should be. Links and quoted output may be.
pub(super) fn too_wide(line: &str) -> Option<String> {
    let columns = line.chars().count();
    let quoted = line.starts_with([' ', '\t', '>', '|', '#', '$']);
    let link = line.contains("://") || !line.trim().contains(' ');
    let wide = columns > COLUMNS && !quoted && !link;
    wide.then(|| format!("{columns} columns, {COLUMNS} are enough"))
}

impl Check for Body {
    fn name(&self) -> &'static str {
        "body"
    }

    fn about(&self) -> &'static str {
        "says why, in lines of at most 75 columns; links and quoted output may be longer"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let message = Message::of(at.patch());
        let mut found = Vec::new();
        let words = message.body.iter().filter(|(_, line)| !line.trim().is_empty()).count();
        if words == 0 {
            found.push(Finding::fail("no body: say why the patch is needed"));
        }
        if message.body.first().is_some_and(|(_, line)| !line.is_empty()) {
            found.push(Finding::fail("no blank line below the subject").at(2));
        }
        for (number, line) in &message.body {
            if let Some(text) = too_wide(line) {
                found.push(Finding::warning(text).at(*number));
            }
            if ["TODO", "FIXME", "EDITME"].iter().any(|word| line.contains(word)) {
                found.push(Finding::fail(format!("unfinished: {line}")).at(*number));
            }
        }
        Ok(Outcome::Judged(found))
    }
}

/// The order that Documentation/process/maintainer-tip.rst gives, as far as it is one of kinds:
/// what caused the patch comes before who worked on it and who looked at it. Signatures, reviews
/// and copies follow in the order of time.
const CAUSES: [&[&str]; 3] =
    [&["Fixes"], &["Reported-by", "Closes", "Link"], &["Suggested-by", "Originally-by"]];

fn rank(name: &str) -> usize {
    CAUSES.iter().position(|kind| kind.contains(&name)).unwrap_or(CAUSES.len())
}

impl Check for Trailers {
    fn name(&self) -> &'static str {
        "trailers"
    }

    fn about(&self) -> &'static str {
        "in the kernel's order, each once, `Co-developed-by` followed by its `Signed-off-by`"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let message = Message::of(at.patch());
        let named: Vec<_> = message.named().collect();
        let mut found = Vec::new();
        let mut latest: Option<(usize, &str)> = None;
        for (index, (number, name, value)) in named.iter().enumerate() {
            let own = rank(name);
            match latest {
                // A link may also tell where a patch was discussed, behind all.
                Some((before, other)) if own < before && *name != "Link" => {
                    found.push(Finding::warning(format!("{name} comes before {other}")).at(*number))
                }
                Some((before, _)) if own < before => {}
                _ => latest = Some((own, name)),
            }
            if named[..index].iter().any(|(_, other, same)| other == name && same == value) {
                found.push(Finding::warning(format!("{name}: {value} is there twice")).at(*number));
            }
            let next = named.get(index + 1);
            let signs = next.is_some_and(|(_, name, who)| *name == "Signed-off-by" && who == value);
            if *name == "Co-developed-by" && !signs && at.subject.origin != Origin::Stack {
                let text = format!("no Signed-off-by of {value} directly below");
                found.push(Finding::fail(text).at(*number));
            }
            let answers = next.is_some_and(|(_, name, _)| matches!(*name, "Closes" | "Link"));
            if *name == "Reported-by" && !answers {
                let text = "no Closes: or Link: with the report directly below";
                found.push(Finding::warning(text).at(*number));
            }
            if *name == "Assisted-by" && at.subject.assisted_by.is_some() {
                let text = "series.toml says so, too: it would be in the mail twice";
                found.push(Finding::warning(text).at(*number));
            }
        }
        // A trailer in the middle of the text is none for git.
        for (number, line) in &message.body {
            if line.starts_with("Signed-off-by: ") || line.starts_with("Fixes: ") {
                let text = "not in the last paragraph, where git looks for trailers";
                found.push(Finding::warning(text).at(*number));
            }
        }
        Ok(if found.is_empty() && named.is_empty() {
            Outcome::Nothing
        } else {
            Outcome::Judged(found)
        })
    }
}

/// Addresses and names of programs: they cannot certify anything.
const PROGRAMS: [&str; 7] =
    ["[bot]", "claude", "copilot", "chatgpt", "gemini", "noreply@anthropic", "noreply@openai"];

impl Check for SignedOff {
    fn name(&self) -> &'static str {
        "verify_signedoff"
    }

    fn about(&self) -> &'static str {
        "the author signs off, a program never; in a stored patch nobody has yet"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let patch = at.patch();
        let message = Message::of(patch);
        let signed: Vec<_> =
            message.named().filter(|(_, name, _)| *name == "Signed-off-by").collect();
        let mut found = Vec::new();
        for (number, _, who) in &signed {
            let low = who.to_lowercase();
            if PROGRAMS.iter().any(|program| low.contains(program)) {
                let text = format!("{who} is a program, which cannot certify anything");
                found.push(Finding::fail(text).at(*number));
            } else if at.subject.origin == Origin::Stack {
                let text = "stored: whoever exports the series adds it";
                found.push(Finding::fail(text).at(*number));
            }
        }
        let author = format!("<{}>", patch.author.mail).to_lowercase();
        let own = signed.iter().any(|(_, _, who)| who.to_lowercase().contains(&author));
        if at.subject.origin != Origin::Stack && !own {
            let text = format!("the author, {} {author}, has not signed off", patch.author.name);
            found.push(Finding::fail(text));
        }
        Ok(Outcome::Judged(found))
    }
}

impl Check for Fixes {
    fn name(&self) -> &'static str {
        "verify_fixes"
    }

    fn about(&self) -> &'static str {
        "`Fixes: 12 or more digits (\"subject\")`, of a commit that is there"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let message = Message::of(at.patch());
        let fixes = |line: &&(usize, &str)| line.1.starts_with("Fixes:");
        let lines: Vec<_> =
            message.body.iter().chain(&message.trailers).filter(fixes).copied().collect();
        if lines.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let mut found = Vec::new();
        for (number, line) in lines {
            let Some(parts) = FIXES.captures(line) else {
                let text = r#"write Fixes: 0123456789ab ("subject of that commit")"#;
                found.push(Finding::fail(text).at(number));
                continue;
            };
            let Some(folder) = &at.subject.history else { continue };
            let (commit, title) = (&parts[1], &parts[2]);
            let said = Repository::at(folder).read(&["log", "-1", "--format=%s", commit, "--"]);
            match said {
                Err(_) => {
                    found.push(Finding::fail(format!("there is no commit {commit}")).at(number));
                }
                Ok(real) if real != title => {
                    let text = format!("{commit} is \"{real}\"");
                    found.push(Finding::fail(text).at(number));
                }
                Ok(_) => {}
            }
        }
        Ok(Outcome::Judged(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    fn of(check: &dyn Check, message: &str) -> Vec<String> {
        found(check, &subject(&[], &[(message, &[])]), 1)
    }

    fn from_others(check: &dyn Check, message: &str) -> Vec<String> {
        let mut subject = subject(&[], &[(message, &[])]);
        subject.origin = Origin::Mailbox;
        found(check, &subject, 1)
    }

    #[test]
    fn a_subject_orders_something_of_a_subsystem() {
        for good in [
            "net: demo: add the driver",
            "rust: net: embed a string",
            "selftests: net: use less",
            "Documentation: net: tell more",
            "Revert \"net: demo: added it\"",
            "dt-bindings: net: foo,bar: pass through",
        ] {
            assert_eq!(of(&Title, good), [""; 0], "{good}");
        }
        let long = format!("net: add {}", "x".repeat(67));
        for (bad, what) in [
            ("add the driver", "no prefix"),
            ("net: adds the driver", "\"add\", not \"adds\""),
            ("net: fixes it", "\"fix\", not"),
            ("net: demo: Added the driver", "without \"Added\""),
            ("net: fixing the driver", "without \"fixing\""),
            ("net: add the driver.", "a period"),
            (&long, "76 characters"),
        ] {
            let told = of(&Title, bad);
            assert!(told.len() == 1 && told[0].contains(what), "{bad}: {told:?}");
        }
    }

    #[test]
    fn code_of_rust_in_a_subject_stands_in_backticks() {
        let files: &[(&str, &str)] =
            &[("rust/kernel/a.rs", "pub struct NetNs;\nfn in_use() {}\n// MacVlan\n")];
        let told = |title: &str| found(&Title, &subject(&[], &[(title, files)]), 1);
        assert_eq!(told("rust: net: add NetNs"), ["message, line 1: NetNs is code: write `NetNs`"]);
        assert_eq!(told("rust: net: add `NetNs`"), [""; 0]);
        assert_eq!(told("rust: net: call in_use()").len(), 1);
        assert_eq!(told("rust: net: like call_other()"), [""; 0], "no code of the patch");
        let c: &[(&str, &str)] = &[("net/a.c", "in_use();\n")];
        assert_eq!(found(&Title, &subject(&[], &[("net: a: call in_use()", c)]), 1), [""; 0]);
    }

    #[test]
    fn a_body_says_why_in_short_lines() {
        let line = "word ".repeat(16);
        let line = line.trim_end();
        let with = |body: &str| of(&Body, &format!("net: a: b\n\n{body}\n"));
        for good in [
            "It is needed.",
            &format!("See:\n\n    {line}"),
            &format!("> {line}"),
            &format!("{line} https://example.org/"),
            &"x".repeat(99),
        ] {
            assert_eq!(with(good), [""; 0], "{good}");
        }
        assert_eq!(with(line), ["message, line 3: 79 columns, 75 are enough"]);
        assert_eq!(with("EDITME: why").len(), 1);
        let none = "no body: say why the patch is needed";
        assert_eq!(of(&Body, "net: a: b\n"), [none]);
        assert_eq!(of(&Body, "net: a: b\n\nSigned-off-by: A <a@b>\n"), [none]);
        assert_eq!(of(&Body, "net: a: b\nmore\n").len(), 1);
    }

    #[test]
    fn trailers_follow_the_kernels_order() {
        let with =
            |trailers: &str| from_others(&Trailers, &format!("a: b\n\nWhy.\n\n{trailers}\n"));
        let good = "Fixes: 0123456789ab (\"a: c\")\nReported-by: R <r@x>\nCloses: https://x/1\n\
                    Suggested-by: S <s@x>\nCo-developed-by: C <c@x>\nSigned-off-by: C <c@x>\n\
                    Signed-off-by: J <j@x>\nReviewed-by: V <v@x>\nLink: https://x/2";
        assert_eq!(with(good), [""; 0]);
        for (bad, what) in [
            ("Signed-off-by: J <j@x>\nFixes: 0123456789ab (\"a\")", "Fixes comes before"),
            ("Reported-by: R <r@x>\nSigned-off-by: J <j@x>", "no Closes: or Link:"),
            ("Co-developed-by: C <c@x>\nSigned-off-by: J <j@x>", "no Signed-off-by of C"),
            ("Acked-by: C <c@x>\nAcked-by: C <c@x>", "twice"),
            ("Signed-off-by: J <j@x>\n\nCc: K <k@x>", "not in the last paragraph"),
        ] {
            let told = with(bad);
            assert!(told.len() == 1 && told[0].contains(what), "{bad}: {told:?}");
        }
    }

    #[test]
    fn what_the_export_adds_is_not_stored() {
        let message = "a: b\n\nWhy.\n\nAssisted-by: X\n";
        assert_eq!(of(&Trailers, message), [""; 0]);
        let mut subject = subject(&[], &[(message, &[])]);
        subject.assisted_by = Some("X".into());
        assert_eq!(found(&Trailers, &subject, 1).len(), 1);
        let signed = "a: b\n\nWhy.\n\nSigned-off-by: Jane Doe <jane@example.org>\n";
        let stored = ["message, line 5: stored: whoever exports the series adds it"];
        assert_eq!(of(&SignedOff, signed), stored);
        assert_eq!(of(&SignedOff, "a: b\n\nWhy.\n"), [""; 0]);
    }

    #[test]
    fn a_patch_of_others_is_signed_by_its_author_and_by_no_program() {
        let with = |who: &str| from_others(&SignedOff, &format!("a: b\n\nWhy.\n\n{who}\n"));
        assert_eq!(with("Signed-off-by: Jane D. <Jane@example.org>"), [""; 0]);
        assert!(with("Signed-off-by: Other <o@x>")[0].contains("has not signed off"));
        let both = "Signed-off-by: Jane <jane@example.org>\nSigned-off-by: a[bot] <b@x>";
        assert!(with(both)[0].contains("is a program"));
    }

    #[test]
    fn fixes_names_a_commit_with_its_subject() {
        let with = |line: &str| of(&Fixes, &format!("a: b\n\nWhy.\n\n{line}\n"));
        assert_eq!(with("Fixes: 0123456789ab (\"net: a: \"b\"\")"), [""; 0]);
        assert_eq!(with("Fixes: 0123456 (\"net: a: b\")").len(), 1);
        assert_eq!(with("Fixes: 0123456789ab net: a: b").len(), 1);
        let none = subject(&[], &[("a: b\n\nWhy.\n", &[])]);
        assert_eq!(Fixes.run(&At::new(&none, 0)).unwrap(), Outcome::Nothing);
    }

    #[test]
    fn fixes_is_compared_with_the_tree_that_has_the_commit() {
        let repository = Repository::scratch().unwrap();
        repository.write(&Default::default(), &[]).unwrap();
        let commit = repository.read(&["rev-parse", "stack"]).unwrap();
        let with = |commit: &str, title: &str| {
            let message = format!("a: b\n\nWhy.\n\nFixes: {commit} (\"{title}\")\n");
            let mut subject = subject(&[], &[(&message, &[])]);
            subject.history = Some(repository.folder().to_owned());
            found(&Fixes, &subject, 1)
        };
        assert_eq!(with(&commit[..12], "base"), [""; 0]);
        assert!(with(&commit[..12], "other")[0].ends_with("is \"base\""));
        assert!(with("0123456789ab", "base")[0].contains("there is no commit"));
    }
}
