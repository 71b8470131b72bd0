//! The kubectl plugin `kubectl unbounded`. Invariant: it only ever writes what a person could write
//! with `kubectl`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Shortcuts for machines and their operations.
#[derive(Debug, Parser)]
#[command(name = "kubectl-unbounded", bin_name = "kubectl unbounded", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr().lock(), "kubectl unbounded: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match cli.command {
        Command::Version => writeln!(
            io::stdout().lock(),
            "kubectl-unbounded {}",
            env!("CARGO_PKG_VERSION")
        )
        .context("write to standard output"),
    }
}
