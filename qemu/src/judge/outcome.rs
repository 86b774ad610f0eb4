// SPDX-License-Identifier: GPL-2.0

//! How a run ended, for people, for scripts, and for results.json.

use serde::{Deserialize, Serialize};

use crate::run::interrupt;

/// How a run ended. If several outcomes apply, the last in this list counts: a kernel that panicked
/// also fails tests, but the panic is what to look at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing failed and nothing passed: everything was skipped.
    Skipped,
    /// Every test passed or was skipped, and the kernel log is clean.
    Pass,
    /// A test failed.
    Test,
    /// A test, or the whole run, took too long.
    Timeout,
    /// The kernel log has findings.
    KernelLog,
    /// The kernel panicked, or PID 1 or QEMU died.
    Panic,
    /// The guest did not come up.
    Boot,
    /// The build failed.
    Build,
    /// A person ended the run.
    Interrupted,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 9] = [
        Outcome::Pass,
        Outcome::Skipped,
        Outcome::Test,
        Outcome::Timeout,
        Outcome::KernelLog,
        Outcome::Panic,
        Outcome::Boot,
        Outcome::Build,
        Outcome::Interrupted,
    ];

    /// Whether something is wrong. A run where everything was skipped is neither a pass nor a
    /// failure.
    pub fn is_failure(self) -> bool {
        !matches!(self, Outcome::Pass | Outcome::Skipped)
    }

    /// The exit status of the lab. 2 is wrong usage, 130 an interruption.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Pass => 0,
            Outcome::Skipped => 8,
            Outcome::Test => 1,
            Outcome::Build => 3,
            Outcome::Boot => 4,
            Outcome::Panic => 5,
            Outcome::KernelLog => 6,
            Outcome::Timeout => 7,
            Outcome::Interrupted => interrupt::EXIT_CODE,
        }
    }

    /// A text for people.
    pub fn describe(self) -> &'static str {
        match self {
            Outcome::Pass => "passed",
            Outcome::Skipped => "nothing passed: everything was skipped",
            Outcome::Test => "a test failed",
            Outcome::Timeout => "timed out",
            Outcome::KernelLog => "the kernel log has findings",
            Outcome::Panic => "the guest died",
            Outcome::Boot => "the guest did not boot",
            Outcome::Build => "could not build",
            Outcome::Interrupted => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_exit_codes_are_those_of_the_readme() {
        let cases = [
            (Outcome::Pass, "pass", 0),
            (Outcome::Skipped, "skipped", 8),
            (Outcome::Test, "test", 1),
            (Outcome::Build, "build", 3),
            (Outcome::Boot, "boot", 4),
            (Outcome::Panic, "panic", 5),
            (Outcome::KernelLog, "kernel-log", 6),
            (Outcome::Timeout, "timeout", 7),
            (Outcome::Interrupted, "interrupted", 130),
        ];
        for (outcome, name, code) in cases {
            assert_eq!(serde_json::to_value(outcome).unwrap(), name);
            assert_eq!(outcome.exit_code(), code);
        }
    }

    #[test]
    fn the_graver_outcome_counts() {
        let seen = [Outcome::Test, Outcome::KernelLog, Outcome::Pass, Outcome::Timeout];
        assert_eq!(seen.into_iter().max(), Some(Outcome::KernelLog));
        assert_eq!(Outcome::Skipped.max(Outcome::Pass), Outcome::Pass);
    }
}
