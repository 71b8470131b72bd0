//! The persistent boot order of the firmware.

use serde_json::json;

use super::Client;
use crate::error::Error;
use crate::model::{BootOption, words};
use crate::operation::Operation;

/// Boot options that are read.
const OPTION_LIMIT: usize = 128;

impl Client {
    /// The boot order with what each entry is, in the order of the firmware. Entries that the BMC
    /// names and does not describe carry their reference only.
    pub async fn boot_order(&self) -> Result<Vec<BootOption>, Error> {
        let operation = Operation::ReadBootOptions;
        let system = self.raw_system().await?;
        let order = system
            .boot
            .as_ref()
            .map(|boot| boot.boot_order.clone())
            .unwrap_or_default();
        let mut options = Vec::new();
        if let Some(path) = &system.links.boot_options {
            let collected = self.collect(operation, path, OPTION_LIMIT).await?;
            options = collected.members.iter().map(BootOption::parse).collect();
        }
        if order.is_empty() {
            return Ok(options);
        }
        let described = order.into_iter().map(|reference| {
            let known = options.iter().find(|option| option.reference == reference);
            known.cloned().unwrap_or(BootOption {
                reference,
                ..BootOption::default()
            })
        });
        Ok(described.collect())
    }

    /// Sets the whole boot order, and reads back that it is taken (in the settings object where
    /// it is pending until the next boot). Sends nothing when it is so already.
    ///
    /// # Errors
    /// [`Error::NotApplied`] if the BMC accepted it and shows another one.
    pub async fn set_boot_order(&self, references: &[String]) -> Result<(), Error> {
        let operation = Operation::SetBootOrder;
        let place = self.boot_settings(operation).await?;
        if place.boot.boot_order == references {
            return Ok(());
        }
        if place.boot.boot_order.is_empty() {
            return Err(Error::Unsupported {
                operation,
                status: 200,
                message: "system shows no boot order".to_owned(),
            });
        }
        let body = json!({ "Boot": { "BootOrder": references } });
        self.patch(operation, &place.path, place.etag.as_deref(), &body)
            .await?;
        let wanted = references.join(",");
        self.confirm(
            Operation::ReadSettings,
            &place.path,
            "boot order",
            &wanted,
            |body| {
                let found = words(body.get("Boot").and_then(|boot| boot.get("BootOrder")));
                if found == references {
                    Ok(())
                } else {
                    Err(found.join(","))
                }
            },
        )
        .await
    }
}
