//! Power: reading it, and every reset.

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Client;
use crate::error::Error;
use crate::model::{System, action_parameter, text};
use crate::operation::Operation;
use crate::power::{PowerState, ResetPlan, ResetReport, ResetType, choose_reset};

impl Client {
    /// Reads the power state and nothing else: one request, the cheapest poll there is.
    pub async fn power_state(&self) -> Result<PowerState, Error> {
        let response = self.system_response().await?;
        let word = text(&response.body, "PowerState");
        Ok(word
            .and_then(|word| PowerState::parse(&word))
            .unwrap_or(PowerState::Unknown))
    }

    /// Reads the system afresh. Its reset types are complete (ActionInfo is followed).
    pub async fn system(&self) -> Result<System, Error> {
        let mut system = self.raw_system().await?;
        if system.reset_types.is_empty() {
            system.reset_types = self.reset_types_by_link(&system).await?;
        }
        Ok(system)
    }

    /// Carries out a reset with what the BMC offers; see [`choose_reset`]. Success means that the
    /// BMC accepted it and any task ended well, not that the machine followed: poll
    /// [`Client::power_state`] for that. A type that has nothing left to do (`On` while on) is not
    /// sent.
    ///
    /// # Errors
    /// After [`Error::may_have_acted`] the caller has to look before it asks again.
    pub async fn reset(&self, wanted: ResetType) -> Result<ResetReport, Error> {
        let system = self.system().await?;
        if wanted.settles_in() == Some(system.power_state) {
            return Ok(ResetReport { sent: Vec::new() });
        }
        let plan =
            choose_reset(wanted, &system.reset_types).ok_or_else(|| Error::ResetUnsupported {
                wanted,
                allowed: system.reset_types.clone(),
            })?;
        match plan {
            ResetPlan::Send(reset) => {
                self.send_reset(&system, reset).await?;
                Ok(ResetReport { sent: vec![reset] })
            }
            ResetPlan::OffThenOn { off, on } => {
                let mut sent = Vec::new();
                if system.power_state != PowerState::Off {
                    self.send_reset(&system, off).await?;
                    sent.push(off);
                    self.wait_until_off(off).await?;
                }
                self.send_reset(&system, on).await?;
                sent.push(on);
                Ok(ResetReport { sent })
            }
        }
    }

    async fn reset_types_by_link(&self, system: &System) -> Result<Vec<ResetType>, Error> {
        let Some(path) = &system.reset_action_info else {
            return Ok(Vec::new());
        };
        let types = self
            .action_info
            .get_or_try_init(|| async {
                let found = self.try_get(Operation::ReadActionInfo, path).await?;
                Ok(found
                    .map(|found| action_parameter(&found.body, "ResetType", ResetType::parse))
                    .unwrap_or_default())
            })
            .await?;
        Ok(types.clone())
    }

    async fn send_reset(&self, system: &System, reset: ResetType) -> Result<(), Error> {
        let standard = format!(
            "{}/Actions/ComputerSystem.Reset",
            system.odata_id.trim_end_matches('/')
        );
        let path = system.reset_target.as_deref().unwrap_or(&standard);
        let body = json!({ "ResetType": reset });
        self.act(Operation::Reset, path, &body, None).await
    }

    async fn wait_until_off(&self, sent: ResetType) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeouts.power;
        loop {
            if self.power_state().await? == PowerState::Off {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::PowerUnchanged { sent });
            }
            sleep(self.timeouts.poll).await;
        }
    }
}
