//! `metalman bmc repin MACHINE`: shows the pinned and the presented certificate; changes the pin only
//! when told which certificate, or that any will do.

use anyhow::{Result, bail};
use clap::Args;

use super::{
    appliance::{Appliance, ApplianceArgs},
    words,
};
use crate::{bmc::Certificates, cli::print, web::bmc::WantedCertificate};

#[derive(Debug, Args)]
pub(in crate::cli) struct RepinArgs {
    /// Name of the Machine
    machine: String,
    /// Pin the certificate with this fingerprint, and no other
    #[arg(long, value_name = "SHA256", conflicts_with = "accept_current")]
    fingerprint: Option<redfish::Fingerprint>,
    /// Pin whatever the BMC presents now; look at it first
    #[arg(long)]
    accept_current: bool,
    #[command(flatten)]
    appliance: ApplianceArgs,
}

/// # Errors
/// When nothing was pinned although it should be, or although the BMC presents another certificate.
pub(super) async fn run(args: RepinArgs) -> Result<()> {
    let appliance = args.appliance.open()?;
    let machine = args.machine.as_str();
    let found: Certificates = appliance.get(machine, &["certificate"], &[]).await?;
    let presented = found.presented.as_ref().map(words::certificate);
    print(&format!(
        "pinned     {}\npresented  {}\n",
        found.pinned.as_deref().map_or_else(
            || "nothing yet".to_owned(),
            |pinned| format!("SHA-256 {pinned}")
        ),
        presented.as_deref().unwrap_or("nothing"),
    ))?;
    let current = found
        .presented
        .as_ref()
        .map(|found| found.fingerprint.clone());
    let wanted = match (args.fingerprint, args.accept_current, current) {
        (Some(wanted), _, _) => wanted.to_string(),
        (None, true, Some(current)) => current,
        (None, _, _) if found.is_pinned() => return print("nothing to do\n"),
        (None, _, _) => bail!(
            "nothing was pinned: compare the presented certificate with the BMC's own page or console, then use --fingerprint SHA256 or --accept-current"
        ),
    };
    pin(&appliance, machine, wanted).await
}

async fn pin(appliance: &Appliance, machine: &str, fingerprint: String) -> Result<()> {
    let told = format!("now pinned SHA-256 {fingerprint}\n");
    let wanted = WantedCertificate { fingerprint };
    let _before: Certificates = appliance.put(machine, &["certificate"], &wanted).await?;
    print(&told)
}
