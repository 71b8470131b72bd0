//! One BMC: its client, its pin and its refused passwords.

use jiff::Timestamp;
use redfish::{
    BootOverride as RedfishOverride, BootSourceOverrideTarget, Client, ClientConfig, Fingerprint,
    PowerState, ResetType, System, Timeouts, TlsTrust,
};
use tracing::{debug, info, warn};
use url::Url;

use super::{BmcAccess, Call, Seen};
use crate::{
    domain::facts::{BootOverride, Power, Trouble},
    store::{BmcPin, RefusedCredential, Store, StoreError},
    supervisor::chain,
};

/// State of one BMC address; its mutex makes calls go one by one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    client: Client,
    /// What the client was built from: user, Secret version, system.
    key: (String, String, String, Option<String>),
}

impl Slot {
    pub(super) async fn call(
        &mut self,
        store: &Store,
        address: &str,
        access: &BmcAccess,
        call: &Call,
        now: fn() -> Timestamp,
    ) -> Result<Seen, Trouble> {
        let database = |error: StoreError| Trouble {
            reason: error.reason().into(),
            message: format!("BMC {address}: {}", chain(&error)),
            transient: true,
            at: now(),
        };
        let secret = &access.secret;
        let refused = store
            .bmc()
            .is_refused(address, &secret.uid, &secret.resource_version)
            .await
            .map_err(database)?;
        if refused {
            self.close().await;
            return Err(unauthorized(address, access, now()));
        }
        self.ensure_open(store, address, access, now).await?;
        let Some(open) = &self.open else {
            return Err(trouble(address, "InternalError", "no client", true, now()));
        };
        let outcome = carry_out(&open.client, call).await;
        let fingerprint = open.client.observed_fingerprint();
        match outcome {
            Ok(system) => {
                if let Some(fingerprint) = &fingerprint {
                    let pin = BmcPin {
                        address: address.to_owned(),
                        fingerprint: fingerprint.to_string(),
                        pinned_at: now(),
                    };
                    store.bmc().pin_first(&pin).await.map_err(database)?;
                }
                store
                    .bmc()
                    .accept(address, &secret.uid)
                    .await
                    .map_err(database)?;
                debug!(bmc.addr = address, ?call, power = ?system.power_state, "BMC answered");
                Ok(seen(&system, fingerprint.map(|f| f.to_string())))
            }
            Err(error) => {
                if matches!(error, redfish::Error::Unauthorized { .. }) {
                    let refused = RefusedCredential {
                        address: address.to_owned(),
                        secret_uid: secret.uid.clone(),
                        secret_resource_version: secret.resource_version.clone(),
                        refused_at: now(),
                    };
                    store.bmc().refuse(&refused).await.map_err(database)?;
                    warn!(
                        bmc.addr = address,
                        "BMC refused the password of Secret {}", secret.name
                    );
                    self.open = None;
                    return Err(unauthorized(address, access, now()));
                }
                warn!(
                    bmc.addr = address,
                    error = %chain(&error),
                    error.reason = error.reason(),
                    ?call,
                    "BMC call failed"
                );
                Err(trouble(
                    address,
                    error.reason(),
                    &chain(&error),
                    error.is_transient(),
                    now(),
                ))
            }
        }
    }

    async fn ensure_open(
        &mut self,
        store: &Store,
        address: &str,
        access: &BmcAccess,
        now: fn() -> Timestamp,
    ) -> Result<(), Trouble> {
        let key = (
            access.username.clone(),
            access.secret.uid.clone(),
            access.secret.resource_version.clone(),
            access.system_id.clone(),
        );
        if self.open.as_ref().is_some_and(|open| open.key == key) {
            return Ok(());
        }
        self.close().await;
        let bad = |what: &str| trouble(address, "InvalidConfig", what, false, now());
        let base: Url = access
            .url
            .parse()
            .map_err(|error| bad(&format!("spec.pxe.redfish.url is not a URL: {error}")))?;
        let stored = match store.bmc().pin(address).await {
            Ok(pin) => pin.map(|pin| pin.fingerprint),
            Err(error) => return Err(bad(&chain(&error))),
        };
        let trust = match access.pinned.clone().or(stored) {
            _ if base.scheme() == "http" => TlsTrust::Plaintext,
            Some(pin) => TlsTrust::Pin(pin.parse::<Fingerprint>().map_err(|error| {
                bad(&format!(
                    "status.redfish.certFingerprint cannot be read: {error}"
                ))
            })?),
            None => {
                info!(
                    bmc.addr = address,
                    "first contact: the certificate will be pinned"
                );
                TlsTrust::FirstUse
            }
        };
        let client = Client::new(ClientConfig {
            base,
            username: access.username.clone(),
            password: access.password.clone(),
            system_id: access.system_id.clone(),
            trust,
            timeouts: Timeouts::default(),
        })
        .map_err(|error| bad(&chain(&error)))?;
        self.open = Some(Open { client, key });
        Ok(())
    }

    pub(super) async fn close(&mut self) {
        if let Some(open) = self.open.take()
            && let Err(error) = open.client.close().await
        {
            debug!(error = %chain(&error), "could not end a BMC session");
        }
    }
}

/// Makes the call, then reads the system: the reading is the result, not the call's status.
async fn carry_out(client: &Client, call: &Call) -> Result<System, redfish::Error> {
    match call {
        Call::Read => {}
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
            let mut wanted = RedfishOverride::once(BootSourceOverrideTarget::UefiHttp);
            wanted.http_boot_uri = Some(url.clone());
            client.set_boot_override(&wanted).await?;
        }
        Call::ClearBoot => client.clear_boot_override().await?,
    }
    client.system().await
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

fn unauthorized(address: &str, access: &BmcAccess, at: Timestamp) -> Trouble {
    let message = format!(
        "refused user {} with the password of Secret {}; correct the Secret, it is not tried again until it changes",
        access.username, access.secret.name
    );
    trouble(address, "Unauthorized", &message, false, at)
}

fn trouble(address: &str, reason: &str, what: &str, transient: bool, at: Timestamp) -> Trouble {
    Trouble {
        reason: reason.into(),
        message: format!("BMC {address}: {what}"),
        transient,
        at,
    }
}
