// SPDX-License-Identifier: GPL-2.0

//! What the RFD claims about parameters and tables, in figures of the module `rnetns_bench`. Its clock is
//! that of a counting processor: a nanosecond is an instruction.

use std::fs;
use std::process;

use anyhow::{Context, Result, ensure};
use rnetns_selftests::module::{Loaded, Module};
use serde::{Deserialize, Serialize};

use crate::measure::instructions;

/// What the module has in debugfs.
const FILES: &str = "/sys/kernel/debug/rnetns_bench";
/// Entries in all namespaces together.
pub const ENTRIES: u32 = 65_536;
const LOOK_UPS: u32 = 4096;
/// In how many namespaces the entries are.
pub const NAMESPACES: [u32; 3] = [1, 100, 10_000];
/// How many buckets a large table has: as many as the RFD speaks of.
pub const BUCKETS: u32 = 2 << 20;
/// The figure of an empty one.
pub const EMPTY: &str = "empty_table";

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Its name, as `rnetns_bench` has it.
    pub claim: String,
    /// Instructions for one operation.
    pub instructions: f64,
    /// What it takes in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Loads the module.
pub fn load() -> Result<Loaded> {
    Module::named(c"rnetns_bench")?.load().context("load rnetns_bench")
}

/// The namespace as a parameter, against one that each processor knows as the current one.
pub fn parameter() -> Result<Vec<Claim>> {
    figures(&format!("state {}", process::id()), &["explicit", "current_get", "current_switch"])
}

/// What the tables are called: of lists, the module's own, and one of lists for each namespace.
pub const TABLES: [&str; 3] = ["hlist", "rust_beside_hlist", "per_namespace"];

/// The name of the figure of look-ups in one of them.
pub fn look_up(namespaces: u32, table: &str) -> String {
    format!("hit_dependent_{ENTRIES}_{namespaces}_{table}")
}

/// Look-ups in one table whose entries have a tag, and in a table for each namespace.
pub fn look_ups(namespaces: u32) -> Result<Vec<Claim>> {
    let names = TABLES.map(|table| look_up(namespaces, table));
    let names = names.each_ref().map(String::as_str);
    figures(&format!("table hlist {ENTRIES} {namespaces} {LOOK_UPS}"), &names)
}

/// An empty table: its memory, and what it takes to make it.
pub fn empty_table() -> Result<Vec<Claim>> {
    let (before, start) = (free()?, instructions()?);
    // It has two buckets for each entry that it is for.
    measure(&format!("hold hlist {} empty", BUCKETS / 2))?;
    let (taken, after) = (instructions()? - start, free()?);
    measure("hold off")?;
    let bytes = before.checked_sub(after).context("an empty table takes no memory")?;
    Ok(vec![Claim { claim: EMPTY.to_owned(), instructions: taken as f64, bytes: Some(bytes) }])
}

/// Lets the module measure. Returns these of the figures.
fn figures(command: &str, names: &[&str]) -> Result<Vec<Claim>> {
    measure(command)?;
    let results = fs::read_to_string(format!("{FILES}/results")).context("read the figures")?;
    names
        .iter()
        .map(|name| {
            let claim = (*name).to_owned();
            let instructions = median(&results, name).with_context(|| results.clone())?;
            Ok(Claim { claim, instructions, bytes: None })
        })
        .collect()
}

fn measure(command: &str) -> Result<()> {
    fs::write(format!("{FILES}/measure"), command).with_context(|| format!("measure {command}"))
}

/// The figure in the middle: a line is `NAME lost=N ns=A,B,...`.
fn median(results: &str, name: &str) -> Result<f64> {
    let line = results.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" lost="));
    let (_, all) =
        line.and_then(|line| line.split_once(" ns=")).context("there is no such figure")?;
    let mut all: Vec<f64> = all
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("a figure is no number")?;
    ensure!(!all.is_empty(), "there is no figure");
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

/// Memory that nobody uses, in bytes. What is cached does not count as used.
fn free() -> Result<u64> {
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")?;
    let text = fs::read_to_string("/proc/meminfo").context("read the memory in use")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no MemFree")?;
    Ok(kib.trim().parse::<u64>().context("MemFree is no number")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_in_the_middle_is_found_by_its_whole_name() {
        let results = "explicit_not lost=0 ns=1.0\nexplicit lost=2 ns=16.500,1.0,99.000\n";
        assert_eq!(median(results, "explicit").unwrap(), 16.5);
        assert!(median(results, "current").is_err());
        assert!(median("a lost=0 ns=x\n", "a").is_err());
    }
}
