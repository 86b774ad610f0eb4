// SPDX-License-Identifier: GPL-2.0

//! Files that must not compile. Each shows that a wrong use of an abstraction is refused, with
//! exactly one error and the expected words.
//!
//! A file begins with lines `// expect: TEXT`. Each names an error code, or words of the error. A
//! file with `// expect: compiles` has correct uses and must compile. It shows that the other files
//! do not all fail for an unrelated reason.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use vmlab::judge::report::TestReport;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::kbuild_flags::{self, Flags};
use crate::checks::house_rules;
use crate::checks::threads;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;

/// Compiles each file with the flags of the module.
pub fn run(lab: &Lab, tools: &Toolchain) -> Result<Vec<TestReport>> {
    let Some(project) = &lab.project.compile_fail else { return Ok(Vec::new()) };
    let cases = match sources(&lab.root.join(&project.folder)) {
        Ok(cases) => cases,
        Err(error) => return Ok(vec![TestReport::of::<()>("compile-fail", Err(error))]),
    };
    let step = Step::start("compiling what must not compile", Unit::None, 0);
    let flags = kbuild_flags::read(&lab.target.join("modules"), &project.like)?;
    let verdicts = threads::each(&cases, lab.settings.jobs, |path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        TestReport::of(name, case(path, &flags, tools))
    });
    step.finish();
    Ok(verdicts)
}

/// The Rust files below a folder, sorted. An error if there are none: nothing would be checked.
pub fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = house_rules::files(folder)?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "rs"));
    if files.is_empty() {
        bail!("no Rust file in {}: nothing would be checked", folder.display());
    }
    Ok(files)
}

fn case(path: &Path, flags: &Flags, tools: &Toolchain) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let expected = expected(&text);
    judge(&expected, &compile(path, flags, tools)?)
}

/// Compiles `path` and returns the errors.
pub fn compile(path: &Path, flags: &Flags, tools: &Toolchain) -> Result<Vec<Error>> {
    let out = tempfile::tempdir().context("create a directory")?;
    let mut command = flags.command(&tools.machine, path, out.path());
    // Warnings do not matter here, and examples leave much unused.
    let said = process::capture(command.args(["--error-format=json", "--cap-lints=allow"]))?;
    let errors = errors(&said.stderr);
    if !said.ok && errors.is_empty() {
        bail!("rustc could not even begin:\n{}", said.stderr.trim());
    }
    Ok(errors)
}

/// The texts after `// expect:` in the comment at the top.
fn expected(text: &str) -> Vec<String> {
    text.lines()
        .take_while(|line| line.starts_with("//") || line.is_empty())
        .filter_map(|line| line.strip_prefix("// expect:"))
        .map(|text| text.trim().to_owned())
        .collect()
}

/// An error: its code and message, and its full text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    head: String,
    rendered: String,
}

fn errors(stderr: &str) -> Vec<Error> {
    stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["level"] == "error")
        .filter_map(|message| {
            let text = message["message"].as_str()?;
            // A summary, not an error: "aborting due to 1 previous error".
            let summary = text.starts_with("aborting due to");
            let code = message["code"]["code"].as_str().unwrap_or_default();
            let rendered = message["rendered"].as_str().unwrap_or(text).to_owned();
            (!summary).then(|| Error { head: format!("{code} {text}"), rendered })
        })
        .collect()
}

/// Checks that there is exactly the expected error.
pub fn judge(expected: &[String], errors: &[Error]) -> Result<()> {
    if expected.is_empty() {
        bail!("it does not start with `// expect: TEXT`");
    }
    if expected == ["compiles"] {
        return match errors.first() {
            None => Ok(()),
            Some(error) => bail!("it must compile, but:\n{}", error.rendered),
        };
    }
    match errors {
        [] => bail!("it compiles, and must not: {}", expected.join(", ")),
        [error] => {
            let absent: Vec<&str> = expected
                .iter()
                .map(String::as_str)
                .filter(|text| !error.head.contains(text) && !error.rendered.contains(text))
                .collect();
            if absent.is_empty() {
                return Ok(());
            }
            bail!("another error than `{}`:\n{}", absent.join("`, `"), error.rendered)
        }
        many => {
            let heads: Vec<&str> = many.iter().map(|error| error.head.as_str()).collect();
            bail!("{} errors where one is expected:\n{}", many.len(), heads.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_stands_on_top() {
        let text = "// SPDX\n// expect: E0597\n// expect: does not live long enough\n\n//! x\nfn f() {}\n// expect: no\n";
        assert_eq!(expected(text), ["E0597", "does not live long enough"]);
    }

    #[test]
    fn each_way_to_be_wrong_fails() {
        let error = |head: &str| Error { head: head.into(), rendered: format!("error: {head}") };
        let lived = || error("E0597 `x` does not live long enough");
        let cases = [
            (vec!["E0597"], vec![lived()], None),
            (vec!["E0597", "live long"], vec![lived()], None),
            (vec!["E0505"], vec![lived()], Some("another error than `E0505`")),
            (vec!["E0597"], vec![], Some("it compiles, and must not")),
            (vec!["E0597"], vec![lived(), lived()], Some("2 errors")),
            (vec![], vec![lived()], Some("does not start with")),
            (vec!["compiles"], vec![], None),
            (vec!["compiles"], vec![lived()], Some("it must compile")),
        ];
        for (expected, errors, want) in cases {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            match (judge(&expected, &errors), want) {
                (Ok(()), None) => {}
                (Err(error), Some(want)) => assert!(error.to_string().contains(want), "{error}"),
                (got, want) => panic!("{got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn files_are_found_in_folders_of_folders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("table")).unwrap();
        for name in ["table/mod.rs", "a.rs", "notes.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = sources(dir.path()).unwrap();
        assert_eq!(found, ["a.rs", "table/mod.rs"].map(|name| dir.path().join(name)));
    }

    #[test]
    fn a_folder_that_is_missing_or_empty_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let empty = sources(dir.path()).unwrap_err();
        assert!(format!("{empty:#}").contains("nothing would be checked"), "{empty:#}");
        let missing = sources(&dir.path().join("no")).unwrap_err();
        assert!(format!("{missing:#}").contains("/no: No such file"), "{missing:#}");
    }

    #[test]
    fn errors_are_read_as_rustc_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("x.rs");
        fs::write(&source, "#![no_std]\npub fn f() -> u8 { \"a\" }\n").unwrap();
        let mut rustc = std::process::Command::new("rustc");
        rustc.args(["--crate-type=lib", "--emit=metadata", "--error-format=json"]);
        let said = process::capture(rustc.arg("--out-dir").arg(dir.path()).arg(&source)).unwrap();
        let errors = errors(&said.stderr);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].head.starts_with("E0308 mismatched types"));
    }
}
