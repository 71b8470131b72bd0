//! DELETE: of one object, of a namespace with what is in it, of a collection.

use std::sync::Arc;

use serde_json::{Value, json};

use super::propagation::Propagation;
use super::target::{DeleteOptions, Target, has_finalizers};
use crate::standalone::core::NAMESPACE_SLOT;
use crate::standalone::event_view;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::{Key, Stored};
use crate::standalone::resource::{Catalog, Family};
use crate::standalone::select::Selector;
use crate::standalone::status::{ApiError, Subject};
use crate::standalone::strategy::rfc3339;
use crate::standalone::writer::{Reply, Transaction};

/// Namespaces that nobody deletes.
const LASTING_NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];

/// DELETE of one object.
///
/// # Errors
/// 404, or 409 when a precondition fails.
pub fn delete(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Reply, ApiError> {
    let stored = target.stored(tx)?;
    let value = stored.value();
    let metadata = value.at("metadata");
    for (wanted, field, title, fate) in [
        (&options.uid, "uid", "UID", "deleted and then recreated"),
        (
            &options.version,
            "resourceVersion",
            "ResourceVersion",
            "modified",
        ),
    ] {
        let found = metadata.at(field).as_str().unwrap_or_default();
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "the {title} in the precondition ({wanted}) does not match the {title} in record \
                 ({found}). The object might have been {fate}"
            );
            let about = Subject {
                resource: &target.resource.kind,
                ..target.subject()
            };
            return Err(ApiError::conflict(about, &why));
        }
    }
    let object = |body| Reply {
        code: 200,
        body,
        is_object: true,
        warnings: Vec::new(),
    };
    if target.resource.slot == NAMESPACE_SLOT && LASTING_NAMESPACES.contains(&target.name.as_str())
    {
        let why = "this namespace may not be deleted";
        return Err(ApiError::forbidden(target.subject(), why));
    }
    let waits = target.resource.slot == NAMESPACE_SLOT || has_finalizers(&value);
    if options.dry_run && waits {
        return Ok(object(value));
    }
    if target.resource.slot == NAMESPACE_SLOT {
        return Ok(object(delete_namespace(tx, catalog, &stored)));
    }
    if !options.dry_run
        && let Some(waiting) = retire(tx, &stored, options.propagation)
    {
        return Ok(object(waiting));
    }
    let mut details = json!({"name": target.name, "kind": target.resource.plural,
                             "uid": metadata.at("uid")});
    if !target.resource.group.is_empty() {
        details.set("group", json!(target.resource.group));
    }
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                      "details": details});
    Ok(Reply {
        code: 200,
        body,
        is_object: false,
        warnings: Vec::new(),
    })
}

/// Removes an object, or marks it when finalizers hold it and returns it then.
pub(super) fn retire(
    tx: &mut Transaction<'_>,
    stored: &Arc<Stored>,
    propagation: Option<Propagation>,
) -> Option<Value> {
    let mut value = stored.value();
    let marked = propagation.is_some_and(|policy| policy.mark(&mut value));
    if !has_finalizers(&value) {
        remove(tx, stored, value);
        return None;
    }
    if value.at("metadata").at("deletionTimestamp").is_string() {
        if marked {
            value = tx.put(stored.key.clone(), value);
        }
        return Some(value);
    }
    mark_deleted(&mut value, tx);
    Some(tx.put(stored.key.clone(), value))
}

fn mark_deleted(object: &mut Value, tx: &Transaction<'_>) {
    let metadata = object.at_mut("metadata");
    metadata.set("deletionTimestamp", json!(rfc3339(tx.now)));
    metadata.set("deletionGracePeriodSeconds", json!(0));
    if let Some(generation) = metadata.at("generation").as_i64() {
        metadata.set("generation", json!(generation + 1));
    }
}

/// Removes an object, whose last state is `last`, and, when it was the last in a namespace that is
/// going away, the namespace.
pub(super) fn remove(tx: &mut Transaction<'_>, stored: &Arc<Stored>, last: Value) -> Value {
    let last = tx.remove(stored, last);
    let name = stored.key.namespace.clone();
    let key = Key {
        slot: NAMESPACE_SLOT,
        namespace: String::new(),
        name: name.clone(),
    };
    if let Some(namespace) = tx.get(&key)
        && namespace
            .value()
            .at("metadata")
            .at("deletionTimestamp")
            .is_string()
        && tx.is_namespace_empty(&name)
    {
        tx.remove(&namespace, namespace.value());
    }
    last
}

fn delete_namespace(tx: &mut Transaction<'_>, catalog: &Catalog, stored: &Arc<Stored>) -> Value {
    let name = stored.key.name.clone();
    let mut marked = stored.value();
    if !marked.at("metadata").at("deletionTimestamp").is_string() {
        mark_deleted(&mut marked, tx);
        marked.at_mut("status").set("phase", json!("Terminating"));
        marked = tx.put(stored.key.clone(), marked);
    }
    let mut contents = Vec::new();
    for resource in catalog
        .all()
        .iter()
        .filter(|r| r.namespaced && r.family != Family::EventView)
    {
        contents.extend(tx.list(resource.slot, Some(&name)));
    }
    if let Some(namespace) = tx.get(&stored.key).filter(|_| contents.is_empty()) {
        tx.remove(&namespace, namespace.value());
    }
    for object in &contents {
        // What finalizers hold keeps the namespace until they are gone.
        retire(tx, object, None);
    }
    marked
}

/// DELETE of a collection.
///
/// # Errors
/// Does not fail on single objects; they are either removed or marked.
pub fn delete_collection(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    namespace: Option<&str>,
    selector: &Selector,
    options: &DeleteOptions,
) -> Result<Reply, ApiError> {
    let mut items = Vec::new();
    for stored in tx.list(target.resource.slot, namespace) {
        let shown = match target.resource.family {
            Family::EventView => event_view::from_core(&stored.value()),
            Family::Core | Family::Custom => stored.value(),
        };
        if !selector.matches(&shown) {
            continue;
        }
        items.push(shown);
        if options.dry_run {
            continue;
        }
        if target.resource.slot == NAMESPACE_SLOT {
            delete_namespace(tx, catalog, &stored);
        } else {
            retire(tx, &stored, options.propagation);
        }
    }
    let body = json!({
        "kind": format!("{}List", target.resource.kind),
        "apiVersion": target.resource.api_version(),
        "metadata": {"resourceVersion": tx.version().to_string()}, "items": items,
    });
    Ok(Reply {
        code: 200,
        body,
        is_object: false,
        warnings: Vec::new(),
    })
}
