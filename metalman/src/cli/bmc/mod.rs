//! `metalman bmc`: what a BMC is, what it can do for us, and what needs no operation.

mod appliance;
mod commands;
mod password;
mod qualify;
mod repin;
mod words;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum BmcCommand {
    /// Show a machine's BMC: power, health, firmware, inventory, sensors, certificate
    Show(commands::MachineArgs),
    /// Show the newest entries of a machine's event log
    Sel(commands::SelArgs),
    /// Set the lamp that tells a machine from its neighbours
    Led(commands::LedArgs),
    /// Print the address of a machine's remote console
    ConsoleUrl(commands::MachineArgs),
    /// Pin the certificate that a machine's BMC presents now instead of the one that was pinned
    Repin(repin::RepinArgs),
    /// Change the password of a machine's BMC account, and its Secret with it
    SetPassword(password::PasswordArgs),
    /// Examine a BMC, also one of no Machine: what operations need, what it offers
    Qualify(qualify::QualifyArgs),
}

/// # Errors
/// With context fit for the person at the terminal.
pub(super) async fn run(command: BmcCommand) -> Result<()> {
    match command {
        BmcCommand::Show(args) => commands::show(args).await,
        BmcCommand::Sel(args) => commands::sel(args).await,
        BmcCommand::Led(args) => commands::led(args).await,
        BmcCommand::ConsoleUrl(args) => commands::console_url(args).await,
        BmcCommand::Repin(args) => repin::run(args).await,
        BmcCommand::SetPassword(args) => password::run(args).await,
        BmcCommand::Qualify(args) => qualify::run(args).await,
    }
}
