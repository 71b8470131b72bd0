//! What people ask of a BMC: who it is, what is in the machine, how it feels, what it has logged,
//! where its console is; and the one lamp they may set.
//!
//! The answers are what `/api/v1/machines/NAME/bmc` serves. Each question is a few requests, so that
//! an operation that waits for its turn gets it between two of them.

use jiff::Timestamp;
use redfish::{
    BootOverride, BootSourceOverrideEnabled, Client, Consoles, Error, EventLog, IndicatorState,
    Inventory, Manager, PowerState, Sensors,
};
use serde::{Deserialize, Serialize};

use super::errand::{Errand, is_declined};

/// Who the BMC is and how its system stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Family that was recognised.
    pub platform: String,
    /// What is done differently for it.
    pub quirks: Vec<String>,
    /// Maker and product, as the service root names them.
    pub product: Option<String>,
    /// `RedfishVersion`.
    pub redfish_version: Option<String>,
    /// The system that is driven.
    pub system: SystemIdentity,
    /// The BMC itself; `None` if it shows no manager.
    pub manager: Option<Manager>,
    /// Whether the locating lamp is on; `None` if there is none.
    pub indicator: Option<bool>,
    /// Sessions open now, ours included; `None` if the BMC has none.
    pub sessions: Option<usize>,
    /// `None` in plaintext.
    pub certificate: Option<CertificateFacts>,
}

/// A `ComputerSystem`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemIdentity {
    /// `Id`.
    pub id: String,
    /// `PowerState`.
    pub power: PowerState,
    /// `Status.Health`.
    pub health: Option<String>,
    /// How far the firmware or the operating system has come.
    pub boot_progress: Option<String>,
    /// The boot override; `None` if it shows none.
    pub boot_override: Option<BootOverride>,
}

/// The certificate a BMC presents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// SHA-256, lower-case hex with colons.
    pub fingerprint: String,
    /// Start of validity, if it can be read.
    pub not_before: Option<Timestamp>,
    /// End of validity, if it can be read.
    pub not_after: Option<Timestamp>,
}

impl From<redfish::Certificate> for CertificateFacts {
    fn from(certificate: redfish::Certificate) -> Self {
        Self {
            fingerprint: certificate.fingerprint.to_string(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }
}

/// Everything that `metalman bmc show` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BmcReport {
    /// Name of the Machine.
    pub machine: String,
    /// Base URL of the BMC.
    pub address: String,
    /// Who it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// What is in the machine.
    pub inventory: Inventory,
    /// How it feels.
    pub sensors: Sensors,
}

/// A boot override in words.
pub fn override_words(found: &BootOverride) -> String {
    if found.enabled == BootSourceOverrideEnabled::Disabled {
        "none".to_owned()
    } else {
        found.to_string()
    }
}

/// Asks for an [`Identity`].
#[derive(Debug, Clone, Copy)]
pub struct AskIdentity;

impl Errand for AskIdentity {
    type Answer = Identity;

    async fn run(&self, client: &Client) -> Result<Identity, Error> {
        let system = client.system().await?;
        let root = client.service_root().await?.clone();
        let platform = client.platform().await?;
        let manager = if_offered(client.manager().await)?;
        let product = [&root.vendor, &root.product];
        let product: Vec<&str> = product.into_iter().flatten().map(String::as_str).collect();
        Ok(Identity {
            platform: platform.label().to_owned(),
            quirks: platform.quirks().into_iter().map(str::to_owned).collect(),
            product: (!product.is_empty()).then(|| product.join(" ")),
            redfish_version: root.redfish_version,
            system: SystemIdentity {
                id: system.id,
                power: system.power_state,
                health: system.health,
                boot_progress: system.boot_progress,
                boot_override: system.boot.map(|boot| boot.current),
            },
            manager,
            indicator: if_offered(client.indicator().await)?.flatten(),
            sessions: if_offered(client.session_count().await)?.flatten(),
            certificate: client.observed_certificate().map(CertificateFacts::from),
        })
    }
}

/// A part that this BMC does not offer, or not to this account, is absent and no error.
pub(super) fn if_offered<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_declined(&error) || matches!(error, Error::AccessDenied { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Asks what is in the machine.
#[derive(Debug, Clone, Copy)]
pub struct AskInventory;

impl Errand for AskInventory {
    type Answer = Inventory;

    async fn run(&self, client: &Client) -> Result<Inventory, Error> {
        client.inventory().await
    }
}

/// Asks all sensors.
#[derive(Debug, Clone, Copy)]
pub struct AskSensors;

impl Errand for AskSensors {
    type Answer = Sensors;

    async fn run(&self, client: &Client) -> Result<Sensors, Error> {
        client.sensors().await
    }
}

/// Asks for the newest entries of the event log.
#[derive(Debug, Clone, Copy)]
pub struct AskLog {
    /// How many.
    pub limit: usize,
}

impl Errand for AskLog {
    type Answer = EventLog;

    async fn run(&self, client: &Client) -> Result<EventLog, Error> {
        client.event_log(self.limit).await
    }
}

/// Asks where the consoles are.
#[derive(Debug, Clone, Copy)]
pub struct AskConsoles;

impl Errand for AskConsoles {
    type Answer = Consoles;

    async fn run(&self, client: &Client) -> Result<Consoles, Error> {
        client.consoles().await
    }
}

/// Sets the locating lamp and reads it back: whether it is on, if that can be read.
#[derive(Debug, Clone, Copy)]
pub struct SetIndicator(pub IndicatorState);

impl Errand for SetIndicator {
    type Answer = Option<bool>;

    async fn run(&self, client: &Client) -> Result<Option<bool>, Error> {
        client.set_indicator(self.0).await?;
        client.indicator().await
    }
}
