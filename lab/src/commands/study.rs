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
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmlab::boot::engine::{Choice, Engine};
use vmlab::boot::kernel::Kernel;
use vmlab::judge::kernel_log::Finding;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::TestReport;
use vmlab::judge::stack::Decoder;
use vmlab::judge::tally::Tally;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::{Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::print;
use vmlab::run::process;
use vmlab::run::progress::say;
use vmlab::run::session;

use crate::build::kernel::Variant;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::commands::Runner;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;
use crate::project::{self, Selftests, Study};
use crate::ui::tally;

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

/// What the parts need: the study's kernel, and its modules and program.
struct Ready {
    base: Prepared,
    built: Built,
    program: PathBuf,
}

/// The key of the last quick study that passed, and the names of its parts.
const PASSED: &str = "study-passed.json";

impl Runner<'_> {
    /// Runs the study. If there are patterns, only parts whose name contains one of them. Only a
    /// whole study, neither quick nor with patterns, writes the document.
    pub(super) fn study(&self, quick: bool, patterns: &[String]) -> Result<u8> {
        let study = self.wanted_study()?;
        let _lock = checkout_lock::take(&self.lab.target)?;
        let whole = !quick && patterns.is_empty();
        let path = self.lab.target.with_file_name("study").join(match whole {
            true => "results.json",
            false => "some-results.json",
        });
        // From here on, the results of an earlier run would be wrong.
        files::remove_file(&path)?;
        let ready = self.prepare_study(&mut Phases::default())?;
        let mut tally = Tally::default();
        let parts = parts(&ready.program, quick, patterns)?;
        let ended = self.parts(&ready, &parts, quick, self.lab.settings.jobs, |check| {
            tally::tell(&mut tally, std::slice::from_ref(check));
        })?;
        let (names, results): (Vec<_>, Vec<_>) =
            ended.into_iter().map(|part| (part.name, part.results)).unzip();
        let results: Vec<Value> = results.into_iter().flatten().collect();
        let places = places(&results, &ready.base.kernel, &ready.built);
        let kernel = ready.base.kernel.release.clone();
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
            document(self.lab, &ready.base.tools, report, &path)?;
        }
        Ok(0)
    }

    /// The project's study.
    fn wanted_study(&self) -> Result<&Study> {
        let study = self.lab.project.study.as_ref();
        study.with_context(|| format!("{} has no [study]: there is nothing to run", project::FILE))
    }

    /// Builds what the study needs.
    fn prepare_study(&self, phases: &mut Phases) -> Result<Ready> {
        let study = self.wanted_study()?;
        let mut lab = self.lab.clone();
        lab.project.selftests =
            Selftests { packages: vec![study.program.clone()], ..Selftests::default() };
        let base = pipeline::base(&lab, Variant::Study, phases)?;
        let built = pipeline::build(&lab, &base, phases)?;
        let program = program(&built, study)?;
        Ok(Ready { base, built, program })
    }

    /// Runs the quick study, one part after the other. One that passed is not repeated until one of
    /// its inputs changes.
    pub(super) fn quick_study(&self) -> Result<Vec<TestReport>> {
        let ready = self.prepare_study(&mut Phases::default())?;
        let passed = self.lab.target.join(PASSED);
        let now = Passed { key: self.key(&ready)?, parts: parts(&ready.program, true, &[])? };
        let then = fs::read(&passed).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if then.is_some_and(|then: Passed| then == now) {
            return Ok(now.parts.into_iter().map(|part| TestReport::of(part, Ok(()))).collect());
        }
        files::remove_file(&passed)?;
        let ended = self.parts(&ready, &now.parts, true, 1, |_| ())?;
        let checks: Vec<TestReport> = ended.into_iter().map(|part| part.check).collect();
        if !checks.iter().any(TestReport::failed) {
            let text = serde_json::to_string(&now).context("encode the names of the parts")?;
            files::write_whole(&passed, &text)?;
        }
        Ok(checks)
    }

    /// A key that changes with the kernel, a module, a program, or how guests are run and judged.
    fn key(&self, ready: &Ready) -> Result<String> {
        let Ready { base, built: Built { guest, modules, .. }, .. } = ready;
        let kernel = base.kernel.build.as_os_str().as_encoded_bytes().to_vec();
        let programs = [&guest.init].into_iter().chain(&guest.selftests);
        let files = files::contents(programs.chain(modules))?;
        let guest_of = self.guest_key_parts(&base.kernel, Engine::Counting)?;
        Ok(files::key(
            [kernel].into_iter().chain(files).chain(guest_of.into_iter().map(String::into_bytes)),
        ))
    }

    /// Runs these parts, and tells of each when it has ended.
    fn parts(
        &self,
        ready: &Ready,
        parts: &[String],
        quick: bool,
        jobs: usize,
        mut tell: impl FnMut(&TestReport),
    ) -> Result<Vec<Part>> {
        let mut ended = Vec::new();
        let run = |part: &String| {
            let mut results = Vec::new();
            let ended = self.part(ready, part, quick, &mut results);
            Part { name: part.clone(), check: TestReport::of(part.clone(), ended), results }
        };
        pool::run(
            parts,
            jobs,
            |_| false,
            run,
            |_, part: Part| {
                tell(&part.check);
                ended.push(part);
                !interrupt::requested()
            },
        );
        interrupt::check()?;
        ended.sort_by_key(|it| parts.iter().position(|part| *part == it.name));
        Ok(ended)
    }

    /// Runs one part in a guest, and adds its output to `results`, even if it fails.
    fn part(&self, ready: &Ready, part: &str, quick: bool, results: &mut Vec<Value>) -> Result<()> {
        let Ready { base, built, program } = ready;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let test = Test { name: name.clone(), timeout: PART_LIMIT };
        let mut job = self.job(base, built, Work::one(test), &[])?;
        // The guest needs no other programs.
        job.selftests.clone_from(&built.guest.selftests);
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

/// A quick study that passed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    key: String,
    parts: Vec<String>,
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
