//! Applies what was exported, and its status if that is wanted.

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::clean::{Options, portable};
use super::kinds::{KINDS, Kind};

/// Field manager of an import.
const MANAGER: &str = "metalman-import";
/// Kinds with a status that is worth bringing along.
const WITH_STATUS: [&str; 3] = ["Machine", "MachineOperation", "Node"];

/// What became of one object.
#[derive(Debug)]
pub struct Outcome {
    /// `machine/node-1`
    pub object: String,
    /// Applied, or why not.
    pub result: Result<()>,
}

/// Applies all objects of `text`, in the order in which they depend on each other.
///
/// # Errors
/// The text is no YAML, or holds something that is not moved; nothing was applied then.
pub async fn import(client: &Client, text: &str, options: Options) -> Result<Vec<Outcome>> {
    let mut objects = read(text, options)?;
    let rank = |kind: &Kind| KINDS.iter().position(|k| k == kind);
    objects.sort_by_key(|(kind, _)| rank(kind));
    let mut outcomes = Vec::with_capacity(objects.len());
    for (kind, object) in objects {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        outcomes.push(Outcome {
            object: format!("{}/{}", kind.kind.to_lowercase(), name.unwrap_or_default()),
            result: apply(client, kind, object).await,
        });
    }
    Ok(outcomes)
}

/// The objects of a text, made harmless in the same way as by an export.
fn read(text: &str, options: Options) -> Result<Vec<(Kind, Value)>> {
    let documents: Vec<Value> = yaml::from_multiple(text).context("read the objects as YAML")?;
    let mut found = Vec::new();
    for document in documents.into_iter().flat_map(items) {
        if document.is_null() {
            continue;
        }
        let word = |key: &str| {
            document
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (version, kind) = (word("apiVersion"), word("kind"));
        let known = Kind::of(version, kind);
        ensure!(
            known.is_some(),
            "{version} {kind} is not moved; remove it, or apply it with kubectl"
        );
        let name = document.pointer("/metadata/name");
        ensure!(
            name.and_then(Value::as_str).is_some(),
            "a {kind} has no metadata.name; write one"
        );
        let moved = known.and_then(|kind| Some((kind, portable(kind, &document, options)?)));
        found.extend(moved);
    }
    Ok(found)
}

/// The items of a list, or the object itself.
fn items(document: Value) -> Vec<Value> {
    match document.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ => vec![document],
    }
}

async fn apply(client: &Client, kind: Kind, mut object: Value) -> Result<()> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str);
    let api: Api<DynamicObject> = if kind.namespaced {
        let namespace = namespace.unwrap_or("default");
        Api::namespaced_with(client.clone(), namespace, &kind.resource())
    } else {
        Api::all_with(client.clone(), &kind.resource())
    };
    let status = object.as_object_mut().and_then(|map| map.remove("status"));
    let how = PatchParams::apply(MANAGER).force();
    api.patch(&name, &how, &Patch::Apply(&object))
        .await
        .context("apply")?;
    let Some(status) = status.filter(|_| WITH_STATUS.contains(&kind.kind)) else {
        return Ok(());
    };
    let status = serde_json::json!({"apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": {"name": name}, "status": status});
    api.patch_status(&name, &how, &Patch::Apply(&status))
        .await
        .context("apply its status")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_documents_are_read_and_made_harmless() {
        let text = "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: a, uid: u}\n---\n---\napiVersion: unbounded-cloud.io/v1alpha3\nkind: MachineOperation\nmetadata: {name: op}\nspec: {operationKind: HostReplace}\n";
        let found = read(text, Options::default()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].1.pointer("/metadata/uid"), None);
        assert_eq!(
            found[1].1.pointer("/spec/suspend"),
            Some(&Value::Bool(true))
        );
    }

    #[test]
    fn what_is_not_moved_is_named() {
        for (text, word) in [
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {name: a}",
                "v1 Pod is not moved",
            ),
            (
                "apiVersion: v1\nkind: Node\nmetadata: {}",
                "has no metadata.name",
            ),
            ("a: [", "as YAML"),
        ] {
            let error = read(text, Options::default()).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }
}
