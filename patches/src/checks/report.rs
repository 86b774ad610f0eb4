// SPDX-License-Identifier: GPL-2.0

//! What checks found, as a table, as JSON and as a page.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vmlab::run::files;

use super::{Outcome, Severity};

/// All of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub series: String,
    pub tree: Option<String>,
    /// Names of the checks that ran, and what they ask for.
    pub checks: Vec<(String, String)>,
    pub patches: Vec<PatchReport>,
    /// What is about the series as a whole.
    pub cells: Vec<Cell>,
    /// Accepted findings that nobody finds.
    pub unused: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchReport {
    pub number: usize,
    pub subject: String,
    pub author: String,
    pub message: String,
    /// Commands that show it working.
    pub shown: Vec<String>,
    pub cells: Vec<Cell>,
    /// It is in the patch already.
    #[serde(skip)]
    pub diff: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub check: String,
    pub outcome: Outcome,
}

impl Cell {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match &self.outcome {
            Outcome::Nothing => "-",
            Outcome::Skipped(_) => "skip",
            Outcome::Judged(findings) => match self.outcome.severity() {
                Severity::Fail => "FAIL",
                Severity::Warning => "warn",
                Severity::Pass if findings.iter().any(|it| it.accepted.is_some()) => "accepted",
                Severity::Pass => "ok",
            },
        }
    }
}

/// How many cells ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: usize,
    pub warned: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count { passed, warned, failed, skipped } = self;
        write!(f, "{passed} passed, {warned} with warnings, {failed} failed, {skipped} skipped")
    }
}

impl Report {
    /// Each row: what stands in front of it, and its cells.
    fn rows(&self) -> impl Iterator<Item = (String, &[Cell])> {
        let patches = self.patches.iter().map(|patch| {
            (format!("{:>3}  {}", patch.number, patch.subject), patch.cells.as_slice())
        });
        let series = (!self.cells.is_empty()).then(|| ("all".to_owned(), self.cells.as_slice()));
        patches.chain(series)
    }

    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for cell in self.rows().flat_map(|(_, cells)| cells) {
            match cell.word() {
                "FAIL" => count.failed += 1,
                "warn" => count.warned += 1,
                "skip" => count.skipped += 1,
                "-" => {}
                _ => count.passed += 1,
            }
        }
        count
    }

    /// The last line: the numbers, and which checks were skipped.
    pub fn summary(&self) -> String {
        let mut names: Vec<&str> = self.skips().into_iter().map(|(check, _)| check).collect();
        names.sort_unstable();
        names.dedup();
        let names =
            if names.is_empty() { String::new() } else { format!(": {}", names.join("; ")) };
        format!("{}{names}", self.count())
    }

    /// A row for each patch, then the findings, then skips with their reasons.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.series);
        for (name, cells) in self.rows() {
            let of = |word: &str| {
                let names = cells.iter().filter(|cell| cell.word() == word);
                names.map(|cell| cell.check.as_str()).collect::<Vec<_>>()
            };
            let worst = ["FAIL", "warn"].into_iter().find(|word| !of(word).is_empty());
            let _ = write!(text, "{:<4}  {name}", worst.unwrap_or("ok"));
            let passed = of("ok").len() + of("accepted").len();
            let mut parts = vec![format!("{passed} passed")];
            for (word, said) in [("FAIL", "failed"), ("warn", "warned"), ("skip", "skipped")] {
                if !of(word).is_empty() {
                    parts.push(format!("{said}: {}", of(word).join(" ")));
                }
            }
            let _ = writeln!(text, "\n           {}", parts.join("; "));
            for cell in cells {
                for finding in cell.outcome.findings() {
                    // That all is well, and where, is told on the page.
                    if finding.severity == Severity::Pass && finding.log.is_some() {
                        continue;
                    }
                    let _ = write!(text, "           {}  {}: ", finding.word(), cell.check);
                    let _ = writeln!(text, "{}{}", finding.place(), finding.text);
                    if let Some(reason) = &finding.accepted {
                        let _ = writeln!(text, "               accepted: {reason}");
                    }
                }
            }
        }
        for (check, why) in self.skips() {
            let _ = writeln!(text, "skip  {check}: {why}");
        }
        for rule in &self.unused {
            let _ = writeln!(text, "note: nobody finds what series.toml accepts: {rule}");
        }
        text
    }

    /// Each reason once.
    fn skips(&self) -> Vec<(&str, &str)> {
        let mut skips = Vec::new();
        for cell in self.patches.iter().flat_map(|patch| &patch.cells).chain(&self.cells) {
            if let Outcome::Skipped(why) = &cell.outcome {
                let skip = (cell.check.as_str(), why.as_str());
                if !skips.contains(&skip) {
                    skips.push(skip);
                }
            }
        }
        skips
    }
}

/// Writes several reports as one JSON file, whole or not at all.
pub fn write_json(reports: &[Report], file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(reports).context("write reports")?;
    files::write_whole(file, &format!("{text}\n"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::checks::Finding;

    pub(in crate::checks) fn report() -> Report {
        let cell = |check: &str, outcome| Cell { check: check.into(), outcome };
        let mut accepted = Finding::fail("long").of("a.c").at(3);
        accepted.accepted = Some("a table".into());
        let patch = |number, cells| PatchReport {
            number,
            subject: format!("net: a: do <{number}>"),
            author: "Jane <j@x>".into(),
            message: format!("net: a: do <{number}>\n\nWhy & how.\n"),
            shown: vec!["make test T='a'".into()],
            cells,
            diff: "diff --git a/a.c b/a.c\n@@ -1 +1 @@\n-<old>\n+new\n".into(),
        };
        Report {
            series: "1-demo".into(),
            tree: Some("net-next".into()),
            checks: [("subject", "short"), ("checkpatch", "style"), ("form", "cover letter")]
                .map(|(name, about)| (name.to_owned(), about.to_owned()))
                .to_vec(),
            patches: vec![
                patch(
                    1,
                    vec![
                        cell("subject", Outcome::Judged(vec![])),
                        cell("checkpatch", Outcome::Judged(vec![accepted])),
                    ],
                ),
                patch(
                    2,
                    vec![
                        cell("subject", Outcome::Judged(vec![Finding::warning("<long>").at(1)])),
                        cell("checkpatch", Outcome::Skipped("there is no perl".into())),
                    ],
                ),
            ],
            cells: vec![cell("form", Outcome::Judged(vec![Finding::fail("no cover letter")]))],
            unused: vec!["form: nothing".into()],
        }
    }

    #[test]
    fn the_table_has_each_patch_each_finding_and_each_reason() {
        let want = "1-demo\n\
            ok      1  net: a: do <1>\n           2 passed\n\
            \x20          accepted  checkpatch: a.c:3: long\n               accepted: a table\n\
            warn    2  net: a: do <2>\n           0 passed; warned: subject; skipped: checkpatch\n\
            \x20          warn  subject: message, line 1: <long>\n\
            FAIL  all\n           0 passed; failed: form\n\
            \x20          FAIL  form: no cover letter\n\
            skip  checkpatch: there is no perl\n\
            note: nobody finds what series.toml accepts: form: nothing\n";
        assert_eq!(report().table(), want);
        let count = Count { passed: 2, warned: 1, failed: 1, skipped: 1 };
        assert_eq!(report().count(), count);
        let last = "2 passed, 1 with warnings, 1 failed, 1 skipped: checkpatch";
        assert_eq!(report().summary(), last);
        assert!(Report { patches: Vec::new(), ..report() }.summary().ends_with("0 skipped"));
    }

    #[test]
    fn a_log_of_what_passed_is_told_on_the_page_alone() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("boot.log");
        std::fs::write(&log, "").unwrap();
        let of = |log: &Path| {
            let passed = Finding::note("3 tests").in_log(Some(log.to_owned()));
            let mut report = report();
            report.patches.truncate(1);
            let outcome = Outcome::Judged(vec![passed]);
            report.patches[0].cells = vec![Cell { check: "boot".into(), outcome }];
            (report.table(), crate::checks::page::page(&[report]))
        };
        let (table, page) = of(&log);
        assert!(!table.contains("3 tests") && table.contains("1 passed"), "{table}");
        assert!(page.contains("<td class=\"ok\"><a href=\"#1-demo-1-boot\">ok</a>"), "{page}");
        let link = format!("3 tests: <a href=\"file://{}\">log</a>", log.display());
        assert!(page.contains(&link), "{page}");
        // A log that is gone.
        assert!(!of(&dir.path().join("none")).1.contains("file://"));
    }

    #[test]
    fn a_note_is_told_and_is_nothing_wrong() {
        let note = Finding::note("a.sh is not in this tree");
        let cell = Cell { check: "boot".into(), outcome: Outcome::Judged(vec![note]) };
        assert_eq!(cell.word(), "ok");
        let mut report = report();
        report.patches.truncate(1);
        report.patches[0].cells = vec![cell];
        let table = report.table();
        assert!(table.contains("           note  boot: a.sh is not in this tree\n"), "{table}");
        assert!(
            table.contains("ok      1  ") && table.contains("           1 passed\n"),
            "{table}"
        );
    }

    #[test]
    fn what_is_written_as_json_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.json");
        write_json(&[report()], &file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut read: Vec<Report> = serde_json::from_str(&text).unwrap();
        for (patch, own) in read[0].patches.iter_mut().zip(report().patches) {
            patch.diff = own.diff;
        }
        assert_eq!(read, [report()]);
        assert!(
            text.contains("\"severity\": \"warning\"")
                && text.contains("\"accepted\": \"a table\"")
        );
    }
}
