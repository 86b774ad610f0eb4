// SPDX-License-Identifier: GPL-2.0

//! The text, with a question for each number: `{{copies WAY DIRECTION TRAFFIC LISTENER}}`.
//!
//! | question | answer |
//! |---|---|
//! | `kernel` | the kernel's release |
//! | `copies`, `bytes`, `clones`, `instructions`, `allocations` with the four words | for each packet |
//! | `times WORDS` | how often each packet was copied: `once` |
//! | `more WORDS / WORDS` | how much more instructions the first takes than the second, in percent |
//! | `hits WORDS`, `misses WORDS` | what the route cache was asked, for each packet |
//! | `claim NAME` | instructions of a figure about the RFD's claims |
//! | `claims` | a line for each number of namespaces: look-ups |
//! | `claims-entries`, `claims-most`, `claims-buckets` | entries, most namespaces, buckets of those |
//! | `claims-make`, `claims-mib`, `claims-gib` | an empty table: instructions, memory; memory of one for each of most namespaces |
//! | `spread`, `largest-spread` | of the rounds of instructions, in percent |
//! | `copies-for-headroom` | how many there are in all |
//! | `segments` | of a large message |
//! | `patched` | one line for each kind of traffic, before and after the patch |
//! | `table WHAT DIRECTION LISTENER TRAFFIC...` | one line a way |
//! | `places` | each line of the kernel that copies |
//! | `agree`, `measured`, `differ` | how often both ways of counting agree |
//! | `flames` | links to the flame graphs |
//!
//! Words are separated by spaces; a `_` in a word stands for a space.
//!
//! `{{with WAY}}…{{end}}` is text that is only there if the way was measured, and
//! `{{without WAY}}…{{end}}` text that is there if it was not. The way `patch` is the patched kernel.

use anyhow::{Context, Result, bail};
use rnetns_study::claims;
use rnetns_study::results::Measurement;
use rnetns_study::traffic::SEGMENTS;

use crate::data::{self, Question, Results};
use crate::flames;
use crate::tables::{self, Agreement};

/// The text with all answers. `patched` has the results of a kernel with the patch.
pub fn fill(text: &str, results: &Results, patched: Option<&Results>) -> Result<String> {
    let has = |way: &str| match way {
        "patch" => patched.is_some(),
        "claims" => !results.claims.is_empty(),
        way => results.results.iter().any(|it| it.way == way),
    };
    let text = chosen(text, has)?;
    let mut filled = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("{{") {
        let (question, end) = after.split_once("}}").context("a {{ without }}")?;
        filled.push_str(before);
        let answer = match question.trim() {
            "patched" => {
                tables::before_and_after(results, patched.context("nothing was measured with it")?)
            }
            question => answer(question, results).with_context(|| format!("{{{{{question}}}}}"))?,
        };
        filled.push_str(&answer);
        rest = end;
    }
    filled.push_str(rest);
    // Tables end their last line themselves.
    Ok(filled.replace("\n\n\n", "\n\n"))
}

/// The text without what is about ways that are not there, or that are.
fn chosen(text: &str, has: impl Fn(&str) -> bool) -> Result<String> {
    let mut chosen = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{with") {
        let (begin, after) = after.split_once("}}").context("a {{with without }}")?;
        let (inner, after) = after.split_once("{{end}}").context("a {{with without {{end}}")?;
        let (wanted, way) = match begin.strip_prefix("out ") {
            Some(way) => (false, way),
            None => (true, begin.trim_start()),
        };
        chosen.push_str(before);
        if has(way) == wanted {
            chosen.push_str(inner);
        }
        rest = after;
    }
    chosen.push_str(rest);
    Ok(chosen)
}

fn value(name: &str) -> Result<fn(&Measurement) -> f64> {
    Ok(match name {
        "copies" => data::copies,
        "bytes" => data::bytes,
        "clones" => data::clones,
        "allocations" => data::allocations,
        "instructions" => |it| it.instructions.round(),
        _ => bail!("`{name}` is no figure"),
    })
}

fn answer(question: &str, results: &Results) -> Result<String> {
    let words: Vec<String> =
        question.split_whitespace().map(|word| word.replace('_', " ")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        ["kernel"] => results.kernel.clone(),
        ["places"] => tables::places(results),
        ["claim", name] => tables::number(results.claim(&name.replace(' ', "_"))?.instructions),
        ["claims"] => tables::look_ups(results)?,
        ["claims-entries"] => tables::grouped(claims::ENTRIES.into()),
        ["claims-most"] => tables::grouped(most().into()),
        ["claims-buckets"] => tables::grouped(claims::BUCKETS.into()),
        ["claims-make"] => tables::grouped(results.claim(claims::EMPTY)?.instructions as u64),
        ["claims-mib"] => tables::number(empty(results)? / f64::from(1 << 20)),
        ["claims-gib"] => {
            format!("{:.0}", empty(results)? * f64::from(most()) / f64::from(1 << 30))
        }
        ["agree"] => tables::agreement(results).agree.to_string(),
        ["measured"] => tables::agreement(results).measured.to_string(),
        ["differ"] => differ(&tables::agreement(results)),
        ["flames"] => links(results),
        ["segments"] => SEGMENTS.to_string(),
        ["spread"] => percent(tables::spread(results).0),
        ["largest-spread"] => percent(tables::spread(results).1),
        ["copies-for-headroom"] => tables::for_headroom(results).to_string(),
        [what @ ("hits" | "misses"), a, b, c, d] => {
            let of = ask(results, [a, b, c, d])?;
            let cache = of.cache.context("there was no cache")?;
            let count = if *what == "hits" { cache.hits } else { cache.misses };
            tables::number(count as f64 / of.packets.max(1) as f64)
        }
        ["table", what, direction, listener, traffic @ ..] => {
            tables::by_traffic(results, direction, listener, traffic, value(what)?)
        }
        ["times", a, b, c, d] => tables::times(data::copies(ask(results, [a, b, c, d])?)),
        ["more", a, b, c, d, "/", e, f, g, h] => {
            let (one, other) = (ask(results, [a, b, c, d])?, ask(results, [e, f, g, h])?);
            percent(one.instructions / other.instructions - 1.0)
        }
        [what, way, direction, traffic, listener] => {
            tables::number(value(what)?(ask(results, [way, direction, traffic, listener])?))
        }
        _ => bail!("nobody knows this question"),
    })
}

/// The largest number of namespaces in the figures about the RFD's claims.
fn most() -> u32 {
    claims::NAMESPACES.into_iter().max().unwrap_or(0)
}

/// The memory of an empty table, in bytes.
fn empty(results: &Results) -> Result<f64> {
    let bytes = results.claim(claims::EMPTY)?.bytes;
    Ok(bytes.context("its memory was not measured")? as f64)
}

/// A share, with a sign if it is less than nothing.
fn percent(share: f64) -> String {
    // No "-0.0".
    let tenths = (share * 1000.0).round() / 10.0 + 0.0;
    format!("{tenths:.1} %")
}

fn ask<'a>(results: &'a Results, words: [&str; 4]) -> Result<&'a Measurement> {
    let [way, direction, traffic, listener] = words;
    results.get(Question { way, direction, traffic, listener })
}

fn differ(agreement: &Agreement) -> String {
    let row = |(way, (number, probes, memory)): (&String, &(usize, i64, i64))| {
        format!("| {way} | {number} | {probes} | {memory} |\n")
    };
    let rows: String = agreement.differ.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "The others:\n\n\
         | way | measurements | copies by probes | copies by memory |\n|---|---|---|---|\n{rows}"
    )
}

fn links(results: &Results) -> String {
    let ways = results.ways().filter(|way| !flames::folded(results, way).is_empty());
    ways.map(|way| format!("- [{way}](study/{})\n", flames::file(way))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_about_ways_that_are_not_there_is_left_out() {
        let text =
            "a{{with x}} b{{end}}{{without x}} c{{end}}{{with y}} d{{end}}{{without y}} f{{end}}";
        let chosen = |text| chosen(text, |way| way == "x");
        assert_eq!(chosen(text).unwrap(), "a b f");
        assert!(chosen("{{with x}}").is_err());
        assert!(chosen("{{with x").is_err());
    }

    #[test]
    fn a_share_has_a_sign_only_if_it_is_less_than_nothing() {
        for (share, want) in [(0.1234, "12.3 %"), (-0.05, "-5.0 %"), (-0.0001, "0.0 %")] {
            assert_eq!(percent(share), want);
        }
    }
}
