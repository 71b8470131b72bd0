//! Our Redfish client against any service: turns a machine on, restarts it and turns it off, and sets what it boots.
//!
//! `drive URL USER PASSWORD-FILE [SYSTEM]`. It changes the power of the machine behind the address. Each step is read
//! back; the first that is not as told ends it with 1. Meant for services that nobody of us wrote.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use redfish::{
    BootOverride, BootSourceOverrideTarget as Target, Client, ClientConfig, PowerState, ResetType,
    Timeouts, TlsTrust,
};
use secrecy::SecretString;
use tokio::time::{Instant, interval};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> ExitCode {
    match drive().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn client() -> anyhow::Result<Client> {
    let mut args = std::env::args().skip(1);
    let usage = "drive URL USER PASSWORD-FILE [SYSTEM]";
    let base = args.next().context(usage)?.parse().context("URL")?;
    let username = args.next().context(usage)?;
    let file = args.next().context(usage)?;
    let password = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    Ok(Client::new(ClientConfig {
        base,
        username,
        password: SecretString::from(password.trim_end()),
        system_id: args.next(),
        trust: TlsTrust::FirstUse,
        timeouts: Timeouts {
            poll: Duration::from_millis(200),
            ..Timeouts::default()
        },
    })?)
}

async fn drive() -> anyhow::Result<()> {
    let client = client()?;
    let driven = machine(&client).await;
    client.close().await.context("close the session")?;
    driven
}

async fn machine(client: &Client) -> anyhow::Result<()> {
    let system = client.system().await.context("read the system")?;
    tell(&format!(
        "system {}: {:?}, serial {}",
        system.id.as_str(),
        system.power_state,
        system.serial_number.as_deref().unwrap_or("unknown")
    ));
    reset(client, ResetType::ForceOff, PowerState::Off).await?;
    boot(client, Target::Pxe).await?;
    reset(client, ResetType::On, PowerState::On).await?;
    boot(client, Target::Hdd).await?;
    reset(client, ResetType::ForceRestart, PowerState::On).await?;
    reset(client, ResetType::ForceOff, PowerState::Off).await
}

async fn boot(client: &Client, target: Target) -> anyhow::Result<()> {
    let wanted = BootOverride::continuous(target);
    let applied = client.set_boot_override(&wanted).await;
    let applied = applied.with_context(|| format!("set {wanted:?}"))?;
    tell(&format!("boot override {applied:?}"));
    let shown = client.system().await?.boot.context("no Boot is shown")?;
    ensure!(
        shown.current.target == applied.target,
        "the system shows {shown:?}"
    );
    Ok(())
}

async fn reset(client: &Client, reset: ResetType, wanted: PowerState) -> anyhow::Result<()> {
    let begun = Instant::now();
    let report = client.reset(reset).await;
    let report = report.with_context(|| format!("reset {reset:?}"))?;
    let mut tick = interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let seen = client.system().await?.power_state;
        if seen == wanted {
            break;
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{reset:?} was accepted, power is {seen:?} and not {wanted:?}"
        );
    }
    tell(&format!(
        "{reset:?}, sent as {:?}: {wanted:?} after {} ms",
        report.sent,
        begun.elapsed().as_millis()
    ));
    Ok(())
}

fn tell(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}
