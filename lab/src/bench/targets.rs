// SPDX-License-Identifier: GPL-2.0

//! Which figures are compared with which others, and the targets.
//!
//! A rule finds its figures by their names. Figures of other sizes are compared, too, without a
//! target.

use super::Unit;

/// The target for a ratio or a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// At most this far from 1.
    Within(f64),
}

impl Target {
    /// Whether `value` meets the target.
    pub fn met(self, ratio: f64) -> bool {
        match self {
            Target::AtMost(most) => ratio <= most,
            Target::AtLeast(least) => ratio >= least,
            Target::Within(most) => (ratio - 1.0).abs() <= most,
        }
    }

    /// A text for people.
    pub fn text(self) -> String {
        match self {
            Target::AtMost(most) => format!("<= {most}"),
            Target::AtLeast(least) => format!(">= {least}"),
            Target::Within(most) => format!("1 +- {most}"),
        }
    }
}

/// What the ratio compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ratio {
    /// The cost of one divided by the cost of the other.
    Cost,
    /// The rate of one divided by the rate of the other.
    Speed,
}

/// A figure that is compared with another.
#[derive(Debug, PartialEq)]
pub struct Comparison {
    /// The name of the other.
    pub against: String,
    /// What is compared.
    pub ratio: Ratio,
    /// What both figures count, for rates.
    pub things: &'static str,
    pub target: Option<Target>,
}

/// Where a measurement was made.
#[derive(Debug, Clone, Copy)]
pub struct Where {
    /// Whether it ran on the machine's own processor.
    pub native: bool,
    pub unit: Unit,
}

impl Where {
    /// Whether targets apply: time that QEMU spends on translating instructions says nothing about
    /// the code.
    fn aims(self) -> bool {
        self.native || self.unit == Unit::Instructions
    }
}

/// Costs that are compared, by name.
const COSTS: [(&str, &str, Option<Target>); 4] = [
    ("state_rust_guarded", "state_c_guarded", Some(Target::AtMost(1.1))),
    ("state_rust", "state_c", Some(Target::AtMost(1.1))),
    ("explicit", "current_get", None),
    ("explicit", "current_switch", None),
];

/// Dependent look-ups compared with `rhashtable`: how many times as fast they should be.
const LOOK_UPS: [(&str, f64); 5] = [
    ("hit_dependent_262144_", 1.8),
    ("hit_dependent_1048576_", 1.6),
    ("hot_dependent_1048576_", 2.0),
    ("miss_dependent_262144_", 1.3),
    ("miss_dependent_1048576_", 1.1),
];

/// Hot look-ups compared with the FIB with this many routes.
const FIB: (&str, f64) = ("fib_10000", 2.0);

/// What each figure is compared with.
pub fn comparisons(name: &str, place: Where) -> Vec<Comparison> {
    let mut all: Vec<_> = COSTS
        .iter()
        .filter(|(one, ..)| *one == name)
        .map(|&(_, other, target)| cost(other.to_owned(), target))
        .collect();
    all.extend(others(name, place));
    if !place.aims() {
        all.iter_mut().for_each(|comparison| comparison.target = None);
    }
    all
}

fn others(name: &str, place: Where) -> Vec<Comparison> {
    if name == "packet_rlo" {
        return vec![speed("packet_lo".to_owned(), "packets", Some(Target::AtLeast(0.97)))];
    }
    if let Some(rest) = name.strip_prefix("end_beside_") {
        let target = rest.ends_with("_rust").then_some(Target::AtMost(1.1));
        let mut all = vec![cost(format!("end_alone_{rest}"), target)];
        if let Some(size) = rest.strip_suffix("_rust") {
            all.push(cost(format!("end_beside_{size}_walk"), None));
        }
        return all;
    }
    if name.starts_with("forward_") {
        return forwarded(name).into_iter().collect();
    }
    if let Some((before, after)) = name.split_once("_disabled") {
        let target = name.starts_with("idle_").then_some(Target::AtLeast(0.99));
        return vec![speed(format!("{before}_absent{after}"), "packets", target)];
    }
    table(name, place)
}

/// With the cache on, compared with off.
fn forwarded(name: &str) -> Option<Comparison> {
    let what = name.strip_suffix("_cache_1_0")?;
    let words: Vec<&str> = what.split('_').collect();
    let &[_, _routes, rules, rp_filter, flows] = &words[..] else { return None };
    let least = match (rules, rp_filter, flows) {
        (_, _, "spoofed") => 0.95,
        ("8", "1", "4096") => 1.2,
        _ => 0.97,
    };
    Some(speed(format!("{what}_cache_0_0"), "packets", Some(Target::AtLeast(least))))
}

fn table(name: &str, place: Where) -> Vec<Comparison> {
    if let Some((what, fib)) = name.split_once("rust_beside_fib") {
        let hot = fib == FIB.0.trim_start_matches("fib") && what.starts_with("hot_dependent_");
        let target = (hot && place.native).then_some(Target::AtLeast(FIB.1));
        return vec![speed(format!("{what}fib{fib}"), "look-ups", target)];
    }
    if let Some(what) = name.strip_suffix("rust_beside_hlist") {
        return ["hlist", "per_namespace"]
            .map(|twin| speed(format!("{what}{twin}"), "look-ups", None))
            .into();
    }
    if let Some((what, namespaces)) = name.split_once("rust_in_") {
        let target = Some(Target::Within(0.05));
        let other = (namespaces != "1").then(|| cost(format!("{what}rust_in_1"), target));
        return other.into_iter().collect();
    }
    let Some(what) = name.strip_suffix("_rust") else { return Vec::new() };
    if !["hit_", "miss_", "hot_", "insert_", "delete_"].iter().any(|way| what.starts_with(way)) {
        return Vec::new();
    }
    let update = what.starts_with("insert_") || what.starts_with("delete_");
    let target = if update {
        Some(Target::AtLeast(1.0))
    } else {
        let least = LOOK_UPS.iter().find(|(prefix, _)| what.starts_with(prefix));
        least.filter(|_| place.native).map(|&(_, least)| Target::AtLeast(least))
    };
    let things = if update { "changes" } else { "look-ups" };
    vec![speed(format!("{what}_rhashtable"), things, target)]
}

fn cost(against: String, target: Option<Target>) -> Comparison {
    Comparison { against, ratio: Ratio::Cost, things: "", target }
}

fn speed(against: String, things: &'static str, target: Option<Target>) -> Comparison {
    Comparison { against, ratio: Ratio::Speed, things, target }
}

/// The most memory, in bytes.
pub fn memory(name: &str) -> Option<Target> {
    match name {
        "memory_inet_entry" => Some(Target::AtMost(96.0)),
        "memory_idle_namespace" => Some(Target::AtMost(1024.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: Where = Where { native: true, unit: Unit::Time };
    const EMULATED: Where = Where { native: false, unit: Unit::Time };
    const COUNTED: Where = Where { native: false, unit: Unit::Instructions };

    #[test]
    fn each_figure_finds_what_it_is_compared_with() {
        for (name, other, target) in [
            ("state_rust", "state_c", Some(Target::AtMost(1.1))),
            ("packet_rlo", "packet_lo", Some(Target::AtLeast(0.97))),
            ("end_beside_1048576_rust", "end_alone_1048576_rust", Some(Target::AtMost(1.1))),
            ("end_beside_1048576_walk", "end_alone_1048576_walk", None),
            (
                "forward_1_8_1_4096_cache_1_0",
                "forward_1_8_1_4096_cache_0_0",
                Some(Target::AtLeast(1.2)),
            ),
            (
                "forward_1_8_0_4096_cache_1_0",
                "forward_1_8_0_4096_cache_0_0",
                Some(Target::AtLeast(0.97)),
            ),
            (
                "forward_1_8_1_spoofed_cache_1_0",
                "forward_1_8_1_spoofed_cache_0_0",
                Some(Target::AtLeast(0.95)),
            ),
            ("idle_lo_disabled", "idle_lo_absent", Some(Target::AtLeast(0.99))),
            ("idle_forward_disabled_0", "idle_forward_absent_0", Some(Target::AtLeast(0.99))),
            ("insert_65536_1_rust", "insert_65536_1_rhashtable", Some(Target::AtLeast(1.0))),
            (
                "hit_dependent_262144_100_rust",
                "hit_dependent_262144_100_rhashtable",
                Some(Target::AtLeast(1.8)),
            ),
            (
                "hot_dependent_1048576_1_rust_beside_fib_10000",
                "hot_dependent_1048576_1_fib_10000",
                Some(Target::AtLeast(2.0)),
            ),
            ("hot_dependent_1048576_1_rust_beside_fib_4", "hot_dependent_1048576_1_fib_4", None),
            (
                "hit_dependent_262144_100_rust_in_10000",
                "hit_dependent_262144_100_rust_in_1",
                Some(Target::Within(0.05)),
            ),
            ("hit_independent_1024_1_rust_beside_hlist", "hit_independent_1024_1_hlist", None),
        ] {
            let found = comparisons(name, NATIVE);
            let first = found.first().unwrap_or_else(|| panic!("{name}"));
            assert_eq!((first.against.as_str(), first.target), (other, target), "{name}");
        }
    }

    #[test]
    fn what_caches_decide_is_aimed_at_on_real_ones_only() {
        let name = "hit_dependent_262144_1_rust";
        assert_eq!(comparisons(name, EMULATED)[0].target, None);
        assert_eq!(comparisons(name, COUNTED)[0].target, None);
    }

    #[test]
    fn the_time_that_an_emulator_takes_is_compared_and_not_judged() {
        for name in ["state_rust", "insert_65536_1_rust", "forward_1_8_1_4096_cache_1_0"] {
            assert_eq!(comparisons(name, EMULATED)[0].target, None, "{name}");
            assert!(comparisons(name, COUNTED)[0].target.is_some(), "{name}");
        }
    }

    #[test]
    fn what_others_are_compared_with_is_compared_with_nothing() {
        for name in
            ["state_c", "packet_lo", "forward_1_8_1_4096_cache_0_0", "hit_dependent_1_1_hlist"]
        {
            assert_eq!(comparisons(name, NATIVE), [], "{name}");
        }
    }
}
