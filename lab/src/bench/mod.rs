// SPDX-License-Identifier: GPL-2.0

//! `make bench`: compares the figures that the measuring module prints.
//!
//! Everything is measured twice: in time, with the usual engine, and in instructions, with a
//! processor whose clock counts one nanosecond for each. Under TCG, time says little about hardware
//! and nothing about small differences, while instructions are the same in every run. User Mode
//! Linux runs at the machine's own speed, and only measures time.
//!
//! The operations to compare are measured alternately, in rounds. A ratio is the median over the
//! rounds: other load on the machine during a round affects both operations.

mod targets;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vmlab::boot::engine::Choice;

use self::targets::{Comparison, Ratio, Target, Where};

pub use self::targets::Rules;

/// The start of lines that report progress.
pub const PROGRESS: &str = "# at ";

/// The least number of rounds for a median.
const LEAST_ROUNDS: usize = 5;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Counted {
    /// Nanoseconds of the clock.
    Time,
    /// Instructions of the counting processor.
    Instructions,
}

impl Counted {
    fn cost(self) -> &'static str {
        match self {
            Counted::Time => "ns",
            Counted::Instructions => "instructions",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Counted::Time => "",
            Counted::Instructions => "_instructions",
        }
    }

    /// How many `things` fit into a second, or into a million instructions, at this cost of each.
    fn rate(self, cost: f64, things: &str) -> (f64, String) {
        match self {
            Counted::Time => (1e9 / cost, format!("{things}/s")),
            Counted::Instructions => (1e6 / cost, format!("{things}/million instructions")),
        }
    }
}

/// The output of one run, and its unit.
#[derive(Debug, Clone, Copy)]
pub struct Measurements<'a> {
    pub unit: Counted,
    pub text: &'a str,
}

/// One operation in the module's output: its cost in each round.
#[derive(Debug, Clone, Default, PartialEq)]
struct Measured {
    rounds: Vec<f64>,
    lost: u64,
}

impl Measured {
    fn median(&self) -> f64 {
        median(&self.rounds)
    }

    fn min(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the ratios to another operation, round by round.
    fn by(&self, other: &Self) -> f64 {
        if self.rounds.len() != other.rounds.len() {
            return self.median() / other.median();
        }
        let ratios: Vec<f64> =
            self.rounds.iter().zip(&other.rounds).map(|(one, other)| one / other).collect();
        median(&ratios)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The output of a run: its operations and values, by name.
#[derive(Debug, Default)]
struct All {
    costs: BTreeMap<String, Measured>,
    bytes: BTreeMap<String, Measured>,
}

/// A measured value, alone or compared with another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub name: String,
    /// The median of repeats, unless the name says otherwise.
    pub value: f64,
    pub unit: String,
    /// The name of the figure that it is compared with.
    pub against: Option<String>,
    /// This one divided by that one: the median of the rounds' ratios.
    pub ratio: Option<f64>,
    /// The target for the ratio or, without a ratio, for the value.
    pub target: Option<String>,
    /// Whether the target is met.
    pub met: Option<bool>,
}

/// The content of `target/bench/results.json`.
#[derive(Debug, Serialize)]
pub struct BenchResults {
    engine: &'static str,
    why: String,
    figures: Vec<Figure>,
}

/// Compares the outputs of the runs. If they are not `whole`, because a measurement failed, the
/// results contain only what was measured, and a note about it.
pub fn results(
    engine: &Choice,
    rules: &Rules,
    outputs: &[Measurements<'_>],
    whole: bool,
) -> Result<BenchResults> {
    let mut figures = Vec::new();
    let mut why = engine.why.clone();
    for output in outputs {
        for note in output.text.lines().filter_map(|line| line.strip_prefix("# note ")) {
            if !why.contains(note) {
                why = format!("{why}; {note}");
            }
        }
        let native = engine.used.is_native() && output.unit == Counted::Time;
        let place = Where { native, unit: output.unit };
        figures.extend(side_by_side(&parse(output.text, whole)?, rules, place, whole)?);
    }
    if !whole {
        why = format!("{why}; NOT WHOLE: a measurement has failed");
    }
    Ok(BenchResults { engine: engine.used.name(), why, figures })
}

/// The lines `# figure NAME ...` and `# memory NAME ...` of the script's output.
fn parse(text: &str, whole: bool) -> Result<All> {
    let mut all = All::default();
    // The last line may be cut off if the guest died.
    let end = if whole { text.len() } else { text.rfind('\n').unwrap_or(0) };
    for line in text[..end].lines() {
        if let Some(rest) = line.strip_prefix("# figure ") {
            let (name, measured) =
                measured(rest, "ns").with_context(|| format!("understand `{rest}`"))?;
            if measured.rounds.iter().any(|&cost| cost <= 0.0) {
                bail!("the clock is broken: {rest}");
            }
            note(&mut all.costs, &name, measured);
        } else if let Some(rest) = line.strip_prefix("# memory ") {
            let (name, measured) =
                measured(rest, "bytes").with_context(|| format!("understand `{rest}`"))?;
            note(&mut all.bytes, &name, measured);
        }
    }
    if !whole {
        all.costs.retain(|_, measured| measured.rounds.len() >= LEAST_ROUNDS);
    }
    for (name, measured) in all.costs.iter().chain(&all.bytes) {
        if measured.rounds.len() < LEAST_ROUNDS {
            bail!("{name} was measured {} times only", measured.rounds.len());
        }
    }
    Ok(all)
}

/// Adds a figure. A name with `#` is one of several rounds, and each round has a median.
fn note(all: &mut BTreeMap<String, Measured>, name: &str, measured: Measured) {
    let Some((before, number)) = name.split_once('#') else {
        all.insert(name.to_owned(), measured);
        return;
    };
    let after = number.trim_start_matches(|c: char| c.is_ascii_digit());
    let whole = all.entry(format!("{before}{after}")).or_default();
    whole.rounds.push(measured.median());
    whole.lost += measured.lost;
}

fn measured(line: &str, key: &str) -> Result<(String, Measured)> {
    let (name, rest) = line.split_once(' ').context("nothing but a name")?;
    let values: BTreeMap<&str, &str> =
        rest.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let rounds = values.get(key).copied().with_context(|| format!("no {key}="))?;
    let lost = values.get("lost").copied().unwrap_or("0");
    let measured = Measured {
        rounds: rounds
            .split(',')
            .map(|value| value.parse::<f64>().with_context(|| format!("`{value}`")))
            .collect::<Result<_>>()?,
        lost: lost.parse().context("lost")?,
    };
    Ok((name.to_owned(), measured))
}

fn side_by_side(all: &All, rules: &Rules, place: Where, whole: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, measured) in &all.costs {
        let named = format!("{name}{}", place.unit.suffix());
        for (suffix, value) in [("", measured.median()), ("_min", measured.min())] {
            figures.push(alone(format!("{named}{suffix}"), value, place.unit.cost()));
        }
        if measured.lost > 0 {
            figures.push(alone(format!("{named}_lost"), measured.lost as f64, "operations"));
        }
        for comparison in rules.comparisons(name, place) {
            match all.costs.get(&comparison.against) {
                Some(other) => {
                    figures.push(against(&named, measured, other, &comparison, place.unit));
                }
                None if whole => bail!("{} was not measured", comparison.against),
                None => {}
            }
        }
    }
    // Values that are the same in both runs are only listed once.
    if place.unit == Counted::Time {
        for (name, measured) in &all.bytes {
            let value = measured.median();
            let target = rules.memory(name);
            figures.push(Figure {
                target: target.map(Target::text),
                met: target.map(|target| target.met(value)),
                ..alone(name.clone(), value, "bytes")
            });
        }
    }
    Ok(figures)
}

fn alone(name: String, value: f64, unit: &str) -> Figure {
    let unit = unit.to_owned();
    Figure { name, value, unit, against: None, ratio: None, target: None, met: None }
}

fn against(
    name: &str,
    one: &Measured,
    other: &Measured,
    comparison: &Comparison,
    unit: Counted,
) -> Figure {
    let title = format!("{name}_against_{}", comparison.against);
    let (value, named, ratio) = match &comparison.ratio {
        Ratio::Cost => (one.median(), unit.cost().to_owned(), one.by(other)),
        Ratio::Speed(things) => {
            let (value, named) = unit.rate(one.median(), things);
            (value, named, other.by(one))
        }
    };
    Figure {
        against: Some(format!("{}{}", comparison.against, unit.suffix())),
        ratio: Some(ratio),
        target: comparison.target.map(Target::text),
        met: comparison.target.map(|target| target.met(ratio)),
        ..alone(title, value, &named)
    }
}

impl BenchResults {
    /// Writes the JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self).context("encode the figures")? + "\n";
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// A table for people: a line for each comparison and for each value with a target.
    pub fn table(&self) -> String {
        let mut table = format!("engine for time: {} ({})\n\n", self.engine, self.why);
        row(&mut table, ["", "value", "unit", "ratio", "target", ""].map(str::to_owned));
        let mut counts = [0; 2];
        for figure in &self.figures {
            if figure.ratio.is_none() && figure.target.is_none() {
                continue;
            }
            let verdict = match figure.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            if let Some(met) = figure.met {
                counts[usize::from(met)] += 1;
            }
            row(
                &mut table,
                [
                    figure.name.clone(),
                    format!("{:.1}", figure.value),
                    figure.unit.clone(),
                    figure.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
                    figure.target.clone().unwrap_or_default(),
                    verdict.to_owned(),
                ],
            );
        }
        let [missed, met] = counts;
        // Writing to a string cannot fail.
        let _ = writeln!(table, "\ntargets: {met} met, {missed} missed");
        table
    }
}

fn row(table: &mut String, [name, value, unit, ratio, target, verdict]: [String; 6]) {
    let line = format!("{name:88} {value:>12} {unit:30} {ratio:>7} {target:>9} {verdict}");
    // Writing to a string cannot fail.
    let _ = writeln!(table, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use vmlab::boot::engine::Engine;

    use super::*;

    fn line(name: &str, ns: f64) -> String {
        let rounds = [0.9, 1.0, 1.1, 0.95, 1.05].map(|factor| format!("{:.3}", ns * factor));
        format!("# figure {name} lost=0 ns={}\n", rounds.join(","))
    }

    fn output(one: f64, ours: f64) -> String {
        let mut text = "KTAP version 1\n1..2\n".to_owned();
        for (name, ns) in [
            ("one_guarded", one),
            ("two_guarded", 10.0),
            ("one", one),
            ("two", 10.0),
            ("explicit", 16.0),
            ("current_get", 16.0),
            ("current_switch", 20.0),
            ("packet_theirs", 1000.0),
            ("packet_ours", ours),
        ] {
            text += &line(name, ns);
        }
        text += "# note emulated: less of all\n";
        text + "# memory memory_entry bytes=95.1,96.0,96.2,96.0,96.0\nok 1 state\nok 2 traffic\n"
    }

    fn rules() -> Rules {
        let pair = |name: &str, with: &str, more: &str| {
            format!("[[compare]]\nname = \"{name}\"\nwith = \"{with}\"\n{more}\n")
        };
        let text = [
            pair("one*", "two*", "at_most = 1.1"),
            pair("explicit", "current_get", ""),
            pair("packet_ours", "packet_theirs", "rate = \"packets\"\nat_least = 0.97"),
            "[[memory]]\nname = \"memory_entry\"\nat_most = 96.0\n".to_owned(),
        ];
        targets::parse(&text.concat()).unwrap()
    }

    const TIME: Where = Where { native: true, unit: Counted::Time };

    fn met(one: f64, ours: f64, name: &str) -> Option<bool> {
        let figures =
            side_by_side(&parse(&output(one, ours), true).unwrap(), &rules(), TIME, true).unwrap();
        figures.iter().find(|figure| figure.name == name).unwrap().met
    }

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        let state = "one_guarded_against_two_guarded";
        let ours = "packet_ours_against_packet_theirs";
        for (one, ns, name, want) in [
            (10.99, 1000.0, state, Some(true)),
            (11.2, 1000.0, state, Some(false)),
            (9.0, 1000.0, ours, Some(true)),
            (9.0, 1030.0, ours, Some(true)),
            (9.0, 1040.0, ours, Some(false)),
            (9.0, 1000.0, "explicit_against_current_get", None),
            (9.0, 1000.0, "memory_entry", Some(true)),
        ] {
            assert_eq!(met(one, ns, name), want, "{one} {ns} {name}");
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_rounds() {
        let one = Measured { rounds: vec![10.0, 100.0, 20.0], lost: 0 };
        let other = Measured { rounds: vec![10.0, 50.0, 2.0], lost: 0 };
        assert_eq!(one.by(&other), 2.0);
    }

    #[test]
    fn rounds_that_came_one_by_one_are_one_figure() {
        let text: String = (1..=5).map(|round| line(&format!("idle#{round}_0"), 10.0)).collect();
        let all = parse(&text, true).unwrap();
        assert_eq!(all.costs["idle_0"].rounds, [10.0; 5]);
    }

    #[test]
    fn every_measured_value_is_in_the_results_in_both_units() {
        let engine = Choice { used: Engine::Tcg, why: "there is no /dev/kvm".into() };
        let texts = [output(9.0, 1000.0), output(12.0, 1100.0)];
        let outputs = [
            Measurements { unit: Counted::Time, text: &texts[0] },
            Measurements { unit: Counted::Instructions, text: &texts[1] },
        ];
        let all = results(&engine, &rules(), &outputs, true).unwrap();
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json["engine"], "tcg");
        let figures = json["figures"].as_array().unwrap();
        for name in ["one", "two_guarded_min", "packet_theirs_instructions"] {
            assert!(figures.iter().any(|figure| figure["name"] == name), "{name}");
        }
        assert_eq!(json["why"], "there is no /dev/kvm; emulated: less of all");
        let table = all.table();
        assert!(table.contains("MISSED") && table.contains("met"), "{table}");
    }

    #[test]
    fn output_that_is_not_whole_is_no_result() {
        let whole = output(9.0, 1000.0);
        let cases = [
            whole.replace("# figure two ", "# "),
            whole.replace("ns=14.400,", "ns="),
            whole.replace("ns=14.400", "ns=many"),
            whole.replace("ns=14.400", "ns=0.000"),
        ];
        for text in cases {
            let all = parse(&text, true).and_then(|all| side_by_side(&all, &rules(), TIME, true));
            assert!(all.is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_measured_before_a_failure_is_kept() {
        let engine = Choice { used: Engine::Tcg, why: "there is no /dev/kvm".into() };
        let text = output(9.0, 1000.0);
        let cut = text.find("# figure packet_theirs").unwrap() + 30;
        let outputs = [Measurements { unit: Counted::Time, text: &text[..cut] }];
        let all = results(&engine, &rules(), &outputs, false).unwrap();
        assert!(all.figures.iter().any(|figure| figure.name == "one_against_two"));
        assert!(all.why.ends_with("a measurement has failed"), "{}", all.why);
    }
}
