//! What happens to an object on its way in: the server's own fields, status isolation, core
//! defaults, validation. Pure.
//!
//! It does not look at other objects and does not store. Invariant: name, uid, creation time and
//! generation are the server's; a client can only fail to change them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::apply::Scope;
use super::core;
use super::fields::Fields as _;
use super::meta;
use super::resource::{Family, Resource};
use super::schema;
use super::status::{ApiError, FieldError, Subject};

/// Refusal of a body whose namespace is not that of the path.
pub(super) const OTHER_NAMESPACE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// What to do about fields the schema does not know (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    Warn,
    /// Refuse.
    Strict,
}

/// Which door a write comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The object itself.
    Main,
    /// Its status subresource.
    Status,
}

/// Facts the server adds to a new object.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Now.
    pub now: Timestamp,
    /// New UUID.
    pub uid: String,
    /// Five random characters for `generateName`.
    pub suffix: String,
}

/// RFC 3339 in seconds, as object metadata has it.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The subject of messages about `name`.
pub fn subject<'a>(resource: &'a Resource, name: &'a str) -> Subject<'a> {
    Subject {
        group: &resource.group,
        resource: &resource.plural,
        name,
    }
}

/// Which fields a write through `door` can own.
pub fn scope(resource: &Resource, door: Door) -> Scope {
    match (resource.status, door) {
        (true, Door::Main) => Scope::WithoutStatus,
        (true, Door::Status) => Scope::OnlyStatus,
        (false, Door::Main | Door::Status) => Scope::Whole,
    }
}

/// Gives a body of a core kind that says neither its kind nor its version those of the path, as the
/// real server does; definitions have no such default.
pub fn default_type(resource: &Resource, body: &mut Value) {
    let Some(map) = body.as_object_mut() else {
        return;
    };
    if resource.family == Family::Custom {
        return;
    }
    for (field, value) in [
        ("kind", resource.kind.clone()),
        ("apiVersion", resource.api_version()),
    ] {
        if text(map, field).is_empty() {
            map.insert(field.to_owned(), Value::from(value));
        }
    }
}

/// Checks that a body is an object of this resource.
///
/// # Errors
/// 400 with the reason.
pub fn check_type(resource: &Resource, body: &mut Value) -> Result<(), ApiError> {
    let Some(map) = body.as_object_mut() else {
        return Err(ApiError::bad_request(
            "the body of the request must be an object",
        ));
    };
    for (field, title) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if text(map, field).is_empty() {
            let shown = Value::Object(map.clone()).to_string();
            let message = format!("Object '{title}' is missing in '{shown}'");
            return Err(ApiError::bad_request(message));
        }
    }
    let expected = resource.api_version();
    let (kind, version) = (text(map, "kind"), text(map, "apiVersion"));
    if version != expected {
        let message = format!(
            "the API version in the data ({version}) does not match the expected API version \
             ({expected})"
        );
        return Err(ApiError::bad_request(message));
    }
    if kind != resource.kind && resource.family == Family::Custom {
        let name = map.get("metadata").map_or(&Value::Null, |m| m.at("name"));
        let detail = format!("must be {}", resource.kind);
        return Err(ApiError::invalid(
            &resource.group,
            &kind,
            name.as_str().unwrap_or_default(),
            &[FieldError::invalid("kind", &json!(kind), &detail)],
        ));
    }
    if kind != resource.kind {
        let message = format!(
            "{} in version \"{}\" cannot be handled as a {}: the kind in the data is {kind}",
            resource.kind, resource.version, resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    if !map
        .entry("metadata")
        .or_insert_with(|| json!({}))
        .is_object()
    {
        return Err(ApiError::bad_request("metadata must be an object"));
    }
    Ok(())
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    map.get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Removes unknown fields, fills defaults. Returns warnings.
///
/// # Errors
/// 400 in strict mode, 422 for a patch.
pub fn complete(
    resource: &Resource,
    object: &mut Value,
    unknown: UnknownFields,
    patch: bool,
) -> Result<Vec<String>, ApiError> {
    let patched = (patch && unknown == UnknownFields::Strict).then(|| object.to_string());
    let gone = schema::prune(&resource.schema, object);
    schema::apply_defaults(&resource.schema, object);
    let texts: Vec<String> = gone
        .iter()
        .map(|f| format!("unknown field \"{f}\""))
        .collect();
    match unknown {
        UnknownFields::Ignore => Ok(Vec::new()),
        UnknownFields::Warn => Ok(texts),
        UnknownFields::Strict if texts.is_empty() => Ok(texts),
        UnknownFields::Strict => {
            let strict = format!("strict decoding error: {}", texts.join(", "));
            if let Some(patched) = patched {
                let error = FieldError::invalid("patch", &json!(patched), &strict);
                return Err(ApiError::invalid("", "", "", &[error]));
            }
            Err(ApiError::bad_request(format!(
                "{kind} in version \"{}\" cannot be handled as a {kind}: {strict}",
                resource.version,
                kind = resource.kind
            )))
        }
    }
}

/// Makes `object` a new object: server fields set, status dropped.
///
/// # Errors
/// 400 when it names another namespace or carries a version.
pub fn create(
    resource: &Resource,
    object: &mut Value,
    namespace: &str,
    birth: &Birth,
) -> Result<(), ApiError> {
    if resource.family == Family::Custom && resource.status {
        remove(object, "status");
    }
    core_defaults(resource, object);
    if resource.kind == "Namespace" {
        object.set("spec", json!({"finalizers": ["kubernetes"]}));
        object.set("status", json!({"phase": "Active"}));
    }
    meta::tidy(object.at_mut("metadata"));
    let Some(metadata) = object.at_mut("metadata").as_object_mut() else {
        return Ok(());
    };
    if metadata
        .get("resourceVersion")
        .is_some_and(|v| v.as_str() != Some(""))
    {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    set_namespace(resource, metadata, namespace)?;
    for field in [
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.remove("resourceVersion");
    if text(metadata, "name").is_empty() {
        let prefix = text(metadata, "generateName");
        if !prefix.is_empty() {
            // Long prefixes are cut so that the suffix fits a label.
            let cut: String = prefix.chars().take(58).collect();
            metadata.insert("name".to_owned(), json!(format!("{cut}{}", birth.suffix)));
        }
    }
    metadata.insert("uid".to_owned(), json!(birth.uid));
    metadata.insert("creationTimestamp".to_owned(), json!(rfc3339(birth.now)));
    if resource.family == Family::Custom {
        metadata.insert("generation".to_owned(), json!(1));
    }
    Ok(())
}

fn set_namespace(
    resource: &Resource,
    metadata: &mut Map<String, Value>,
    namespace: &str,
) -> Result<(), ApiError> {
    if !resource.namespaced {
        metadata.remove("namespace");
        return Ok(());
    }
    let given = text(metadata, "namespace");
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(OTHER_NAMESPACE));
    }
    metadata.insert("namespace".to_owned(), json!(namespace));
    Ok(())
}

/// Makes `new` the next state of `old`: server fields kept, the closed part taken from `old`,
/// generation raised when the wanted state changed.
///
/// # Errors
/// 409 for another version or uid, 422 for late finalizers.
pub fn update(
    resource: &Resource,
    old: &Value,
    new: &mut Value,
    door: Door,
) -> Result<(), ApiError> {
    let name = old
        .at("metadata")
        .at("name")
        .as_str()
        .unwrap_or_default()
        .to_owned();
    preconditions(resource, old, new.at("metadata"), &name)?;
    if door == Door::Status && resource.family == Family::Custom {
        let mut result = old.clone();
        copy(new, &mut result, "status");
        if let Some(managed) = new.pointer("/metadata/managedFields") {
            result
                .at_mut("metadata")
                .set("managedFields", managed.clone());
        }
        *new = result;
        return Ok(());
    }
    match (resource.status, door) {
        (true, Door::Main) => copy(old, new, "status"),
        (true, Door::Status) => copy(old, new, "spec"),
        (false, Door::Main | Door::Status) => {}
    }
    core_defaults(resource, new);
    let fixed = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ];
    let (old_meta, mut new_meta) = (old.at("metadata"), new.at_mut("metadata").take());
    for field in fixed {
        copy(old_meta, &mut new_meta, field);
    }
    meta::tidy(&mut new_meta);
    new.set("metadata", new_meta);
    if old_meta.at("deletionTimestamp").is_string()
        && let Some(error) = meta::added_finalizers(old_meta, new.at("metadata"))
    {
        return Err(ApiError::invalid(
            &resource.group,
            &resource.kind,
            &name,
            &[error],
        ));
    }
    if resource.family == Family::Custom && wanted(resource, old) != wanted(resource, new) {
        let generation = old_meta.at("generation").as_i64().unwrap_or_default() + 1;
        new.at_mut("metadata").set("generation", json!(generation));
    }
    Ok(())
}

fn preconditions(
    resource: &Resource,
    old: &Value,
    new_meta: &Value,
    name: &str,
) -> Result<(), ApiError> {
    let given = |field: &str| new_meta.at(field).as_str().filter(|t| !t.is_empty());
    let stored = |field: &str| old.at("metadata").at(field).as_str();
    if let Some(version) = given("resourceVersion")
        && Some(version) != stored("resourceVersion")
    {
        return Err(ApiError::modified(subject(resource, name)));
    }
    if let Some(uid) = given("uid")
        && Some(uid) != stored("uid")
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            stored("uid").unwrap_or_default()
        );
        return Err(ApiError::conflict(subject(resource, name), &why));
    }
    Ok(())
}

/// The part of an object whose change makes a new generation.
fn wanted(resource: &Resource, object: &Value) -> Map<String, Value> {
    let mut map = object.as_object().cloned().unwrap_or_default();
    map.remove("metadata");
    if resource.status {
        map.remove("status");
    }
    map
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to.set(field, value.clone()),
        None => remove(to, field),
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

/// What the built-in kinds do on every write.
fn core_defaults(resource: &Resource, object: &mut Value) {
    if resource.family == Family::Custom || resource.kind != "Secret" {
        return;
    }
    if let Some(Value::Object(plain)) = object.as_object_mut().and_then(|m| m.remove("stringData"))
    {
        for (key, value) in plain {
            let bytes = value.as_str().unwrap_or_default().as_bytes().to_vec();
            object
                .at_mut("data")
                .set(&key, json!(k8s_openapi::ByteString(bytes)));
        }
    }
    if object.at("type").as_str().is_none_or(str::is_empty) {
        object.set("type", json!("Opaque"));
    }
}

/// Judges a finished object.
///
/// # Errors
/// 422 with every fault, or 400 for a core object with wrong types.
pub fn validate(resource: &Resource, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let name = object
        .at("metadata")
        .at("name")
        .as_str()
        .unwrap_or_default();
    let is_namespace = resource.kind == "Namespace";
    let custom = resource.family == Family::Custom;
    let mut errors = Vec::new();
    if custom {
        errors = meta::validate(object.at("metadata"), is_namespace);
    }
    schema::validate(&resource.schema, object, old, &mut errors);
    if resource.family != Family::Custom && !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {kind}: {}",
            resource.version,
            texts.join(", "),
            kind = resource.kind
        )));
    }
    if !custom {
        errors = meta::validate(object.at("metadata"), is_namespace);
        errors.extend(core::faults(resource, object));
    }
    errors.extend(
        old.into_iter()
            .flat_map(|old| immutable(resource, old, object)),
    );
    if errors.is_empty() {
        return Ok(());
    }
    let type_of_metadata = errors
        .iter()
        .find(|e| e.reason == "FieldValueTypeInvalid" && e.field.starts_with("metadata."));
    if let Some(error) = type_of_metadata.filter(|_| custom) {
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {kind}: {error}",
            resource.version,
            kind = resource.kind
        )));
    }
    Err(ApiError::invalid(
        &resource.group,
        &resource.kind,
        name,
        &errors,
    ))
}

fn immutable(resource: &Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let core = resource.family == Family::Core;
    let mut errors = Vec::new();
    if core && resource.kind == "Secret" && old.at("type") != new.at("type") {
        errors.push(FieldError::invalid(
            "type",
            new.at("type"),
            "field is immutable",
        ));
    }
    if core
        && matches!(resource.kind.as_str(), "Secret" | "ConfigMap")
        && old.at("immutable") == true
    {
        for field in ["data", "binaryData", "immutable"] {
            if old.at(field) != new.at(field) {
                let detail = "field is immutable when `immutable` is set";
                errors.push(FieldError::forbidden(field, detail));
            }
        }
    }
    errors
}
