//! GET: one object or a list.
//!
//! Whole objects are sent as the texts that are kept; a long list is unpacked while it is sent.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use futures::stream;
use http::HeaderMap;
use serde_json::{Value, json};

use super::negotiate::{Shape, shown};
use super::request::{Continue, ListOptions, Location, Query};
use super::router::Server;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::{Key, Snapshot, Stored};
use crate::standalone::resource::Resource;
use crate::standalone::status::ApiError;
use crate::standalone::strategy::subject;

/// Objects unpacked at one time.
const CHUNK: usize = 64;

/// One object.
pub(super) fn get(
    server: &Server,
    location: &Location,
    name: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Body, ApiError> {
    let resource = &location.resource;
    let shape = Shape::of(headers, query.get("includeObject"))?;
    let key = Key {
        slot: resource.slot,
        namespace: location.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    };
    let stored = server
        .hub
        .get(&key)
        .ok_or_else(|| ApiError::not_found(subject(resource, name)))?;
    if shape.is_stored(resource) {
        return Ok(Body::from(stored.body.text()));
    }
    let value = shape.one(resource, &stored.value(), true, server.now());
    Ok(Body::from(value.to_string()))
}

/// A list, or a page of one.
pub(super) fn list(
    server: &Server,
    location: &Location,
    options: &ListOptions,
    shape: Shape,
) -> Result<Body, ApiError> {
    let resource = &location.resource;
    let (compacted, current) = server.hub.window();
    if let Some(version) = options.version.filter(|version| *version > current) {
        return Err(ApiError::version_too_large(version, current));
    }
    if options.exact && options.version.is_some_and(|version| version != current) {
        return Err(ApiError::expired(
            "the exact resource version asked for is no longer kept",
        ));
    }
    if options
        .after
        .as_ref()
        .is_some_and(|after| after.version < compacted)
    {
        return Err(ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You \
             must start a new list without the continue parameter.",
        ));
    }
    let namespace = location.namespace.as_deref();
    let after = options.after.as_ref().map(|after| &after.place);
    let Snapshot { version, objects } = server.hub.list(resource.slot, namespace, after);
    // Later pages carry the version of the first: a watch from there misses nothing.
    let version = options
        .after
        .as_ref()
        .map_or(version, |after| after.version);
    let mut found: Vec<_> = objects
        .into_iter()
        .filter(|object| {
            options
                .selector
                .exact_name()
                .is_none_or(|name| object.key.name == name)
                && (options.selector.is_empty()
                    || options.selector.matches(&shown(resource, &object.value())))
        })
        .collect();
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let Some(limit) = options.limit.filter(|limit| *limit < found.len()) {
        let rest = found.len() - limit;
        found.truncate(limit);
        if let Some(last) = found.last() {
            let place = (last.key.namespace.clone(), last.key.name.clone());
            meta.set("continue", json!(Continue { version, place }.token()));
        }
        if options.selector.is_empty() {
            meta.set("remainingItemCount", json!(rest));
        }
    }
    if shape.is_stored(resource) {
        return Ok(stored_list(resource, found, &meta));
    }
    let list = shape.list(resource, &found, &meta, server.now());
    Ok(Body::from(list.to_string()))
}

/// A list of whole objects, in their order.
fn stored_list(resource: &Resource, objects: Vec<Arc<Stored>>, meta: &Value) -> Body {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{meta},\"items\":[",
        json!(format!("{}List", resource.kind)),
        json!(resource.api_version()),
    );
    let mut objects = objects.into_iter();
    let mut next = move |mut text: String, is_first: bool| {
        for (index, object) in objects.by_ref().take(CHUNK).enumerate() {
            if index > 0 || !is_first {
                text.push(',');
            }
            text.push_str(&object.body.text());
        }
        let is_last = objects.len() == 0;
        if is_last {
            text.push_str("]}");
        }
        (text, is_last)
    };
    let (first, is_all) = next(head, true);
    if is_all {
        return Body::from(first);
    }
    let rest = stream::unfold((next, false), |(mut next, ended)| async move {
        if ended {
            return None;
        }
        let (text, is_last) = next(String::new(), false);
        Some((Ok(text), (next, is_last)))
    });
    let first = stream::once(async { Ok::<_, Infallible>(first) });
    Body::from_stream(futures::StreamExt::chain(first, rest))
}
