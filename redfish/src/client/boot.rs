//! The boot override: written where this BMC keeps it, and read back.

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Client;
use crate::boot::{self, BootOverride};
use crate::error::Error;
use crate::model::{Boot, System};
use crate::operation::Operation;

/// Where boot settings live, with their version and what they offer.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) etag: Option<String>,
    pub(super) boot: Boot,
    /// What the system itself reports, which differs while a change is pending.
    in_force: BootOverride,
}

impl Client {
    /// Sets a boot override and reads it back. Gives back what is in force, which may differ from
    /// `wanted` in duration or mode where the BMC offers no other.
    ///
    /// # Errors
    /// [`Error::NotApplied`] if the BMC accepted it and does not show it.
    pub async fn set_boot_override(&self, wanted: &BootOverride) -> Result<BootOverride, Error> {
        let operation = Operation::SetBootOverride;
        let place = self.boot_settings(operation).await?;
        let fitted = boot::fit(wanted, &place.boot)?;
        let mut last = None;
        for body in boot::set_bodies(&fitted) {
            let written = self
                .patch(operation, &place.path, place.etag.as_deref(), &body)
                .await;
            match written {
                Ok(()) => {
                    self.read_back(&place, &fitted).await?;
                    return Ok(fitted);
                }
                // Refused as a whole: some BMCs take the target and refuse the mode beside it.
                Err(error @ Error::Rejected { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(fitted), Err)
    }

    /// Removes any boot override and reads back that it is gone. Sends nothing when there is none.
    ///
    /// # Errors
    /// [`Error::NotApplied`] if the BMC accepted it and still shows an override.
    pub async fn clear_boot_override(&self) -> Result<(), Error> {
        let operation = Operation::ClearBootOverride;
        let platform = self.platform().await?;
        let cleared = BootOverride::disabled();
        let mut place = self.boot_settings(operation).await?;
        if place.boot.current.is_cleared() && place.in_force.is_cleared() {
            return Ok(());
        }
        let mut last = None;
        for body in boot::clear_bodies(platform, &place.boot) {
            let written = self
                .patch(operation, &place.path, place.etag.as_deref(), &body)
                .await;
            let outcome = match written {
                Ok(()) => self.read_back(&place, &cleared).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error @ (Error::NotApplied { .. } | Error::Rejected { .. })) => {
                    debug!(
                        error.reason = error.reason(),
                        "trying the next way to clear"
                    );
                    last = Some(error);
                    place = self.boot_settings(operation).await?;
                }
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Where boot settings are written: the system itself, or its settings object where that
    /// carries them.
    pub(super) async fn boot_settings(&self, operation: Operation) -> Result<Place, Error> {
        let system = self.raw_system().await?;
        let unsupported = || Error::Unsupported {
            operation,
            status: 200,
            message: format!("system {} shows no boot settings", system.id),
        };
        let boot = system.boot.clone().ok_or_else(unsupported)?;
        let in_force = boot.current.clone();
        if let Some(path) = &system.settings
            && let Some(response) = self.try_get(Operation::ReadSettings, path).await?
        {
            let pending = System::parse(&response.body, response.etag());
            if let Some(pending) = pending
                && let Some(boot) = pending.boot.filter(|boot| boot.reports_target)
            {
                return Ok(Place {
                    path: path.clone(),
                    etag: pending.etag,
                    boot,
                    in_force,
                });
            }
        }
        Ok(Place {
            path: system.odata_id,
            etag: system.etag,
            boot,
            in_force,
        })
    }

    /// Polls until the override shows where it was written.
    async fn read_back(&self, place: &Place, wanted: &BootOverride) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeouts.read_back;
        loop {
            let system = self.read_system(&place.path).await?;
            let found = system.boot.map(|boot| boot.current);
            if found
                .as_ref()
                .is_some_and(|found| boot::is_applied(wanted, found))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let found = found.unwrap_or_else(|| Boot::parse(&json!({})).current);
                return Err(Error::NotApplied {
                    setting: "boot override",
                    wanted: wanted.to_string(),
                    found: found.to_string(),
                });
            }
            sleep(self.timeouts.poll).await;
        }
    }

    /// Reads what was written until `is_shown` likes it; used by every other setting.
    pub(super) async fn confirm(
        &self,
        operation: Operation,
        path: &str,
        setting: &'static str,
        wanted: &str,
        is_shown: impl Fn(&Value) -> Result<(), String>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeouts.read_back;
        loop {
            let body = self.get(operation, path).await?.body;
            let Err(found) = is_shown(&body) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(Error::NotApplied {
                    setting,
                    wanted: wanted.to_owned(),
                    found,
                });
            }
            sleep(self.timeouts.poll).await;
        }
    }
}
