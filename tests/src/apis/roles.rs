//! The roles of the embedded API as objects of RBAC, for the real server: made from the same table,
//! so that both decide alike or the comparison shows it. Pure.

use metalman::standalone::access::{Only, RULES, Rule, Verb};
use serde_json::{Value, json};

/// Token of a viewer on both servers.
pub const VIEWER_TOKEN: &str = "viewer-of-a-test";
/// Its name.
pub const VIEWER: &str = "vera";
/// Machine, Node, Lease and operation of the agent that both servers know.
pub const AGENT_MACHINE: &str = "agents-own";
const RBAC: &str = "rbac.authorization.k8s.io";
const NODE_LEASES: &str = "kube-node-lease";

/// Paths and bodies to be posted.
pub(super) fn objects() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (role, group) in [
        ("operator", "unbounded:operators"),
        ("viewer", "unbounded:viewers"),
        ("agent", "unbounded:agents"),
    ] {
        let name = format!("unbounded:{role}");
        let is_wanted = |rule: &&Rule| rule.role == role && rule.only != Only::OwnLease;
        let rules: Vec<Value> = RULES.iter().filter(is_wanted).flat_map(rules).collect();
        all.extend(bound("", &name, group, &rules));
    }
    let leases = RULES.iter().filter(|rule| rule.only == Only::OwnLease);
    let leases: Vec<Value> = leases.flat_map(rules).collect();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NODE_LEASES}});
    all.push(("/api/v1/namespaces".to_owned(), namespace));
    all.extend(bound(
        NODE_LEASES,
        "unbounded:agent",
        "unbounded:agents",
        &leases,
    ));
    all
}

/// A line of the table. RBAC names an agent's objects, and cannot do so for those that are new.
fn rules(rule: &Rule) -> Vec<Value> {
    let of = |verbs: &[&str]| json!({"apiGroups": [rule.group], "resources": rule.resources, "verbs": verbs});
    let words: Vec<&str> = rule.verbs.iter().map(|verb| verb.word()).collect();
    if rule.only == Only::All {
        return vec![of(&words)];
    }
    let (new, known): (Vec<&str>, Vec<&str>) = words
        .into_iter()
        .partition(|word| *word == Verb::Create.word());
    let named = json!({"apiGroups": [rule.group], "resources": rule.resources, "verbs": known,
        "resourceNames": [AGENT_MACHINE]});
    let new = (!new.is_empty()).then(|| of(&new));
    [named].into_iter().chain(new).collect()
}

fn bound(namespace: &str, name: &str, group: &str, rules: &[Value]) -> [(String, Value); 2] {
    let (kind, place) = match namespace {
        "" => ("ClusterRole", String::new()),
        _ => ("Role", format!("/namespaces/{namespace}")),
    };
    let version = format!("{RBAC}/v1");
    let role =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "rules": rules});
    let binding = json!({"apiVersion": version, "kind": format!("{kind}Binding"), "metadata": {"name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}],
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name}});
    let plural = kind.to_lowercase();
    let path = |plural: &str| format!("/apis/{RBAC}/v1{place}/{plural}s");
    [
        (path(&plural), role),
        (path(&format!("{plural}binding")), binding),
    ]
}
