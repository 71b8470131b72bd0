//! Roles: what a viewer, an operator and an agent may do, and the words of a refusal. On the real
//! server the roles are objects of RBAC, made from the embedded API's table.

use metalman_tests::apis::{AGENT_MACHINE, VIEWER, VIEWER_TOKEN};
use serde_json::{Value, json};

use super::{config_map, machine, operation};
use crate::session::{OURS, Session, WIDGETS};
use crate::suite::Case;

type Who = (&'static str, &'static str);

const OPERATOR: Who = ("olga", "unbounded:operators");
const WATCHER: Who = (VIEWER, "unbounded:viewers");
const NOBODY: Who = ("eve", "unbounded:nobodies");
const AGENT: Who = ("unbounded:agent:agents-own", "unbounded:agents");
const REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const TOKEN_REVIEW: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const OWN_LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// What a review asks: verb, group, resource, subresource, namespace, name.
const QUESTIONS: [[&str; 6]; 22] = [
    ["get", "unbounded-cloud.io", "machines", "", "", ""],
    [
        "get",
        "unbounded-cloud.io",
        "machines",
        "",
        "",
        AGENT_MACHINE,
    ],
    ["list", "unbounded-cloud.io", "machines", "", "", ""],
    [
        "watch",
        "unbounded-cloud.io",
        "machineoperations",
        "",
        "",
        "",
    ],
    [
        "create",
        "unbounded-cloud.io",
        "machineoperations",
        "",
        "",
        "",
    ],
    ["delete", "unbounded-cloud.io", "machines", "", "", "x"],
    [
        "deletecollection",
        "unbounded-cloud.io",
        "machines",
        "",
        "",
        "",
    ],
    ["get", "unbounded-cloud.io", "machines", "status", "", "x"],
    ["patch", "unbounded-cloud.io", "machines", "status", "", "x"],
    [
        "patch",
        "unbounded-cloud.io",
        "machines",
        "status",
        "",
        AGENT_MACHINE,
    ],
    [
        "update",
        "unbounded-cloud.io",
        "machines",
        "",
        "",
        AGENT_MACHINE,
    ],
    ["get", "", "secrets", "", "default", "bmc"],
    ["list", "", "secrets", "", "", ""],
    ["create", "", "configmaps", "", "default", ""],
    ["patch", "", "nodes", "", "", "x"],
    ["create", "", "nodes", "", "", ""],
    ["patch", "", "nodes", "status", "", AGENT_MACHINE],
    [
        "get",
        "coordination.k8s.io",
        "leases",
        "",
        "kube-node-lease",
        AGENT_MACHINE,
    ],
    [
        "update",
        "coordination.k8s.io",
        "leases",
        "",
        "default",
        AGENT_MACHINE,
    ],
    ["list", "apps", "deployments", "", "default", ""],
    ["dance", "unbounded-cloud.io", "machines", "", "", ""],
    ["*", "*", "*", "", "", ""],
];

/// Everything `who` is told about the questions.
async fn answers(s: &Session, who: Who) {
    for [verb, group, resource, subresource, namespace, name] in QUESTIONS {
        let attributes = json!({"verb": verb, "group": group, "resource": resource,
            "subresource": subresource, "namespace": namespace, "name": name});
        let spec = json!({ "resourceAttributes": attributes });
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
        let own = s.post(REVIEW, &body).acting(who).quietly().await;
        assert_eq!(own.code, 201, "{}", own.body);
        let question = [verb, group, resource, subresource, namespace, name].join(" ");
        s.note(&question, &own.at("/status/allowed"));
        // The administrator asks the same about somebody else.
        let mut spec = spec;
        spec["user"] = json!(who.0);
        spec["groups"] = json!([who.1]);
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
        let path = REVIEW.replace("selfsubject", "subject");
        let others = s.post(path, &body).quietly().await;
        assert_eq!(
            others.at("/status/allowed"),
            own.at("/status/allowed"),
            "{question}"
        );
    }
}

/// Requests that are refused, each with its words.
async fn refused(s: &Session, who: Who, reads: &[String], writes: &[(&str, String, Value)]) {
    for path in reads {
        s.get(path).acting(who).is(403).await;
    }
    for (method, path, body) in writes {
        let call = match *method {
            "POST" => s.post(path, body),
            "PUT" => s.put(path, body),
            "PATCH" => s.merge(path, body),
            _ => s.delete(path),
        };
        call.acting(who).is(403).await;
    }
}

/// The objects an agent is about; whoever comes first makes them.
async fn own_objects(s: &Session) {
    let spec = json!({"machineRef": AGENT_MACHINE, "operationKind": "NodeReboot"});
    for (path, body) in [
        ("machines", machine(AGENT_MACHINE)),
        ("machineoperations", operation(AGENT_MACHINE, &spec)),
    ] {
        let code = s.post(format!("{OURS}/{path}"), &body).quietly().await.code;
        assert!(matches!(code, 201 | 409), "{path}: {code}");
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = vec![
        Case::new(
            "roles",
            "a viewer is refused what it may not do",
            |s| async move {
                let secrets = s.namespaced("/api/v1", "secrets").await;
                let maps = secrets.replace("secrets", "configmaps");
                let one = format!("{OURS}/machines/{}", s.name("m"));
                let widgets = secrets
                    .replace("/api/v1", WIDGETS)
                    .replace("secrets", "widgets");
                refused(
                    &s,
                    WATCHER,
                    &[
                        secrets.clone(),
                        format!("{secrets}/bmc"),
                        format!("{secrets}?watch=1"),
                        "/api/v1/secrets".to_owned(),
                        "/api/v1/secrets?fieldSelector=metadata.name=bmc".to_owned(),
                        widgets.clone(),
                        format!("{widgets}/a/status"),
                    ],
                    &[
                        ("POST", format!("{OURS}/machines"), machine("a")),
                        ("PUT", one.clone(), machine("a")),
                        ("PATCH", one.clone(), json!({})),
                        ("PATCH", format!("{one}/status"), json!({"status": {}})),
                        ("PUT", format!("{one}/status"), machine("a")),
                        ("DELETE", one.clone(), Value::Null),
                        ("DELETE", format!("{OURS}/machines"), Value::Null),
                        ("POST", maps.clone(), config_map("a", &json!({}))),
                        ("DELETE", maps, Value::Null),
                        (
                            "POST",
                            "/api/v1/namespaces".to_owned(),
                            json!({"metadata": {"name": "x"}}),
                        ),
                        (
                            "DELETE",
                            format!("/api/v1/namespaces/{}", s.id),
                            Value::Null,
                        ),
                    ],
                )
                .await;
            },
        ),
        Case::new(
            "roles",
            "a refusal comes before anything about the body",
            |s| async move {
                let path = format!("{OURS}/machines");
                s.post(&path, &json!({}))
                    .text("{")
                    .acting(WATCHER)
                    .is(403)
                    .await;
                s.post(&path, &json!({}))
                    .header("content-type", "text/html")
                    .acting(WATCHER)
                    .is(403)
                    .await;
                s.get("/api/v1/secrets?limit=x")
                    .acting(WATCHER)
                    .is(403)
                    .await;
            },
        ),
        Case::new("roles", "a viewer reads the rest", |s| async move {
            let name = s.name("m");
            s.post(format!("{OURS}/machines"), &machine(&name))
                .only(201)
                .await;
            let one = format!("{OURS}/machines/{name}");
            s.get(&one).acting(WATCHER).is(200).await;
            s.get(format!("{one}/status")).acting(WATCHER).is(200).await;
            s.get(format!(
                "{OURS}/machines?fieldSelector=metadata.name={name}"
            ))
            .acting(WATCHER)
            .is(200)
            .await;
            s.get(format!("{OURS}/machines/{}", s.name("absent")))
                .acting(WATCHER)
                .is(404)
                .await;
            s.get("/api/v1/namespaces/default")
                .acting(WATCHER)
                .only(200)
                .await;
            for list in [
                "/api/v1/nodes",
                "/api/v1/events",
                "/api/v1/configmaps",
                "/apis/coordination.k8s.io/v1/leases",
            ] {
                s.get(list).acting(WATCHER).only(200).await;
            }
        }),
        Case::new(
            "roles",
            "an operator works with Machines and operations only",
            |s| async move {
                let name = s.name("m");
                let one = format!("{OURS}/machines/{name}");
                s.post(format!("{OURS}/machines"), &machine(&name))
                    .acting(OPERATOR)
                    .only(201)
                    .await;
                s.merge(&one, &json!({"metadata": {"labels": {"a": "b"}}}))
                    .acting(OPERATOR)
                    .only(200)
                    .await;
                let work =
                    json!({"machineRef": name, "operationKind": "HostReboot", "suspend": true});
                s.post(
                    format!("{OURS}/machineoperations"),
                    &operation(&name, &work),
                )
                .acting(OPERATOR)
                .only(201)
                .await;
                let secrets = s.namespaced("/api/v1", "secrets").await;
                let status = json!({"status": {"phase": "Complete"}});
                refused(
                    &s,
                    OPERATOR,
                    &[secrets.clone(), format!("{secrets}/bmc")],
                    &[
                        (
                            "PATCH",
                            format!("{OURS}/machineoperations/{name}/status"),
                            status.clone(),
                        ),
                        ("PATCH", format!("{one}/status"), status),
                        ("POST", secrets, json!({"metadata": {"name": "x"}})),
                        (
                            "POST",
                            "/api/v1/nodes".to_owned(),
                            json!({"metadata": {"name": "x"}}),
                        ),
                        ("DELETE", "/api/v1/nodes/x".to_owned(), Value::Null),
                        (
                            "POST",
                            OWN_LEASES.to_owned(),
                            json!({"metadata": {"name": "x"}}),
                        ),
                    ],
                )
                .await;
                s.delete(format!("{OURS}/machineoperations/{name}"))
                    .acting(OPERATOR)
                    .only(200)
                    .await;
                s.delete(&one).acting(OPERATOR).only(200).await;
            },
        ),
        Case::new(
            "roles",
            "an apply that would create needs the right to create",
            |s| async move {
                let name = s.name("n");
                let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
                s.apply(&format!("/api/v1/nodes/{name}"), "t", &node)
                    .acting(OPERATOR)
                    .is(403)
                    .await;
                s.get(format!("/api/v1/nodes/{name}")).only(404).await;
            },
        ),
        Case::new(
            "roles",
            "an agent keeps to its own objects",
            |s| async move {
                own_objects(&s).await;
                let own = format!("{OURS}/machines/{AGENT_MACHINE}");
                let others = format!("{OURS}/machines/{}", s.name("m"));
                s.get(&own).acting(AGENT).only(200).await;
                s.get(format!(
                    "{OURS}/machines?fieldSelector=metadata.name={AGENT_MACHINE}"
                ))
                .acting(AGENT)
                .only(200)
                .await;
                s.merge(
                    format!("{own}/status"),
                    &json!({"status": {"message": "x"}}),
                )
                .acting(AGENT)
                .only(200)
                .await;
                s.get(format!("{OURS}/machineoperations/{AGENT_MACHINE}"))
                    .acting(AGENT)
                    .only(200)
                    .await;
                let lease = json!({"metadata": {"name": AGENT_MACHINE}, "spec": {}});
                let made = s.post(OWN_LEASES, &lease).acting(AGENT).quietly().await;
                assert!(matches!(made.code, 201 | 409), "{}", made.body);
                s.get(format!("{OWN_LEASES}/{AGENT_MACHINE}"))
                    .acting(AGENT)
                    .only(200)
                    .await;
                let status = json!({"status": {"message": "x"}});
                refused(
                    &s,
                    AGENT,
                    &[
                        others.clone(),
                        format!("{OURS}/machines"),
                        format!("{OURS}/machines?watch=1"),
                        format!("{OURS}/machines?fieldSelector=metadata.name!={AGENT_MACHINE}"),
                        format!("{OURS}/machineoperations"),
                        format!("{OURS}/machineoperations/{}", s.name("o")),
                        format!("{OURS}/machineconfigurations"),
                        "/api/v1/namespaces/default/secrets/bmc".to_owned(),
                        "/api/v1/configmaps".to_owned(),
                        "/api/v1/nodes".to_owned(),
                        OWN_LEASES.to_owned(),
                        format!("{OWN_LEASES}/other"),
                        OWN_LEASES.replace("kube-node-lease", "default") + "/" + AGENT_MACHINE,
                    ],
                    &[
                        (
                            "PATCH",
                            own.clone(),
                            json!({"metadata": {"labels": {"a": "b"}}}),
                        ),
                        ("PUT", own.clone(), machine(AGENT_MACHINE)),
                        ("DELETE", own, Value::Null),
                        ("PATCH", format!("{others}/status"), status.clone()),
                        (
                            "PATCH",
                            format!("{OURS}/machineoperations/{}/status", s.name("o")),
                            status,
                        ),
                        (
                            "DELETE",
                            format!("/api/v1/nodes/{AGENT_MACHINE}"),
                            Value::Null,
                        ),
                        (
                            "DELETE",
                            format!("{OWN_LEASES}/{AGENT_MACHINE}"),
                            Value::Null,
                        ),
                    ],
                )
                .await;
            },
        ),
        Case::new(
            "roles",
            "who has no role may ask about itself only",
            |s| async move {
                let machines = format!("{OURS}/machines");
                s.get(&machines).acting(NOBODY).is(403).await;
                s.get("/metrics").acting(NOBODY).is(403).await;
                s.get("/api/v1").acting(NOBODY).only(200).await;
                s.get("/apis").acting(NOBODY).only(200).await;
            },
        ),
        Case::new("roles", "a token and what it is told", |s| async move {
            let vera = || Some(VIEWER_TOKEN);
            let machines = format!("{OURS}/machines");
            s.get(format!("{machines}?limit=1"))
                .token(vera())
                .only(200)
                .await;
            s.delete(format!("{machines}/x"))
                .token(vera())
                .is(403)
                .await;
            // Nobody but the administrator acts as somebody else.
            s.get(&machines)
                .token(vera())
                .header("impersonate-user", "admin")
                .is(403)
                .await;
            let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": VIEWER_TOKEN}});
            let about = s.post(TOKEN_REVIEW, &review).only(201).await;
            s.note("user", &about.at("/status/user"));
            s.note("authenticated", &about.at("/status/authenticated"));
            s.post(TOKEN_REVIEW, &review).token(vera()).is(403).await;
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "x"}});
            s.post(REVIEW.replace("selfsubject", "subject"), &review)
                .token(vera())
                .is(403)
                .await;
        }),
    ];
    for (title, who) in [
        ("reviews of a viewer", WATCHER),
        ("reviews of an operator", OPERATOR),
        ("reviews of an agent", AGENT),
        ("reviews of nobody", NOBODY),
    ] {
        all.push(Case::new("roles", title, move |s| async move {
            answers(&s, who).await;
        }));
    }
    all
}
