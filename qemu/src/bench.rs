// SPDX-License-Identifier: GPL-2.0

//! `make bench`: what the measuring module found, set side by side.
//!
//! Everything is measured twice: in time, with the engine that works, and in
//! instructions, by a processor that counts one nanosecond for each. Under TCG
//! time says little about hardware, and nothing about small differences;
//! instructions are the same in every run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::accel::Verdict as Accel;

/// What measures, in the checkout.
pub const SCRIPT: &str = "rust/bench/measure.sh";
/// The module that it loads.
pub const MODULE: &str = "rnetns_bench.ko";

/// One operation, as the module printed it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    min: f64,
    median: f64,
    lost: u64,
}

type All = BTreeMap<String, Measured>;

/// A measured value, or one beside another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: String,
    /// As a median of repeats, unless the name says otherwise.
    pub value: f64,
    /// Of the value.
    pub unit: &'static str,
    /// The name of the figure that it is compared with.
    pub against: Option<String>,
    /// This one divided by that one.
    pub ratio: Option<f64>,
    /// What the ratio is to be.
    pub target: Option<String>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// All of it: the content of `target/bench/results.json`.
#[derive(Debug, Serialize)]
pub struct Results {
    engine: &'static str,
    why: String,
    figures: Vec<Figure>,
}

/// What a ratio is to be.
#[derive(Debug, Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn met(self, ratio: f64) -> bool {
        match self {
            Target::AtMost(most) => ratio <= most,
            Target::AtLeast(least) => ratio >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Target::AtMost(most) => format!("<= {most}"),
            Target::AtLeast(least) => format!(">= {least}"),
        }
    }
}

/// What is compared: the module's name of it, of the other, the target of the
/// first's cost divided by the second's.
const COMPARED: [(&str, &str, Option<Target>); 4] = [
    ("state_rust_guarded", "state_c_guarded", Some(Target::AtMost(1.1))),
    ("state_rust", "state_c", Some(Target::AtMost(1.1))),
    ("explicit", "current_get", None),
    ("explicit", "current_switch", None),
];

const RLO: (&str, &str) = ("packet_rlo", "packet_lo");
/// Packets per second of the first divided by those of the second.
const RLO_TARGET: Target = Target::AtLeast(0.97);

/// How a cost is turned into figures: by the clock, or by the counting processor.
#[derive(Debug, Clone, Copy)]
struct Scale {
    cost: &'static str,
    rate: &'static str,
    suffix: &'static str,
    per: f64,
}

const TIME: Scale = Scale { cost: "ns", rate: "packets/s", suffix: "", per: 1e9 };
const INSTRUCTIONS: Scale = Scale {
    cost: "instructions",
    rate: "packets/million instructions",
    suffix: "_instructions",
    per: 1e6,
};

/// Sets what both runs printed side by side.
pub fn results(engine: &Accel, timed: &str, counted: &str) -> Result<Results> {
    let mut figures = side_by_side(&parse(timed)?, TIME)?;
    figures.extend(side_by_side(&parse(counted)?, INSTRUCTIONS)?);
    Ok(Results { engine: engine.used.name(), why: engine.why.clone(), figures })
}

/// The lines `# figure NAME KEY=VALUE...` of the module's output.
fn parse(text: &str) -> Result<All> {
    let mut all = All::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# figure ")) {
        let figure = measured(line).with_context(|| format!("understand `{line}`"))?;
        all.extend([figure]);
    }
    Ok(all)
}

fn measured(line: &str) -> Result<(String, Measured)> {
    let (name, rest) = line.split_once(' ').context("nothing but a name")?;
    let values: BTreeMap<&str, &str> =
        rest.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let value = |key: &str| values.get(key).copied().with_context(|| format!("no {key}="));
    let measured = Measured {
        min: value("min_ns")?.parse().context("min_ns")?,
        median: value("median_ns")?.parse().context("median_ns")?,
        lost: value("lost")?.parse().context("lost")?,
    };
    if measured.min <= 0.0 || measured.median < measured.min {
        bail!("the clock is broken");
    }
    Ok((name.to_owned(), measured))
}

fn side_by_side(all: &All, scale: Scale) -> Result<Vec<Figure>> {
    let get = |name: &str| all.get(name).with_context(|| format!("{name} was not measured"));
    let named = |name: &str| format!("{name}{}", scale.suffix);
    let mut figures = Vec::new();
    for (name, measured) in all {
        for (suffix, value) in [("", measured.median), ("_min", measured.min)] {
            figures.push(alone(format!("{}{suffix}", named(name)), value, scale.cost));
        }
        if measured.lost > 0 {
            figures.push(alone(format!("{}_lost", named(name)), measured.lost as f64, "packets"));
        }
    }
    for (name, other, target) in COMPARED {
        let (one, two) = (get(name)?.median, get(other)?.median);
        let title = format!("{}_against_{other}", named(name));
        figures.push(against(title, (one, scale.cost), (named(other), two), target));
    }
    let rate = |name| Ok::<_, anyhow::Error>(scale.per / get(name)?.median);
    let (rlo, lo) = (rate(RLO.0)?, rate(RLO.1)?);
    let (rlo_name, lo_name) = (named("rlo_rate"), named("lo_rate"));
    figures.push(alone(lo_name.clone(), lo, scale.rate));
    figures.push(against(rlo_name, (rlo, scale.rate), (lo_name, lo), Some(RLO_TARGET)));
    Ok(figures)
}

fn alone(name: String, value: f64, unit: &'static str) -> Figure {
    Figure { name, value, unit, against: None, ratio: None, target: None, met: None }
}

fn against(
    name: String,
    (value, unit): (f64, &'static str),
    (other, than): (String, f64),
    target: Option<Target>,
) -> Figure {
    let ratio = value / than;
    Figure {
        against: Some(other),
        ratio: Some(ratio),
        target: target.map(Target::text),
        met: target.map(|target| target.met(ratio)),
        ..alone(name, value, unit)
    }
}

impl Results {
    /// Writes the JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self).context("encode the figures")? + "\n";
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// For people: a line for each comparison.
    pub fn table(&self) -> String {
        let mut table = format!("engine for time: {} ({})\n\n", self.engine, self.why);
        let head = ["", "value", "unit", "ratio", "target", ""];
        row(&mut table, head.map(str::to_owned));
        for figure in &self.figures {
            let Some(ratio) = figure.ratio else { continue };
            let verdict = match figure.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            row(
                &mut table,
                [
                    figure.name.clone(),
                    format!("{:.1}", figure.value),
                    figure.unit.to_owned(),
                    format!("{ratio:.3}"),
                    figure.target.clone().unwrap_or_default(),
                    verdict.to_owned(),
                ],
            );
        }
        table
    }
}

fn row(table: &mut String, [name, value, unit, ratio, target, verdict]: [String; 6]) {
    let line = format!("{name:52} {value:>10} {unit:28} {ratio:>6} {target:>7} {verdict}");
    // Writing to a string cannot fail.
    let _ = writeln!(table, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::Engine;

    fn output(rust: f64, rlo: f64) -> String {
        let mut text = "KTAP version 1\n1..2\n".to_owned();
        let figures = [
            ("state_rust_guarded", rust),
            ("state_c_guarded", 10.0),
            ("state_rust", rust),
            ("state_c", 10.0),
            ("explicit", 16.0),
            ("current_get", 16.0),
            ("current_switch", 20.0),
            ("packet_lo", 1000.0),
            ("packet_rlo", rlo),
        ];
        for (name, ns) in figures {
            let line = format!("min_ns={:.3} median_ns={ns:.3} repeats=11 lost=0", ns * 0.9);
            writeln!(text, "# figure {name} {line}").unwrap();
        }
        text + "ok 1 state\nok 2 traffic\n"
    }

    fn met(rust: f64, rlo: f64, name: &str) -> Option<bool> {
        let figures = side_by_side(&parse(&output(rust, rlo)).unwrap(), TIME).unwrap();
        figures.iter().find(|figure| figure.name == name).unwrap().met
    }

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        let state = "state_rust_guarded_against_state_c_guarded";
        for (rust, rlo, name, want) in [
            (11.0, 1000.0, state, Some(true)),
            (11.2, 1000.0, state, Some(false)),
            (9.0, 1000.0, "rlo_rate", Some(true)),
            (9.0, 1030.0, "rlo_rate", Some(true)),
            (9.0, 1040.0, "rlo_rate", Some(false)),
            (9.0, 1000.0, "explicit_against_current_get", None),
        ] {
            assert_eq!(met(rust, rlo, name), want, "{rust} {rlo} {name}");
        }
    }

    #[test]
    fn every_measured_value_is_in_the_results_in_both_units() {
        let accel = Accel { used: Engine::Tcg, why: "there is no /dev/kvm".into() };
        let all = results(&accel, &output(9.0, 1000.0), &output(12.0, 1100.0)).unwrap();
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json["engine"], "tcg");
        let figures = json["figures"].as_array().unwrap();
        for name in ["state_rust", "state_c_guarded_min", "packet_lo_instructions"] {
            assert!(figures.iter().any(|figure| figure["name"] == name), "{name}");
        }
        let table = all.table();
        assert!(table.contains("MISSED") && table.contains("met"), "{table}");
    }

    #[test]
    fn output_that_is_not_whole_is_no_result() {
        let whole = output(9.0, 1000.0);
        let cases = [
            whole.replace("# figure state_c ", "# "),
            whole.replace("median_ns=16.000 ", ""),
            whole.replace("median_ns=16.000", "median_ns=many"),
            whole.replace("median_ns=16.000", "median_ns=0.000"),
        ];
        for text in cases {
            assert!(parse(&text).and_then(|all| side_by_side(&all, TIME)).is_err(), "{text}");
        }
    }
}
