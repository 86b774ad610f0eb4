// SPDX-License-Identifier: GPL-2.0

//! The UAPI header, as compilers see it: any program in C or C++ can include it, and its numbers
//! are those of this crate.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rnetns_uapi::{FAMILY_NAME, NUMBERS, TEXTS};

/// The folder with `linux/rnetns.h`.
const INCLUDE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../rust/rnetns/netlink/include/uapi");

const C: [&str; 6] = ["c90", "gnu90", "c99", "c11", "gnu11", "c17"];
const CXX: [&str; 5] = ["c++98", "c++11", "c++14", "c++17", "c++20"];
/// The first standards with assertions at compile time.
const C11: &str = "c11";
const CXX11: &str = "c++11";

/// The compiler for this language standard, with all warnings as errors.
fn compiler(standard: &str) -> Command {
    let target = format!("{ARCH}-unknown-linux-gnu");
    let cxx = standard.starts_with("c++");
    let mut build = cc::Build::new();
    build.target(&target).host(&target).opt_level(0).cargo_metadata(false).cpp(cxx);
    for flag in ["-Wall", "-Wextra", "-Werror", "-pedantic"] {
        build.flag(flag);
    }
    let mut command = build.get_compiler().to_command();
    command.arg(format!("-std={standard}")).args(["-I", INCLUDE]).env("LC_ALL", "C");
    command.args(["-x", if cxx { "c++" } else { "c" }]);
    command
}

/// Compiles a program that includes the header twice, as happens by way of other headers.
fn compile(standard: &str, mode: &str, rest: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("probe");
    let include = "#include <linux/rnetns.h>\n";
    fs::write(&source, [include, include, rest].concat()).unwrap();
    let mut command = compiler(standard);
    command.arg(mode).arg(&source).arg("-o").arg(dir.path().join("out"));
    let mut output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: is it installed?"));
    if output.status.success() {
        output.stdout = fs::read(dir.path().join("out")).unwrap();
    }
    output
}

/// A program that compiles only if each name has its number.
fn probe<'a>(assertion: &str, numbers: impl IntoIterator<Item = &'a (&'a str, u32)>) -> String {
    let lines = numbers.into_iter().map(|(name, number)| {
        format!("{assertion}({name} == {number}, \"{name} is not {number}\");\n")
    });
    lines.chain(["int main(void) { return 0; }\n".to_owned()]).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_header_is_good_c_and_cxx() {
    for standard in C.iter().chain(&CXX) {
        let output = compile(standard, "-c", "int main(void) { return 0; }\n");
        assert!(output.status.success(), "{standard}:\n{}", errors(&output));
    }
}

#[test]
fn compilers_see_the_numbers_that_bindgen_has_read() {
    for (standard, assertion) in [(C11, "_Static_assert"), (CXX11, "static_assert")] {
        let output = compile(standard, "-c", &probe(assertion, &NUMBERS));
        assert!(output.status.success(), "{standard}:\n{}", errors(&output));
    }
}

#[test]
fn each_wrong_number_is_noticed() {
    let wrong = NUMBERS.map(|(name, number)| (name, number + 1));
    for (standard, assertion) in [(C11, "_Static_assert"), (CXX11, "static_assert")] {
        // clang stops after 20 errors.
        for few in wrong.chunks(10) {
            let said = errors(&compile(standard, "-c", &probe(assertion, few)));
            for (name, number) in few {
                assert!(said.contains(&format!("{name} is not {number}")), "{name} in:\n{said}");
            }
        }
    }
}

#[test]
fn compilers_see_the_texts_that_bindgen_has_read() {
    assert!(TEXTS.contains(&("RNETNS_FAMILY_NAME", FAMILY_NAME)));
    for (name, text) in TEXTS {
        let output = compile(C11, "-E", &format!("the text is {name}\n"));
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains(&format!("the text is \"{text}\"")), "{name} in {seen}");
    }
}

#[test]
fn no_name_of_the_header_is_missing() {
    let path = Path::new(INCLUDE).join("linux/rnetns.h");
    let header = fs::read_to_string(path).unwrap();
    let words = header.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let words: BTreeSet<&str> = words.filter(|word| word.starts_with("RNETNS_")).collect();
    let numbers = NUMBERS.iter().map(|(name, _)| *name);
    let have: BTreeSet<&str> = numbers.chain(TEXTS.iter().map(|(name, _)| *name)).collect();
    assert_eq!(words, have);
}
