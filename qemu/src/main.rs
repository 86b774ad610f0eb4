// SPDX-License-Identifier: GPL-2.0

//! The `lab` program: arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser;
use lab::cli::{self, Cli};
use lab::lab::Lab;
use lab::{commands, disk, interrupt, process};

/// Could not build, or the environment is not ready.
const NOT_BUILT: u8 = 3;

fn main() -> ExitCode {
    cli::drop_empty_variables();
    let cli = Cli::parse();
    process::set_verbose(cli.options.verbose());
    match run(&cli) {
        Ok(code) if !interrupt::requested() => ExitCode::from(code),
        Err(error) if !interrupt::requested() => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_BUILT)
        }
        _ => {
            eprintln!("interrupted: nothing half-finished was kept");
            ExitCode::from(interrupt::EXIT_CODE)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    interrupt::install()?;
    let lab = Lab::find(cli.options.settings())?;
    lab.cache.sweep();
    commands::run(&lab, cli).map_err(|error| disk::explain(error, lab.cache.dir()))
}
