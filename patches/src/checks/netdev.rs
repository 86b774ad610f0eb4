// SPDX-License-Identifier: GPL-2.0

//! What the networking maintainers' own machine asks of C code and of interfaces.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;

use super::message::regex;
use super::{At, Check, FileChange, Finding, Outcome, Scope, Severity};

/// Interfaces that new code is not to use.
///
/// netdev looks for a bare `module_param` in any added line, so each module in Rust that has
/// parameters fails there: what reads one is called `module_parameters::NAME.value()`. Only the C
/// macros are meant, which are called and have no colons behind them; so that is what is looked
/// for here. `get_net(` and its like are found in Rust as well: a wrapper of one is a place where a
/// reviewer wants to read why it cannot be the tracked one.
pub struct DeprecatedApi;

/// No `inline` in a C source: the compiler knows better.
pub struct SourceInline;

/// No function in a header that is not inline: each user would get a copy.
pub struct HeaderInline;

/// A specification and what is generated from it go together.
pub struct Ynl;

static MODULE_PARAM: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\bmodule_param(?:_[a-z]+)*\s*\("));
static TRACKED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\b(dev_hold|dev_put|put_net|get_net|init_dummy_netdev)\s*\("));
static FREE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b__free\s*\("));
static INLINE: LazyLock<Regex> = LazyLock::new(|| regex(r"\binline\b"));
static FUNCTION: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^static\s+(?:[\w*]+\s+)*[\w*]+\s*\([^;]*$"));
static SOURCE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\s*(?:/\*|#)?\s*Documentation/netlink/specs/([\w-]+)\.yaml"));

/// A line of C or Rust without comments at its end or its start.
fn code(line: &str) -> &str {
    let start = line.trim_start();
    if start.starts_with("//") || start.starts_with("/*") || start.starts_with("* ") {
        return "";
    }
    let end = ["//", "/*"].iter().filter_map(|mark| line.find(mark)).min();
    &line[..end.unwrap_or(line.len())]
}

/// The lines of a patch that are not only moved from elsewhere.
fn new_lines<'a>(at: &At<'a>) -> Vec<(&'a FileChange, usize, &'a str)> {
    let changes = &at.patch().changes;
    let gone: BTreeSet<&str> =
        changes.iter().flat_map(|change| change.removed().map(str::trim)).collect();
    let mut lines = Vec::new();
    for change in changes {
        let new = change.added().filter(|(_, line)| !gone.contains(line.trim()));
        lines.extend(new.map(|(number, line)| (change, number, line)));
    }
    lines
}

/// Judges new lines of files with these extensions.
fn judge(
    at: &At<'_>,
    extensions: &[&str],
    line: impl Fn(&FileChange, &str) -> Option<Finding>,
) -> Outcome {
    let concerned = |change: &FileChange| extensions.contains(&change.extension());
    if !at.patch().changes.iter().any(concerned) {
        return Outcome::Nothing;
    }
    let mut found = Vec::new();
    for (change, number, text) in new_lines(at) {
        if concerned(change) {
            found.extend(line(change, code(text)).map(|each| each.of(&change.path).at(number)));
        }
    }
    Outcome::Judged(found)
}

impl Check for DeprecatedApi {
    fn name(&self) -> &'static str {
        "deprecated_api"
    }

    fn about(&self) -> &'static str {
        "no module parameters, no references to devices and namespaces without a tracker"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        Ok(judge(at, &["c", "h", "rs"], |change, line| {
            if MODULE_PARAM.is_match(line) {
                return Some(Finding::fail("module_param: networking takes no new ones"));
            }
            if let Some(call) = TRACKED.captures(line) {
                let text = format!("{}: there is one with a tracker, or a better one", &call[1]);
                return Some(Finding::warning(text));
            }
            let driver = change.path.starts_with("drivers/net/");
            (driver && FREE.is_match(line))
                .then(|| Finding::warning("__free: networking drivers free by hand"))
        }))
    }
}

impl Check for SourceInline {
    fn name(&self) -> &'static str {
        "source_inline"
    }

    fn about(&self) -> &'static str {
        "no `inline` in C sources"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        Ok(judge(at, &["c"], |_, line| {
            INLINE.is_match(line).then(|| Finding::fail("inline: the compiler knows better"))
        }))
    }
}

impl Check for HeaderInline {
    fn name(&self) -> &'static str {
        "header_inline"
    }

    fn about(&self) -> &'static str {
        "no function in a header without `inline`"
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        Ok(judge(at, &["h"], |_, line| {
            let bare = FUNCTION.is_match(line) && !line.contains("inline");
            bare.then(|| Finding::fail("a function without inline: each user gets a copy"))
        }))
    }
}

impl Check for Ynl {
    fn name(&self) -> &'static str {
        "ynl"
    }

    fn about(&self) -> &'static str {
        "a netlink specification changes together with what is generated from it"
    }

    fn scope(&self) -> Scope {
        Scope::PatchInSeries
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let patch = at.patch();
        let mut concerned = false;
        let mut found = Vec::new();
        let touched = |path: &str| patch.change(path).is_some();
        for change in &patch.changes {
            if let Some(name) = spec_name(&change.path) {
                concerned = true;
                // Files that say so after the patch.
                let made: Vec<&String> = patch
                    .tree
                    .iter()
                    .filter(|(_, blob)| generated_from(&blob.content).as_deref() == Some(name))
                    .map(|(path, _)| path)
                    .collect();
                if change.is_new() && made.is_empty() {
                    let text = "nothing in the series is generated from it";
                    found.push(Finding::warning(text).of(&change.path));
                }
                if !made.is_empty() && !made.iter().any(|path| touched(path)) {
                    let severity = if change.is_new() { Severity::Fail } else { Severity::Warning };
                    let text = format!("{} is not generated anew in this patch", made[0]);
                    found.push(Finding::new(severity, text).of(&change.path));
                }
            }
            let after = change.after.as_ref().and_then(|blob| generated_from(&blob.content));
            if let Some(name) = after {
                concerned = true;
                let spec = format!("Documentation/netlink/specs/{name}.yaml");
                if at.file(&spec)?.is_none() {
                    let text = format!("generated from {spec}, which is not there yet");
                    found.push(Finding::fail(text).of(&change.path));
                } else if !touched(&spec) && !change.is_new() {
                    let text = format!("generated, and {spec} does not change");
                    found.push(Finding::warning(text).of(&change.path));
                }
            }
        }
        Ok(if concerned { Outcome::Judged(found) } else { Outcome::Nothing })
    }
}

/// The name of a specification by its path.
fn spec_name(path: &str) -> Option<&str> {
    path.strip_prefix("Documentation/netlink/specs/")?.strip_suffix(".yaml")
}

/// The specification that a file says it is generated from.
fn generated_from(content: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&content[..content.len().min(1000)]).into_owned();
    if !head.contains("YNL-GEN") {
        return None;
    }
    head.lines().find_map(|line| Some(SOURCE.captures(line)?[1].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::Subject;
    use crate::checks::subject::tests::{found, subject};

    fn told(check: &dyn Check, path: &str, before: &str, after: &str) -> Vec<String> {
        let base: &[(&str, &str)] = if before.is_empty() { &[] } else { &[(path, before)] };
        found(check, &subject(base, &[("a: b\n", &[(path, after)])]), 1)
    }

    #[test]
    fn a_parameter_of_a_module_in_c_is_told_from_one_in_rust() {
        let c = "module_param_named(a, b, int, 0444);\n";
        let want = ["net/a.c:1: module_param: networking takes no new ones"];
        assert_eq!(told(&DeprecatedApi, "net/a.c", "", c), want);
        let rust = "let a = module_parameters::size.value();\n";
        assert_eq!(told(&DeprecatedApi, "net/a.rs", "", rust), [""; 0]);
    }

    #[test]
    fn an_interface_that_was_used_before_is_no_news() {
        let get = "\tget_net(net);\n";
        assert_eq!(told(&DeprecatedApi, "net/a.c", "", get).len(), 1);
        assert_eq!(told(&DeprecatedApi, "net/a.c", get, &format!("{get}x\n")), [""; 0]);
        let moved = format!("x\n{}", get.replace('\t', "\t\t"));
        assert_eq!(told(&DeprecatedApi, "net/a.c", get, &moved), [""; 0]);
        assert_eq!(told(&DeprecatedApi, "net/a.c", "", "maybe_get_net(net);\n"), [""; 0]);
        assert_eq!(told(&DeprecatedApi, "net/a.c", "", " * get_net() of it\n"), [""; 0]);
        assert_eq!(told(&DeprecatedApi, "net/a.txt", "", get), [""; 0]);
        let free = "void *p __free(kfree) = NULL;\n";
        assert_eq!(told(&DeprecatedApi, "drivers/net/a.c", "", free).len(), 1);
        assert_eq!(told(&DeprecatedApi, "net/a.c", "", free), [""; 0]);
    }

    #[test]
    fn inline_is_for_headers() {
        let inline = "static inline int a(void)\n{\n}\n";
        let plain = "static int a(void)\n{\n}\n";
        assert_eq!(told(&SourceInline, "net/a.c", "", inline).len(), 1);
        assert_eq!(told(&SourceInline, "net/a.c", "", plain), [""; 0]);
        assert_eq!(told(&SourceInline, "net/a.h", "", inline), [""; 0]);
        assert_eq!(told(&HeaderInline, "net/a.h", "", plain).len(), 1);
        assert_eq!(told(&HeaderInline, "net/a.h", "", inline), [""; 0]);
        assert_eq!(told(&HeaderInline, "net/a.h", "", "static int a(void);\n"), [""; 0]);
    }

    const SPEC: &str = "Documentation/netlink/specs/demo.yaml";
    const MADE: &str = "/* Do not edit */\n/*\tDocumentation/netlink/specs/demo.yaml */\n\
                        /* YNL-GEN kernel source */\n";

    #[test]
    fn a_specification_comes_with_its_generated_files() {
        let both: &[(&str, &str)] = &[(SPEC, "a\n"), ("net/demo/gen.c", MADE)];
        assert_eq!(found(&Ynl, &subject(&[], &[("a: b\n", both)]), 1), [""; 0]);
        let apart = subject(&[], &[("a: b\n", &both[..1]), ("a: c\n", &both[1..])]);
        let alone = format!("{SPEC}: nothing in the series is generated from it");
        assert_eq!(found(&Ynl, &apart, 1), [alone]);
        let wrong = subject(&[], &[("a: b\n", &both[1..]), ("a: c\n", &both[..1])]);
        assert!(found(&Ynl, &wrong, 1)[0].contains("not there yet"));
        assert!(found(&Ynl, &wrong, 2)[0].contains("not generated anew"));
    }

    #[test]
    fn a_change_of_one_alone_is_named() {
        fn later<'a>(files: &'a [(&'a str, &'a str)]) -> Subject<'static> {
            let both: &[(&str, &str)] = &[(SPEC, "a\n"), ("net/demo/gen.c", MADE)];
            subject(&[], &[("a: b\n", both), ("a: c\n", files)])
        }
        let told = found(&Ynl, &later(&[(SPEC, "b\n")]), 2);
        assert!(told[0].contains("net/demo/gen.c is not generated anew"), "{told:?}");
        let edited = format!("{MADE}int x;\n");
        let told = found(&Ynl, &later(&[("net/demo/gen.c", &edited)]), 2);
        assert!(told[0].contains("does not change"), "{told:?}");
        assert_eq!(found(&Ynl, &later(&[(SPEC, "b\n"), ("net/demo/gen.c", &edited)]), 2), [""; 0]);
    }
}
