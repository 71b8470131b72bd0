//! Carries out actions: BMC calls and image preparation, with their results kept.

use metalman_api::{machine::BootProtocol, operation::MachineOperation};
use serde_json::json;
use tracing::debug;

use super::Driver;
use crate::{
    bmc::Call,
    clock,
    domain::{Action, facts::Trouble},
    store::{
        ActionOutcome, FinishedAction, NewTimelineEntry, Observed, StoreError, TimelineSource,
    },
};

impl Driver {
    /// Carries out one action of the outbox.
    pub(super) async fn act(
        &self,
        operation: &MachineOperation,
        uid: &str,
        machine: &str,
        id: i64,
        action: &Action,
    ) -> Result<(), StoreError> {
        self.store.outbox().start(id, clock::now()).await?;
        let call = match action {
            Action::ReadSystem => Some(Call::Read),
            Action::ForceOff => Some(Call::ForceOff),
            Action::PowerOn => Some(Call::PowerOn),
            Action::SetNetworkBoot => Some(Call::NetworkBoot {
                http: self.http_boot_url(machine),
            }),
            Action::ClearBootOverride => Some(Call::ClearBoot),
            Action::PrepareImages => {
                self.images.prepare(self, uid, machine);
                None
            }
            Action::MintToken { .. } | Action::RevokeTokens => None,
        };
        let failed = match call {
            Some(call) => {
                let trouble = self.bmcs.call(machine, &call).await;
                if call != Call::Read {
                    self.tell(operation, machine, &call, trouble.as_ref())
                        .await?;
                }
                trouble
            }
            None => None,
        };
        let (outcome, result) = match failed {
            None => (ActionOutcome::Done, json!({})),
            Some(t) => (
                ActionOutcome::Failed,
                json!({ "reason": t.reason, "message": t.message }),
            ),
        };
        let finished = FinishedAction {
            id,
            outcome,
            result,
        };
        self.store.outbox().finish(&finished, clock::now()).await
    }

    /// Loader URL for machines that boot by UEFI HTTP.
    fn http_boot_url(&self, name: &str) -> Option<String> {
        let machine = self.site.machine(name)?;
        let pxe = machine.spec.pxe.as_ref()?;
        match pxe.boot_protocol {
            BootProtocol::Pxe => None,
            BootProtocol::Http => {
                let snapshot = self.site.boot_snapshot();
                let boot = snapshot.machines().iter().find(|m| m.name == name)?;
                let metadata = &boot.netboot.as_ref()?.metadata;
                let path = metadata
                    .http_boot_path
                    .as_ref()
                    .or(metadata.dhcp_boot_image_name.as_ref())?;
                Some(format!(
                    "{}/{}",
                    self.boot.serve_url,
                    path.trim_start_matches('/')
                ))
            }
        }
    }

    /// One timeline line per BMC write.
    async fn tell(
        &self,
        operation: &MachineOperation,
        machine: &str,
        call: &Call,
        trouble: Option<&Trouble>,
    ) -> Result<(), StoreError> {
        let what = match call {
            Call::Read => "read",
            Call::ForceOff => "power off (ForceOff)",
            Call::PowerOn => "power on (On)",
            Call::NetworkBoot { http: None } => "boot override Pxe, once",
            Call::NetworkBoot { http: Some(_) } => "boot override UefiHttp, once",
            Call::ClearBoot => "boot override removed",
        };
        let power = self
            .site
            .memory(machine)
            .power
            .map_or("unknown", |r| r.value.as_str());
        let text = match trouble {
            None => format!("{what}; power reads {power}"),
            Some(trouble) => format!("{what} failed: {}", trouble.message),
        };
        debug!(machine.id = machine, "{text}");
        let entry = NewTimelineEntry {
            machine: machine.to_owned(),
            at: clock::now(),
            source: TimelineSource::Bmc,
            text,
            detail: json!({}),
            operation: operation.metadata.name.clone(),
        };
        self.store
            .record(&Observed {
                timeline: vec![entry],
                ..Observed::default()
            })
            .await
    }
}
