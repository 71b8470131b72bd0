//! The embedded API as kube-rs sees it.

mod kinds;
mod objects;
mod watches;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, WatchEvent};
use kube::{Client, Error};
use serde_json::{Value, json};

pub(super) fn gvk(kind: &str, plural: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk("unbounded-cloud.io", "v1alpha3", kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

pub(super) fn machines(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &gvk("Machine", "machines"))
}

pub(super) fn operations(client: &Client) -> Api<DynamicObject> {
    Api::all_with(
        client.clone(),
        &gvk("MachineOperation", "machineoperations"),
    )
}

pub(super) fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

pub(super) fn machine(name: &str) -> DynamicObject {
    object(
        json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
                  "metadata": {"name": name, "labels": {"unbounded-cloud.io/site": "lab"}},
                  "spec": {}}),
    )
}

pub(super) fn operation(name: &str, kind: &str, machine: &str) -> DynamicObject {
    object(
        json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
                  "metadata": {"name": name},
                  "spec": {"operationKind": kind, "machineRef": machine}}),
    )
}

pub(super) fn error_code(event: WatchEvent<impl std::fmt::Debug>) -> u16 {
    let WatchEvent::Error(status) = event else {
        panic!("{event:?}")
    };
    status.code
}

pub(super) fn refusal(error: Error) -> (u16, String, String) {
    let Error::Api(status) = error else {
        panic!("not a refusal of the API: {error}")
    };
    (status.code, status.reason.clone(), status.message.clone())
}
