// SPDX-License-Identifier: GPL-2.0

//! What checks find, and what is new of that.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::subject::FileChange;
use crate::folder::Accepted;

/// How bad a finding is. As for netdev's own checks, a person looks at warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Pass,
    Warning,
    Fail,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// In the kernel tree; none: the message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// From 1 on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<usize>,
    pub text: String,
    /// Where all of it is told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<PathBuf>,
    /// Why it may stay.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<String>,
}

/// How a check of a patch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The patch has nothing that the check is about.
    Nothing,
    Skipped(String),
    Judged(Vec<Finding>),
}

impl Finding {
    pub fn fail(text: impl Into<String>) -> Finding {
        Finding::new(Severity::Fail, text)
    }

    pub fn warning(text: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, text)
    }

    /// Worth knowing, and nothing wrong.
    pub fn note(text: impl Into<String>) -> Finding {
        Finding::new(Severity::Pass, text)
    }

    pub fn new(severity: Severity, text: impl Into<String>) -> Finding {
        Finding { severity, path: None, line: None, text: text.into(), log: None, accepted: None }
    }

    /// In this file.
    pub fn of(mut self, path: &str) -> Finding {
        self.path = Some(path.to_owned());
        self
    }

    /// In this line, from 1 on.
    pub fn at(mut self, line: usize) -> Finding {
        self.line = Some(line);
        self
    }

    /// Told in this log.
    pub fn in_log(mut self, log: Option<PathBuf>) -> Finding {
        self.log = log;
        self
    }

    /// In a word.
    pub fn word(&self) -> &'static str {
        match (&self.accepted, self.severity) {
            (Some(_), _) => "accepted",
            (None, Severity::Fail) => "FAIL",
            (None, Severity::Warning) => "warn",
            (None, Severity::Pass) => "note",
        }
    }

    /// `FILE:LINE: ` as compilers have it.
    pub fn place(&self) -> String {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => format!("{path}:{line}: "),
            (Some(path), None) => format!("{path}: "),
            (None, Some(line)) => format!("message, line {line}: "),
            (None, None) => String::new(),
        }
    }

    /// Notes down why it may stay, if the settings say so.
    pub fn accept(&mut self, check: &str, accepted: &[Accepted]) {
        let whole = format!("{}{}", self.place(), self.text);
        let fits = |each: &&Accepted| each.check == check && whole.contains(&each.finding);
        self.accepted = accepted.iter().find(fits).map(|each| each.reason.clone());
    }
}

impl Outcome {
    /// The worst that counts.
    pub fn severity(&self) -> Severity {
        let open = self.findings().iter().filter(|finding| finding.accepted.is_none());
        open.map(|finding| finding.severity).max().unwrap_or(Severity::Pass)
    }

    pub fn findings(&self) -> &[Finding] {
        match self {
            Outcome::Judged(findings) => findings,
            _ => &[],
        }
    }
}

/// What a patch brings of that which a check finds in a file: findings in lines that it adds, and
/// findings that the file did not have before. Finding and line name it, so that a line that moves
/// is no news.
pub fn news(change: &FileChange, judge: impl Fn(&str) -> Vec<Finding>) -> Vec<Finding> {
    // A judge that cannot fail.
    try_news(change, |text| Ok(judge(text))).unwrap_or_default()
}

/// The same for a judge that starts a program.
pub fn try_news(
    change: &FileChange,
    judge: impl Fn(&str) -> Result<Vec<Finding>>,
) -> Result<Vec<Finding>> {
    let Some(after) = change.text() else { return Ok(Vec::new()) };
    let mut found = judge(after)?;
    // To look at what was before is dear if it means to start a program.
    let added = |finding: &Finding| finding.line.is_some_and(|line| change.added.contains(&line));
    if !found.iter().all(added) {
        let before = change.text_before().unwrap_or_default();
        let name = |text: &str, finding: &Finding| {
            let line = finding.line.and_then(|line| text.lines().nth(line.checked_sub(1)?));
            (finding.text.clone(), line.unwrap_or_default().trim().to_owned())
        };
        let old = if change.before.is_some() { judge(before)? } else { Vec::new() };
        let known: BTreeSet<_> = old.iter().map(|finding| name(before, finding)).collect();
        found.retain(|finding| added(finding) || !known.contains(&name(after, finding)));
    }
    Ok(found.into_iter().map(|finding| finding.of(&change.path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::subject::tests::change;

    fn long(text: &str) -> Vec<Finding> {
        let long = text.lines().enumerate().filter(|(_, line)| line.len() > 3);
        long.map(|(index, _)| Finding::fail("long").at(index + 1)).collect()
    }

    #[test]
    fn what_was_there_before_is_none_of_the_patchs_findings() {
        let lines = |before, after| {
            let found = news(&change("a", before, after), long);
            found.into_iter().map(|finding| finding.line.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(lines("a\nlong\n", "a\nb\nlong\n"), [0; 0]);
        assert_eq!(lines("a\nlong\n", "a\nlong\nlonger\n"), [3]);
        // As many as before, but another one.
        assert_eq!(lines("a\nlong\n", "a\nlarge\n"), [2]);
        // The same once more.
        assert_eq!(lines("a\nlong\n", "a\nlong\nb\nlong\n"), [4]);
    }

    #[test]
    fn an_accepted_finding_keeps_its_reason_and_counts_no_more() {
        let rule = Accepted {
            check: "long".into(),
            finding: "a.c:3: 99 col".into(),
            reason: "a table".into(),
        };
        let mut findings =
            [3, 4].map(|line| Finding::fail("99 columns").of("a.c").at(line)).to_vec();
        findings.iter_mut().for_each(|each| each.accept("long", std::slice::from_ref(&rule)));
        assert_eq!(findings[0].accepted.as_deref(), Some("a table"));
        assert_eq!(findings[1].accepted, None);
        assert_eq!(Outcome::Judged(findings.clone()).severity(), Severity::Fail);
        assert_eq!(Outcome::Judged(findings[..1].to_vec()).severity(), Severity::Pass);
        let mut other = findings[0].clone();
        other.accept("wide", &[rule]);
        assert_eq!(other.accepted, None);
    }
}
