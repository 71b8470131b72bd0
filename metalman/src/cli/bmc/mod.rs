//! `metalman bmc`: what a BMC is, and what it can do for us.

mod qualify;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum BmcCommand {
    /// Examine a BMC, also one of no Machine: what operations need, what it offers
    Qualify(qualify::QualifyArgs),
}

/// # Errors
/// With context fit for the person at the terminal.
pub(super) async fn run(command: BmcCommand) -> Result<()> {
    match command {
        BmcCommand::Qualify(args) => qualify::run(args).await,
    }
}
