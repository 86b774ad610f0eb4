// SPDX-License-Identifier: GPL-2.0

//! The examples in the documentation of the abstractions. Each is compiled with the flags of the
//! module, so that no example shows code that does not work.
//!
//! An example is a code block of a doc comment. It is compiled as the kernel tree compiles it for
//! KUnit (`scripts/rustdoc_test_gen.rs`): alone in a function, with the prelude and nothing else.
//! As in rustdoc, a line that starts with `# ` is compiled and not shown, and code that ends in a
//! result is the body of a function that returns it.
//!
//! All examples are one crate, which takes little longer than a single one. If it does not compile,
//! each gets its own crate, to tell which one is wrong.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmlab::judge::report::TestReport;
use vmlab::run::progress::{Step, Unit};

use crate::build::kbuild_flags::{self, Flags};
use crate::checks::compile_fail;
use crate::checks::threads;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;

/// Compiles each example.
pub fn run(lab: &Lab, tools: &Toolchain) -> Result<Vec<TestReport>> {
    let Some(project) = &lab.project.examples else { return Ok(Vec::new()) };
    let examples = match find(&lab.root.join(&project.folder)) {
        Ok(examples) => examples,
        Err(error) => return Ok(vec![TestReport::of::<()>("examples", Err(error))]),
    };
    let step = Step::start("compiling the examples", Unit::None, 0);
    let flags = kbuild_flags::read(&lab.target.join("modules"), &project.like)?;
    let compile = |some: &[Example]| compile(some, &flags, tools);
    let verdicts = judge(&examples, lab.settings.jobs, compile);
    step.finish();
    Ok(verdicts)
}

/// A code block and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Example {
    /// The file, relative to the folder that was searched.
    file: String,
    line: usize,
    code: String,
}

/// The examples in all files below a folder.
fn find(folder: &Path) -> Result<Vec<Example>> {
    let mut found = Vec::new();
    for path in compile_fail::sources(folder)? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let file = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy();
        found.extend(examples(&file, &text));
    }
    if found.is_empty() {
        bail!("no example in {}: nothing would be checked", folder.display());
    }
    Ok(found)
}

/// Compiles all examples as one crate. If that fails, compiles them one by one to find the wrong
/// ones.
fn judge(
    examples: &[Example],
    jobs: usize,
    compile: impl Fn(&[Example]) -> Result<()> + Sync,
) -> Vec<TestReport> {
    let name = |example: &Example| format!("{}:{}", example.file, example.line);
    let Err(error) = compile(examples) else {
        return examples.iter().map(|example| TestReport::of(name(example), Ok(()))).collect();
    };
    let mut verdicts = threads::each(examples, jobs, |example| {
        TestReport::of(name(example), compile(std::slice::from_ref(example)))
    });
    if !verdicts.iter().any(TestReport::failed) {
        let error = error.context("each compiles alone, but not all in one crate");
        verdicts.push(TestReport::of::<()>("examples", Err(error)));
    }
    verdicts
}

/// The code blocks of the doc comments in `text`, without blocks that name a language.
fn examples(file: &str, text: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut open: Option<Option<Example>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            continue;
        };
        let doc = doc.strip_prefix(' ').unwrap_or(doc);
        match (&mut open, doc.strip_prefix("```")) {
            (None, Some(language)) => {
                let example =
                    || Example { file: file.to_owned(), line: number + 1, code: String::new() };
                open = Some(language.is_empty().then(example));
            }
            (Some(_), Some(_)) => found.extend(open.take().flatten()),
            (Some(Some(example)), None) => {
                let code = if doc == "#" { "" } else { doc.strip_prefix("# ").unwrap_or(doc) };
                example.code.push_str(code);
                example.code.push('\n');
            }
            (Some(None) | None, None) => {}
        }
    }
    found
}

/// The beginning of every crate: macros of the `kernel` crate need these items.
const CRATE: &str = r#"//! Examples.

use kernel::{ModuleMetadata, ThisModule};

#[allow(dead_code)]
const __LOG_PREFIX: &[u8] = b"examples\0";

#[allow(dead_code)]
struct LocalModule;

impl ModuleMetadata for LocalModule {
    const NAME: &'static kernel::str::CStr = c"examples";
    // SAFETY: Nothing of this ever runs.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}
"#;

/// A crate with these examples.
fn source(examples: &[Example]) -> String {
    let functions = examples.iter().enumerate().map(|(number, example)| function(number, example));
    format!("{CRATE}{}", functions.collect::<String>())
}

fn function(number: usize, example: &Example) -> String {
    let code = &example.code;
    // The same rule as in rustdoc.
    let result = match code.trim_end().ends_with("(())") {
        true => " -> core::result::Result<(), impl core::fmt::Debug>",
        false => "",
    };
    format!(
        "\npub fn example_{number}() {{\n#[allow(unused)]\nuse ::kernel::prelude::*;\n{{\n\
         fn main() {{\nfn example(){result} {{\n{code}}}\nlet _ = example();\n}}\nmain();\n}}\n}}\n"
    )
}

fn compile(examples: &[Example], flags: &Flags, tools: &Toolchain) -> Result<()> {
    let scratch = tempfile::tempdir().context("create a directory")?;
    let path = scratch.path().join("examples.rs");
    fs::write(&path, source(examples)).with_context(|| format!("write {}", path.display()))?;
    let errors = compile_fail::compile(&path, flags, tools)?;
    compile_fail::judge(&["compiles".to_owned()], &errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(line: usize, code: &str) -> Example {
        Example { file: "a.rs".into(), line, code: code.into() }
    }

    #[test]
    fn code_blocks_of_doc_comments_are_examples() {
        let text = "//! ```\n//! a();\n//! ```\n\n/// Text.\n///\n    /// ```\n    /// # use x;\n    /// b();\n    /// ```\nfn f() {}\n// ```\n";
        assert_eq!(examples("a.rs", text), [example(1, "a();\n"), example(7, "use x;\nb();\n")]);
    }

    #[test]
    fn a_block_of_another_language_is_no_example() {
        let text = "/// ```text\n/// a b\n/// ```\n/// ```\n/// c();\n/// ```\n";
        assert_eq!(examples("a.rs", text), [example(4, "c();\n")]);
    }

    #[test]
    fn examples_of_all_folders_are_found_and_none_at_all_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("table")).unwrap();
        fs::write(dir.path().join("table/mod.rs"), "").unwrap();
        assert!(find(dir.path()).unwrap_err().to_string().contains("no example"));
        fs::write(dir.path().join("table/mod.rs"), "/// ```\n/// a();\n/// ```\n").unwrap();
        let found = find(dir.path()).unwrap();
        assert_eq!(found, [Example { file: "table/mod.rs".into(), ..example(1, "a();\n") }]);
    }

    #[test]
    fn an_example_that_ends_in_a_result_is_in_a_function_that_returns_it() {
        assert!(function(0, &example(1, "f();\n")).contains("fn example() {\nf();\n}"));
        let ends = function(0, &example(1, "f()?;\nOk::<(), Error>(())\n"));
        assert!(ends.contains("impl core::fmt::Debug> {\nf()?;\nOk::<(), Error>(())\n}"), "{ends}");
    }

    /// The verdicts, if code with `wrong` in it does not compile.
    fn judged(codes: &[&str], compile: impl Fn(&[Example]) -> bool + Sync) -> Vec<String> {
        let examples: Vec<Example> =
            codes.iter().enumerate().map(|(number, code)| example(number, code)).collect();
        let compile = |some: &[Example]| if compile(some) { Ok(()) } else { bail!("E0308") };
        let line = |verdict: TestReport| format!("{} {}", !verdict.failed(), verdict.name);
        judge(&examples, 2, compile).into_iter().map(line).collect()
    }

    #[test]
    fn the_example_that_fails_is_named() {
        let right = |some: &[Example]| some.iter().all(|example| example.code != "wrong");
        assert_eq!(judged(&["a", "b"], right), ["true a.rs:0", "true a.rs:1"]);
        let one_wrong = judged(&["a", "wrong"], right);
        assert_eq!(one_wrong, ["true a.rs:0", "false a.rs:1"]);
    }

    #[test]
    fn examples_that_only_fail_together_are_not_passed() {
        let together = judged(&["a", "b"], |some| some.len() == 1);
        assert_eq!(together.last().unwrap(), "false examples");
    }

    #[test]
    fn all_examples_are_in_one_crate() {
        let both = source(&[example(1, "a();\n"), example(2, "b();\n")]);
        let place = |text: &str| both.find(text).unwrap_or_else(|| panic!("{text} in {both}"));
        assert!(place("fn example_0") < place("\na();\n"));
        assert!(
            place("\na();\n") < place("fn example_1") && place("fn example_1") < place("\nb();\n")
        );
    }
}
