// SPDX-License-Identifier: GPL-2.0

//! The results, and questions to them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rnetns_study::claims::Claim;
use rnetns_study::results::{Measurement, Place};
use serde::Deserialize;

/// The results file.
#[derive(Debug, Deserialize)]
#[serde(from = "File")]
pub struct Results {
    pub kernel: String,
    pub parts: Vec<String>,
    pub results: Vec<Measurement>,
    pub claims: Vec<Claim>,
    /// File and line of each place in the kernel.
    pub places: BTreeMap<String, Vec<String>>,
}

/// The file, whose results are of two kinds.
#[derive(Deserialize)]
struct File {
    kernel: String,
    parts: Vec<String>,
    results: Vec<Item>,
    places: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Measurement(Box<Measurement>),
    Claim(Claim),
}

impl From<File> for Results {
    fn from(File { kernel, parts, results: items, places }: File) -> Results {
        let (mut results, mut claims) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Measurement(measurement) => results.push(*measurement),
                Item::Claim(claim) => claims.push(claim),
            }
        }
        Results { kernel, parts, results, claims, places }
    }
}

/// Which measurement.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub way: &'a str,
    pub direction: &'a str,
    pub traffic: &'a str,
    pub listener: &'a str,
}

impl Results {
    pub fn find(&self, question: Question) -> Option<&Measurement> {
        self.results.iter().find(|it| {
            it.way == question.way
                && it.direction == question.direction
                && it.traffic == question.traffic
                && it.listener == question.listener
        })
    }

    pub fn get(&self, question: Question) -> Result<&Measurement> {
        self.find(question).with_context(|| format!("{question:?} was not measured"))
    }

    /// The ways, in the order in which they were listed.
    pub fn ways(&self) -> impl Iterator<Item = &str> {
        let has = |way: &&str| self.results.iter().any(|it| it.way == *way);
        self.parts.iter().map(String::as_str).filter(has)
    }

    /// A figure about the RFD's claims.
    pub fn claim(&self, name: &str) -> Result<&Claim> {
        let found = self.claims.iter().find(|it| it.claim == name);
        found.with_context(|| format!("{name} was not measured"))
    }

    /// The lines of source that a place is, the innermost inlined function first.
    pub fn lines(&self, place: &str) -> &[String] {
        self.places.get(place).map_or(&[], Vec::as_slice)
    }
}

/// Copies for each packet.
pub fn copies(of: &Measurement) -> f64 {
    each(Place::count(&of.copies), of.packets)
}

/// Copied bytes for each packet.
pub fn bytes(of: &Measurement) -> f64 {
    each(of.copies.iter().map(|place| place.bytes).sum(), of.packets)
}

/// Clones for each packet.
pub fn clones(of: &Measurement) -> f64 {
    each(Place::count(&of.clones), of.packets)
}

/// Allocations for each packet that the sender has sent, as all figures here; in results that do not
/// know how many these were, for each packet that an end has sent.
pub fn allocations(of: &Measurement) -> f64 {
    let sent = if of.check.sent == 0 { of.check.packets } else { of.check.sent };
    each(of.check.allocations, sent)
}

/// How far the rounds of instructions are from each other, as a share of the one in the middle.
/// Without the lowest and the highest: now and then a round has something else of the machine in it.
pub fn spread(of: &Measurement) -> f64 {
    let mut rounds = of.instruction_rounds.clone();
    rounds.sort_by(f64::total_cmp);
    match rounds.as_slice() {
        [_, low, .., high, _] => (high - low) / of.instructions,
        _ => 0.0,
    }
}

fn each(sum: u64, packets: u64) -> f64 {
    sum as f64 / packets.max(1) as f64
}
