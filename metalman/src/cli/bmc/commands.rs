//! `metalman bmc show|sel|led|console-url MACHINE`: the questions, and their answers in words.

use anyhow::Result;
use clap::{Args, ValueEnum};
use redfish::{Consoles, EventLog, IndicatorState};

use super::{
    appliance::{ApplianceArgs, Output},
    words,
};
use crate::{
    bmc::BmcReport,
    cli::print,
    web::bmc::{SeenIndicator, WantedIndicator},
};

/// Whose BMC, and how the answer looks.
#[derive(Debug, Args)]
pub(in crate::cli) struct MachineArgs {
    /// Name of the Machine
    pub(super) machine: String,
    /// How to print the answer
    #[arg(long, short, value_enum, default_value = "table")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) appliance: ApplianceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SelArgs {
    /// How many entries, newest first
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    on: MachineArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LedArgs {
    /// Name of the Machine
    machine: String,
    /// What the locating lamp should do
    #[arg(value_enum)]
    state: Lamp,
    #[command(flatten)]
    appliance: ApplianceArgs,
}

/// What a lamp can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lamp {
    /// Lit, where the BMC tells it from blinking
    On,
    /// As when nobody looks for the machine
    Off,
    /// Blinking, where the BMC tells it from lit
    Blink,
}

pub(super) async fn show(args: MachineArgs) -> Result<()> {
    let appliance = args.appliance.open()?;
    let report: BmcReport = appliance.get(&args.machine, &[], &[]).await?;
    args.output.show(&report, words::report)
}

pub(super) async fn sel(args: SelArgs) -> Result<()> {
    let SelArgs { limit, on } = args;
    let query = [("limit", limit.to_string())];
    let appliance = on.appliance.open()?;
    let log: EventLog = appliance.get(&on.machine, &["sel"], &query).await?;
    on.output.show(&log, words::log)
}

pub(super) async fn console_url(args: MachineArgs) -> Result<()> {
    let appliance = args.appliance.open()?;
    let consoles: Consoles = appliance.get(&args.machine, &["console"], &[]).await?;
    args.output
        .show(&consoles, |consoles| format!("{}\n", consoles.url))
}

pub(super) async fn led(args: LedArgs) -> Result<()> {
    let wanted = WantedIndicator {
        state: match args.state {
            Lamp::On => IndicatorState::Lit,
            Lamp::Off => IndicatorState::Off,
            Lamp::Blink => IndicatorState::Blinking,
        },
    };
    let appliance = args.appliance.open()?;
    let seen: SeenIndicator = appliance
        .put(&args.machine, &["indicator"], &wanted)
        .await?;
    print(&format!(
        "indicator of {}: {}\n",
        args.machine,
        match seen.is_on {
            Some(true) => "reads on",
            Some(false) => "reads off",
            None => "set; this BMC does not let it be read",
        }
    ))
}
