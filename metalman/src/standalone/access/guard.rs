//! What a write of an agent may change, looked at once it is known and before it is kept. Pure.
//!
//! The table of roles sees paths; a body can name another object, and a status holds what belongs to
//! others. Invariant: no change of an agent touches anything but its own Machine's status, Node,
//! Lease, and its own entry among an operation's targets.

use serde_json::Value;

use super::user::{Role, User};
use crate::standalone::fields::Fields as _;
use crate::standalone::resource::Resource;
use crate::standalone::status::ApiError;
use crate::standalone::strategy::subject;

/// Is this change within what `user` may do? `old` is absent for a new object.
///
/// # Errors
/// 403 with what is wrong.
pub fn may_change(
    user: &User,
    resource: &Resource,
    name: &str,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), ApiError> {
    let Role::Agent { machine } = &user.role else {
        return Ok(());
    };
    let refuse = |why: String| Err(ApiError::forbidden(subject(resource, name), &why));
    match resource.plural.as_str() {
        "machines" | "nodes" | "leases" if name == machine => Ok(()),
        "machineoperations" => {
            let old = old.unwrap_or(&Value::Null);
            if without_entry(old, machine) == without_entry(new, machine) {
                Ok(())
            } else {
                refuse(format!(
                    "agent of Machine \"{machine}\" may change only its own entry of status.targets"
                ))
            }
        }
        _ => refuse(format!(
            "agent of Machine \"{machine}\" is not allowed to modify {} \"{name}\"",
            resource.singular
        )),
    }
}

/// The object without what an agent of this Machine may write, and without what the server writes.
fn without_entry(object: &Value, machine: &str) -> Value {
    let mut rest = object.clone();
    let metadata = rest.at_mut("metadata");
    for field in ["resourceVersion", "managedFields"] {
        metadata.set(field, Value::Null);
    }
    let targets = rest.at_mut("status").at_mut("targets");
    match targets.as_array_mut() {
        Some(list) => list.retain(|target| target.at("machineRef") != machine),
        None => *targets = Value::Array(Vec::new()),
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::standalone::resource::Catalog;

    fn check(plural: &str, name: &str, old: &Value, new: &Value) -> Result<(), String> {
        let catalog = Catalog::new(&metalman_api::crd::all()).unwrap();
        let resource = catalog.all().iter().find(|r| r.plural == plural).unwrap();
        let agent = User::new("unbounded:agent:node-1", vec!["unbounded:agents".into()]);
        may_change(&agent, resource, name, Some(old), new).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn names_must_be_its_own() {
        let any = json!({});
        for plural in ["machines", "nodes", "leases"] {
            assert!(check(plural, "node-1", &any, &any).is_ok());
            assert!(check(plural, "node-2", &any, &any).is_err());
        }
        assert!(check("secrets", "node-1", &any, &any).is_err());
        assert_eq!(
            check("nodes", "node-2", &any, &any).unwrap_err(),
            "nodes \"node-2\" is forbidden: agent of Machine \"node-1\" is not allowed to modify \
             node \"node-2\""
        );
    }

    #[test]
    fn only_its_own_target_may_change() {
        let old = json!({"metadata": {"resourceVersion": "1"}, "status": {"phase": "InProgress",
            "targets": [{"machineRef": "node-1", "phase": "Pending"},
                        {"machineRef": "node-2", "phase": "Pending"}]}});
        let with = |pointer: &str, value: &str| {
            let mut new = old.clone();
            *new.pointer_mut(pointer).unwrap() = json!(value);
            new
        };
        let check = |new: &Value| check("machineoperations", "op", &old, new);
        assert!(check(&with("/status/targets/0/phase", "Complete")).is_ok());
        assert!(check(&with("/metadata/resourceVersion", "2")).is_ok());
        assert!(check(&with("/status/targets/1/phase", "Complete")).is_err());
        assert!(check(&with("/status/phase", "Complete")).is_err());
        assert!(check(&json!({"metadata": {}, "status": {}})).is_err());
        let first = json!({"metadata": {}, "spec": {}});
        let mut own = first.clone();
        own.set("status", json!({"targets": [{"machineRef": "node-1"}]}));
        assert_eq!(
            without_entry(&first, "node-1"),
            without_entry(&own, "node-1")
        );
    }
}
