// SPDX-License-Identifier: GPL-2.0

//! `lab study`: the project's own measurements, each part in a guest of its own, and the document
//! about them.
//!
//! The lab does not know what is measured. A program of the project lists its parts (`--list`, run
//! on the host) and runs one part (`STUDY_PART`, in a guest whose processor counts instructions).
//! Lines `# result JSON` of its output go to the results. Another program of the project writes
//! documents from the results.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use vmlab::boot::engine::{Choice, Engine};
use vmlab::boot::kernel::Kernel;
use vmlab::judge::kernel_log::Finding;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::TestReport;
use vmlab::judge::stack::Decoder;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::{Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::print;
use vmlab::run::process;
use vmlab::run::progress::say;
use vmlab::run::session;

use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::commands::Runner;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;
use crate::project::{self, Selftests, Study};
use crate::ui::tally::Tally;

/// Time limit of a part with hardware virtualisation. It is multiplied for other engines.
const PART_LIMIT: Duration = Duration::from_secs(180);
/// The beginning of a line with a result.
const RESULT: &str = "# result ";

/// The content of `target/study/results.json`.
#[derive(Debug, Serialize)]
struct Results {
    kernel: String,
    engine: &'static str,
    quick: bool,
    /// The parts that were run.
    parts: Vec<String>,
    /// Their results.
    results: Vec<Value>,
    /// File and line of each `symbol+0x1/0x2` in the results.
    places: BTreeMap<String, Vec<String>>,
}

/// The output of a part, and how it ended.
struct Part {
    name: String,
    check: TestReport,
    results: Vec<Value>,
}

impl Runner<'_> {
    /// Runs the study. If there are patterns, only parts whose name contains one of them. Only a
    /// whole study, neither quick nor with patterns, writes the document.
    pub(super) fn study(&self, quick: bool, patterns: &[String]) -> Result<u8> {
        let Some(study) = &self.lab.project.study else {
            bail!("{} has no [study]: there is nothing to run", project::FILE)
        };
        let lab = with_study(self.lab, study);
        let runner = Runner { lab: &lab, ..self.clone() };
        let _lock = checkout_lock::take(&lab.target)?;
        let whole = !quick && patterns.is_empty();
        let path = lab.target.with_file_name("study").join(match whole {
            true => "results.json",
            false => "some-results.json",
        });
        // From here on, the results of an earlier run would be wrong.
        files::remove_file(&path)?;
        let base = pipeline::base(&lab, self.variant, &mut Phases::default())?;
        let built = pipeline::build(&lab, &base, &mut Phases::default())?;
        let program = program(&built, study)?;
        let parts = parts(&program, quick, patterns)?;
        let mut tally = Tally::default();
        let mut ended = Vec::new();
        let run = |part: &String| {
            let mut results = Vec::new();
            let ended = runner.part(&base, &built, &program, part, quick, &mut results);
            Part { name: part.clone(), check: TestReport::of(part.clone(), ended), results }
        };
        pool::run(
            &parts,
            lab.settings.jobs,
            |_| false,
            run,
            |_, part: Part| {
                tally.tell(std::slice::from_ref(&part.check));
                ended.push(part);
                !interrupt::requested()
            },
        );
        interrupt::check()?;
        ended.sort_by_key(|it| parts.iter().position(|part| *part == it.name));
        let (names, results): (Vec<_>, Vec<_>) =
            ended.into_iter().map(|part| (part.name, part.results)).unzip();
        let results: Vec<Value> = results.into_iter().flatten().collect();
        let places = places(&results, &base.kernel, &built);
        let kernel = base.kernel.release.clone();
        let engine = Engine::Counting.name();
        let results = Results { kernel, engine, quick, parts: names, results, places };
        let text = serde_json::to_string_pretty(&results).context("encode the results")? + "\n";
        files::write_whole(&path, &text)?;
        print::out(&format!("{tally}\nresults in {}\n", path.display()));
        if tally.failed > 0 {
            return Ok(Outcome::Test.exit_code());
        }
        if whole && let Some(report) = &study.report {
            say("writing the document");
            document(&lab, &base.tools, report, &path)?;
        }
        Ok(0)
    }

    /// Runs one part in a guest, and adds its output to `results`, even if it fails.
    fn part(
        &self,
        base: &Prepared,
        built: &Built,
        program: &Path,
        part: &str,
        quick: bool,
        results: &mut Vec<Value>,
    ) -> Result<()> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let test = Test { name: name.clone(), timeout: PART_LIMIT };
        let mut job = self.job(base, built, Work::one(test), &[])?;
        job.logs = self.lab.target.join("logs/study").join(part);
        job.env.push(("STUDY_PART".to_owned(), part.to_owned()));
        job.env.push(("STUDY_QUICK".to_owned(), u8::from(quick).to_string()));
        let counting = Choice { used: Engine::Counting, why: "to count instructions".to_owned() };
        let report = session::run(&job, &base.kernel, &counting, Phases::default())?.report;
        let log = job.logs.join("tests").join(format!("{name}.log"));
        if let Ok(output) = fs::read_to_string(&log) {
            results.extend(read(&output)?);
        }
        match report.outcome {
            Outcome::Pass => Ok(()),
            _ => bail!("{}; see {}", report.message, log.display()),
        }
    }
}

/// The lab with the study's own kernel options and program.
fn with_study(lab: &Lab, study: &Study) -> Lab {
    let mut lab = lab.clone();
    lab.settings.config.extend(study.config.iter().map(|path| lab.root.join(path)));
    // The guest needs no other programs.
    let selftests = Selftests { packages: vec![study.program.clone()], ..Selftests::default() };
    lab.project.selftests = selftests;
    lab
}

/// The path of the program: the only program of its package.
fn program(built: &Built, study: &Study) -> Result<PathBuf> {
    let mut found = built.guest.selftests.iter().filter(|path| path.ends_with(&study.name));
    found.next().cloned().with_context(|| format!("{} builds no {}", study.program, study.name))
}

/// Lists the parts: runs the program on the host.
fn parts(program: &Path, quick: bool, patterns: &[String]) -> Result<Vec<String>> {
    let mut list = Command::new(program);
    list.arg("--list").env("STUDY_QUICK", u8::from(quick).to_string());
    let text = process::read(&mut list).context("list the parts of the study")?;
    let wanted = |name: &&str| {
        patterns.is_empty() || patterns.iter().any(|pattern| name.contains(pattern.as_str()))
    };
    let parts: Vec<String> = text.lines().filter(wanted).map(str::to_owned).collect();
    if parts.is_empty() {
        bail!(
            "no part has a matching name; there are: {}",
            text.lines().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(parts)
}

/// The results in a part's output.
fn read(output: &str) -> Result<Vec<Value>> {
    let lines = output.lines().filter_map(|line| line.strip_prefix(RESULT));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("understand `{line}`")))
        .collect()
}

/// File and line of each place in the kernel that the results name.
fn places(results: &[Value], kernel: &Kernel, built: &Built) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeSet::new();
    results.iter().for_each(|value| collect(value, &mut names));
    // Debug information has the folder's path without symbolic links.
    let source = kernel.source.canonicalize().unwrap_or_else(|_| kernel.source.clone());
    let roots = [kernel.source.as_path(), source.as_path()];
    let mut decoder = Decoder::new(&kernel.build.join("vmlinux"), &built.modules, &roots);
    let mut decoded = |name: &String| {
        let mut finding = Finding { stack: vec![name.clone()], ..Finding::default() };
        decoder.decode(&mut finding);
        finding.stack
    };
    names.iter().map(|name| (name.clone(), decoded(name))).collect()
}

/// All strings that look like `symbol+0x1/0x2`.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.contains("+0x") && text.contains("/0x") => {
            names.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// Runs the program that writes the documents.
fn document(lab: &Lab, tools: &Toolchain, package: &str, results: &Path) -> Result<()> {
    let mut cargo = tools.machine.command("cargo");
    tools.environment(&mut cargo);
    cargo.env_remove("CC");
    cargo.args(["run", "--quiet", "--package", package, "--manifest-path"]);
    cargo.arg(lab.root.join("Cargo.toml")).arg("--").arg(results).arg(&lab.root);
    process::logged(cargo, &lab.log("study-report"), |_| ()).context("write the document")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_lines_that_say_so() {
        let output = "KTAP version 1\n1..1\n# result {\"a\":1}\n# results\nok 1 x\n";
        assert_eq!(read(output).unwrap(), [serde_json::json!({"a": 1})]);
        assert!(read("# result {\"a\":\n").is_err());
    }

    #[test]
    fn places_are_found_wherever_they_are() {
        let value = serde_json::json!({"a": ["f+0x1/0x2", {"b": "g+0x3/0x4 [m]"}], "c": "f"});
        let mut names = BTreeSet::new();
        collect(&value, &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["f+0x1/0x2", "g+0x3/0x4 [m]"]);
    }
}
