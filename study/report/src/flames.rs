// SPDX-License-Identifier: GPL-2.0

//! A flame graph for each way that copies: the call stacks that had packets copied.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use inferno::flamegraph::{self, Options};

use crate::data::Results;

/// File name and picture of each.
pub fn all(results: &Results) -> Result<Vec<(String, String)>> {
    let mut pictures = Vec::new();
    for way in results.ways() {
        let lines = folded(results, way);
        if lines.is_empty() {
            continue;
        }
        let mut options = Options::default();
        options.title = format!("Copies on the way {way}, by call stack");
        options.count_name = "copies".to_owned();
        options.deterministic = true;
        // A picture in a page runs no script.
        options.no_javascript = true;
        let mut picture = Vec::new();
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut picture)
            .with_context(|| format!("draw the stacks of {way}"))?;
        let picture = String::from_utf8(picture).context("a flame graph")?;
        pictures.push((file(way), picture));
    }
    Ok(pictures)
}

/// The file name of a way's picture.
pub fn file(way: &str) -> String {
    format!("copies-{way}.svg")
}

/// Stacks as `outermost;...;innermost times`.
pub fn folded(results: &Results, way: &str) -> Vec<String> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for measurement in results.results.iter().filter(|it| it.way == way) {
        for place in &measurement.copies {
            let mut frames: Vec<&str> = place.stack.iter().rev().map(String::as_str).collect();
            frames.push(&place.function);
            *sums.entry(frames.join(";")).or_default() += place.times;
        }
    }
    sums.into_iter().map(|(stack, times)| format!("{stack} {times}")).collect()
}
