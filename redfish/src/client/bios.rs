//! BIOS attributes: the settings of the firmware, which take effect at the next boot.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Client;
use crate::error::Error;
use crate::model::{link, text, words};
use crate::operation::Operation;

/// The BIOS attributes of a machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BiosSettings {
    /// In force now.
    pub current: BTreeMap<String, Value>,
    /// Waiting for the next boot; empty if nothing is, or if the BMC does not say.
    pub pending: BTreeMap<String, Value>,
    pub(crate) settings_path: String,
    pub(crate) etag: Option<String>,
    /// The BMC wants to be told that changes are for the next boot.
    pub(crate) names_apply_time: bool,
}

impl Client {
    /// Reads the BIOS attributes; `None` if the BMC has none.
    pub async fn bios(&self) -> Result<Option<BiosSettings>, Error> {
        let operation = Operation::ReadBios;
        let system = self.raw_system().await?;
        let Some(path) = &system.links.bios else {
            return Ok(None);
        };
        let Some(bios) = self.try_get(operation, path).await? else {
            return Ok(None);
        };
        let settings = bios.body.get("@Redfish.Settings").unwrap_or(&Value::Null);
        let settings_path = link(settings, "SettingsObject");
        let names_apply_time = words(settings.get("SupportedApplyTimes"))
            .iter()
            .any(|time| time == "OnReset");
        let mut found = BiosSettings {
            current: attributes(&bios.body),
            pending: BTreeMap::new(),
            etag: bios.etag().or_else(|| text(&bios.body, "@odata.etag")),
            settings_path: path.clone(),
            names_apply_time,
        };
        if let Some(path) = settings_path {
            if let Some(pending) = self.try_get(operation, &path).await? {
                found.pending = attributes(&pending.body);
                found.etag = pending
                    .etag()
                    .or_else(|| text(&pending.body, "@odata.etag"));
            }
            found.settings_path = path;
        }
        Ok(Some(found))
    }

    /// Sets BIOS attributes for the next boot. Sends nothing for those that are so already. A task
    /// that waits for the boot counts as accepted.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without BIOS settings, [`Error::Rejected`] for a name or value that
    /// the firmware does not have.
    pub async fn set_bios(&self, wanted: &BTreeMap<String, Value>) -> Result<(), Error> {
        let operation = Operation::SetBios;
        let bios = self.bios().await?.ok_or_else(|| Error::Unsupported {
            operation,
            status: 200,
            message: "system shows no BIOS settings".to_owned(),
        })?;
        let changes = changes(&bios, wanted);
        if changes.is_empty() {
            return Ok(());
        }
        let mut body = json!({ "Attributes": changes });
        if bios.names_apply_time
            && let Some(members) = body.as_object_mut()
        {
            let apply = json!({
                "@odata.type": "#Settings.v1_3_0.PreferredApplyTime",
                "ApplyTime": "OnReset",
            });
            members.insert("@Redfish.SettingsApplyTime".to_owned(), apply);
        }
        self.patch(operation, &bios.settings_path, bios.etag.as_deref(), &body)
            .await
    }
}

/// What of `wanted` is neither in force nor pending.
fn changes(bios: &BiosSettings, wanted: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let is_so = |name: &String, value: &Value| match bios.pending.get(name) {
        Some(pending) => pending == value,
        None => bios.current.get(name) == Some(value),
    };
    wanted
        .iter()
        .filter(|(name, value)| !is_so(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn attributes(body: &Value) -> BTreeMap<String, Value> {
    let attributes = body.get("Attributes").and_then(Value::as_object);
    attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_sent() {
        let map = |value: Value| attributes(&json!({ "Attributes": value }));
        let bios = BiosSettings {
            current: map(json!({"A": 1, "B": "x", "C": true})),
            pending: map(json!({"B": "y"})),
            ..BiosSettings::default()
        };
        let wanted = map(json!({"A": 1, "B": "x", "C": false}));
        assert_eq!(changes(&bios, &wanted), map(json!({"B": "x", "C": false})));
    }
}
