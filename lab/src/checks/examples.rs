// SPDX-License-Identifier: GPL-2.0

//! The examples in the documentation of the abstractions: each is compiled, as
//! the module is, so that none can show what does not work.
//!
//! An example is a code block of a doc comment in `rust/kernel/net/`. It sees
//! what `rust/tests/preamble.rs` brings in, and stands in a function that
//! returns a `Result`. As in rustdoc, a line that starts with `# ` is compiled
//! and not shown.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmlab::run::progress::{Step, Unit};

use crate::build::kbuild_flags::{self, Flags};
use crate::checks::compile_fail;
use crate::context::Lab;
use crate::host::toolchain::Toolchain;
use crate::ui::tally::Check;

/// Where the documentation is.
const FOLDER: &str = "rust/kernel/net";
/// What every example can use.
const PREAMBLE: &str = "rust/tests/preamble.rs";
/// The object whose flags they get.
const LIKE: &str = "rust/rnetns/rnetns_main.o";

/// Compiles each example.
pub fn run(lab: &Lab, tools: &Toolchain) -> Result<Vec<Check>> {
    let step = Step::start("compiling the examples", Unit::None, 0);
    let flags = kbuild_flags::read(&lab.target.join("modules"), Path::new(LIKE))?;
    let mut verdicts = Vec::new();
    for path in compile_fail::sources(&lab.root.join(FOLDER))? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        for example in examples(&text) {
            let name = format!("example: {file}:{}", example.line);
            let compiled = compile(&example, &lab.root, &flags, tools);
            verdicts.push(Check::of(name, compiled));
        }
    }
    step.finish();
    Ok(verdicts)
}

/// A code block, and the line of the file that it begins in.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    line: usize,
    code: String,
}

/// The code blocks of the doc comments in `text`; a block that names a language is not one.
fn examples(text: &str) -> Vec<Example> {
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
                open = Some(
                    language.is_empty().then(|| Example { line: number + 1, code: String::new() }),
                );
            }
            (Some(_), Some(_)) => found.extend(open.take().flatten()),
            (Some(Some(example)), None) => {
                let code = doc.strip_prefix("# ").unwrap_or(doc);
                example.code.push_str(code);
                example.code.push('\n');
            }
            (Some(None) | None, None) => {}
        }
    }
    found
}

/// The crate that an example becomes.
fn source(example: &Example, root: &Path) -> String {
    let preamble = root.join(PREAMBLE);
    let ends = example.code.contains("Ok::<(), Error>(())");
    let end = if ends { "" } else { "Ok(())" };
    format!(
        "//! An example.\ninclude!({preamble:?});\n#[allow(unreachable_code)]\n\
         fn example() -> Result {{\n{}{end}\n}}\n",
        example.code
    )
}

fn compile(example: &Example, root: &Path, flags: &Flags, tools: &Toolchain) -> Result<()> {
    let scratch = tempfile::tempdir().context("create a directory")?;
    let path = scratch.path().join("example.rs");
    fs::write(&path, source(example, root)).with_context(|| format!("write {}", path.display()))?;
    let errors = compile_fail::compile(&path, flags, tools)?;
    compile_fail::judge(&["compiles".to_owned()], &errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_blocks_of_doc_comments_are_examples() {
        let text = "//! ```\n//! a();\n//! ```\n\n/// Text.\n///\n    /// ```\n    /// # use x;\n    /// b();\n    /// ```\nfn f() {}\n// ```\n";
        let example = |line, code: &str| Example { line, code: code.into() };
        assert_eq!(examples(text), [example(1, "a();\n"), example(7, "use x;\nb();\n")]);
    }

    #[test]
    fn a_block_of_another_language_is_no_example() {
        let text = "/// ```text\n/// a b\n/// ```\n/// ```\n/// c();\n/// ```\n";
        let codes: Vec<String> = examples(text).into_iter().map(|e| e.code).collect();
        assert_eq!(codes, ["c();\n"]);
    }

    #[test]
    fn an_example_ends_with_a_result() {
        let with = |code: &str| {
            let example = Example { line: 1, code: code.into() };
            source(&example, Path::new("/x"))
        };
        assert!(with("f();\n").contains("f();\nOk(())\n}"));
        assert!(with("f()?;\nOk::<(), Error>(())\n").contains("Ok::<(), Error>(())\n\n}"));
    }
}
