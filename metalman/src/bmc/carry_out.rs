//! One call in the words of the Redfish client. Invariant: the result is always what was read after
//! the command, never the command's own status.

use redfish::{
    BootOverride as RedfishOverride, BootSourceOverrideTarget, Client, PowerState, ResetType,
    System,
};

use super::{Call, Seen, errand::Errand};
use crate::domain::facts::{BootOverride, Power};

impl Errand for Call {
    type Answer = Seen;

    /// Whatever keeps it from being made holds up an operation.
    const IS_QUESTION: bool = false;

    async fn run(&self, client: &Client) -> Result<Seen, redfish::Error> {
        carry_out(client, self).await
    }
}

/// Makes the call, then reads the system.
async fn carry_out(client: &Client, call: &Call) -> Result<Seen, redfish::Error> {
    match call {
        Call::Read => {}
        Call::ShutDown => {
            client.reset(ResetType::GracefulShutdown).await?;
        }
        Call::ForceOff => {
            client.reset(ResetType::ForceOff).await?;
        }
        Call::PowerOn => {
            client.reset(ResetType::On).await?;
        }
        Call::NetworkBoot { http: None } => {
            client
                .set_boot_override(&RedfishOverride::once(BootSourceOverrideTarget::Pxe))
                .await?;
        }
        Call::NetworkBoot { http: Some(url) } => {
            // Without a place for the URL the firmware gets it by DHCP.
            match client.set_http_boot(url, None).await {
                Ok(_) => {}
                Err(redfish::Error::Unsupported { .. }) => {
                    let wanted = RedfishOverride::once(BootSourceOverrideTarget::UefiHttp);
                    client.set_boot_override(&wanted).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Call::ClearBoot => client.clear_boot_override().await?,
    }
    let system = client.system().await?;
    let fingerprint = client.observed_fingerprint();
    Ok(seen(&system, fingerprint.map(|f| f.to_string())))
}

fn seen(system: &System, fingerprint: Option<String>) -> Seen {
    let power = match system.power_state {
        PowerState::On => Power::On,
        PowerState::Off => Power::Off,
        PowerState::PoweringOn
        | PowerState::PoweringOff
        | PowerState::Paused
        | PowerState::Unknown => Power::Other,
    };
    let boot_override = match system.boot.as_ref().map(|boot| &boot.current) {
        None => BootOverride::None,
        Some(current) if current.is_cleared() => BootOverride::None,
        Some(current)
            if matches!(
                current.target,
                BootSourceOverrideTarget::Pxe | BootSourceOverrideTarget::UefiHttp
            ) =>
        {
            BootOverride::Network
        }
        Some(_) => BootOverride::Other,
    };
    Seen {
        power,
        boot_override,
        fingerprint,
    }
}
