// SPDX-License-Identifier: GPL-2.0

//! The command line. Its help is the documentation of each command.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::context::Settings;

/// Builds a kernel and the module, boots them in QEMU, runs the selftests.
///
/// Exit status: 0 passed, 1 a test failed, 2 wrong usage, 3 could not build,
/// 4 did not boot, 5 the guest panicked, 6 something in the kernel log,
/// 7 timed out, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
    /// Settings that each have a variable as well.
    #[command(flatten)]
    pub options: Options,
}

/// Settings that each have a variable as well.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Options {
    /// A kernel tree (git clone or tarball) to build instead of the pinned one.
    #[arg(long, env = "KSRC", global = true, conflicts_with = "kbuild", value_name = "PATH")]
    ksrc: Option<PathBuf>,
    /// A finished kernel build; it is never written to.
    #[arg(long, env = "KBUILD", global = true, value_name = "DIR")]
    kbuild: Option<PathBuf>,
    /// As for the kernel's make: 1, -19, or a directory with a slash at its end.
    #[arg(long, env = "LLVM", global = true, allow_hyphen_values = true)]
    llvm: Option<String>,
    /// The C compiler of the kernel.
    #[arg(long, env = "CC", global = true)]
    cc: Option<String>,
    /// Jobs at once; as many as there are processors by default.
    #[arg(long, short, env = "J", global = true)]
    jobs: Option<usize>,
    /// Show every command (V=1).
    #[arg(long, env = "V", global = true, value_name = "0|1")]
    verbose: Option<String>,
    /// Do not probe for KVM, use this.
    #[arg(long, env = "ACCEL", global = true)]
    pub accel: Option<Accel>,
    /// What runs the kernel: QEMU, or itself as a program of this machine (User Mode Linux), for
    /// measurements without KVM.
    #[arg(long, env = "ENGINE", global = true, default_value = "qemu")]
    pub engine: Engine,
    /// Memory of the guest, in MiB; two thousand namespaces fit into the 1024 that it has by
    /// default, and a kernel that watches itself has twice as much.
    #[arg(long, env = "MEMORY", global = true, value_name = "MIB")]
    pub memory: Option<u32>,
}

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// The processor's own help.
    Kvm,
    /// Translation of every instruction.
    Tcg,
}

/// Kernels beside the plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// Of `test-debug`.
    Debug,
    /// Of `selftests-net`.
    Net,
}

/// What runs the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// A virtual machine.
    Qemu,
    /// User Mode Linux.
    Uml,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Build kernel and module, boot, load, run the selftests, report.
    All,
    /// Everything: lint, host tests, module, selftests.
    Test(TestArgs),
    /// All selftests on a kernel that watches itself: KASAN, lockdep, kmemleak, trackers.
    TestDebug(TestArgs),
    /// The kernel tree's own network tests, without and with the module, compared.
    SelftestsNet {
        /// File names in tools/testing/selftests/net; without, all that run here.
        tests: Vec<String>,
    },
    /// Break one rule of the module at a time, and see that the selftests notice.
    Mutants {
        /// Only those whose name has this in it.
        pattern: Option<String>,
    },
    /// An interactive shell in the guest, with the module at hand.
    Shell,
    /// One command in the guest; its output and exit status come through.
    Run {
        /// Given to a shell in the guest.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Measure in the guest and print the ratios.
    Bench,
    /// Only build a kernel.
    Kernel {
        /// Which; without, that of the engine.
        #[arg(value_enum)]
        variant: Option<Variant>,
    },
    /// Generate the C code of the netlink specification anew.
    Netlink,
    /// Run a command of the project and draw what it prints, for the README.
    Picture {
        /// The file to write, relative to the project's root.
        #[arg(long, default_value = "Documentation/run.svg")]
        out: PathBuf,
        /// The command; its output may have 400 lines.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            default_values = ["make", "test", "T=load_unload"]
        )]
        command: Vec<String>,
    },
    /// How large each part of the cache is, and when it was last used.
    Cache {
        /// Remove what was not used for a month, which each run does at its end.
        #[arg(long)]
        prune: bool,
    },
    /// Each tool: found, needed, how to get it.
    Doctor,
    /// Format and lint checks of host and kernel code.
    Lint,
    /// Write rust-project.json for an editor.
    RustAnalyzer,
    /// Remove what was built from this checkout.
    Clean,
    /// Clean, and remove the cache with kernels, sources and downloads.
    Distclean,
}

/// What to test, and how to say it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TestArgs {
    /// Only selftests whose name has this in it (`*` and `?` as in a shell);
    /// no lint and no host tests then.
    pub pattern: Option<String>,
    /// So many times, then name the tests that were not the same every time.
    #[arg(long, default_value_t = NonZeroU32::MIN)]
    pub repeat: NonZeroU32,
    /// Print KTAP instead of a table.
    #[arg(long)]
    pub ktap: bool,
}

impl Default for TestArgs {
    /// All of them, once.
    fn default() -> TestArgs {
        TestArgs { pattern: None, repeat: NonZeroU32::MIN, ktap: false }
    }
}

impl Action {
    /// Whether it is about the project that the current directory is in.
    pub fn needs_project(&self) -> bool {
        !matches!(self, Action::Doctor | Action::Kernel { .. })
    }
}

impl Options {
    /// What of it concerns the build. An empty variable is as good as none.
    pub fn settings(&self) -> Settings {
        let path = |path: &Option<PathBuf>| path.clone().filter(|p| !p.as_os_str().is_empty());
        let default = || std::thread::available_parallelism().map_or(1, usize::from);
        Settings {
            ksrc: path(&self.ksrc),
            kbuild: path(&self.kbuild),
            llvm: self.llvm.clone(),
            cc: self.cc.clone().filter(|cc| !cc.is_empty()),
            config: Vec::new(),
            jobs: self.jobs.filter(|jobs| *jobs > 0).unwrap_or_else(default),
        }
    }

    /// Whether every command is shown.
    pub fn verbose(&self) -> bool {
        self.verbose.as_deref().is_some_and(|v| !matches!(v, "" | "0"))
    }
}

/// Removes empty variables: make exports what it names, set or not, and an
/// empty path or number is none.
pub fn drop_empty_variables() {
    for name in ["KSRC", "KBUILD", "LLVM", "CC", "J", "V", "ACCEL", "ENGINE", "MEMORY"] {
        if std::env::var_os(name).is_some_and(|value| value.is_empty()) {
            // SAFETY: called first thing in main, before any thread starts.
            unsafe { std::env::remove_var(name) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"lab").chain(words))
    }

    #[test]
    fn commands_parse_as_the_makefile_writes_them() {
        let pattern = |text: &str| Some(text.to_owned());
        let cases = [
            (vec!["test"], Action::Test(TestArgs::default())),
            (
                vec!["test", "rlo*", "--repeat", "3", "--ktap"],
                Action::Test(TestArgs {
                    pattern: pattern("rlo*"),
                    repeat: NonZeroU32::new(3).unwrap(),
                    ktap: true,
                }),
            ),
            (
                vec!["run", "--", "ip link; false"],
                Action::Run { command: vec!["ip link; false".into()] },
            ),
            (vec!["rust-analyzer"], Action::RustAnalyzer),
        ];
        for (words, want) in cases {
            assert_eq!(parse(&words).unwrap().command, want);
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        let cases: [&[&str]; 5] = [
            &["test", "--repeat", "0"],
            &["run"],
            &["all", "--ksrc", "/a", "--kbuild", "/b"],
            &["all", "--accel", "xen"],
            &["everything"],
        ];
        for words in cases {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_help_names_every_exit_status() {
        use clap::CommandFactory;
        let help = Cli::command().render_long_help().to_string();
        for status in [
            "0 passed",
            "1 a test failed",
            "2 wrong",
            "3 could not",
            "4 did",
            "5 the",
            "6 some",
            "7 timed",
            "130",
        ] {
            assert!(help.contains(status), "{status}");
        }
    }
}
