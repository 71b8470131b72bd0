//! What of an object is moved. Pure.

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// What is wanted beyond the objects themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Secrets too.
    pub secrets: bool,
    /// Keep `status`.
    pub status: bool,
}

/// Metadata that belongs to one server.
const OF_ONE_SERVER: [&str; 9] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    // They name uids, which are others on the other side.
    "ownerReferences",
];
/// Annotations that tools write about one server.
const OF_TOOLS: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "node.alpha.kubernetes.io/ttl",
    "volumes.kubernetes.io/controller-managed-attach-detach",
];
/// Every cluster makes these itself.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const MADE_BY_CLUSTERS: &str = "kube-root-ca.crt";
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account-token";
const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";

/// The object as it can be applied elsewhere; `None` for what is not moved.
pub fn portable(kind: Kind, object: &Value, options: Options) -> Option<Value> {
    let metadata = object.get("metadata")?;
    let name = metadata.get("name")?.as_str()?;
    let leaves = metadata
        .get("deletionTimestamp")
        .is_some_and(Value::is_string);
    let secret = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let place = metadata.get("namespace").and_then(Value::as_str);
    // What a cluster keeps about itself; bootstrap tokens of Machines are there too.
    let of_cluster = place.is_some_and(|place| place.starts_with("kube-"));
    let skipped = leaves
        || match kind.kind {
            "Namespace" => NAMESPACES.contains(&name),
            "ConfigMap" => of_cluster || name == MADE_BY_CLUSTERS,
            "Secret" => {
                !options.secrets
                    || secret == SERVICE_ACCOUNT
                    || (of_cluster && secret != BOOTSTRAP_TOKEN)
            }
            _ => false,
        };
    if skipped {
        return None;
    }
    let mut moved = object.clone();
    let map = moved.as_object_mut()?;
    map.insert("apiVersion".to_owned(), json!(kind.api_version()));
    map.insert("kind".to_owned(), json!(kind.kind));
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        clean_metadata(metadata);
    }
    if !options.status {
        map.remove("status");
    }
    quiet(kind, map);
    map.retain(|_, value| !is_empty(value));
    Some(moved)
}

fn clean_metadata(metadata: &mut Map<String, Value>) {
    metadata.retain(|key, _| !OF_ONE_SERVER.contains(&key.as_str()));
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| !OF_TOOLS.contains(&key.as_str()));
    }
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|f| f != "orphan" && f != "foregroundDeletion");
    }
    metadata.retain(|_, value| !is_empty(value));
}

/// Takes away what would start something on the other side, or what a server keeps for itself.
fn quiet(kind: Kind, object: &mut Map<String, Value>) {
    let mut remove = |part: &str, field: &str| {
        if let Some(part) = object.get_mut(part).and_then(Value::as_object_mut) {
            part.remove(field);
        }
    };
    match kind.kind {
        // A counter above the one in status asks for an operation, such as a repave.
        "Machine" => {
            remove("spec", "operations");
            remove("status", "operations");
        }
        "Namespace" => remove("spec", "finalizers"),
        "Node" => forget_conditions(object),
        "MachineOperation" => {
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("suspend".to_owned(), Value::Bool(true));
            }
        }
        _ => {}
    }
}

/// Taints that a server puts on Nodes for their condition there.
fn forget_conditions(node: &mut Map<String, Value>) {
    let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(taints) = spec.get_mut("taints").and_then(Value::as_array_mut) {
        let is_condition = |taint: &Value| {
            let key = taint.get("key").and_then(Value::as_str).unwrap_or_default();
            key.starts_with("node.kubernetes.io/")
        };
        taints.retain(|taint| !is_condition(taint));
    }
    spec.retain(|_, value| !is_empty(value));
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(kind: &str, object: &Value, options: Options) -> Option<Value> {
        let kind = super::super::KINDS.into_iter().find(|k| k.kind == kind);
        portable(kind.unwrap(), object, options)
    }

    #[test]
    fn what_belongs_to_one_server_stays() {
        let node = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1",
            "generation": 2, "creationTimestamp": "t", "managedFields": [{}],
            "ownerReferences": [{"uid": "x"}], "labels": {"l": "1"},
            "finalizers": ["orphan", "x.io/y"],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {}, "status": {"phase": "x"}});
        assert_eq!(
            moved("Node", &node, Options::default()).unwrap(),
            json!({"apiVersion": "v1", "kind": "Node",
                   "metadata": {"name": "a", "labels": {"l": "1"}, "finalizers": ["x.io/y"]}})
        );
        let status = Options {
            status: true,
            ..Options::default()
        };
        assert_eq!(
            moved("Node", &node, status).unwrap()["status"],
            json!({"phase": "x"})
        );
    }

    #[test]
    fn nothing_is_started_on_the_other_side() {
        let status = Options {
            status: true,
            secrets: true,
        };
        let machine = json!({"metadata": {"name": "a"}, "spec": {"provider": "p",
            "operations": {"repaveCounter": 3}}, "status": {"operations": {"repaveCounter": 3}}});
        assert_eq!(
            moved("Machine", &machine, status).unwrap(),
            json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
                   "metadata": {"name": "a"}, "spec": {"provider": "p"}, "status": {}})
            .as_object()
            .map(|map| {
                let mut map = map.clone();
                map.remove("status");
                Value::Object(map)
            })
            .unwrap()
        );
        let operation =
            json!({"metadata": {"name": "a"}, "spec": {"operationKind": "HostReplace"}});
        let operation = moved("MachineOperation", &operation, Options::default()).unwrap();
        assert_eq!(operation["spec"]["suspend"], true);
    }

    #[test]
    fn some_objects_stay() {
        let named = |name: &str| json!({"metadata": {"name": name}});
        let none = Options::default();
        let secrets = Options {
            secrets: true,
            ..none
        };
        assert_eq!(moved("Namespace", &named("kube-system"), none), None);
        assert!(moved("Namespace", &named("unbounded-system"), none).is_some());
        assert_eq!(moved("ConfigMap", &named("kube-root-ca.crt"), none), None);
        assert_eq!(moved("Secret", &named("bmc"), none), None);
        assert!(moved("Secret", &named("bmc"), secrets).is_some());
        let token =
            json!({"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"});
        assert_eq!(moved("Secret", &token, secrets), None);
        let in_system = |kind: &str| json!({"metadata": {"name": "a", "namespace": "kube-system"}, "type": kind});
        assert_eq!(moved("ConfigMap", &in_system(""), none), None);
        assert_eq!(moved("Secret", &in_system("Opaque"), secrets), None);
        assert!(moved("Secret", &in_system(BOOTSTRAP_TOKEN), secrets).is_some());
        let leaving = json!({"metadata": {"name": "a", "deletionTimestamp": "t"}});
        assert_eq!(moved("Machine", &leaving, none), None);
    }
}
