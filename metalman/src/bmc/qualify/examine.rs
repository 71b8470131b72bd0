//! Asks a BMC for everything that operations and people want from it, without changing anything.
//!
//! Invariant: a part that cannot be read is a finding, not the end of the examination; only a BMC
//! that cannot be talked to at all ends it.

use jiff::Timestamp;
use redfish::{
    BootOption, BootSourceOverrideEnabled, BootSourceOverrideTarget, Client, Error, EventLog,
    Inventory, PowerState, ResetType, Sensors, System, VirtualMedia,
};
use tokio::time::{Duration, Instant, sleep};

/// Longest time a machine may take to follow a power command.
const POWER_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two looks at it.
const POWER_LOOK: Duration = Duration::from_secs(1);
/// Entries of the event log that are read.
const LOG_ENTRIES: usize = 5;

/// What was found out. `Err` holds what the BMC said when it was asked.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Base URL.
    pub address: String,
    /// Fingerprint of the certificate; `None` in plaintext.
    pub fingerprint: Option<String>,
    /// End of its validity.
    pub certificate_ends: Option<Timestamp>,
    /// Version the service root names.
    pub redfish_version: Option<String>,
    /// Maker and product the service root names.
    pub product: Option<String>,
    /// Family that was recognised.
    pub platform: &'static str,
    /// Sessions are offered; otherwise the password goes with every request.
    pub has_sessions: bool,
    /// Sessions open now.
    pub sessions: Option<usize>,
    /// The system that would be driven.
    pub system: FoundSystem,
    /// Ids of all systems behind the address.
    pub systems: Vec<String>,
    pub inventory: Result<Inventory, String>,
    pub sensors: Result<Sensors, String>,
    pub log: Result<EventLog, String>,
    pub boot_order: Result<Vec<BootOption>, String>,
    pub media: Result<Vec<VirtualMedia>, String>,
    /// Whether the locating lamp is on; `None` if there is no lamp.
    pub indicator: Result<Option<bool>, String>,
}

/// A system, as far as it is judged.
#[derive(Debug, Clone)]
pub struct FoundSystem {
    pub id: String,
    /// Maker, model and serial number, as far as they are told.
    pub name: String,
    pub power: PowerState,
    /// Reset types it offers; empty if it does not say.
    pub resets: Vec<ResetType>,
    /// Its boot override; `None` if it shows none.
    pub boot: Option<FoundBoot>,
}

/// A boot override, as far as it is judged.
#[derive(Debug, Clone)]
pub struct FoundBoot {
    /// Targets it takes; empty if the BMC does not say.
    pub targets: Vec<BootSourceOverrideTarget>,
    /// Durations it takes; empty if the BMC does not say.
    pub durations: Vec<BootSourceOverrideEnabled>,
    /// Whether there is an `HttpBootUri`.
    pub has_http_uri: bool,
}

impl From<&System> for FoundSystem {
    fn from(system: &System) -> Self {
        let name = [&system.manufacturer, &system.model, &system.serial_number];
        let name: Vec<&str> = name.into_iter().flatten().map(String::as_str).collect();
        Self {
            id: system.id.clone(),
            name: name.join(" "),
            power: system.power_state,
            resets: system.reset_types.clone(),
            boot: system.boot.as_ref().map(|boot| FoundBoot {
                targets: boot.allowed_targets.clone(),
                durations: boot.allowed_enabled.clone(),
                has_http_uri: boot.reports_http_uri,
            }),
        }
    }
}

impl Findings {
    /// Whether the boot override takes this target; a BMC that lists none may take any.
    pub fn takes_target(&self, target: BootSourceOverrideTarget) -> bool {
        self.system
            .boot
            .as_ref()
            .is_some_and(|boot| boot.targets.is_empty() || boot.targets.contains(&target))
    }

    /// Whether the boot override can hold for one boot; a BMC that lists nothing may.
    pub fn takes_once(&self) -> bool {
        self.system.boot.as_ref().is_some_and(|boot| {
            boot.durations.is_empty() || boot.durations.contains(&BootSourceOverrideEnabled::Once)
        })
    }
}

/// Reads everything.
///
/// # Errors
/// When the BMC does not answer, refuses the password, or shows no system.
pub async fn examine(client: &Client, address: &str) -> Result<Findings, Error> {
    let root = client.service_root().await?.clone();
    let platform = client.platform().await?;
    let system = FoundSystem::from(&client.system().await?);
    let systems = client.systems().await?;
    let certificate = client.observed_certificate();
    let sessions = client.session_count().await.ok().flatten();
    let product = [&root.vendor, &root.product];
    let product: Vec<&str> = product.into_iter().flatten().map(String::as_str).collect();
    Ok(Findings {
        address: address.to_owned(),
        fingerprint: certificate.map(|found| found.fingerprint.to_string()),
        certificate_ends: certificate.and_then(|found| found.not_after),
        redfish_version: root.redfish_version,
        product: (!product.is_empty()).then(|| product.join(" ")),
        platform: platform.label(),
        has_sessions: root.sessions.is_some(),
        sessions,
        system,
        systems: systems.into_iter().map(|system| system.id).collect(),
        inventory: said(client.inventory().await),
        sensors: said(client.sensors().await),
        log: said(client.event_log(LOG_ENTRIES).await),
        boot_order: said(client.boot_order().await),
        media: said(client.virtual_media().await),
        indicator: said(client.indicator().await),
    })
}

fn said<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| crate::supervisor::chain(&error))
}

/// Why a power cycle was not proved.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The BMC did not do as asked.
    #[error(transparent)]
    Redfish(#[from] Error),
    /// It did, and the machine did not follow.
    #[error("{} was accepted, but the power state still reads {} after {} s", reset.as_str(), power.as_str(), POWER_LIMIT.as_secs())]
    NotFollowed {
        /// What was sent.
        reset: ResetType,
        /// What is read.
        power: PowerState,
    },
}

/// One power cycle, proved by reading: off and on, or on and off if the machine was off before.
/// Gives back what was sent.
///
/// # Errors
/// [`CycleError`]; the machine may be left in another state than before.
pub async fn power_cycle(client: &Client) -> Result<Vec<ResetType>, CycleError> {
    let steps = match client.power_state().await? {
        PowerState::Off => [ResetType::On, ResetType::ForceOff],
        PowerState::On
        | PowerState::PoweringOn
        | PowerState::PoweringOff
        | PowerState::Paused
        | PowerState::Unknown => [ResetType::ForceOff, ResetType::On],
    };
    let mut sent = Vec::new();
    for reset in steps {
        sent.extend(client.reset(reset).await?.sent);
        let begun = Instant::now();
        loop {
            let power = client.power_state().await?;
            if Some(power) == reset.settles_in() {
                break;
            }
            if begun.elapsed() > POWER_LIMIT {
                return Err(CycleError::NotFollowed { reset, power });
            }
            sleep(POWER_LOOK).await;
        }
    }
    Ok(sent)
}
