//! Kubernetes Events: one per stage of a target, on the operation, related to the Machine; and
//! warnings about the machines' network.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use metalman_api::{
    machine::Machine,
    operation::{MachineOperation, Phase},
};
use tracing::debug;

use crate::{domain::TargetState, supervisor::chain};

/// Writer of Events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Writes through `client` as `metalman`.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: "metalman".into(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Tells the step a target has reached. A lost Event loses nothing but the Event.
    pub async fn target(
        &self,
        operation: &MachineOperation,
        machine: Option<&Machine>,
        state: &TargetState,
    ) {
        let reason = match (state.phase, state.stage) {
            (Phase::InProgress, Some(stage)) => format!("{stage:?}"),
            (Phase::Failed, _) => state.reason.clone(),
            (phase, _) => format!("{phase:?}"),
        };
        let event = Event {
            type_: if state.phase == Phase::Failed {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason,
            note: Some(state.message.clone()),
            action: operation.spec.operation_kind.as_str().into(),
            secondary: machine.map(|machine| machine.object_ref(&())),
        };
        if let Err(error) = self
            .recorder
            .publish(&event, &operation.object_ref(&()))
            .await
        {
            debug!(error = %chain(&error), "could not write an Event");
        }
    }

    /// Warns of another DHCP server; false when the API did not take it.
    pub async fn foreign_server(&self, about: &ObjectReference, note: String) -> bool {
        let event = Event {
            type_: EventType::Warning,
            reason: "ForeignDhcpServer".into(),
            note: Some(note),
            action: "Boot".into(),
            secondary: None,
        };
        let published = self.recorder.publish(&event, about).await;
        if let Err(error) = &published {
            debug!(error = %chain(error), "could not write an Event");
        }
        published.is_ok()
    }
}
