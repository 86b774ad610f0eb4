// SPDX-License-Identifier: GPL-2.0

//! One line of KTAP.
//!
//! A directive that is not spelled exactly as in the standard gives the worse of the possible
//! results: `ok 1 a # skipped` is not a pass, and `not ok 1 a # skipped` is a failure.

/// The width of a tab: the next level of a KUnit log is indented by one tab or four blanks.
const TAB: usize = 8;

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Whether it is a version that this reader knows.
    Version(bool),
    Subtest,
    Plan(Option<usize>, Option<&'a str>),
    Result(Numbered<'a>),
    BailOut(&'a str),
    Totals(&'a str),
    Diagnostic(&'a str),
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Numbered<'a> {
    pub ok: bool,
    pub number: Option<usize>,
    pub name: &'a str,
    pub directive: Option<Directive>,
    /// The text after the `#`.
    pub data: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directive {
    Skip,
    /// TODO and XFAIL: a known failure.
    Expected,
    /// TIMEOUT and ERROR: a failure, even after `ok`.
    Broken,
}

/// The indentation of a line in columns, and its meaning.
pub(super) fn indented(line: &str) -> (usize, &str) {
    let text = line.trim_start();
    let blank = &line[..line.len() - text.len()];
    let columns =
        blank.chars().fold(0, |at, c| if c == '\t' { (at / TAB + 1) * TAB } else { at + 1 });
    (columns, text.trim_end())
}

/// The meaning of a line without its indentation.
pub(super) fn understand(line: &str) -> Line<'_> {
    if let Some(known) = version(line) {
        return Line::Version(known);
    }
    if line.starts_with("# Subtest: ") {
        return Line::Subtest;
    }
    if let Some(rest) = line.strip_prefix("# Totals: ") {
        return Line::Totals(rest);
    }
    if let Some(rest) = after_bail_out(line) {
        return Line::BailOut(rest.trim());
    }
    if let Some(rest) = line.strip_prefix("1..") {
        let (count, directive) = match rest.split_once('#') {
            Some((count, directive)) => (count, Some(directive.trim())),
            None => (rest, None),
        };
        return Line::Plan(count.trim().parse().ok(), directive);
    }
    if let Some(result) = result(line) {
        return Line::Result(result);
    }
    line.strip_prefix('#').map_or(Line::Other, |rest| Line::Diagnostic(rest.trim()))
}

fn version(line: &str) -> Option<bool> {
    if let Some(number) = line.strip_prefix("KTAP version ") {
        return Some(number.trim() == "1");
    }
    let number = line.strip_prefix("TAP version ")?;
    Some(matches!(number.trim(), "13" | "14"))
}

fn after_bail_out(line: &str) -> Option<&str> {
    const WORD: &str = "bail out!";
    let start = line.get(..WORD.len())?;
    start.eq_ignore_ascii_case(WORD).then(|| &line[WORD.len()..])
}

fn result(line: &str) -> Option<Numbered<'_>> {
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    // "okay" is not "ok". But "not ok" counts even if the rest of the line is wrong.
    let ends = |c: char| if ok { c.is_whitespace() } else { !c.is_alphanumeric() && c != '_' };
    if !rest.is_empty() && !rest.starts_with(ends) {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = rest[..digits].parse().ok();
    let rest = rest[digits..].trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive, data) = split_directive(rest, ok);
    Some(Numbered { ok, number, name: name.trim(), directive, data: data.trim() })
}

/// Splits a result's text into name, directive and data. A `#` may be part of the name. It ends the
/// name if a directive follows, or if it has blanks on both sides: then data follow.
fn split_directive(text: &str, ok: bool) -> (&str, Option<Directive>, &str) {
    let mut data = None;
    for (at, _) in text.match_indices('#') {
        if text[..at].ends_with('\\') {
            continue;
        }
        let apart = at == 0 || text[..at].ends_with(char::is_whitespace);
        let after = text[at + 1..].trim_start();
        let word = after.split(|c: char| c.is_whitespace() || c == ':').next().unwrap_or_default();
        let said = after[word.len()..].trim_start_matches([' ', '\t', ':']);
        let found = directive(word).filter(|_| apart);
        let found = found.or_else(|| (ok && is_like_skip(word)).then_some(Directive::Skip));
        if found.is_some() {
            return (&text[..at], found, said);
        }
        if apart && text[at + 1..].starts_with(char::is_whitespace) && data.is_none() {
            data = Some((&text[..at], after));
            if !ok {
                break;
            }
        }
    }
    let (name, data) = data.unwrap_or((text, ""));
    (name, None, data)
}

fn directive(word: &str) -> Option<Directive> {
    Some(match word {
        "SKIP" => Directive::Skip,
        "TODO" | "XFAIL" => Directive::Expected,
        "TIMEOUT" | "ERROR" => Directive::Broken,
        _ => return None,
    })
}

/// Whether a word is another spelling of SKIP, as in programs that are older than KTAP.
fn is_like_skip(word: &str) -> bool {
    ["skip", "skipped", "skipping"].iter().any(|like| word.eq_ignore_ascii_case(like))
}

/// The reason to skip in an empty plan.
pub(super) fn skip_of_plan(directive: &str) -> Option<&str> {
    let word = directive.split(|c: char| c.is_whitespace() || c == ':').next().unwrap_or_default();
    is_like_skip(word).then(|| directive[word.len()..].trim_start_matches([' ', '\t', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (bool, Option<usize>, &str, Option<Directive>, &str) {
        let Line::Result(it) = understand(line) else { panic!("no result: {line}") };
        (it.ok, it.number, it.name, it.directive, it.data)
    }

    #[test]
    fn directives_follow_the_standard_and_others_are_read_the_worse_way() {
        use Directive::{Broken, Expected, Skip};
        let cases = [
            ("ok 1 a", (true, Some(1), "a", None, "")),
            ("ok 1", (true, Some(1), "", None, "")),
            ("ok 2 - dash", (true, Some(2), "dash", None, "")),
            ("not ok 1 a # SKIP no veth", (false, Some(1), "a", Some(Skip), "no veth")),
            ("ok 1 a # SKIP", (true, Some(1), "a", Some(Skip), "")),
            ("ok 3 # SKIP whole file", (true, Some(3), "", Some(Skip), "whole file")),
            ("ok 1 a # skip: reason", (true, Some(1), "a", Some(Skip), "reason")),
            ("ok 1 a # Skip   reason", (true, Some(1), "a", Some(Skip), "reason")),
            ("ok 1 a # SKIPPED", (true, Some(1), "a", Some(Skip), "")),
            ("ok 1 a #SKIP why", (true, Some(1), "a", Some(Skip), "why")),
            ("ok 1 a#skip", (true, Some(1), "a", Some(Skip), "")),
            ("ok 1 a # b # SKIP c", (true, Some(1), "a # b", Some(Skip), "c")),
            ("not ok 1 a # SKIPPED", (false, Some(1), "a", None, "SKIPPED")),
            ("not ok 1 a # skip: reason", (false, Some(1), "a", None, "skip: reason")),
            ("not ok 1 a # b # SKIP c", (false, Some(1), "a", None, "b # SKIP c")),
            ("not ok 1 a#SKIP c", (false, Some(1), "a#SKIP c", None, "")),
            ("not ok 1 a # TODO later", (false, Some(1), "a", Some(Expected), "later")),
            ("not ok 1 a # todo later", (false, Some(1), "a", None, "todo later")),
            ("not ok 7 #42 # TIMEOUT 45 s", (false, Some(7), "#42", Some(Broken), "45 s")),
            ("ok 7 # ERROR no memory", (true, Some(7), "", Some(Broken), "no memory")),
            ("ok 5 check # rcode=0", (true, Some(5), "check", None, "rcode=0")),
            (r"ok 1 a \# SKIP b", (true, Some(1), r"a \# SKIP b", None, "")),
            ("ok 9 issue #42", (true, Some(9), "issue #42", None, "")),
            ("not ok", (false, None, "", None, "")),
            ("not ok: no route", (false, None, ": no route", None, "")),
        ];
        for (line, want) in cases {
            assert_eq!(read(line), want, "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_ktap_is_not() {
        for line in ["okay", "not okay", "ok: fine", "KTAP", "bail out", "1.", "", "é"] {
            assert_eq!(understand(line), Line::Other, "{line}");
        }
        assert_eq!(understand("# not ok 1 a"), Line::Diagnostic("not ok 1 a"));
        assert_eq!(understand("KTAP version 2"), Line::Version(false));
        assert_eq!(understand("bail Out! no disk"), Line::BailOut("no disk"));
        assert_eq!(understand("1..-1"), Line::Plan(None, None));
        assert_eq!(understand("1..0 # SKIP why"), Line::Plan(Some(0), Some("SKIP why")));
    }

    #[test]
    fn a_tab_is_deeper_than_a_few_blanks() {
        assert_eq!(indented("  ok 1 a "), (2, "ok 1 a"));
        assert_eq!(indented(" \tok"), (8, "ok"));
        assert_eq!(indented("\t\tok"), (16, "ok"));
    }
}
