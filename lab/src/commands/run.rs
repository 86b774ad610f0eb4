// SPDX-License-Identifier: GPL-2.0

//! `lab run` and `lab shell`: one command, or a person, in the guest.

use anyhow::{Context, Result};
use vmlab::judge::outcome::Outcome;
use vmlab::run::job::Work;
use vmlab::run::phases::Phases;
use vmlab::run::print;
use vmlab_init::protocol::Status;

use crate::build::pipeline;
use crate::checkout_lock;
use crate::commands::Runner;

impl Runner<'_> {
    /// Runs a command or a shell. Returns its exit status, or that of the lab if something went
    /// wrong in the guest.
    pub(super) fn command(&self, work: Work) -> Result<u8> {
        let lock = checkout_lock::take(&self.lab.target)?;
        let mut phases = Phases::default();
        let base = pipeline::base(self.lab, self.variant, &mut phases)?;
        let load = &self.lab.project.modules.load;
        if self.dry_run {
            let built = pipeline::build(self.lab, &base, &mut phases)?;
            let engine = self.lab.engine()?;
            let job = self.job(&base, &built, work, load)?;
            return self.show(&job, &base.kernel, &engine).map(|()| 0);
        }
        let ended = self.boot(&base, work, load, phases, lock)?;
        let harmed = ended.report.outcome != Outcome::Pass;
        if harmed {
            print::err(&ended.report.table());
        }
        let (status, note) = status_of(ended.status, ended.report.outcome);
        note.into_iter().for_each(|note| print::err(&format!("{note}\n")));
        Ok(status)
    }
}

/// The exit status, and a line for standard error if it is not the command's own.
fn status_of(ended: Option<Status>, outcome: Outcome) -> (u8, Option<String>) {
    match ended {
        Some(status @ (Status::Exited(_) | Status::Killed(_) | Status::NotStarted))
            if outcome == Outcome::Pass =>
        {
            (exit_status(status), None)
        }
        Some(status @ (Status::TimedOut | Status::Stuck)) if outcome == Outcome::Pass => {
            (exit_status(status), Some(of_the_lab(Outcome::Timeout)))
        }
        Some(status) => {
            let own = exit_status(status);
            let note = format!("{}; the command's is {own}", of_the_lab(outcome));
            (outcome.exit_code(), Some(note))
        }
        None => (outcome.exit_code(), Some(of_the_lab(outcome))),
    }
}

/// Says that the exit status of this outcome is not the one of the guest's command, which may be the
/// same number.
pub fn of_the_lab(outcome: Outcome) -> String {
    let status = outcome.exit_code();
    format!("lab: exit status {status} is the lab's own: {}", outcome.describe())
}

/// One word is a line for a shell. Several are a program and its arguments.
pub(super) fn line(words: &[String]) -> Result<String> {
    match words {
        [line] => Ok(line.clone()),
        words => shlex::try_join(words.iter().map(String::as_str)).context("quote the command"),
    }
}

/// The exit status that a shell would return.
fn exit_status(status: Status) -> u8 {
    match status {
        Status::Exited(code) => u8::try_from(code).unwrap_or(u8::MAX),
        Status::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        Status::TimedOut | Status::Stuck => Outcome::Timeout.exit_code(),
        Status::NotStarted => 127,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_line_and_several_are_words() {
        let line = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            super::line(&words).unwrap()
        };
        assert_eq!(line(&["ls a b; echo $HOME"]), "ls a b; echo $HOME");
        assert_eq!(line(&["ls", "a b", "$HOME", "-l"]), "ls 'a b' '$HOME' -l");
        assert_eq!(line(&["echo", "it's", ""]), "echo \"it's\" ''");
    }

    #[test]
    fn a_status_of_the_lab_is_told_from_the_same_one_of_the_command() {
        assert_eq!(status_of(Some(Status::Exited(6)), Outcome::Pass), (6, None));
        let lab = "lab: exit status 6 is the lab's own: the kernel log has findings";
        let harmed = status_of(Some(Status::Exited(0)), Outcome::KernelLog);
        assert_eq!(harmed, (6, Some(format!("{lab}; the command's is 0"))));
        let (status, note) = status_of(None, Outcome::Panic);
        assert_eq!(status, 5);
        assert!(note.unwrap().starts_with("lab: exit status 5 is the lab's own: "));
        let hung = status_of(Some(Status::Stuck), Outcome::Pass);
        assert_eq!((hung.0, hung.1.is_some()), (7, true));
    }

    #[test]
    fn a_commands_status_comes_through_as_in_a_shell() {
        let cases = [
            (Status::Exited(0), 0),
            (Status::Exited(42), 42),
            (Status::Killed(15), 143),
            (Status::TimedOut, 7),
            (Status::NotStarted, 127),
        ];
        for (status, code) in cases {
            assert_eq!(exit_status(status), code, "{status:?}");
        }
    }
}
