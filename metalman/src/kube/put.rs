//! The calls by which statuses and operations are written. None of them decides anything.

use kube::{
    Api, Client, Resource as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use metalman_api::{
    machine::Machine,
    operation::{MachineOperation, MachineOperationSpec},
};
use serde_json::Value;
use tracing::{info, warn};

use crate::{domain::counters, supervisor::chain};

const MANAGER: &str = "metalman";

/// One write to the API server.
#[derive(Debug, Clone)]
pub(super) enum Put {
    /// Merge patch of the status of an operation.
    OperationStatus { name: String, patch: Value },
    /// Merge patch of the status of a Machine.
    MachineStatus { name: String, patch: Value },
    /// Deletion of an operation whose time is over.
    Expire { name: String, uid: Option<String> },
    /// Creation of the operation a raised counter asks for.
    Create(Box<MachineOperation>),
}

impl Put {
    /// The operation that a counter of `machine` asks for.
    pub(super) fn requested(machine: &Machine, request: &counters::CounterRequest) -> Self {
        let mut operation = MachineOperation::new(
            &request.name,
            MachineOperationSpec {
                machine_ref: machine.metadata.name.clone(),
                operation_kind: request.kind,
                ..MachineOperationSpec::default()
            },
        );
        operation.metadata.owner_references = machine.owner_ref(&()).map(|owner| vec![owner]);
        let labels = &machine.metadata.labels;
        operation.metadata.labels.clone_from(labels);
        Self::Create(Box::new(operation))
    }

    /// Makes the write; `false` when it has to be made again.
    pub(super) async fn write(&self, client: &Client) -> bool {
        let operations = || Api::<MachineOperation>::all(client.clone());
        let params = PatchParams {
            field_manager: Some(MANAGER.into()),
            ..PatchParams::default()
        };
        match self {
            Self::OperationStatus { name, patch } => {
                let patch = Patch::Merge(patch);
                let patched = operations().patch_status(name, &params, &patch).await;
                was_written("MachineOperation", name, patched)
            }
            Self::MachineStatus { name, patch } => {
                let machines = Api::<Machine>::all(client.clone());
                let patch = Patch::Merge(patch);
                let patched = machines.patch_status(name, &params, &patch).await;
                was_written("Machine", name, patched)
            }
            Self::Expire { name, uid } => {
                let params = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: uid.clone(),
                        resource_version: None,
                    }),
                    ..DeleteParams::default()
                };
                let deleted = operations().delete(name, &params).await;
                if deleted.is_ok() {
                    info!(operation = name, "expired operation deleted");
                }
                was_written("MachineOperation", name, deleted)
            }
            Self::Create(operation) => {
                let name = operation.metadata.name.as_deref().unwrap_or_default();
                let params = PostParams {
                    field_manager: Some(MANAGER.into()),
                    ..PostParams::default()
                };
                let created = operations().create(&params, operation).await;
                if created.is_ok() {
                    info!(operation = name, "counter asks for an operation");
                }
                was_written("MachineOperation", name, created)
            }
        }
    }
}

/// An object that is gone, or there already, wants no second try.
fn was_written<T>(kind: &str, name: &str, result: Result<T, kube::Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
        Err(error) => {
            warn!(kind, name, error = %chain(&error), "could not write, will retry");
            false
        }
    }
}
