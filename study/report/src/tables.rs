// SPDX-License-Identifier: GPL-2.0

//! Tables of all ways.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use rnetns_study::claims;
use rnetns_study::results::{Measurement, Place};

use crate::data::{self, Question, Results};

/// A number that people can read: no zeros behind the point that say nothing.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number, with commas between thousands.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Look-ups by the number of namespaces that share the entries, a column for each table.
pub fn look_ups(results: &Results) -> Result<String> {
    let mut rows = String::new();
    for namespaces in claims::NAMESPACES {
        let _ = write!(rows, "| {} |", grouped(namespaces.into()));
        for table in claims::TABLES {
            let found = results.claim(&claims::look_up(namespaces, table))?.instructions;
            let _ = write!(rows, " {found:.0} |");
        }
        rows.push('\n');
    }
    Ok(rows)
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
    /// The function that it is in.
    pub function: String,
    /// `net/ipv4/ip_forward.c:144`
    pub at: String,
    /// What is called there.
    pub calls: String,
    pub reason: String,
}

/// Where helpers of all protocols are: what calls them has packets copied.
const HELPERS: [&str; 2] = ["include/", "net/core/skbuff.c:"];

impl Line {
    fn of(results: &Results, place: &Place) -> Line {
        // Each place is one or more functions, from the innermost inlined one to the function
        // itself: `skb_cow at include/linux/skbuff.h:3911 (inlined)`.
        let frames: Vec<(&str, &str)> = std::iter::once(&place.caller)
            .chain(&place.outer)
            .flat_map(|place| results.lines(place))
            .filter_map(|line| line.trim().trim_end_matches(" (inlined)").split_once(" at "))
            .collect();
        let first = |helpers: &[&str]| {
            let is_helper = |at: &str| helpers.iter().any(|helper| at.starts_with(helper));
            frames.iter().position(|(_, at)| !is_helper(at))
        };
        // Where nothing else is known, it is the helper.
        let index = first(&HELPERS).or_else(|| first(&HELPERS[..1]));
        let (function, at) = index.map_or((place.caller.as_str(), ""), |index| frames[index]);
        let inner = index.and_then(|index| index.checked_sub(1)).map(|index| frames[index].0);
        Line {
            function: function.to_owned(),
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
            "| `{function}()` | {at} | `{calls}()` | {reason} | {} | {} |",
            ways.join(", "),
            listeners.join(", ")
        );
    }
    table
}

/// Functions that have packets copied, and whose reason the text does not tell: it marks each that
/// it does by a comment `<!-- explains: NAME, NAME -->`.
pub fn unexplained(results: &Results, text: &str) -> Vec<String> {
    let marks = text.split("<!-- explains:").skip(1);
    let explained: Vec<&str> = marks
        .filter_map(|mark| mark.split_once("-->"))
        .flat_map(|(names, _)| names.split(',').map(str::trim))
        .collect();
    let names = lines(results).into_keys().map(|line| line.function);
    let mut names: Vec<String> = names.filter(|name| !explained.contains(&name.as_str())).collect();
    names.dedup();
    names
}

/// The spread of the rounds: that of the measurement in the middle, and the largest.
pub fn spread(results: &Results) -> (f64, f64) {
    let mut all: Vec<f64> = results.results.iter().map(data::spread).collect();
    all.sort_by(f64::total_cmp);
    let middle = all.get(all.len() / 2).copied().unwrap_or_default();
    (middle, all.last().copied().unwrap_or_default())
}

/// Copies because of a lack of headroom.
pub fn for_headroom(results: &Results) -> u64 {
    let places = results.results.iter().flat_map(|it| &it.copies);
    let places = places.filter(|place| place.reason.contains("headroom"));
    // XDP wants more of it than any device.
    places.filter(|place| place.function != "skb_pp_cow_data").map(|place| place.times).sum()
}

/// The same ways before and after a change of the kernel, out of the box, nobody listening.
pub fn before_and_after(before: &Results, after: &Results) -> String {
    let mut table = "| way | traffic | copies before | after | allocations before | after \
                     | instructions before | after |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for old in &before.results {
        let question =
            Question { way: &old.way, direction: "out", traffic: &old.traffic, listener: "nobody" };
        let is_asked = old.direction == question.direction && old.listener == question.listener;
        let Some(new) = after.find(question).filter(|_| is_asked) else { continue };
        let cells: Vec<String> = [data::copies, data::allocations]
            .iter()
            .flat_map(|value| [old, new].map(|it| number(value(it))))
            .chain([old, new].map(instructions))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {} | {} | {} |", old.way, old.traffic, cells.join(" | "));
    }
    table
}

/// The round in the middle, and between which ones it is.
fn instructions(of: &Measurement) -> String {
    let mut rounds = of.instruction_rounds.clone();
    rounds.sort_by(f64::total_cmp);
    match rounds.as_slice() {
        [_, low, .., high, _] => format!("{:.0} ({low:.0} to {high:.0})", of.instructions),
        _ => format!("{:.0}", of.instructions),
    }
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
    fn thousands_are_set_off() {
        for (value, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (17_056_283, "17,056,283")] {
            assert_eq!(grouped(value), want);
        }
    }

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
            outer: vec!["outer+0x1/0x2".to_owned()],
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
            cache: None,
            copies: vec![place],
            clones: Vec::new(),
            pulls: Vec::new(),
            splits: Vec::new(),
            check: Check::default(),
            instructions: 1.0,
            instruction_rounds: Vec::new(),
        };
        Results {
            claims: Vec::new(),
            kernel: "k".to_owned(),
            parts: vec!["w".to_owned()],
            results: vec![measurement],
            places: BTreeMap::from([
                (caller.to_owned(), frames),
                ("outer+0x1/0x2".to_owned(), vec!["outer at net/x.c:9".to_owned()]),
            ]),
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
    }

    #[test]
    fn a_helper_is_no_line_of_its_own() {
        let helper = copied("e+0x1/0x2", &["e at net/core/skbuff.c:7"]);
        let table = places(&helper);
        assert!(table.contains("| `outer()` | net/x.c:9 | `e()` | cloned |"), "{table}");
    }

    #[test]
    fn a_function_is_explained_by_a_mark_alone() {
        let results = copied("f+0x1/0x2", &["f at net/f.c:7"]);
        for text in ["", "about `f()`", "<!-- f -->", "<!-- explains: g, ff -->"] {
            assert_eq!(unexplained(&results, text), ["f"], "{text}");
        }
        assert!(unexplained(&results, "x <!-- explains: g, f --> y").is_empty());
    }

    #[test]
    fn headroom_is_found_among_the_reasons() {
        let mut results = copied("f+0x1/0x2", &["f at net/f.c:7"]);
        assert_eq!(for_headroom(&results), 0);
        results.results[0].copies[0].reason = "cloned and headroom".to_owned();
        assert_eq!(for_headroom(&results), 1);
    }

    #[test]
    fn before_and_after_is_shown_with_the_spread() {
        let mut before = copied("f+0x1/0x2", &["f at net/f.c:7"]);
        before.results[0].instruction_rounds = vec![9.0, 1.0, 2.0, 3.0, 4.0];
        before.results[0].instructions = 3.0;
        before.results[0].check.sent = 2;
        before.results[0].check.allocations = 3;
        let mut after = copied("f+0x1/0x2", &["f at net/f.c:7"]);
        after.results[0].copies.clear();
        let table = before_and_after(&before, &after);
        assert!(table.ends_with("| w | t | 1 | 0 | 1.5 | 0 | 3 (2 to 4) | 1 |\n"), "{table}");
        after.results[0].way = "other".to_owned();
        assert_eq!(before_and_after(&before, &after).lines().count(), 2);
    }
}
