// SPDX-License-Identifier: GPL-2.0

//! `lab picture`: runs a command of the project and draws its output, for the README.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use vmlab::run::files;
use vmlab::run::progress::say;

use crate::context::Lab;
use crate::ui::recording::{self, Line};

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Runs `command` at the project's root and draws what it printed.
pub fn run(lab: &Lab, command: &[String], out: &Path) -> Result<u8> {
    let (program, arguments) = command.split_first().context("no command to run")?;
    let shown = command.join(" ");
    say(&format!("running {shown}"));
    let (lines, status) =
        recording::record(Command::new(program).args(arguments).current_dir(&lab.root))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}), so there is no new picture; run it to see why");
    }
    let out = lab.root.join(out);
    files::write_whole(&out, &draw(&shown, &lines))?;
    say(&format!("drew {} lines in {}", lines.len(), out.display()));
    Ok(0)
}

/// Draws a terminal as SVG: the command and its output, each line with the time of its last change.
fn draw(command: &str, lines: &[Line]) -> String {
    let mut text = format!("        {BOLD}$ {command}{PLAIN}\n");
    for line in lines {
        let time = format!("{:.1} s", line.at.as_secs_f64());
        let time = if line.text.is_empty() { "" } else { &time };
        text += format!("{DIM}{time:>7}{PLAIN} {}", line.text).trim_end();
        text.push('\n');
    }
    anstyle_svg::Term::new().render_svg(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_picture_has_the_command_its_lines_and_their_times() {
        let line = |text: &str, ms| Line { text: text.into(), at: Duration::from_millis(ms) };
        let lines = [line("ok  a < b", 1230), line("", 0), line("\x1b[0;38;5;1mred\x1b[0m", 2000)];
        let svg = draw("make test", &lines);
        for part in ["<svg", "$ make test", "1.2 s", "ok  a &lt; b", "2.0 s", "red", "</svg>"] {
            assert!(svg.contains(part), "{part}:\n{svg}");
        }
        assert!(!svg.contains("0.0 s") && !svg.contains('\x1b'), "{svg}");
    }
}
