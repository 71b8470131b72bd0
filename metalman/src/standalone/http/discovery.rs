//! Discovery: which groups, versions and resources there are, plain and aggregated. Pure.

use http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::standalone::access::REVIEWS;
use crate::standalone::core::NAMESPACE_SLOT;
use crate::standalone::fields::Fields as _;
use crate::standalone::resource::{Catalog, Family, Resource};

const OBJECT_VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// The same in the order of the real server's custom resources.
const CUSTOM_VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// Media type of aggregated discovery.
pub(super) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Does the client want the aggregated form?
pub(super) fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    accept.split(',').any(|range| {
        let has = |part: &str| range.split(';').any(|p| p.trim() == part);
        has("g=apidiscovery.k8s.io") && has("v=v2") && has("as=APIGroupDiscoveryList")
    })
}

/// `/version`.
pub(super) fn version() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": concat!("v1.36.0+metalman.", env!("CARGO_PKG_VERSION")),
           "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
           "platform": "linux/amd64"})
}

/// `/api`.
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(super) fn groups(catalog: &Catalog) -> Value {
    let groups: Vec<Value> = names(catalog).iter().map(|(g, v)| group(g, v)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`.
pub(super) fn one_group(catalog: &Catalog, name: &str) -> Option<Value> {
    let (found, version) = names(catalog)
        .into_iter()
        .find(|(group, _)| group == name)?;
    let mut group = group(&found, &version);
    group.set("kind", json!("APIGroup"));
    group.set("apiVersion", json!("v1"));
    Some(group)
}

fn names(catalog: &Catalog) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = catalog
        .by_group()
        .into_keys()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, version)| (group.to_owned(), version.to_owned()))
        .collect();
    for group in ["authentication.k8s.io", "authorization.k8s.io"] {
        names.push((group.to_owned(), "v1".to_owned()));
    }
    names.sort();
    names
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

/// `/api/v1` and `/apis/{group}/{version}`.
pub(super) fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let api = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut list = Vec::new();
    for resource in catalog
        .by_group()
        .remove(&(group, version))
        .unwrap_or_default()
    {
        list.push(json!({
            "name": resource.plural, "singularName": resource.singular,
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs(resource),
            "shortNames": resource.short_names, "categories": resource.categories,
        }));
        if resource.status {
            list.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": STATUS_VERBS,
            }));
        }
    }
    for (plural, kind) in reviews(&api) {
        list.push(
            json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false,
                         "kind": kind, "verbs": ["create"]}),
        );
    }
    if list.is_empty() {
        return None;
    }
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api,
                "resources": list}),
    )
}

/// Namespaces are not deleted as a collection.
fn verbs(resource: &Resource) -> Vec<&'static str> {
    let all = match resource.family {
        Family::Custom => CUSTOM_VERBS,
        Family::Core | Family::EventView => OBJECT_VERBS,
    };
    all.into_iter()
        .filter(|verb| resource.slot != NAMESPACE_SLOT || *verb != "deletecollection")
        .collect()
}

fn reviews(api: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let prefix = format!("/apis/{api}/");
    REVIEWS.iter().filter_map(move |(path, kind)| {
        path.strip_prefix(prefix.as_str())
            .map(|plural| (plural, *kind))
    })
}

/// The aggregated form of `/api` (`core`) or `/apis`.
pub(super) fn aggregated(catalog: &Catalog, core: bool) -> Value {
    let names = if core {
        vec![(String::new(), "v1".to_owned())]
    } else {
        names(catalog)
    };
    let items: Vec<Value> = names
        .iter()
        .map(|(group, version)| {
            let api = if core {
                version.clone()
            } else {
                format!("{group}/{version}")
            };
            let found = catalog
                .by_group()
                .remove(&(group.as_str(), version.as_str()));
            let mut resources: Vec<Value> = found
                .unwrap_or_default()
                .into_iter()
                .map(aggregated_resource)
                .collect();
            for (plural, kind) in reviews(&api) {
                resources.push(json!({
                    "resource": plural, "scope": "Cluster", "verbs": ["create"],
                    "singularResource": kind.to_lowercase(),
                    "responseKind": {"group": group, "version": version, "kind": kind},
                }));
            }
            let metadata = if core {
                json!({})
            } else {
                json!({ "name": group })
            };
            let version =
                json!({"version": version, "resources": resources, "freshness": "Current"});
            json!({"metadata": metadata, "versions": [version]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
           "metadata": {}, "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let mut item = json!({
        "resource": resource.plural, "responseKind": kind,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(resource),
        "shortNames": resource.short_names, "categories": resource.categories,
    });
    if resource.status {
        item.set(
            "subresources",
            json!([{"subresource": "status", "responseKind": kind, "verbs": STATUS_VERBS}]),
        );
    }
    item
}
