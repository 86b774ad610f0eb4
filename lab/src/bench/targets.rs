// SPDX-License-Identifier: GPL-2.0

//! The rules of the project: which figures are compared with which others, and the targets. A rule
//! applies to figures by their names.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Counted;

/// The target for a ratio or a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// The value is at most this far from 1.
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
#[derive(Debug, Clone, PartialEq)]
pub enum Ratio {
    /// The cost of one divided by the cost of the other.
    Cost,
    /// The rate of one divided by the rate of the other, of these things.
    Speed(String),
}

/// A figure that is compared with another.
#[derive(Debug, PartialEq)]
pub struct Comparison {
    /// The name of the other.
    pub against: String,
    /// What is compared.
    pub ratio: Ratio,
    pub target: Option<Target>,
}

/// How a measurement was made.
#[derive(Debug, Clone, Copy)]
pub struct Where {
    /// Whether the measured code ran directly on the host's processor.
    pub native: bool,
    pub unit: Counted,
}

impl Where {
    /// Whether targets apply. They do not to times under emulation, which say nothing about the
    /// code.
    fn aims(self) -> bool {
        self.native || self.unit == Counted::Instructions
    }
}

/// The project's rules.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(default)]
    compare: Vec<Compare>,
    #[serde(default)]
    memory: Vec<Memory>,
}

/// A rule that compares figures with others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compare {
    /// `*` stands for any text.
    name: String,
    /// The name of the other figure, with the same texts for each `*`.
    with: String,
    /// The things whose rates are compared; if missing, costs are compared.
    rate: Option<String>,
    at_most: Option<f64>,
    at_least: Option<f64>,
    within: Option<f64>,
    /// Whether the target only applies on a real processor.
    #[serde(default)]
    native: bool,
}

/// The most memory, in bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    name: String,
    at_most: f64,
}

impl Compare {
    fn targets(&self) -> impl Iterator<Item = Target> {
        let most = self.at_most.map(Target::AtMost);
        let least = self.at_least.map(Target::AtLeast);
        most.into_iter().chain(least).chain(self.within.map(Target::Within))
    }
}

impl Rules {
    /// Reads the project's file; without one, nothing is compared.
    pub fn load(path: Option<&Path>) -> Result<Rules> {
        let Some(path) = path else { return Ok(Rules::default()) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        parse(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// What a figure is compared with.
    pub fn comparisons(&self, name: &str, place: Where) -> Vec<Comparison> {
        let mut all: Vec<Comparison> = Vec::new();
        for rule in &self.compare {
            let Some(against) = texts(&rule.name, name).map(|texts| fill(&rule.with, &texts))
            else {
                continue;
            };
            if against == name || all.iter().any(|it| it.against == against) {
                continue;
            }
            let judged = place.aims() && (place.native || !rule.native);
            let ratio = rule.rate.clone().map_or(Ratio::Cost, Ratio::Speed);
            all.push(Comparison { against, ratio, target: rule.targets().find(|_| judged) });
        }
        all
    }

    /// The most memory, in bytes.
    pub fn memory(&self, name: &str) -> Option<Target> {
        let rule = self.memory.iter().find(|rule| rule.name == name)?;
        Some(Target::AtMost(rule.at_most))
    }
}

pub(super) fn parse(text: &str) -> Result<Rules> {
    let rules: Rules = toml::from_str(text)?;
    let stars = |pattern: &str| pattern.matches('*').count();
    for rule in &rules.compare {
        if stars(&rule.with) > stars(&rule.name) {
            bail!("`{}` has more `*` than `{}`", rule.with, rule.name);
        }
        if rule.targets().count() > 1 {
            bail!("`{}` has several targets", rule.name);
        }
    }
    Ok(rules)
}

/// The texts that `*` stands for, each as short as possible; `None` if the name does not fit.
fn texts<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let Some((start, rest)) = pattern.split_once('*') else {
        return (pattern == name).then(Vec::new);
    };
    let name = name.strip_prefix(start)?;
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| name.split_at(end))
        .find_map(|(text, after)| Some([vec![text], texts(rest, after)?].concat()))
}

/// The pattern with these texts in place of `*`.
fn fill(pattern: &str, texts: &[&str]) -> String {
    let mut filled = pattern.to_owned();
    texts.iter().for_each(|text| filled = filled.replacen('*', text, 1));
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Project;

    const NATIVE: Where = Where { native: true, unit: Counted::Time };
    const EMULATED: Where = Where { native: false, unit: Counted::Time };
    const COUNTED: Where = Where { native: false, unit: Counted::Instructions };

    fn rule(name: &str, with: &str, more: &str) -> String {
        format!("[[compare]]\nname = \"{name}\"\nwith = \"{with}\"\n{more}\n")
    }

    fn rules(all: &[String]) -> Rules {
        parse(&all.concat()).unwrap()
    }

    #[test]
    fn a_star_is_the_same_text_in_both_names() {
        let rules = rules(&[
            rule("way_*_on_*", "way_*_off_*", "rate = \"packets\"\nat_least = 0.9"),
            rule("*_in_*", "*_in_1", "within = 0.05"),
            rule("one", "other", ""),
        ]);
        let speed = || Ratio::Speed("packets".into());
        for (name, against, ratio, target) in [
            ("way_a_b_on_7", "way_a_b_off_7", speed(), Some(Target::AtLeast(0.9))),
            ("hit_in_100", "hit_in_1", Ratio::Cost, Some(Target::Within(0.05))),
            ("one", "other", Ratio::Cost, None),
        ] {
            let want = Comparison { against: against.into(), ratio, target };
            assert_eq!(rules.comparisons(name, NATIVE), [want], "{name}");
        }
        for name in ["way_a_off_7", "hit_in_1", "other", "none"] {
            assert_eq!(rules.comparisons(name, NATIVE), [], "{name}");
        }
    }

    #[test]
    fn of_rules_for_the_same_two_figures_the_first_counts() {
        let rules = rules(&[
            rule("a_8_*", "b_8_*", "at_most = 1.5"),
            rule("a_*", "b_*", "at_most = 1.1"),
            rule("a_*", "c", ""),
        ]);
        let against = |name: &str| {
            let found = rules.comparisons(name, NATIVE).into_iter();
            found.map(|it| (it.against, it.target)).collect::<Vec<_>>()
        };
        let (wide, close) = (Some(Target::AtMost(1.5)), Some(Target::AtMost(1.1)));
        assert_eq!(against("a_8_x"), [("b_8_x".into(), wide), ("c".into(), None)]);
        assert_eq!(against("a_9_x"), [("b_9_x".into(), close), ("c".into(), None)]);
    }

    #[test]
    fn the_time_that_an_emulator_takes_is_compared_and_not_judged() {
        let any = rules(&[rule("a", "b", "at_most = 1.1")]);
        let native = rules(&[rule("a", "b", "at_most = 1.1\nnative = true")]);
        for (rules, place, judged) in [
            (&any, NATIVE, true),
            (&any, EMULATED, false),
            (&any, COUNTED, true),
            (&native, NATIVE, true),
            (&native, EMULATED, false),
            (&native, COUNTED, false),
        ] {
            let found = rules.comparisons("a", place);
            assert_eq!(found[0].target.is_some(), judged, "{rules:?} {place:?}");
        }
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        for (text, why) in [
            (rule("a_*", "b_*_*", ""), "more `*`"),
            (rule("a", "b", "at_most = 1.1\nwithin = 0.1"), "several targets"),
            (rule("a", "b", "at_mots = 1.1"), "at_mots"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_projects_own_rules_are_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let bench = Project::load(&root).unwrap().bench.unwrap();
        let path = bench.targets.map(|path| root.join(path)).unwrap();
        assert!(!Rules::load(Some(&path)).unwrap().compare.is_empty());
    }
}
