//! `metalman bmc qualify URL`: talks to the BMC itself, so it works before there is a Machine, and
//! without an appliance. Reads only, unless `--write` is given.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use redfish::{Client, ClientConfig, Timeouts, TlsTrust};
use url::Url;

use super::appliance::read_secret;
use crate::{
    bmc::qualify::{self, Need, Verdict},
    cli::print,
    clock,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct QualifyArgs {
    /// Base URL of the BMC, such as https://10.0.1.11
    url: Url,
    /// Account name
    #[arg(long, value_name = "NAME")]
    user: String,
    /// File that holds the password; - reads standard input
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Id of the system, when several are behind this address
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// Trust only the certificate with this SHA-256 fingerprint [default: whichever is shown]
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Also switch the machine off and on once, and back to how it was: its system is interrupted
    #[arg(long)]
    write: bool,
}

/// Prints the report.
///
/// # Errors
/// When the BMC cannot be examined, or lacks something that operations need.
pub(super) async fn run(args: QualifyArgs) -> Result<()> {
    let address = args.url.as_str().trim_end_matches('/').to_owned();
    let client = Client::new(ClientConfig {
        trust: trust(&args)?,
        password: read_secret(&args.password_file, "--password-file")?,
        base: args.url,
        username: args.user,
        system_id: args.device_id,
        timeouts: Timeouts::default(),
    })
    .context("use these settings")?;
    let outcome = examine(&client, &address, args.write).await;
    // Whatever happened, no session is left behind.
    let closed = client.close().await;
    outcome?;
    closed.with_context(|| format!("end the session on {address}"))
}

async fn examine(client: &Client, address: &str, write: bool) -> Result<()> {
    let found = qualify::examine(client, address)
        .await
        .with_context(|| format!("examine {address}"))?;
    let report = qualify::report(&found, clock::now());
    print(&report.to_string())?;
    if !report.is_qualified() {
        let missing = report
            .lines
            .iter()
            .filter(|line| (line.need, line.verdict) == (Need::Required, Verdict::Missing))
            .map(|line| line.what);
        bail!(
            "{address} is not qualified, it lacks: {}",
            missing.collect::<Vec<_>>().join(", ")
        );
    }
    if write {
        let sent = qualify::power_cycle(client)
            .await
            .with_context(|| format!("power-cycle the machine of {address}"))?;
        let sent: Vec<&str> = sent.iter().map(|reset| reset.as_str()).collect();
        let text = format!("power cycle proved by reading: {}\n", sent.join(", "));
        print(&text)?;
    }
    Ok(())
}

fn trust(args: &QualifyArgs) -> Result<TlsTrust> {
    if args.url.scheme() == "http" {
        return Ok(TlsTrust::Plaintext);
    }
    args.fingerprint.as_ref().map_or_else(
        || Ok(TlsTrust::FirstUse),
        |text| {
            let pin = text.parse().context("read --fingerprint")?;
            Ok(TlsTrust::Pin(pin))
        },
    )
}
