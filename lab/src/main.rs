// SPDX-License-Identifier: GPL-2.0

//! The `lab` program: from a source file to the verdict of a test in a virtual machine.
//!
//! [`host`] checks this machine, [`build`] makes kernel and modules, [`checks`] has the checks that
//! need no guest, [`net`] runs the kernel's own tests, [`bench`] compares measurements, and
//! [`commands`] has the commands. The crate `vmlab` boots and judges guests.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

use vmlab::judge::outcome::Outcome;
use vmlab::run::progress::say;
use vmlab::run::{files, interrupt, print, process};

use crate::cli::{Action, Cli};
use crate::context::Lab;
use crate::host::{answers, disk, environment};

mod bench;
mod build;
mod checkout_lock;
mod checks;
mod cli;
mod commands;
mod context;
mod durations;
mod expected_skips;
mod host;
mod log_folder;
mod net;
mod project;
mod ui;

fn main() -> ExitCode {
    environment::clean();
    files::keep_others_from_writing();
    cli::drop_empty_variables();
    let cli = Cli::read();
    process::set_verbose(cli.verbose());
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) if !interrupt::requested() => {
            print::err(&format!("error: {error:#}\n"));
            if cli.command.passes_on_a_status() {
                print::err(&format!("{}\n", commands::of_the_lab(Outcome::Build)));
            }
            ExitCode::from(Outcome::Build.exit_code())
        }
        _ => {
            print::err("interrupted\n");
            ExitCode::from(interrupt::EXIT_CODE)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    if let Action::Completions { shell } = &cli.command {
        cli::print_completions(*shell);
        return Ok(0);
    }
    interrupt::install()?;
    if cli.command.watches() { commands::watch(cli, || once(cli)) } else { once(cli) }
}

fn once(cli: &Cli) -> anyhow::Result<u8> {
    let settings = cli.settings();
    let lab = match cli.command.needs_project() {
        true => Lab::find(settings)?,
        false => Lab::find_or_none(settings)?,
    };
    answers::keep_in(lab.cache.path("answers"));
    lab.cache.sweep();
    let code = commands::run(&lab, cli).map_err(|error| disk::explain(error, lab.cache.dir()))?;
    // What has been told and written is the result. From here on, Ctrl-C only ends the clean-up.
    interrupt::check()?;
    if let Err(error) = commands::cache::forget(&lab)
        && !interrupt::requested()
    {
        say(&format!("note: {error:#}"));
    }
    Ok(code)
}
