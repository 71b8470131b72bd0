//! The `bmcsim` program; see [`bmcsim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bmcsim::cli::main()
}
