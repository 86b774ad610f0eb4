// SPDX-License-Identifier: GPL-2.0

//! The text, with a question for each number: `{{copies WAY DIRECTION TRAFFIC LISTENER}}`.
//!
//! | question | answer |
//! |---|---|
//! | `kernel` | the kernel's release |
//! | `copies`, `bytes`, `clones`, `instructions`, `allocations` with the four words | for each packet |
//! | `times WORDS` | how often each packet was copied: `once` |
//! | `more WORDS / WORDS` | how much more instructions the first takes than the second, in percent |
//! | `table WHAT DIRECTION LISTENER TRAFFIC...` | one line a way |
//! | `places` | each line of the kernel that copies |
//! | `agree`, `measured`, `differ` | how often both ways of counting agree |
//! | `flames` | links to the flame graphs |
//!
//! Words are separated by spaces; a `_` in a word stands for a space.

use anyhow::{Context, Result, bail};
use rnetns_study::results::Measurement;

use crate::data::{self, Question, Results};
use crate::flames;
use crate::tables::{self, Agreement};

/// The text with all answers.
pub fn fill(text: &str, results: &Results) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (question, end) = after.split_once("}}").context("a {{ without }}")?;
        filled.push_str(before);
        filled.push_str(&answer(question, results).with_context(|| format!("{{{{{question}}}}}"))?);
        rest = end;
    }
    filled.push_str(rest);
    // Tables end their last line themselves.
    Ok(filled.replace("\n\n\n", "\n\n"))
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
        ["agree"] => tables::agreement(results).agree.to_string(),
        ["measured"] => tables::agreement(results).measured.to_string(),
        ["differ"] => differ(&tables::agreement(results)),
        ["flames"] => links(results),
        ["table", what, direction, listener, traffic @ ..] => {
            tables::by_traffic(results, direction, listener, traffic, value(what)?)
        }
        ["times", a, b, c, d] => tables::times(data::copies(ask(results, [a, b, c, d])?)),
        ["more", a, b, c, d, "/", e, f, g, h] => {
            let (one, other) = (ask(results, [a, b, c, d])?, ask(results, [e, f, g, h])?);
            format!("{:.0} %", (one.instructions / other.instructions - 1.0) * 100.0)
        }
        [what, way, direction, traffic, listener] => {
            tables::number(value(what)?(ask(results, [way, direction, traffic, listener])?))
        }
        _ => bail!("nobody knows this question"),
    })
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
