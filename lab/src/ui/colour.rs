// SPDX-License-Identifier: GPL-2.0

//! Colours of verdicts, on a terminal with colours and without NO_COLOR.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use vmlab::run::print;

/// Prints a table to standard output.
pub fn print(text: &str) {
    print::out(&painted(text, AutoStream::choice(&std::io::stdout())));
}

/// Colours a text for standard error, without printing it.
pub fn for_stderr(text: &str) -> String {
    painted(text, AutoStream::choice(&std::io::stderr()))
}

fn painted(text: &str, choice: ColorChoice) -> String {
    if choice == ColorChoice::Never { text.to_owned() } else { paint(text) }
}

/// Colours the first word of a line, if it is a verdict.
fn paint(text: &str) -> String {
    text.split_inclusive('\n').map(line).collect()
}

fn line(line: &str) -> String {
    // Lines of progress: "  3 of 28  ok    name".
    let count = |c: char| c.is_ascii_digit() || c == ' ';
    let start = match line.split_once(" of ") {
        Some((number, rest)) if number.chars().all(count) => {
            line.len() - rest.trim_start_matches(count).len()
        }
        _ => 0,
    };
    let word = line[start..].split([' ', '\n']).next().unwrap_or_default();
    match style(word) {
        Some(style) => {
            let rest = &line[start + word.len()..];
            format!("{}{style}{word}{style:#}{rest}", &line[..start])
        }
        None => line.to_owned(),
    }
}

fn style(word: &str) -> Option<Style> {
    let colour = match word {
        "ok" => AnsiColor::Green,
        "skip" | "warn" => AnsiColor::Yellow,
        "FAIL" => return Some(AnsiColor::Red.on_default().bold()),
        _ => return None,
    };
    Some(colour.on_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_verdict_of_a_line_is_coloured() {
        let green = |word| format!("{0}{word}{0:#}", style("ok").unwrap());
        let cases = [
            ("ok    a   1.0 s\n", format!("{}    a   1.0 s\n", green("ok"))),
            ("  3 of 28  ok    a, 1 s", format!("  3 of 28  {}    a, 1 s", green("ok"))),
            ("ok    5 of lint\n", format!("{}    5 of lint\n", green("ok"))),
            ("okay, no verdict\n", "okay, no verdict\n".to_owned()),
            ("    ok is said inside\n\n", "    ok is said inside\n\n".to_owned()),
            ("2 of them are gone", "2 of them are gone".to_owned()),
        ];
        for (text, want) in cases {
            assert_eq!(paint(text), want);
        }
        assert_ne!(paint("FAIL  a"), "FAIL  a");
    }
}
