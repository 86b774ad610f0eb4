// SPDX-License-Identifier: GPL-2.0

//! Progress of long steps: a bar on a terminal, a plain line now and then in a log file.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::print;

/// How often a step writes a line into a log file.
const QUIET: Duration = Duration::from_secs(20);

/// All bars of this process, since several steps may run at once.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Prints a line above all bars.
pub fn say(line: &str) {
    if !std::io::stderr().is_terminal() || BARS.println(line).is_err() {
        print::err(&format!("{line}\n"));
    }
}

/// A step that takes more than two seconds, with a count of its progress.
#[derive(Debug)]
pub struct Step {
    what: String,
    unit: Unit,
    total: u64,
    done: u64,
    start: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Compiled or linked files.
    Objects,
    Bytes,
    /// Nothing: only the elapsed time is shown.
    None,
}

impl Step {
    /// Begins a step; `total` is 0 if it is unknown.
    pub fn start(what: &str, unit: Unit, total: u64) -> Step {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            say(&format!("{what} ..."));
        }
        let now = Instant::now();
        let what = what.to_owned();
        let step = Step { what, unit, total, done: 0, start: now, said: now, bar };
        step.draw();
        step
    }

    pub fn tick(&mut self) {
        self.set(self.done + 1);
    }

    /// Sets how many units are done.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        self.draw();
        if self.bar.is_none() && self.said.elapsed() >= QUIET {
            self.said = Instant::now();
            say(&self.line());
        }
    }

    pub fn done(&self) -> u64 {
        self.done
    }

    fn draw(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.line());
        }
    }

    fn line(&self) -> String {
        line(&self.what, self.unit, self.done, self.total, self.start.elapsed())
    }

    /// Ends the step with success, and prints how long it took.
    pub fn finish(mut self) -> Duration {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let took = self.start.elapsed();
        say(&format!("{}: done in {}", self.what, human(took)));
        took
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A step that is shown on a terminal while it runs, and leaves no line in a log file.
#[derive(Debug)]
pub struct Shown {
    bar: Option<ProgressBar>,
}

impl Shown {
    /// Begins.
    pub fn start(what: &str) -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Shown { bar }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Long tasks, one after another: a terminal shows the current one, a log file gets a line for each
/// that has ended.
#[derive(Debug)]
pub struct Steps {
    total: usize,
    done: usize,
    step: Option<Step>,
}

impl Steps {
    /// `total` tasks; silent if there is only one.
    pub fn new(total: usize) -> Steps {
        Steps { total, done: 0, step: None }
    }

    pub fn begin(&mut self, name: &str) {
        if self.total > 1 && std::io::stderr().is_terminal() {
            let what = format!("{} of {}: {name}", self.done + 1, self.total);
            self.step = Some(Step::start(&what, Unit::None, 0));
        }
    }

    /// The current task has ended; `how` is for people.
    pub fn end(&mut self, how: &str) {
        self.done += 1;
        if self.step.take().is_none() && self.total > 1 {
            say(&format!("{} of {}: {how}", self.done, self.total));
        }
    }

    /// Redraws the elapsed time.
    pub fn draw(&self) {
        if let Some(step) = &self.step {
            step.draw();
        }
    }
}

fn line(what: &str, unit: Unit, done: u64, total: u64, elapsed: Duration) -> String {
    let count = |n: u64| match unit {
        Unit::Bytes => format!("{} MB", n / 1_000_000),
        Unit::Objects | Unit::None => n.to_string(),
    };
    let counted = match (unit, total) {
        (Unit::None, _) => format!("{what}: {}", human(elapsed)),
        (Unit::Objects, 0) => format!("{what}: {done} objects, {}", human(elapsed)),
        (Unit::Bytes, 0) => format!("{what}: {}, {}", count(done), human(elapsed)),
        // The total comes from an earlier build, so it is approximate.
        (Unit::Objects, _) => format!("{what}: {done} of about {} objects", total.max(done)),
        (Unit::Bytes, _) => format!("{what}: {} of {}", count(done), count(total)),
    };
    match left(done, total, elapsed) {
        Some(left) => format!("{counted}, about {} left", human(left)),
        None => counted,
    }
}

/// Time left at the pace so far; `None` while there is no pace yet.
fn left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 || total <= done || elapsed < Duration::from_secs(5) {
        return None;
    }
    let pace = elapsed.as_secs_f64() / done as f64;
    Some(Duration::from_secs_f64(pace * (total - done) as f64))
}

/// `8.2 s`, `2 min 05 s`.
pub fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_done_and_what_is_left() {
        let cases = [
            (Unit::Objects, 300, 1200, 60, "k: 300 of about 1200 objects, about 3 min 00 s left"),
            (Unit::Objects, 1300, 1200, 60, "k: 1300 of about 1300 objects"),
            (Unit::Objects, 0, 1200, 60, "k: 0 of about 1200 objects"),
            (Unit::Objects, 7, 0, 60, "k: 7 objects, 1 min 00 s"),
            (Unit::Bytes, 80_000_000, 160_000_000, 10, "k: 80 MB of 160 MB, about 10.0 s left"),
            (Unit::None, 0, 0, 3, "k: 3.0 s"),
        ];
        for (unit, done, total, seconds, want) in cases {
            assert_eq!(line("k", unit, done, total, Duration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn no_guess_is_made_from_the_first_seconds() {
        assert_eq!(left(1, 1000, Duration::from_secs(1)), None);
    }
}
