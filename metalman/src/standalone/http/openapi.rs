//! OpenAPI v3: an index and one document per group and version. Pure.
//!
//! Enough for `kubectl explain`, and for kubectl to leave validation to the server: what it looks
//! for is a `patch` operation with a `fieldValidation` parameter.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::standalone::resource::{Catalog, Resource};

/// `/openapi/v3`.
pub(super) fn index(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    for resources in catalog.by_group().into_values() {
        let Some(first) = resources.first() else {
            continue;
        };
        let path = first.group_path();
        let text = document(catalog, &path)
            .map(|d| d.to_string())
            .unwrap_or_default();
        let digest = Sha256::digest(text.as_bytes());
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// `/openapi/v3/{path}`, where path is `api/v1` or `apis/group/version`.
pub(super) fn document(catalog: &Catalog, path: &str) -> Option<Value> {
    let all = catalog.by_group();
    let resources = all
        .into_values()
        .find(|r| r.first().is_some_and(|r| r.group_path() == path))?;
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in resources {
        schemas.insert(schema_name(resource), resource.openapi.clone());
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("/{path}{scope}/{}", resource.plural);
        let one = format!("{collection}/{{name}}");
        paths.insert(
            collection,
            json!({
                "get": operation(resource, "list", &[]),
                "post": operation(resource, "post", &WRITE),
            }),
        );
        let object = json!({
            "get": operation(resource, "get", &[]),
            "put": operation(resource, "put", &WRITE),
            "patch": operation(resource, "patch", &PATCH),
            "delete": operation(resource, "delete", &["dryRun"]),
        });
        if resource.status {
            let mut status = object.clone();
            if let Some(map) = status.as_object_mut() {
                map.remove("delete");
            }
            paths.insert(format!("{one}/status"), status);
        }
        paths.insert(one, object);
    }
    let info = json!({"title": "metalman", "version": env!("CARGO_PKG_VERSION")});
    Some(json!({"openapi": "3.0.0", "info": info, "paths": paths,
                "components": {"schemas": schemas}}))
}

const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const PATCH: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];

pub(super) fn schema_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource
        .group
        .split('.')
        .rev()
        .filter(|part| !part.is_empty())
        .collect();
    let group = if group.is_empty() {
        "core".to_owned()
    } else {
        group.join(".")
    };
    format!("{group}.{}.{}", resource.version, resource.kind)
}

fn operation(resource: &Resource, action: &str, parameters: &[&str]) -> Value {
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| {
            let kind = if *name == "force" {
                "boolean"
            } else {
                "string"
            };
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    let reference = format!("#/components/schemas/{}", schema_name(resource));
    json!({
        "operationId": format!("{action}{}{}", resource.version, resource.kind),
        "parameters": parameters, "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind,
        "responses": {"200": {"description": "OK",
            "content": {"application/json": {"schema": {"$ref": reference}}}}},
    })
}
