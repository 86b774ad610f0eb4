// SPDX-License-Identifier: GPL-2.0

//! Reads the command that kbuild used to compile a Rust file, from the `.cmd` file. Other files can
//! then be compiled with the same flags.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::host::machine::Host;

/// A recorded rustc command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// Variables set before the command.
    pub environment: Vec<(String, String)>,
    /// The flags, without those that name input and output.
    pub args: Vec<String>,
    /// The directory in which it ran.
    pub dir: PathBuf,
    /// The file that it compiled.
    pub source: Option<PathBuf>,
}

/// Reads the command for `object`, a path below the module output directory `out`.
pub fn read(out: &Path, object: &Path) -> Result<Flags> {
    let name = object.file_name().unwrap_or_default().to_string_lossy();
    let path = out.join(object).with_file_name(format!(".{name}.cmd"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text, out).with_context(|| format!("no rustc command in {}", path.display()))
}

fn parse(text: &str, out: &Path) -> Option<Flags> {
    let line = text.lines().next()?;
    let (_, command) = line.strip_prefix("savedcmd_")?.split_once(" := ")?;
    let words = words(command);
    let rustc = words
        .iter()
        .position(|word| Path::new(word).file_name().is_some_and(|name| name == "rustc"))?;
    let environment = words[..rustc]
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let args = flags(&words[rustc + 1..]);
    let source = words[rustc + 1..].iter().find(|word| is_source(word)).map(PathBuf::from);
    Some(Flags { environment, args, dir: out.to_owned(), source })
}

/// The words of a shell command up to its end. Quotes are the only shell syntax that kbuild uses
/// here.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let quoted: String = chars.by_ref().take_while(|end| *end != c).collect();
                word.get_or_insert_default().push_str(&quoted);
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' | '\t' => words.extend(word.take()),
            // The command ends here; the next one checks the object.
            ';' if word.is_none() => break,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn flags(words: &[String]) -> Vec<String> {
    let mut flags = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out-dir" | "--crate-name" | "--crate-type" => {
                words.next();
            }
            word if word.starts_with("--emit=") || word.starts_with("--crate-type=") => {}
            word if is_source(word) => {}
            word => flags.push(word.to_owned()),
        }
    }
    flags
}

/// Whether a word names the source; a response file starts with `@`.
fn is_source(word: &str) -> bool {
    word.ends_with(".rs") && !word.starts_with(['-', '@'])
}

impl Flags {
    /// The crates that the source may use: their names in the source, and their files, if the
    /// command names them.
    pub fn externs(&self) -> Vec<(String, Option<PathBuf>)> {
        let named = self.args.windows(2).filter(|pair| pair[0] == "--extern");
        named
            .map(|pair| match pair[1].split_once('=') {
                Some((name, path)) => (name.to_owned(), Some(self.dir.join(path))),
                None => (pair[1].clone(), None),
            })
            .collect()
    }

    /// Variables of `--env-set`, which the source reads at compile time.
    pub fn variables(&self) -> Vec<(String, String)> {
        let set = self.args.iter().filter_map(|arg| arg.strip_prefix("--env-set="));
        set.filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// A rustc command with these flags that compiles `source` as a library crate into `out`. It
    /// makes an object, too: some errors only occur when code is generated.
    pub fn command(&self, machine: &Host, source: &Path, out: &Path) -> Command {
        let mut command = machine.command("rustc");
        command.current_dir(&self.dir).envs(self.environment.iter().cloned());
        // The flags are unstable, so the kernel's Makefile also exports this.
        command.env("RUSTC_BOOTSTRAP", "1");
        command.args(&self.args);
        command.args(["--crate-type=lib", "--crate-name=case", "--emit=metadata,obj", "--out-dir"]);
        command.arg(out).arg(source);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_command_is_read_without_its_input_and_output() {
        let text = "savedcmd_rust/main.o := OBJTREE=/k RUST_MODFILE=./x rustc --edition=2021 -Cpanic=abort \
             @/k/rustc_cfg -Zcrate-attr='feature(a,b)' --env-set=B=/o/b --extern kernel --crate-type rlib -L /k/rust/ \
             --out-dir rust/ --emit=dep-info=rust/.main.o.d --emit=obj=rust/main.o /s/main.rs   ; /k/objtool x\n\n\
             source_rust/main.o := /s/main.rs\n";
        let flags = parse(text, Path::new("/o")).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(flags.environment, [pair("OBJTREE", "/k"), pair("RUST_MODFILE", "./x")]);
        assert_eq!(
            flags.args,
            [
                "--edition=2021",
                "-Cpanic=abort",
                "@/k/rustc_cfg",
                "-Zcrate-attr=feature(a,b)",
                "--env-set=B=/o/b",
                "--extern",
                "kernel",
                "-L",
                "/k/rust/"
            ]
        );
        assert_eq!(flags.variables(), [pair("B", "/o/b")]);
    }

    #[test]
    fn a_c_object_has_no_rustc_command() {
        assert_eq!(parse("savedcmd_c.o := clang -c -o c.o c.c\n", Path::new("/o")), None);
    }
}
