//! The kubectl plugin `kubectl unbounded`: raises a counter of a Machine and tells how it goes.
//! Invariant: it only ever writes what a person could write with `kubectl`, and a counter is raised
//! once per call even if another writer is faster.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use metalman_api::machine::{Machine, MachinePhase, MachineStatus, OperationCounters};
use serde_json::json;

/// How often a raise is tried again when somebody else changes the Machine in between.
const PATCH_ATTEMPTS: u32 = 5;

/// Shortcuts for machines and their operations.
#[derive(Debug, Parser)]
#[command(name = "kubectl-unbounded", bin_name = "kubectl unbounded", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Operations on one machine
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum MachineCommand {
    /// Write the latest image to the machine's disk; all data on it is lost
    Repave(OnMachine),
    /// Power-cycle the machine
    Reboot(OnMachine),
}

#[derive(Debug, Args)]
struct OnMachine {
    /// Name of the Machine
    name: String,
    /// Return once the request is written, without waiting for its end
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this many seconds; the operation goes on
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Which counter a command raises.
#[derive(Debug, Clone, Copy)]
enum Counter {
    Repave,
    Reboot,
}

impl Counter {
    const fn key(self) -> &'static str {
        match self {
            Self::Repave => "repaveCounter",
            Self::Reboot => "rebootCounter",
        }
    }

    fn of(self, counters: Option<OperationCounters>) -> i64 {
        let counters = counters.unwrap_or_default();
        match self {
            Self::Repave => counters.repave_counter,
            Self::Reboot => counters.reboot_counter,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Refused only if one is installed already, and then that one is used.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr().lock(), "kubectl unbounded: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Machine(MachineCommand::Repave(on)) => operate(Counter::Repave, on).await,
        Command::Machine(MachineCommand::Reboot(on)) => operate(Counter::Reboot, on).await,
        Command::Version => say(concat!("kubectl-unbounded ", env!("CARGO_PKG_VERSION"))),
    }
}

async fn operate(counter: Counter, on: OnMachine) -> Result<()> {
    let client = Client::try_default()
        .await
        .context("find a cluster (KUBECONFIG)")?;
    let machines: Api<Machine> = Api::all(client);
    let wanted = raise(&machines, counter, &on.name).await?;
    say(&format!(
        "machine {}: asked, {} is {wanted}",
        on.name,
        counter.key()
    ))?;
    if on.no_wait {
        return Ok(());
    }
    let end = follow(machines, counter, &on.name, wanted);
    let phase = match on.timeout {
        None => end.await?,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), end)
            .await
            .with_context(|| format!("no end after {seconds} s; the operation goes on"))??,
    };
    if phase == Some(MachinePhase::Failed) {
        bail!(
            "machine {} failed; see `kubectl describe machine {0}`",
            on.name
        );
    }
    Ok(())
}

/// Raises the counter by one and returns its new value.
async fn raise(machines: &Api<Machine>, counter: Counter, name: &str) -> Result<i64> {
    for _ in 0..PATCH_ATTEMPTS {
        let machine = machines
            .get(name)
            .await
            .with_context(|| format!("read machine {name}"))?;
        let done = counter.of(machine.status.as_ref().and_then(|status| status.operations));
        let asked = counter.of(machine.spec.operations);
        if asked > done {
            bail!(
                "machine {name} is still at {} {asked}, {done} is done",
                counter.key()
            );
        }
        let patch = json!({
            "metadata": { "resourceVersion": machine.metadata.resource_version },
            "spec": { "operations": { (counter.key()): done + 1 } },
        });
        match machines
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => return Ok(done + 1),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(error).with_context(|| format!("change machine {name}")),
        }
    }
    bail!("machine {name} was changed by others {PATCH_ATTEMPTS} times in a row; try again")
}

/// Prints what changes until the status has followed the counter; returns the phase then.
async fn follow(
    machines: Api<Machine>,
    counter: Counter,
    name: &str,
    wanted: i64,
) -> Result<Option<MachinePhase>> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(machines, only)
        .default_backoff()
        .applied_objects()
        .boxed();
    let mut shown = String::new();
    loop {
        // A broken watch is opened again by the stream itself.
        let Ok(change) = changes.try_next().await else {
            continue;
        };
        let Some(machine) = change else {
            bail!("the watch of machine {name} ended")
        };
        let status = machine.status.unwrap_or_default();
        let line = describe(&status);
        if line != shown && !line.is_empty() {
            say(&format!("machine {name}: {line}"))?;
            shown = line;
        }
        if counter.of(status.operations) >= wanted {
            return Ok(status.phase);
        }
    }
}

fn describe(status: &MachineStatus) -> String {
    let phase = status.phase.map(|phase| format!("{phase:?}"));
    let power = status
        .redfish
        .as_ref()
        .and_then(|redfish| redfish.power_state.as_ref())
        .map(|power| format!("power {power:?}"));
    [phase, power, status.message.clone()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("write to standard output")
}
