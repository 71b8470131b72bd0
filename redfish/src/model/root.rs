//! `ServiceRoot`: where things are and who made the BMC.

use serde_json::Value;

use super::json::{flag, link, text};

/// The service root, read without credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceRoot {
    /// `RedfishVersion`.
    pub redfish_version: Option<String>,
    /// `Vendor`, which many services leave out.
    pub vendor: Option<String>,
    /// `Product`.
    pub product: Option<String>,
    /// Names of the OEM sections.
    pub oem: Vec<String>,
    /// `UUID` of the service.
    pub uuid: Option<String>,
    /// Path of the system collection.
    pub systems: Option<String>,
    /// Path where sessions are created.
    pub sessions: Option<String>,
    pub(crate) managers: Option<String>,
    pub(crate) chassis: Option<String>,
    pub(crate) accounts: Option<String>,
    pub(crate) updates: Option<String>,
    /// Whether `$expand` is offered.
    pub(crate) expands: bool,
}

impl ServiceRoot {
    /// Reads a service root; whatever is missing stays absent.
    pub fn parse(body: &Value) -> Self {
        let sessions = body
            .get("Links")
            .and_then(|links| link(links, "Sessions"))
            .or_else(|| {
                let service = link(body, "SessionService")?;
                Some(format!("{}/Sessions", service.trim_end_matches('/')))
            });
        Self {
            redfish_version: text(body, "RedfishVersion"),
            vendor: text(body, "Vendor"),
            product: text(body, "Product"),
            oem: body
                .get("Oem")
                .and_then(Value::as_object)
                .map(|oem| oem.keys().cloned().collect())
                .unwrap_or_default(),
            uuid: text(body, "UUID"),
            systems: link(body, "Systems"),
            sessions,
            managers: link(body, "Managers"),
            chassis: link(body, "Chassis"),
            accounts: link(body, "AccountService"),
            updates: link(body, "UpdateService"),
            expands: body
                .get("ProtocolFeaturesSupported")
                .and_then(|features| features.get("ExpandQuery"))
                .and_then(|expand| flag(expand, "NoLinks"))
                .unwrap_or(false),
        }
    }
}
