// SPDX-License-Identifier: GPL-2.0

//! Files of network selftests, as netdev's machine wants them: lists that do not conflict.

use anyhow::Result;

use super::{At, Check, FileChange, Finding, Outcome, Scope};
use crate::checks::findings::news;

/// Each test is in its Makefile; lists are sorted.
pub struct CheckSelftest;

const FOLDERS: [&str; 2] = ["tools/testing/selftests/net/", "tools/testing/selftests/drivers/net/"];

impl Check for CheckSelftest {
    fn name(&self) -> &'static str {
        "check_selftest"
    }

    fn about(&self) -> &'static str {
        "new tests are in Makefile and .gitignore; lists are sorted, one value a line"
    }

    fn scope(&self) -> Scope {
        Scope::PatchInSeries
    }

    fn run(&self, at: &At<'_>) -> Result<Outcome> {
        let concerned: Vec<&FileChange> = at
            .patch()
            .changes
            .iter()
            .filter(|change| FOLDERS.iter().any(|folder| change.path.starts_with(folder)))
            .collect();
        if concerned.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let mut found = Vec::new();
        for change in concerned {
            let (folder, name) = change.path.rsplit_once('/').unwrap_or(("", &change.path));
            match name {
                "config" | ".gitignore" => found.extend(news(change, unsorted)),
                "Makefile" => found.extend(news(change, lists)),
                _ if change.is_new() => {
                    let listed = |file: &str, name: &str| listed(at, folder, file, name);
                    found.extend(
                        unlisted(name, listed)?.map(|text| Finding::fail(text).of(&change.path)),
                    );
                }
                _ => {}
            }
        }
        Ok(Outcome::Judged(found))
    }
}

/// Why a new file is not where it must be.
fn unlisted(name: &str, listed: impl Fn(&str, &str) -> Result<bool>) -> Result<Option<String>> {
    let Some((stem, extension)) = name.rsplit_once('.') else { return Ok(None) };
    Ok(match extension {
        "sh" | "py" if !listed("Makefile", name)? => Some("the Makefile does not list it".into()),
        "c" if !listed("Makefile", stem)? && !listed("Makefile", name)? => {
            Some(format!("the Makefile does not list {stem}"))
        }
        "c" if !listed(".gitignore", stem)? => Some(format!(".gitignore does not list {stem}")),
        _ => None,
    })
}

/// Whether a file of a folder, or of one above, has this word after the patch.
fn listed(at: &At<'_>, folder: &str, file: &str, word: &str) -> Result<bool> {
    let mut folder = folder;
    loop {
        if let Some(blob) = at.file(&format!("{folder}/{file}"))? {
            let text = String::from_utf8_lossy(&blob.content).into_owned();
            let mut words = text.split([' ', '\t', '\n', '\\', '=', '/']);
            return Ok(words.any(|each| each == word));
        }
        match folder.rsplit_once('/') {
            Some((above, _)) if FOLDERS.iter().any(|top| folder.len() >= top.len()) => {
                folder = above;
            }
            _ => return Ok(false),
        }
    }
}

/// How lines are sorted: `_` does not count.
fn order(line: &str) -> String {
    line.replace('_', "")
}

/// Lines that are not in order.
fn unsorted(text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let mut found = Vec::new();
    let mut last: Option<&str> = None;
    for (index, line) in lines {
        match last {
            Some(before) if order(line) < order(before) => {
                let text = format!("{line} comes before {before} (`_` does not count)");
                found.push(Finding::fail(text).at(index + 1));
            }
            _ => last = Some(line),
        }
    }
    found
}

/// Faults of the lists of a Makefile: `NAME := \`, a value a line behind a TAB, a comment that
/// names the list at its end.
fn lists(text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let head = line.split_once(":=").or_else(|| line.split_once("+=")).or(line.split_once('='));
        let Some((name, values)) = head
            .map(|(name, values)| (name.trim_end_matches([' ', '\t', ':', '+']), values.trim()))
        else {
            at += 1;
            continue;
        };
        let list = name.starts_with("TEST_") || name.starts_with("YNL_GEN");
        if !list || line.starts_with('\t') || !values.ends_with('\\') {
            let several = list && values.split_whitespace().count() > 1 && !values.contains('$');
            if several {
                found.push(Finding::fail(format!("{name}: one value a line")).at(at + 1));
            }
            at += 1;
            continue;
        }
        if values != "\\" {
            found.push(Finding::fail(format!("{name}: values begin on the next line")).at(at + 1));
        }
        let mut last: Option<&str> = None;
        let mut open = true;
        while open && at + 1 < lines.len() {
            at += 1;
            let line = lines[at];
            if line.trim_start().starts_with('#') || line.trim().is_empty() {
                at -= 1;
                break;
            }
            open = line.trim_end().ends_with('\\');
            let value = line.trim_end().trim_end_matches('\\').trim();
            if value.split_whitespace().count() > 1 {
                found.push(Finding::fail(format!("{name}: one value a line")).at(at + 1));
            }
            if !line.starts_with('\t') || line.starts_with("\t\t") {
                found.push(Finding::fail(format!("{name}: one TAB before a value")).at(at + 1));
            }
            match last {
                Some(before) if order(value) < order(before) => {
                    let text = format!("{value} comes before {before} (`_` does not count)");
                    found.push(Finding::fail(text).at(at + 1));
                }
                _ => last = Some(value),
            }
        }
        let end = format!("# end of {name}");
        if lines.get(at + 1).map(|line| line.trim_end()) != Some(end.as_str()) {
            found.push(Finding::fail(format!("no \"{end}\" below the list")).at(at + 1));
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::{found, subject};

    const FOLDER: &str = "tools/testing/selftests/net/demo";

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let paths: Vec<String> = files.iter().map(|(name, _)| format!("{FOLDER}/{name}")).collect();
        let files: Vec<_> =
            paths.iter().zip(files).map(|(path, file)| (path.as_str(), file.1)).collect();
        let told = found(&CheckSelftest, &subject(&[], &[("a: b\n", &files)]), 1);
        told.iter().map(|text| text.replace(&format!("{FOLDER}/"), "")).collect()
    }

    #[test]
    fn a_new_test_is_in_the_lists() {
        let makefile = "TEST_PROGS := \\\n\ta.sh \\\n# end of TEST_PROGS\n\n\
                        TEST_GEN_PROGS := \\\n\tb \\\n# end of TEST_GEN_PROGS\n";
        let good = [("Makefile", makefile), (".gitignore", "b\n"), ("a.sh", "x\n"), ("b.c", "x\n")];
        assert_eq!(told(&good), [""; 0]);
        assert_eq!(told(&[good[0], ("c.sh", "x\n")]), ["c.sh: the Makefile does not list it"]);
        assert_eq!(told(&[good[0], good[3]]), ["b.c: .gitignore does not list b"]);
        assert_eq!(told(&[good[0], ("x.c", "x\n")]), ["x.c: the Makefile does not list x"]);
        assert_eq!(told(&[good[0], ("a.batch", "x\n")]), [""; 0]);
    }

    #[test]
    fn lines_are_sorted_without_their_underlines() {
        let sorted = "CONFIG_IP_ADVANCED=y\nCONFIG_IPV6=y\n";
        assert_eq!(told(&[("config", sorted)]), [""; 0]);
        let wrong = "CONFIG_IPV6_A=y\nCONFIG_IP_ADVANCED=y\n";
        assert_eq!(told(&[("config", wrong)]).len(), 1);
        assert_eq!(told(&[(".gitignore", "# SPDX\nb\na\n")]).len(), 1);
    }

    #[test]
    fn a_list_has_one_value_a_line_and_a_comment_at_its_end() {
        let good =
            "TEST_PROGS := \\\n\ta_b.sh \\\n\tc.sh \\\n# end of TEST_PROGS\n\nCFLAGS += -a -b\n";
        assert_eq!(told(&[("Makefile", good)]), [""; 0]);
        for (from, to, what) in [
            ("\ta_b.sh", "\tz.sh", "comes before z.sh"),
            ("# end of TEST_PROGS\n", "", "no \"# end of TEST_PROGS\""),
            ("\ta_b.sh", "\tA.sh B.sh", "one value a line"),
            ("\ta_b.sh", "    A.sh", "one TAB"),
            (":= \\\n", ":= A.sh \\\n", "begin on the next line"),
            ("CFLAGS += -a", "TEST_FILES := a", "TEST_FILES: one value a line"),
        ] {
            let told = told(&[("Makefile", &good.replacen(from, to, 1))]);
            assert!(told.len() == 1 && told[0].contains(what), "{to}: {told:?}");
        }
    }
}
