// SPDX-License-Identifier: GPL-2.0

//! From the results of the study to a page that people read.
//!
//! | module | holds |
//! |---|---|
//! | [`data`] | the results, and questions to them |
//! | [`template`] | the text, with a question for each number |
//! | [`tables`] | tables of all ways |
//! | [`plots`] | bars |
//! | [`flames`] | call stacks that copy |
//!
//! The text is written by people, in `study.md.in`; all numbers are answers of the results, which
//! are stored beside the page. A test makes the page again, and looks for digits in the text.

pub mod data;
pub mod flames;
pub mod plots;
pub mod tables;
pub mod template;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::data::Results;

/// The page, relative to the project's root.
pub const PAGE: &str = "Documentation/study.md";
/// The folder of pictures, and of the results that the page was made of.
pub const FOLDER: &str = "Documentation/study";
/// The results there.
pub const RESULTS: &str = "results.json";
/// If somebody has put them there: the results of some ways on a kernel that differs in the patch
/// alone (`make study KSRC=TREE T='routed nat vrf'`).
pub const PATCHED: &str = "results-patched.json";
/// The text.
pub const TEXT: &str = include_str!("../study.md.in");

/// Writes the page and what belongs to it.
pub fn write(results: &str, patched: Option<&str>, root: &Path) -> Result<()> {
    let data: Results = serde_json::from_str(results).context("understand the results")?;
    let patched_data: Option<Results> = patched
        .map(serde_json::from_str)
        .transpose()
        .context("understand the results with the patch")?;
    let unexplained = tables::unexplained(&data, TEXT);
    ensure!(
        unexplained.is_empty(),
        "the text does not say why packets are copied in {}: write it into study.md.in",
        unexplained.join(", ")
    );
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let put = |path: &Path, text: &str| {
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    };
    put(&root.join(PAGE), &template::fill(TEXT, &data, patched_data.as_ref())?)?;
    for (name, picture) in plots::all(&data)?.into_iter().chain(flames::all(&data)?) {
        put(&folder.join(name), &picture)?;
    }
    if let Some(patched) = patched {
        put(&folder.join(PATCHED), &by_line(patched)?)?;
    }
    put(&folder.join(RESULTS), &by_line(results)?)
}

/// The results with one of them a line.
fn by_line(results: &str) -> Result<String> {
    let all: serde_json::Map<String, Value> =
        serde_json::from_str(results).context("understand the results")?;
    let mut fields = Vec::new();
    for (name, value) in &all {
        let text = match value {
            Value::Array(items) => format!("[{}]", lines(items.iter().map(Value::to_string))),
            Value::Object(items) => {
                let pair = |(name, value)| format!("{}: {value}", Value::from(String::clone(name)));
                format!("{{{}}}", lines(items.iter().map(pair)))
            }
            other => other.to_string(),
        };
        fields.push(format!("{}: {text}", Value::from(name.as_str())));
    }
    Ok(format!("{{{}}}\n", lines(fields.into_iter())))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    format!("\n{}\n", items.collect::<Vec<_>>().join(",\n"))
}
