use serde_json::json;

use super::*;
use crate::standalone::resource::{Catalog, Family};

fn user(role: &str) -> User {
    let (name, group) = match role {
        "admin" => ("admin", "system:masters"),
        "operator" => ("olga", "unbounded:operators"),
        "viewer" => ("vera", "unbounded:viewers"),
        "agent" => ("unbounded:agent:node-1", "unbounded:agents"),
        _ => ("eve", "system:authenticated"),
    };
    User::new(name, vec![group.to_owned()])
}

/// `verb resource[.group][/sub] [namespace/]name`, the name of the group shortened.
fn asked(text: &str) -> Attributes {
    let mut words = text.split(' ');
    let verb = Verb::parse(words.next().unwrap());
    let (what, sub) = words
        .next()
        .map(|w| w.split_once('/').unwrap_or((w, "")))
        .unwrap();
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let place = words.next().unwrap_or_default();
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let group = match group {
        "u" => "unbounded-cloud.io",
        "c" => "coordination.k8s.io",
        other => other,
    };
    Attributes {
        verb,
        group: group.into(),
        resource: resource.into(),
        subresource: sub.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn may(role: &str, text: &str) -> bool {
    allows(&user(role), &asked(text), None) == Decision::Allow
}

#[test]
fn each_role_has_its_own() {
    // What, and who may: admin, operator, viewer, agent, nobody.
    for (what, who) in [
        ("get machines.u node-1", "aovh-"),
        ("get machines.u node-2", "aov--"),
        ("list machines.u", "aov--"),
        ("list machines.u node-1", "aovh-"),
        ("watch machines.u node-1", "aovh-"),
        ("create machines.u", "ao---"),
        ("patch machines.u node-1", "ao---"),
        ("delete machines.u node-1", "ao---"),
        ("deletecollection machines.u", "ao---"),
        ("get machines.u/status node-1", "aovh-"),
        ("patch machines.u/status node-1", "a--h-"),
        ("patch machines.u/status node-2", "a----"),
        ("create machineoperations.u", "ao---"),
        ("list machineoperations.u", "aov--"),
        ("patch machineoperations.u/status op", "a----"),
        ("get secrets default/s", "a----"),
        ("list secrets", "a----"),
        ("watch secrets", "a----"),
        ("create secrets default/", "a----"),
        ("get configmaps default/c", "aov--"),
        ("delete configmaps default/c", "ao---"),
        ("patch nodes node-1", "ao-h-"),
        ("patch nodes node-2", "ao---"),
        ("create nodes", "a--h-"),
        ("delete nodes node-1", "a----"),
        ("patch nodes/status node-1", "a--h-"),
        ("get leases.c kube-node-lease/node-1", "aovh-"),
        ("update leases.c kube-node-lease/node-1", "a--h-"),
        ("update leases.c kube-node-lease/node-2", "a----"),
        ("update leases.c default/node-1", "a----"),
        ("create leases.c kube-node-lease/", "a--h-"),
        ("create leases.c default/", "a----"),
        ("create events default/", "a----"),
        ("create namespaces", "a----"),
        ("create tokenreviews.authentication.k8s.io", "a----"),
        ("create subjectaccessreviews.authorization.k8s.io", "a----"),
        (
            "create selfsubjectaccessreviews.authorization.k8s.io",
            "aovh-",
        ),
        ("create selfsubjectreviews.authentication.k8s.io", "aovh-"),
        ("impersonate users root", "a----"),
        ("list pods default/", "a----"),
    ] {
        for (role, letter) in [
            ("admin", 'a'),
            ("operator", 'o'),
            ("viewer", 'v'),
            ("agent", 'h'),
        ] {
            assert_eq!(may(role, what), who.contains(letter), "{role}: {what}");
        }
        let oneself = what.contains("selfsubject");
        assert_eq!(may("nobody", what), oneself, "{what}");
    }
}

#[test]
fn an_agent_sees_the_operations_that_name_its_machine() {
    let agent = user("agent");
    let get = asked("get machineoperations.u op");
    let decide = |object: Option<Value>| allows(&agent, &get, object.as_ref());
    assert_eq!(decide(None), Decision::Deny);
    let other = json!({"spec": {"machineRef": "node-2"}});
    assert_eq!(decide(Some(other)), Decision::Deny);
    let own = json!({"spec": {"machineRef": "node-1"}});
    assert_eq!(decide(Some(own)), Decision::Allow);
    let many = json!({"spec": {"machineSelector": {}},
        "status": {"targets": [{"machineRef": "node-2"}, {"machineRef": "node-1"}]}});
    assert_eq!(decide(Some(many)), Decision::Allow);

    let mut watch = asked("watch machineoperations.u");
    watch.machine = "node-1".into();
    assert_eq!(allows(&agent, &watch, None), Decision::Allow);
    watch.machine = "node-2".into();
    assert_eq!(allows(&agent, &watch, None), Decision::Deny);
}

#[test]
fn an_agent_without_a_machine_gets_nothing() {
    let agent = User::new("unbounded:agent:", vec!["unbounded:agents".into()]);
    for text in ["get machines.u", "list machineoperations.u", "list nodes"] {
        assert_eq!(allows(&agent, &asked(text), None), Decision::Deny, "{text}");
    }
}

#[test]
fn paths_are_read_by_everybody_with_a_token() {
    for (path, expected) in [
        ("/api", Decision::Allow),
        ("/apis/unbounded-cloud.io/v1alpha3", Decision::Allow),
        ("/openapi/v3", Decision::Allow),
        ("/apiserver", Decision::Deny),
        ("/metrics", Decision::Deny),
    ] {
        let asked = Attributes::path(Verb::Get, path);
        assert_eq!(allows(&user("agent"), &asked, None), expected, "{path}");
        assert_eq!(allows(&user("admin"), &asked, None), Decision::Allow);
    }
    let post = Attributes::path(Verb::Create, "/api");
    assert_eq!(allows(&user("viewer"), &post, None), Decision::Deny);
}

#[test]
fn the_table_knows_every_resource_that_is_served() {
    let catalog = Catalog::new(&metalman_api::crd::all()).unwrap();
    let named = |role: &str, group: &str, full: &str| {
        RULES
            .iter()
            .any(|r| r.role == role && r.group == group && r.resources.contains(&full))
    };
    for resource in catalog.all() {
        let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
        let secret = plural == "secrets";
        for role in ["operator", "viewer"] {
            assert_eq!(
                named(role, group, plural),
                !secret,
                "{role} {plural}.{group}"
            );
            if resource.status && resource.family != Family::EventView {
                let status = format!("{plural}/status");
                assert!(named(role, group, &status), "{role} {status}");
            }
        }
    }
}

#[test]
fn the_table_in_the_architecture_is_this_one() {
    let text = include_str!("../../../../../ARCHITECTURE.md");
    assert!(
        text.contains(&describe()),
        "ARCHITECTURE.md must hold this table:\n{}",
        describe()
    );
}
