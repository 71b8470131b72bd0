//! Carries out actions: BMC calls and image preparation, with their results kept.

use metalman_api::machine::BootProtocol;
use serde_json::json;
use tracing::debug;

use super::Driver;
use crate::{
    bmc::Call,
    clock,
    domain::{Action, facts::Trouble},
    store::{ActionOutcome, FinishedAction, NewTimelineEntry, Target, TimelineSource},
};

/// What an action brought, to be kept with the next step.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) finished: Vec<FinishedAction>,
    pub(super) timeline: Vec<NewTimelineEntry>,
}

impl Driver {
    /// Carries out one action; `id` is its number in the outbox, if it is there.
    pub(super) async fn act(
        &self,
        row: &Target,
        id: Option<i64>,
        action: &Action,
        done: &mut Done,
    ) {
        let machine = row.machine.as_str();
        let call = match action {
            Action::ReadSystem => Some(Call::Read),
            Action::ShutDown => Some(Call::ShutDown),
            Action::ForceOff => Some(Call::ForceOff),
            Action::PowerOn => Some(Call::PowerOn),
            Action::SetNetworkBoot => Some(Call::NetworkBoot {
                http: self.http_boot_url(machine),
            }),
            Action::ClearBootOverride => Some(Call::ClearBoot),
            Action::PrepareImages => {
                self.images.prepare(self, &row.operation_uid, machine);
                None
            }
            Action::MintToken { .. } | Action::RevokeTokens => None,
        };
        let failed = match call {
            Some(call) => {
                let trouble = self.bmcs.call(machine, &call).await;
                if call != Call::Read {
                    let line = self.line(row, &call, trouble.as_ref());
                    done.timeline.push(line);
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
        done.finished.extend(id.map(|id| FinishedAction {
            id,
            outcome,
            result,
        }));
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
                let path = metadata.http_boot_file()?;
                Some(format!(
                    "{}/{}",
                    self.boot.boot_url,
                    path.trim_start_matches('/')
                ))
            }
        }
    }

    /// One timeline line per BMC write.
    fn line(&self, row: &Target, call: &Call, trouble: Option<&Trouble>) -> NewTimelineEntry {
        let gave_up = row.state.get("shutdownOver") == Some(&json!(true));
        let what = match call {
            Call::Read => "read",
            Call::ShutDown => "operating system asked to shut down (GracefulShutdown)",
            Call::ForceOff if gave_up => "it did not shut down, so power off (ForceOff)",
            Call::ForceOff => "power off (ForceOff)",
            Call::PowerOn => "power on (On)",
            Call::NetworkBoot { http: None } => "boot override Pxe, once",
            Call::NetworkBoot { http: Some(_) } => "boot override UefiHttp, once",
            Call::ClearBoot => "boot override removed",
        };
        let power = self
            .site
            .memory(&row.machine)
            .power
            .map_or("unknown", |r| r.value.as_str());
        let text = match trouble {
            None => format!("{what}; power reads {power}"),
            Some(trouble) => format!("{what} failed: {}", trouble.message),
        };
        debug!(machine.id = row.machine, "{text}");
        NewTimelineEntry {
            machine: row.machine.clone(),
            at: clock::now(),
            source: TimelineSource::Bmc,
            text,
            detail: json!({}),
            operation: Some(row.operation_name.clone()),
        }
    }
}
