// SPDX-License-Identifier: GPL-2.0

//! The command line. Its help texts document each command. The names of environment variables and
//! the meaning of each exit status are defined here and nowhere else.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use glob::Pattern;
use series::project::{Lines, Wish};
use vmlab::boot::engine::Engine;
use vmlab::boot::vm;

use crate::build::kernel::Variant;
use crate::context::Settings;

/// Environment variables, each of which sets an option.
mod variable {
    pub(super) const KSRC: &str = "KSRC";
    pub(super) const KBUILD: &str = "KBUILD";
    pub(super) const LLVM: &str = "LLVM";
    pub(super) const CC: &str = "CC";
    pub(super) const JOBS: &str = "J";
    pub(super) const VERBOSE: &str = "V";
    pub(super) const ACCEL: &str = "ACCEL";
    pub(super) const ENGINE: &str = "ENGINE";
    pub(super) const MEMORY: &str = "MEMORY";
    pub(super) const MAY_SKIP: &str = "MAY_SKIP";
    pub(super) const ALL: [&str; 10] =
        [KSRC, KBUILD, LLVM, CC, JOBS, VERBOSE, ACCEL, ENGINE, MEMORY, MAY_SKIP];
}

/// The meaning of each exit status.
const STATUSES: &str = "\
Exit status:
  0    passed
  1    a test failed
  2    wrong usage
  3    could not build, or another error
  4    the guest did not boot
  5    the guest died
  6    the kernel log has findings
  7    timed out
  8    nothing passed: everything was skipped
  130  interrupted
`run` and `shell` exit with the status of the guest's command. If it is not the
command's, the last line of standard error is: lab: exit status N is the lab's own";

/// The default port for gdb.
const GDB_PORT: &str = "1234";

/// Builds a kernel and modules, boots them in QEMU, runs tests, and judges the results.
#[derive(Debug, Parser)]
#[command(name = "lab", version, after_help = STATUSES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Action,
    #[command(flatten)]
    pub options: CommonArgs,
}

/// Settings that all commands share.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct CommonArgs {
    /// A kernel tree (git clone or tarball) to build instead of the pinned one.
    #[arg(long, env = variable::KSRC, global = true, conflicts_with = "kbuild", value_name = "PATH")]
    ksrc: Option<PathBuf>,
    /// A finished kernel build to use; it is only read.
    #[arg(long, env = variable::KBUILD, global = true, value_name = "DIR")]
    kbuild: Option<PathBuf>,
    /// A file with kernel options on top of those of the lab and the project; may be repeated.
    #[arg(long, global = true, conflicts_with = "kbuild", value_name = "FRAGMENT")]
    config: Vec<PathBuf>,
    /// The LLVM tools, as for the kernel's make: 1, -19, or a directory that ends in a slash.
    #[arg(long, env = variable::LLVM, global = true, allow_hyphen_values = true)]
    llvm: Option<String>,
    /// The C compiler of the kernel.
    #[arg(long, env = variable::CC, global = true)]
    cc: Option<String>,
    /// How many jobs, and how many guests, run at once [default: the number of processors].
    #[arg(long, short, env = variable::JOBS, global = true, value_name = "N")]
    jobs: Option<usize>,
    /// Show every command (V=1).
    #[arg(long, env = variable::VERBOSE, global = true, value_parser = FalseyValueParser::new())]
    verbose: bool,
    /// Use this accelerator, and do not probe for KVM.
    #[arg(long, env = variable::ACCEL, global = true, value_parser = accel())]
    accel: Option<Engine>,
    /// What runs the kernel: QEMU, or User Mode Linux, where the kernel is a program of the host,
    /// to measure without KVM.
    #[arg(long, env = variable::ENGINE, global = true, default_value = "qemu", value_parser = ["qemu", "uml"])]
    engine: String,
    /// Memory of the guest in MiB [default: 1024; 2048 for a debug kernel].
    #[arg(long, env = variable::MEMORY, global = true, value_name = "MIB")]
    memory: Option<u32>,
    /// Let tests and checks of this name be skipped; every other unexpected skip is a failure. With
    /// `*` and `?` as in a shell; may be repeated, and MAY_SKIP separates names by `;`.
    #[arg(long, env = variable::MAY_SKIP, global = true, value_delimiter = ';', value_name = "NAME")]
    may_skip: Vec<Pattern>,
}

fn accel() -> impl TypedValueParser<Value = Engine> {
    let names = PossibleValuesParser::new([Engine::Kvm.name(), Engine::Tcg.name()]);
    names.map(|name| if name == Engine::Kvm.name() { Engine::Kvm } else { Engine::Tcg })
}

/// Options for the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Guest")]
pub struct GuestArgs {
    /// Processors [default: 2].
    #[arg(long, value_name = "N")]
    cpus: Option<NonZeroU32>,
    /// Add this to the kernel's command line; may be repeated.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// A folder of the host that the guest may write to, at the same path; may be repeated.
    #[arg(long, value_name = "DIR")]
    rw: Vec<PathBuf>,
    /// Boot each guest; without this, an emulated guest starts from a snapshot of a booted one.
    #[arg(long)]
    boot: bool,
    /// Build, print each command, and print QEMU's command line instead of running it.
    #[arg(long)]
    pub dry_run: bool,
}

/// Options to debug one guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Guest")]
pub struct Debugging {
    /// Make the guest wait for gdb, at this port (1234), before its first instruction.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
          default_missing_value = GDB_PORT)]
    gdb: Option<NonZeroU16>,
    /// Write the memory of a guest that panicked to this file, for crash or drgn.
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Build kernel and module, boot, load, run the selftests, report.
    All,
    /// Run everything: lint, host tests, module, selftests.
    Test(TestArgs),
    /// All selftests on a debug kernel: KASAN, lockdep, kmemleak, reference trackers.
    TestDebug(TestArgs),
    /// Compare the kernel tree's own network tests without and with the module.
    SelftestsNet {
        /// File names in tools/testing/selftests/net [default: all that work in the lab].
        tests: Vec<String>,
    },
    /// Break one rule of the module at a time, and check that a selftest fails.
    Mutants {
        /// Only mutants whose name contains this.
        pattern: Option<String>,
        /// Instead of the patches, try this many single changes of the code that were not tried
        /// yet.
        #[arg(long, value_name = "NUMBER", conflicts_with = "pattern")]
        made: Option<NonZeroUsize>,
        /// The seed that chooses the changes. Without it, a random one is used and printed.
        #[arg(long, value_name = "NUMBER", requires = "made")]
        seed: Option<u64>,
    },
    /// Start a shell in the guest, with the module loaded.
    Shell(ShellArgs),
    /// Run a command in the guest; the lab passes on its output and its exit status.
    Run(RunArgs),
    /// Test any module, without a project: build it, boot a guest, load, test, unload.
    Try(TryArgs),
    /// Make a project: a module in Rust, selftests in shell and C.
    New {
        /// A folder that does not exist yet; its name is the module's.
        dir: PathBuf,
    },
    /// Run the benchmarks in a guest and print the ratios.
    Bench,
    /// Run the project's own measurements on a kernel built for them, and write the document.
    Study {
        /// Only the part that takes a few minutes; writes no document.
        #[arg(long)]
        quick: bool,
        /// Only parts whose name contains one of these; writes no document.
        parts: Vec<String>,
    },
    /// Only build a kernel.
    Kernel {
        /// The kind of kernel [default: that of the engine].
        #[arg(value_enum)]
        variant: Option<Variant>,
    },
    /// Update the patch series from the source: each edit goes to the patch that it belongs to.
    Series(SeriesArgs),
    /// Check each patch of a series: of the project, of a tree, or of a mailbox.
    CheckSeries(CheckArgs),
    /// Generate the C code from the netlink specification again.
    Netlink,
    /// Run a command and draw its output as a picture (SVG), for the README.
    Picture {
        /// The file to write, relative to the project's root.
        #[arg(long, default_value = "Documentation/run.svg")]
        out: PathBuf,
        /// The command; it may print at most 400 lines.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            default_values = ["make", "test", "T=load_unload"]
        )]
        command: Vec<String>,
    },
    /// Show how large each part of the cache is, and when it was last used.
    Cache {
        /// Remove parts that were not used for a month, as each run does at its end.
        #[arg(long)]
        prune: bool,
    },
    /// Show for each tool which version is found and needed, and how to get it.
    Doctor,
    /// Check format and lints of host and kernel code.
    Lint,
    /// Write rust-project.json for an editor.
    RustAnalyzer,
    /// Print a shell's completion script: source <(lab completions bash)
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Remove what was built from this project.
    Clean,
    /// Clean, and remove the cache with kernels, sources and downloads.
    Distclean,
}

/// Options of `test` and `test-debug`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TestArgs {
    /// Run only selftests whose name contains one of these patterns (`*` and `?` as in a shell);
    /// no lint, no host tests.
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Run each test N times and report flaky ones.
    #[arg(long, default_value_t = NonZeroU32::MIN, value_name = "N")]
    pub repeat: NonZeroU32,
    /// Print KTAP instead of a table.
    #[arg(long)]
    pub ktap: bool,
    /// Start no more tests after the first failure.
    #[arg(long)]
    pub fail_fast: bool,
    /// Only print the names of the selftests.
    #[arg(long, conflicts_with_all = ["repeat", "ktap", "fail_fast", "watch", "dry_run"])]
    pub list: bool,
    /// Run again whenever a file of the project changes.
    #[arg(long, conflicts_with_all = ["ktap", "dry_run"])]
    pub watch: bool,
    #[command(flatten)]
    pub guest: GuestArgs,
}

/// Options of `shell`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ShellArgs {
    #[command(flatten)]
    pub guest: GuestArgs,
    #[command(flatten)]
    pub debugging: Debugging,
}

/// Options of `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub guest: GuestArgs,
    #[command(flatten)]
    pub debugging: Debugging,
    /// One word is a line for the guest's shell; several are a program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Options of `try`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct TryArgs {
    /// A folder with a Kbuild file or a Makefile that names obj-m, or a finished NAME.ko.
    pub path: PathBuf,
    /// A test to run while the module is loaded: a program or a C file. It prints KTAP, or its exit
    /// status is the result: 0 is a pass, 4 a skip, any other a failure. May be repeated.
    #[arg(long = "test", value_name = "FILE")]
    pub tests: Vec<PathBuf>,
    /// A kernel tree, a tarball of one, or a finished build.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["ksrc", "kbuild"])]
    kernel: Option<PathBuf>,
    /// Run again whenever a file of the folder changes.
    #[arg(long, conflicts_with = "dry_run")]
    pub watch: bool,
    #[command(flatten)]
    pub guest: GuestArgs,
    #[command(flatten)]
    pub debugging: Debugging,
}

/// Options of `series`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SeriesArgs {
    #[command(subcommand)]
    pub action: Option<SeriesAction>,
    /// Only show where each change goes, and why.
    #[arg(long)]
    pub dry_run: bool,
    /// Decide where a change goes: FILE:LINE=PATCH; FILE=PATCH for all that is open in a file.
    #[arg(long, value_name = "DECISION", num_args = 1.., value_delimiter = ' ')]
    pub put: Vec<Wish>,
}

/// Options of `check-series`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// A series of the project; the start of its name is enough [default: all].
    #[arg(conflicts_with_all = ["tree", "mbox"])]
    pub series: Option<String>,
    /// A kernel tree with the commits of --range. It is only read.
    #[arg(long, value_name = "DIR", requires = "range", conflicts_with = "mbox")]
    pub tree: Option<PathBuf>,
    /// The range of commits, as git writes it.
    #[arg(long, value_name = "A..B", requires = "tree")]
    pub range: Option<String>,
    /// A mailbox with patches for the pinned kernel, or for the tree of --ksrc.
    #[arg(long, value_name = "FILE")]
    pub mbox: Option<PathBuf>,
    /// Run only this check.
    #[arg(long, value_name = "CHECK")]
    pub only: Option<String>,
    /// Only read the patches; do not build or boot them.
    #[arg(long)]
    pub no_build: bool,
    /// For --tree and --mbox: tests to run after each patch, by their paths in the kernel tree.
    #[arg(long, value_name = "FILE", num_args = 1.., value_delimiter = ' ')]
    pub tests: Vec<String>,
}

/// The actions of `series`. A patch is named SERIES/NUMBER, where the start of the series' name is
/// enough. If there is only one series, the number is enough.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SeriesAction {
    /// List the patches.
    Show,
    /// Undo the last change of the series.
    Undo,
    /// Edit a patch: write the tree after it to a folder. After the edit, run the command again
    /// without a patch: then the edit becomes part of the patch.
    Edit {
        /// SERIES/NUMBER; without it, the edit in the folder is taken.
        patch: Option<String>,
        /// More files of the kernel tree to edit, which no patch changes yet.
        #[arg(long, num_args = 1.., value_delimiter = ' ')]
        with: Vec<String>,
    },
    /// Add an empty patch after another one; after SERIES/0, it is the first.
    Add {
        /// SERIES/NUMBER of the patch before it.
        after: String,
        /// The message: subject, blank line, body. Without this, an editor opens.
        #[arg(long, short)]
        message: Option<String>,
    },
    /// Move some lines of a patch to a new patch after it.
    Split {
        /// SERIES/NUMBER.
        patch: String,
        /// Lines of the source: FILE:FIRST-LAST; FILE:-LINE: what is taken away above LINE.
        #[arg(required = true, num_args = 1.., value_delimiter = ' ')]
        lines: Vec<Lines>,
        /// The message: subject, blank line, body. Without this, an editor opens.
        #[arg(long, short)]
        message: Option<String>,
    },
    /// Merge a patch with the next one.
    Join {
        /// SERIES/NUMBER of the first.
        patch: String,
    },
    /// Move a patch to the place after another one; after SERIES/0, it is the first.
    Move {
        /// SERIES/NUMBER.
        patch: String,
        /// SERIES/NUMBER of the patch that will be before it.
        after: String,
    },
    /// Move lines of the source to another patch.
    Give {
        /// SERIES/NUMBER of the patch that gets them.
        patch: String,
        /// Lines of the source: FILE:FIRST-LAST; FILE:-LINE: what is taken away above LINE.
        #[arg(required = true, num_args = 1.., value_delimiter = ' ')]
        lines: Vec<Lines>,
    },
    /// Change the message of a patch.
    Reword {
        /// SERIES/NUMBER.
        patch: String,
        /// The message: subject, blank line, body. Without this, an editor opens.
        #[arg(long, short)]
        message: Option<String>,
    },
    /// Build the tree after each patch, boot it and run its tests. A tree that has passed is not
    /// tested again.
    Prove {
        /// Only this series (the start of its name is enough), or only this patch: SERIES/NUMBER.
        series: Option<String>,
    },
    /// Find the first patch after which a test fails: builds and boots patches by bisection.
    Bisect {
        /// The file name of a selftest.
        test: String,
        /// Only in this series; the start of its name is enough.
        series: Option<String>,
    },
    /// Begin the next version of a series, and compare it with the current one, of which the patches
    /// stay as they were exported.
    New {
        /// The series; the start of its name is enough.
        series: String,
        /// The number of the next version, as a check.
        version: Option<u32>,
    },
    /// Show what changed since the previous version.
    Diff {
        /// The series; the start of its name is enough.
        series: String,
    },
    /// Add the Reviewed-by, Acked-by and Tested-by trailers of a mailbox to the patches.
    Trailers {
        /// The series; the start of its name is enough.
        series: String,
        /// The mailbox of the review thread, as `b4 mbox` saves it.
        mailbox: PathBuf,
    },
    /// Write a series as a mailbox for b4 and git, with its cover letter, and as a git bundle. Nothing
    /// is sent. The patches are kept as they are now: reviews are for these.
    Export {
        /// The series; the start of its name is enough.
        series: String,
        /// The folder to write the mailbox to.
        #[arg(long, default_value = "target/series", value_name = "DIR")]
        out: PathBuf,
        /// Add your Signed-off-by to the patches: see Documentation/process/submitting-patches.rst.
        #[arg(long, conflicts_with = "no_sign_off")]
        sign_off: bool,
        /// Do not add a Signed-off-by; whoever sends the patches adds it.
        #[arg(long)]
        no_sign_off: bool,
    },
}

impl Default for TestArgs {
    /// All tests, once.
    fn default() -> TestArgs {
        TestArgs {
            patterns: Vec::new(),
            repeat: NonZeroU32::MIN,
            ktap: false,
            fail_fast: false,
            list: false,
            watch: false,
            guest: GuestArgs::default(),
        }
    }
}

impl Action {
    /// Whether the command works on the project of the current directory.
    pub fn needs_project(&self) -> bool {
        !matches!(
            self,
            Action::Cache { .. }
                | Action::Doctor
                | Action::Kernel { .. }
                | Action::Try(_)
                | Action::New { .. }
                | Action::Completions { .. }
        ) && !matches!(self, Action::CheckSeries(args) if args.tree.is_some() || args.mbox.is_some())
    }

    /// Whether the command runs again after each change (`--watch`).
    pub fn watches(&self) -> bool {
        match self {
            Action::Test(args) | Action::TestDebug(args) => args.watch,
            Action::Try(args) => args.watch,
            _ => false,
        }
    }

    /// Whether the exit status is mostly that of a command in the guest.
    pub fn passes_on_a_status(&self) -> bool {
        matches!(self, Action::Run(_) | Action::Shell(_))
    }

    fn guest(&self) -> Option<&GuestArgs> {
        match self {
            Action::Test(args) | Action::TestDebug(args) => Some(&args.guest),
            Action::Shell(args) => Some(&args.guest),
            Action::Run(args) => Some(&args.guest),
            Action::Try(args) => Some(&args.guest),
            _ => None,
        }
    }

    fn debugging(&self) -> Option<&Debugging> {
        match self {
            Action::Shell(args) => Some(&args.debugging),
            Action::Run(args) => Some(&args.debugging),
            Action::Try(args) => Some(&args.debugging),
            _ => None,
        }
    }

    /// Whether QEMU's command line is shown instead of run.
    pub fn dry_run(&self) -> bool {
        self.guest().is_some_and(|guest| guest.dry_run)
    }
}

impl Cli {
    /// Reads the command line, or ends the program with what is wrong with it.
    pub fn read() -> Cli {
        let cli = Cli::parse();
        match cli.contradiction() {
            None => cli,
            Some(why) => Cli::command().error(ErrorKind::ArgumentConflict, why).exit(),
        }
    }

    /// Why the options contradict each other, if they do. clap checks which options are given
    /// together, but not their values.
    fn contradiction(&self) -> Option<&'static str> {
        if self.options.engine != "uml" {
            return None;
        }
        let debugging = self.command.debugging();
        let boots_in_qemu_alone = matches!(
            self.command,
            Action::All
                | Action::Test(_)
                | Action::TestDebug(_)
                | Action::SelftestsNet { .. }
                | Action::Mutants { .. }
                | Action::Try(_)
                | Action::Study { .. }
                | Action::Series(_)
                | Action::CheckSeries(_)
        );
        if boots_in_qemu_alone {
            return Some("--engine uml is for run, shell and bench: drop it, or unset ENGINE");
        }
        if self.options.accel.is_some() {
            return Some(
                "--accel is about QEMU, and --engine uml is not QEMU: drop one, or unset ACCEL",
            );
        }
        if self.command.dry_run() {
            return Some("--dry-run prints QEMU's command line, and --engine uml is not QEMU");
        }
        debugging
            .is_some_and(|it| it.gdb.is_some() || it.dump.is_some())
            .then_some("--gdb and --dump are QEMU's, and --engine uml is not QEMU")
    }

    /// The settings for builds and guests. An empty path counts as absent.
    pub fn settings(&self) -> Settings {
        let options = &self.options;
        let path = |path: &Option<PathBuf>| path.clone().filter(|p| !p.as_os_str().is_empty());
        let default = || std::thread::available_parallelism().map_or(1, usize::from);
        let mut settings = Settings {
            ksrc: path(&options.ksrc),
            kbuild: path(&options.kbuild),
            llvm: options.llvm.clone(),
            cc: options.cc.clone().filter(|cc| !cc.is_empty()),
            config: options.config.clone(),
            jobs: options.jobs.filter(|jobs| *jobs > 0).unwrap_or_else(default),
            engine: if options.engine == "uml" { Some(Engine::UserMode) } else { options.accel },
            memory_mb: options.memory,
            may_skip: options.may_skip.clone(),
        };
        if let Action::Try(TryArgs { kernel: Some(kernel), .. }) = &self.command {
            let built = kernel.join("include/config/auto.conf").is_file();
            let which = if built { &mut settings.kbuild } else { &mut settings.ksrc };
            *which = Some(kernel.clone());
        }
        settings
    }

    /// The options of the requested guest.
    pub fn guest(&self) -> vm::Options {
        let guest = self.command.guest().cloned().unwrap_or_default();
        let debugging = self.command.debugging().cloned().unwrap_or_default();
        vm::Options {
            processors: guest.cpus,
            append: guest.append,
            writable: guest.rw,
            gdb: debugging.gdb,
            dump: debugging.dump,
            boot: guest.boot,
        }
    }

    /// Whether every command is shown.
    pub fn verbose(&self) -> bool {
        self.options.verbose || self.command.dry_run()
    }
}

/// Prints the completions of a shell.
pub fn print_completions(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "lab", &mut std::io::stdout());
}

/// Removes empty variables: make exports variables even if they are not set, and an empty path or
/// number counts as absent.
pub fn drop_empty_variables() {
    for name in variable::ALL {
        if std::env::var_os(name).is_some_and(|value| value.is_empty()) {
            // SAFETY: called first thing in main, before any thread starts.
            unsafe { std::env::remove_var(name) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab::judge::outcome::Outcome;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"lab").chain(words))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_parse_as_the_makefile_writes_them() {
        let cases = [
            (vec!["test"], Action::Test(TestArgs::default())),
            (
                vec!["test", "--repeat", "3", "--ktap", "--", "rlo*", "-x"],
                Action::Test(TestArgs {
                    patterns: vec!["rlo*".into(), "-x".into()],
                    repeat: NonZeroU32::new(3).unwrap(),
                    ktap: true,
                    ..TestArgs::default()
                }),
            ),
            (
                vec!["run", "--", "ip link; false"],
                Action::Run(RunArgs {
                    command: vec!["ip link; false".into()],
                    ..RunArgs::default()
                }),
            ),
            (vec!["rust-analyzer"], Action::RustAnalyzer),
            (vec!["kernel", "net"], Action::Kernel { variant: Some(Variant::NetSelftests) }),
        ];
        for (words, want) in cases {
            assert_eq!(parse(&words).unwrap().command, want);
        }
    }

    #[test]
    fn what_the_guest_is_like_comes_from_the_command() {
        let words = [
            "run", "--cpus", "4", "--append", "-x quiet", "--append", "a=b", "--rw", "/d", "--gdb",
            "--", "true",
        ];
        let guest = parse(&words).unwrap().guest();
        assert_eq!(guest.processors, NonZeroU32::new(4));
        assert_eq!(guest.append, ["-x quiet", "a=b"]);
        assert_eq!(guest.writable, [PathBuf::from("/d")]);
        assert_eq!(guest.gdb.map(u16::from), Some(1234));
        let other = parse(&["shell", "--gdb=99"]).unwrap().guest();
        assert_eq!(other.gdb.map(u16::from), Some(99));
    }

    #[test]
    fn names_that_may_be_skipped_are_separated_by_semicolons() {
        let skips = |words: &[&str]| {
            let skips = parse(words).unwrap().settings().may_skip;
            skips.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>()
        };
        let of = skips(&["lint", "--may-skip", "in a, b*;c", "--may-skip", "d"]);
        assert_eq!(of, ["in a, b*", "c", "d"]);
        assert!(parse(&["lint", "--may-skip", "a**b"]).is_err());
    }

    #[test]
    fn a_kernel_to_try_with_is_a_tree_or_a_build() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let settings = || parse(&["try", "m", "--kernel", path]).unwrap().settings();
        assert_eq!((settings().ksrc, settings().kbuild), (Some(dir.path().into()), None));
        std::fs::create_dir_all(dir.path().join("include/config")).unwrap();
        std::fs::write(dir.path().join("include/config/auto.conf"), "").unwrap();
        assert_eq!((settings().ksrc, settings().kbuild), (None, Some(dir.path().into())));
    }

    #[test]
    fn wrong_usage_is_refused() {
        let cases: [&[&str]; 12] = [
            &["test", "--repeat", "0"],
            &["test", "--list", "--ktap"],
            &["test", "--watch", "--dry-run"],
            &["test", "--gdb"],
            &["run"],
            &["run", "--cpus", "0", "true"],
            &["all", "--ksrc", "/a", "--kbuild", "/b"],
            &["all", "--config", "/a", "--kbuild", "/b"],
            &["try", "m", "--kernel", "/a", "--ksrc", "/b"],
            &["all", "--accel", "xen"],
            &["all", "--engine", "kvm"],
            &["everything"],
        ];
        for words in cases {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let cases: [&[&str]; 8] = [
            &["all", "--engine", "uml"],
            &["test", "--engine", "uml"],
            &["test-debug", "--engine", "uml"],
            &["try", "m", "--engine", "uml"],
            &["bench", "--engine", "uml", "--accel", "kvm"],
            &["shell", "--engine", "uml", "--gdb"],
            &["run", "--engine", "uml", "--dump", "f", "true"],
            &["run", "--engine", "uml", "--dry-run", "true"],
        ];
        for words in cases {
            assert!(parse(words).unwrap().contradiction().is_some(), "{words:?}");
        }
        assert!(parse(&["shell", "--engine", "uml"]).unwrap().contradiction().is_none());
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_help_names_every_exit_status() {
        let help = Cli::command().render_long_help().to_string();
        // That of an error has more than the words for a build.
        let line = |code: u8, text: &str| {
            let code = code.to_string();
            help.lines().filter_map(|line| line.trim().strip_prefix(&code)).any(|rest| {
                let rest = rest.trim();
                rest == text || rest.strip_suffix(", or another error") == Some(text)
            })
        };
        for outcome in Outcome::ALL {
            assert!(line(outcome.exit_code(), outcome.describe()), "{outcome:?}: {help}");
        }
        assert!(line(2, "wrong usage"));
    }
}
