// SPDX-License-Identifier: GPL-2.0

//! Tables of all ways.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rnetns_study::results::{Measurement, Place};

use crate::data::{Question, Results};

/// A number that people can read: no zeros behind the point that say nothing.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How often, in a word where there is one.
pub fn times(value: f64) -> String {
    match number(value).as_str() {
        "0" => "not at all".to_owned(),
        "1" => "once".to_owned(),
        "2" => "twice".to_owned(),
        other => format!("{other} times"),
    }
}

/// One line a way, one column for each of these kinds of traffic.
pub fn by_traffic(
    results: &Results,
    direction: &str,
    listener: &str,
    traffic: &[&str],
    value: impl Fn(&Measurement) -> f64,
) -> String {
    let mut table =
        format!("| way | {} |\n|---|{}\n", traffic.join(" | "), "---|".repeat(traffic.len()));
    for way in results.ways() {
        let cells: Vec<Option<String>> = traffic
            .iter()
            .map(|traffic| {
                let question = Question { way, direction, traffic, listener };
                results.find(question).map(|it| number(value(it)))
            })
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let cells: Vec<String> = cells.into_iter().map(Option::unwrap_or_default).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {way} | {} |", cells.join(" | "));
    }
    table
}

/// A line of the kernel that has packets copied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The function that it is in, and for whom: `skb_ensure_writable() for nf_nat_manip_pkt()`.
    pub function: String,
    /// `net/ipv4/ip_forward.c:144`
    pub at: String,
    /// What is called there.
    pub calls: String,
    pub reason: String,
}

/// Where helpers of all protocols are: who calls them says more.
const HELPERS: &str = "net/core/skbuff.c:";

impl Line {
    fn of(results: &Results, place: &Place) -> Line {
        // From the innermost inlined function to the function itself: `skb_cow at
        // include/linux/skbuff.h:3911 (inlined)`. What headers have is called from everywhere.
        let frames: Vec<(&str, &str)> = results
            .lines(&place.caller)
            .iter()
            .filter_map(|line| line.trim().trim_end_matches(" (inlined)").split_once(" at "))
            .collect();
        let index = frames.iter().position(|(_, at)| !at.starts_with("include/"));
        let (function, at) = index.map_or((place.caller.as_str(), ""), |index| frames[index]);
        let inner = index.and_then(|index| index.checked_sub(1)).map(|index| frames[index].0);
        let caller = place.stack.get(1).filter(|_| at.starts_with(HELPERS));
        Line {
            function: match caller {
                Some(caller) => format!("`{function}()` for `{caller}()`"),
                None => format!("`{function}()`"),
            },
            at: at.to_owned(),
            calls: inner.unwrap_or(&place.function).to_owned(),
            reason: place.reason.clone(),
        }
    }
}

/// The lines of the kernel that had packets copied, with the ways and the listeners of each.
fn lines(results: &Results) -> BTreeMap<Line, [Vec<String>; 2]> {
    let mut lines: BTreeMap<Line, [Vec<String>; 2]> = BTreeMap::new();
    let of = |way| results.results.iter().filter(move |it| it.way == way);
    for measurement in results.ways().flat_map(of) {
        for place in &measurement.copies {
            let lists = lines.entry(Line::of(results, place)).or_default();
            for (list, name) in lists.iter_mut().zip([&measurement.way, &measurement.listener]) {
                if !list.contains(name) {
                    list.push(name.clone());
                }
            }
        }
    }
    lines
}

/// The same as a table.
pub fn places(results: &Results) -> String {
    let mut table =
        "| in | at | calls | as it is | ways | listening |\n|---|---|---|---|---|---|\n".to_owned();
    for (line, [ways, listeners]) in lines(results) {
        let Line { function, at, calls, reason } = line;
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {function} | {at} | `{calls}()` | {reason} | {} | {} |",
            ways.join(", "),
            listeners.join(", ")
        );
    }
    table
}

/// Functions that have packets copied, of which the text has no word.
pub fn unexplained(results: &Results, text: &str) -> Vec<String> {
    let names = lines(results).into_keys().map(|line| line.function);
    let name = |function: String| function.split(" for ").next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = names.map(name).filter(|name| !text.contains(name)).collect();
    names.dedup();
    names
}

/// How well both ways of counting agree.
#[derive(Debug, Default)]
pub struct Agreement {
    pub measured: usize,
    pub agree: usize,
    /// The sums of the measurements that do not: how many, copies by probes, and by memory.
    pub differ: BTreeMap<String, (usize, i64, i64)>,
}

pub fn agreement(results: &Results) -> Agreement {
    let mut all = Agreement::default();
    for it in &results.results {
        all.measured += 1;
        let (probes, memory) = (it.check.copies as i64, it.check.copies_by_memory());
        if memory == probes {
            all.agree += 1;
        } else {
            let sum = all.differ.entry(it.way.clone()).or_default();
            *sum = (sum.0 + 1, sum.1 + probes, sum.2 + memory);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use rnetns_study::results::Check;

    #[test]
    fn numbers_have_no_zeros_that_say_nothing() {
        for (value, want) in
            [(0.0, "0"), (1.0, "1"), (1.5, "1.5"), (1234.567, "1234.57"), (100.0, "100")]
        {
            assert_eq!(number(value), want);
        }
        for (value, want) in
            [(0.0, "not at all"), (1.0, "once"), (2.0, "twice"), (1.5, "1.5 times")]
        {
            assert_eq!(times(value), want);
        }
    }

    fn copied(caller: &str, frames: &[&str]) -> Results {
        let frames: Vec<String> = frames.iter().map(|frame| (*frame).to_owned()).collect();
        let place = Place {
            function: "pskb_expand_head".to_owned(),
            caller: caller.to_owned(),
            stack: vec!["a".to_owned(), "b".to_owned()],
            reason: "cloned".to_owned(),
            times: 1,
            bytes: 1,
        };
        let measurement = Measurement {
            way: "w".to_owned(),
            direction: "out".to_owned(),
            traffic: "t".to_owned(),
            listener: "nobody".to_owned(),
            packets: 1,
            copies: vec![place],
            clones: Vec::new(),
            pulls: Vec::new(),
            splits: Vec::new(),
            check: Check::default(),
            instructions: 1.0,
            instruction_rounds: Vec::new(),
        };
        Results {
            kernel: "k".to_owned(),
            parts: vec!["w".to_owned()],
            results: vec![measurement],
            places: BTreeMap::from([(caller.to_owned(), frames)]),
        }
    }

    #[test]
    fn a_line_is_that_of_the_source_and_not_of_a_header() {
        let results = copied(
            "ip_forward+0x1/0x2",
            &[
                "__skb_cow at include/linux/skbuff.h:2 (inlined)",
                "skb_cow at include/linux/skbuff.h:1 (inlined)",
                "ip_forward at net/ipv4/ip_forward.c:144",
            ],
        );
        let table = places(&results);
        let row =
            "| `ip_forward()` | net/ipv4/ip_forward.c:144 | `skb_cow()` | cloned | w | nobody |\n";
        assert!(table.ends_with(row), "{table}");
        let helper = copied("e+0x1/0x2", &["e at net/core/skbuff.c:7"]);
        assert!(
            places(&helper)
                .contains("| `e()` for `b()` | net/core/skbuff.c:7 | `pskb_expand_head()`")
        );
        assert_eq!(unexplained(&helper, "about `f()`"), ["`e()`"]);
        assert!(unexplained(&helper, "about `e()`").is_empty());
    }
}
