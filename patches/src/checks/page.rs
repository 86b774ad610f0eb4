// SPDX-License-Identifier: GPL-2.0

//! The report as one page without scripts: it can be mailed, and read offline.

use std::fmt::Write as _;

use html_escape::{encode_double_quoted_attribute as quoted, encode_text as plain};

use super::report::{Cell, PatchReport, Report};
use super::{Finding, Outcome};

const STYLE: &str = "\
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; padding: 0 1em; max-width: 76em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8884; padding: .2em .5em; text-align: center; }
thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; font-weight: normal; }
thead th.patch { writing-mode: horizontal-tb; transform: none; }
.patch { text-align: left; white-space: nowrap; }
td a { color: inherit; display: block; text-decoration: none; }
.ok { background: #2a92; } .accepted { background: #2a95; } .warn { background: #fa05; }
.FAIL { background: #e336; font-weight: bold; } .skip { background: #8882; }
pre { background: #8881; padding: .6em; overflow-x: auto; }
ins { text-decoration: none; background: #2a93; } del { text-decoration: none; background: #e333; }
:target { outline: 2px solid #48f; outline-offset: .2em; }
code { white-space: pre-wrap; }
";

/// All reports, one below the other.
pub fn page(reports: &[Report]) -> String {
    let names: Vec<&str> = reports.iter().map(|report| report.series.as_str()).collect();
    let title = format!("Checks of {}", names.join(", "));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n",
        plain(&title)
    );
    for report in reports {
        series(&mut out, report);
    }
    out.push_str("</html>\n");
    out
}

fn series(out: &mut String, report: &Report) {
    let tree = report.tree.as_ref().map(|tree| format!(", for {}", plain(tree)));
    let _ = writeln!(out, "<h1>{}</h1>", plain(&report.series));
    let patches = report.patches.len();
    let _ =
        writeln!(out, "<p>{patches} patches{}: {}.</p>", tree.unwrap_or_default(), report.count());
    table(out, report);
    for cell in &report.cells {
        details(out, report, None, cell);
    }
    for rule in &report.unused {
        let _ = writeln!(out, "<p>Accepted, but found nowhere: {}</p>", plain(rule));
    }
    for patch in &report.patches {
        section(out, report, patch);
    }
    let _ = writeln!(out, "<h2>What the checks ask for</h2>\n<dl>");
    for (name, about) in &report.checks {
        let _ = writeln!(out, "<dt><b>{}</b><dd>{}", plain(name), plain(about));
    }
    out.push_str("</dl>\n");
}

/// A row for each patch, a column for each check of patches.
fn table(out: &mut String, report: &Report) {
    let Some(first) = report.patches.first() else { return };
    out.push_str("<div class=\"wide\"><table>\n<thead><tr><th class=\"patch\">patch");
    for cell in &first.cells {
        let about = report.checks.iter().find(|(name, _)| *name == cell.check);
        let about = about.map(|(_, about)| about.as_str()).unwrap_or_default();
        let _ = write!(out, "<th title=\"{}\">{}", quoted(about), plain(&cell.check));
    }
    out.push_str("</thead>\n<tbody>\n");
    for patch in &report.patches {
        let _ = write!(
            out,
            "<tr><td class=\"patch\"><a href=\"#{}\">{}. {}</a>",
            quoted(&anchor(report, Some(patch), None)),
            patch.number,
            plain(&patch.subject)
        );
        for cell in &patch.cells {
            let word = cell.word();
            let _ = write!(out, "<td class=\"{}\">", class(word));
            if leads(cell) {
                let anchor = anchor(report, Some(patch), Some(&cell.check));
                let _ = write!(out, "<a href=\"#{}\">{word}</a>", quoted(&anchor));
            } else {
                out.push_str(word);
            }
        }
        out.push('\n');
    }
    out.push_str("</tbody></table></div>\n");
}

fn class(word: &str) -> &str {
    if word == "-" { "nothing" } else { word }
}

/// Whether there is anything to read.
fn leads(cell: &Cell) -> bool {
    match &cell.outcome {
        Outcome::Nothing => false,
        Outcome::Skipped(_) => true,
        Outcome::Judged(findings) => !findings.is_empty(),
    }
}

/// The name of a place of the page.
fn anchor(report: &Report, patch: Option<&PatchReport>, check: Option<&str>) -> String {
    let number = patch.map_or("all".to_owned(), |patch| patch.number.to_string());
    let check = check.map(|check| format!("-{check}")).unwrap_or_default();
    format!("{}-{number}{check}", report.series)
}

fn section(out: &mut String, report: &Report, patch: &PatchReport) {
    let _ = writeln!(
        out,
        "<h2 id=\"{}\">{}. {}</h2>",
        quoted(&anchor(report, Some(patch), None)),
        patch.number,
        plain(&patch.subject)
    );
    let _ = writeln!(out, "<p>{}</p>", plain(&patch.author));
    for command in &patch.shown {
        let _ = writeln!(out, "<p>See it working: <code>{}</code></p>", plain(command));
    }
    for cell in &patch.cells {
        details(out, report, Some(patch), cell);
    }
    let body = patch.message.split_once('\n').map_or("", |(_, body)| body).trim();
    if !body.is_empty() {
        let _ = writeln!(out, "<pre>{}</pre>", plain(body));
    }
    if !patch.diff.is_empty() {
        out.push_str("<details><summary>diff</summary><pre>");
        diff(out, &patch.diff);
        out.push_str("</pre></details>\n");
    }
}

fn details(out: &mut String, report: &Report, patch: Option<&PatchReport>, cell: &Cell) {
    if !leads(cell) && patch.is_some() {
        return;
    }
    let word = cell.word();
    let _ = writeln!(
        out,
        "<div id=\"{}\"><p><b class=\"{}\">{word}</b> {}",
        quoted(&anchor(report, patch, Some(&cell.check))),
        class(word),
        plain(&cell.check)
    );
    match &cell.outcome {
        Outcome::Nothing => {}
        Outcome::Skipped(why) => {
            let _ = writeln!(out, ": {}", plain(why));
        }
        Outcome::Judged(findings) if findings.is_empty() => {}
        Outcome::Judged(findings) => {
            out.push_str("<ul>\n");
            findings.iter().for_each(|each| finding(out, each));
            out.push_str("</ul>\n");
        }
    }
    out.push_str("</div>\n");
}

fn finding(out: &mut String, finding: &Finding) {
    let word = finding.word();
    let place = finding.place();
    let _ = write!(out, "<li><b class=\"{word}\">{word}</b> <code>{}</code>", plain(&place));
    out.push_str(&plain(&finding.text));
    if let Some(log) = finding.log.as_ref().filter(|log| log.exists()) {
        let place = format!("file://{}", log.display());
        let _ = write!(out, ": <a href=\"{}\">log</a>", quoted(&place));
    }
    if let Some(reason) = &finding.accepted {
        let _ = write!(out, "<br>accepted: {}", plain(reason));
    }
    out.push('\n');
}

fn diff(out: &mut String, text: &str) {
    for line in text.lines() {
        let shown = plain(line);
        let _ = match line.as_bytes().first() {
            Some(b'+') => writeln!(out, "<ins>{shown}</ins>"),
            Some(b'-') => writeln!(out, "<del>{shown}</del>"),
            _ => writeln!(out, "{shown}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::report::tests::report;

    #[test]
    fn each_link_of_the_page_has_its_place() {
        let page = page(&[report()]);
        let parts = |mark: &str| {
            let parts = page.split(mark).skip(1).map(|part| part.split('"').next().unwrap());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        let (links, places) = (parts("href=\"#"), parts("id=\""));
        assert_eq!(links.len(), 5, "two patches, and three cells with something to read");
        for link in links {
            assert!(places.contains(&link), "{link} of {places:?}");
        }
    }

    #[test]
    fn what_others_wrote_is_text_and_no_markup() {
        let page = page(&[report()]);
        assert!(page.contains("net: a: do &lt;1&gt;") && page.contains("<del>-&lt;old&gt;</del>"));
        assert!(page.contains("Why &amp; how.") && page.contains("&lt;long&gt;"));
        assert!(!page.contains("<old>") && !page.contains("<long>"));
        assert!(!page.contains("<script") && !page.contains("http"));
    }

    #[test]
    fn a_patch_tells_how_to_see_it_working_and_why_something_stays() {
        let page = page(&[report()]);
        assert!(page.contains("See it working: <code>make test T='a'</code>"));
        assert!(page.contains("<br>accepted: a table"));
        assert!(page.contains(": there is no perl"));
    }
}
