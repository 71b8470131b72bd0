//! The `metalman` program: crypto provider, command line, exit code. Everything else is in the
//! library.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use metalman::cli::Cli;

/// The C library's allocator keeps what a list of ten thousand machines took for a moment. Settings of
/// this one are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Refused only if one is installed already, and then that one is used.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    match Cli::from_command_line().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr().lock(), "metalman: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}
