// SPDX-License-Identifier: GPL-2.0

//! Records the output of a command on a terminal, with times.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU16;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vmlab::run::interrupt;
use vt100::{Cell, Color, Parser, Screen};

/// Wide enough for the tables of the lab.
const COLUMNS: NonZeroU16 = NonZeroU16::new(110).unwrap();
/// More lines than a run prints, so that nothing scrolls out of sight.
const ROWS: NonZeroU16 = NonZeroU16::new(400).unwrap();

/// The final text of a line, with escape codes for its colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// The time of its last change, from the start of the command.
    pub at: Duration,
}

/// Runs `command` on a new terminal.
pub fn record(command: &mut Command) -> Result<(Vec<Line>, ExitStatus)> {
    let (ours, theirs) = terminal().context("make a terminal")?;
    let copy = theirs.try_clone().context("make a terminal")?;
    command.stdin(Stdio::null()).stdout(theirs).stderr(copy);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("COLUMNS");
    let mut tape = Tape::new();
    let start = Instant::now();
    let mut running = interrupt::spawn(command)?;
    // Closes our copies of the terminal's other end, so that it closes when the child ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut ours = File::from(ours);
    let mut chunk = [0; 4096];
    // When the other end has closed, Linux returns EIO and not an end of file.
    while let Ok(length @ 1..) = ours.read(&mut chunk) {
        tape.add(&chunk[..length], start.elapsed());
    }
    let status = running.wait()?;
    Ok((tape.lines(), status))
}

fn terminal() -> Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    let (ws_row, ws_col) = (ROWS.get(), COLUMNS.get());
    tcsetwinsize(&theirs, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((ours, theirs))
}

/// A screen, and when each of its lines changed.
struct Tape {
    screen: Parser,
    shown: Vec<String>,
    changed: Vec<Duration>,
}

impl Tape {
    fn new() -> Tape {
        let rows = usize::from(ROWS.get());
        Tape {
            screen: Parser::new(ROWS, COLUMNS, 0),
            shown: vec![String::new(); rows],
            changed: vec![Duration::ZERO; rows],
        }
    }

    fn add(&mut self, bytes: &[u8], now: Duration) {
        self.screen.process(bytes);
        for (row, text) in self.screen.screen().rows(0, COLUMNS.get()).enumerate() {
            if self.shown[row] != text {
                self.shown[row] = text;
                self.changed[row] = now;
            }
        }
    }

    /// All lines down to the last that is not empty.
    fn lines(&self) -> Vec<Line> {
        let used = self.shown.iter().rposition(|text| !text.trim().is_empty());
        let rows = used.map_or(0, |last| last + 1);
        (0..rows)
            .map(|row| Line { text: coloured(self.screen.screen(), row), at: self.changed[row] })
            .collect()
    }
}

/// A row of the screen with an escape code wherever the style changes.
fn coloured(screen: &Screen, row: usize) -> String {
    let mut text = String::new();
    let mut style = String::new();
    let row = u16::try_from(row).unwrap_or(u16::MAX);
    for cell in (0..COLUMNS.get()).filter_map(|column| screen.cell(row, column)) {
        if cell.is_wide_continuation() {
            continue;
        }
        let new = style_of(cell);
        if new != style {
            text += &format!("\x1b[0{new}m");
            style = new;
        }
        text += if cell.has_contents() { cell.contents() } else { " " };
    }
    let text = text.trim_end();
    if style.is_empty() { text.to_owned() } else { format!("{text}\x1b[0m") }
}

/// The numbers of an escape code, each with a semicolon before it.
fn style_of(cell: &Cell) -> String {
    let switches = [
        (cell.bold(), ";1"),
        (cell.dim(), ";2"),
        (cell.italic(), ";3"),
        (cell.underline(), ";4"),
        (cell.inverse(), ";7"),
    ];
    let on: String = switches.iter().filter(|(on, _)| *on).map(|(_, code)| *code).collect();
    on + &colour(cell.fgcolor(), 38) + &colour(cell.bgcolor(), 48)
}

fn colour(colour: Color, kind: u8) -> String {
    match colour {
        Color::Default => String::new(),
        Color::Idx(index) => format!(";{kind};5;{index}"),
        Color::Rgb(red, green, blue) => format!(";{kind};2;{red};{green};{blue}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Vec<Line>, ExitStatus) {
        record(Command::new("sh").args(["-c", script])).unwrap()
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_command_has_a_terminal_and_its_status_comes_through() {
        let (lines, status) = shell("test -t 1 && test -t 2 && echo yes; exit 3");
        assert_eq!((texts(&lines), status.code()), (vec!["yes"], Some(3)));
    }

    #[test]
    fn a_line_that_is_drawn_again_is_kept_as_it_was_in_the_end() {
        let (lines, _) = shell(r"printf 'working 1\rworking 2\r\033[Kdone\n'; echo next");
        assert_eq!(texts(&lines), ["done", "next"]);
    }

    #[test]
    fn colours_are_kept() {
        let (lines, _) = shell(r"printf 'a \033[1;31mred\033[0m b\n'");
        assert_eq!(texts(&lines), ["a \x1b[0;1;38;5;1mred\x1b[0m b"]);
    }

    #[test]
    fn the_time_of_a_line_is_that_of_its_last_change() {
        let mut tape = Tape::new();
        for (second, bytes) in [(1, "first\r\nsecond"), (2, "\r\nthird"), (3, "\x1b[1;1Hagain")] {
            tape.add(bytes.as_bytes(), Duration::from_secs(second));
        }
        let lines = tape.lines();
        let seconds: Vec<u64> = lines.iter().map(|line| line.at.as_secs()).collect();
        assert_eq!((texts(&lines), seconds), (vec!["again", "second", "third"], vec![3, 1, 2]));
    }

    #[test]
    fn a_command_that_prints_nothing_has_no_lines() {
        assert!(shell("true").0.is_empty());
    }
}
