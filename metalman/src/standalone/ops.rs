//! The writing verbs, as jobs of the writer: create, update, patch, delete.
//!
//! Each reads the current object, asks the pure rules, and puts the result. It knows no HTTP.
//! Invariant: a dry run does everything but the put.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::{Operation, Owner, Ownership};
use super::core::NAMESPACE_SLOT;
use super::event_view;
use super::hub::{Key, Stored};
use super::patch::{json_patch, merge_patch, strategic_patch};
use super::resource::{Catalog, Family, Resource};
use super::select::Selector;
use super::status::{ApiError, Subject};
use super::strategy::{self, Birth, Door, UnknownFields, rfc3339, subject};
use super::writer::{Reply, Transaction};

/// What a write is aimed at.
#[derive(Debug, Clone)]
pub struct Target {
    /// Resource.
    pub resource: Arc<Resource>,
    /// Namespace, empty when cluster-scoped.
    pub namespace: String,
    /// Name; empty for creates and collections.
    pub name: String,
    /// Door.
    pub door: Door,
}

/// Options of a write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// `dryRun=All`.
    pub dry_run: bool,
    /// `fieldValidation`.
    pub unknown: UnknownFields,
    /// Field manager.
    pub manager: String,
    /// `force` of an apply.
    pub force: bool,
}

/// A patch by its media type.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Strategic merge patch.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

/// `DeleteOptions`, as far as they matter here.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Only this uid.
    pub uid: Option<String>,
    /// Only this version.
    pub version: Option<String>,
    /// `dryRun=All`.
    pub dry_run: bool,
}

impl Target {
    fn key(&self) -> Key {
        Key {
            slot: self.resource.slot,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    fn subject(&self) -> Subject<'_> {
        subject(&self.resource, &self.name)
    }

    fn stored(&self, tx: &Transaction<'_>) -> Result<Arc<Stored>, ApiError> {
        tx.get(&self.key())
            .ok_or_else(|| ApiError::not_found(self.subject()))
    }

    fn owner(&self, options: &WriteOptions, operation: Operation) -> Owner {
        let status = self.door == Door::Status;
        Owner {
            operation,
            name: options.manager.clone(),
            api_version: self.resource.api_version(),
            subresource: if status {
                "status".to_owned()
            } else {
                String::new()
            },
        }
    }

    /// Brings a body of the Event view into the stored form.
    fn inward(&self, body: Value) -> Value {
        match self.resource.family {
            Family::EventView => event_view::to_core(body),
            Family::Core | Family::Custom => body,
        }
    }
}

fn birth(tx: &Transaction<'_>) -> Birth {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4();
    let letter = |byte: &u8| {
        LETTERS
            .get(usize::from(*byte) % LETTERS.len())
            .map(|l| char::from(*l))
    };
    Birth {
        now: tx.now,
        uid: uuid::Uuid::new_v4().to_string(),
        suffix: random
            .as_bytes()
            .iter()
            .take(5)
            .filter_map(letter)
            .collect(),
    }
}

/// POST.
///
/// # Errors
/// Refusals of the API.
pub fn create(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    mut body: Value,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    strategy::check_type(&target.resource, &mut body)?;
    let warnings = strategy::complete(&target.resource, &mut body, options.unknown, false)?;
    let mut object = target.inward(body);
    let resource = stored_resource(catalog, target)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    strategy::create(&resource, &mut object, &target.namespace, &birth(tx))?;
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let target = Target {
        resource,
        name,
        ..target.clone()
    };
    strategy::validate(&target.resource, &object, None)?;
    namespace_accepts(tx, &target)?;
    if tx.get(&target.key()).is_some() {
        return Err(ApiError::already_exists(target.subject()));
    }
    let owner = target.owner(options, Operation::Update);
    let mut owners = Ownership::default();
    let scope = strategy::scope(&target.resource, Door::Main);
    owners.update(
        &target.resource.schema,
        &json!({}),
        &object,
        owner,
        scope,
        tx.now,
    );
    owners.store(&mut object);
    let body = if options.dry_run {
        object
    } else {
        tx.put(target.key(), object)
    };
    Ok(Reply {
        code: 201,
        body,
        is_object: true,
        warnings,
    })
}

/// The stored resource behind a view.
fn stored_resource(catalog: &Catalog, target: &Target) -> Result<Arc<Resource>, ApiError> {
    catalog
        .of_slot(target.resource.slot)
        .cloned()
        .ok_or_else(ApiError::no_such_resource)
}

fn namespace_accepts(tx: &Transaction<'_>, target: &Target) -> Result<(), ApiError> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let name = &target.namespace;
    let key = Key {
        slot: NAMESPACE_SLOT,
        namespace: String::new(),
        name: name.clone(),
    };
    let about = Subject {
        group: "",
        resource: "namespaces",
        name,
    };
    let namespace = tx.get(&key).ok_or_else(|| ApiError::not_found(about))?;
    if namespace.value["metadata"]["deletionTimestamp"].is_string() {
        let why = format!(
            "unable to create new content in namespace {name} because it is being terminated"
        );
        return Err(ApiError::forbidden(target.subject(), &why));
    }
    Ok(())
}

/// PUT.
///
/// # Errors
/// Refusals of the API.
pub fn update(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    mut body: Value,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    strategy::check_type(&target.resource, &mut body)?;
    let given = body["metadata"]["name"].as_str().unwrap_or_default();
    if given != target.name {
        let message = format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            target.name
        );
        return Err(ApiError::bad_request(message));
    }
    let warnings = strategy::complete(&target.resource, &mut body, options.unknown, false)?;
    let stored = target.stored(tx)?;
    let new = target.inward(body);
    let unconditional = target.resource.family != Family::Custom && target.resource.kind != "Lease";
    if new["metadata"]["resourceVersion"]
        .as_str()
        .is_none_or(str::is_empty)
        && !unconditional
    {
        let error = super::status::FieldError::invalid(
            "metadata.resourceVersion",
            &json!(0),
            "must be specified for an update",
        );
        let resource = &target.resource;
        return Err(ApiError::invalid(
            &resource.group,
            &resource.kind,
            &target.name,
            &[error],
        ));
    }
    let resource = stored_resource(catalog, target)?;
    let target = Target {
        resource,
        ..target.clone()
    };
    save(tx, &target, &stored, new, None, options, warnings)
}

/// PATCH.
///
/// # Errors
/// Refusals of the API.
pub fn patch(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    patch: Patch,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    let patch = match patch {
        Patch::Apply(config) => return apply(tx, catalog, target, config, options),
        other => other,
    };
    let stored = target.stored(tx)?;
    let resource = stored_resource(catalog, target)?;
    let current = match target.resource.family {
        Family::EventView => event_view::from_core(&stored.value),
        Family::Core | Family::Custom => stored.value.clone(),
    };
    let mut new = match patch {
        Patch::Json(patch) => json_patch(current, patch)?,
        Patch::Merge(patch) | Patch::Apply(patch) => merge_patch(current, &patch),
        Patch::Strategic(patch) if target.resource.family != Family::Custom => {
            strategic_patch(current, &patch)?
        }
        Patch::Strategic(_) => {
            return Err(ApiError::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/apply-patch+yaml",
            ));
        }
    };
    strategy::check_type(&target.resource, &mut new)?;
    let warnings = strategy::complete(&target.resource, &mut new, options.unknown, true)?;
    let new = target.inward(new);
    let target = Target {
        resource,
        ..target.clone()
    };
    save(tx, &target, &stored, new, None, options, warnings)
}

fn apply(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    mut config: Value,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    if target.resource.family == Family::EventView {
        return Err(ApiError::unsupported_media_type(
            "application/merge-patch+json",
        ));
    }
    strategy::check_type(&target.resource, &mut config)?;
    let mut known = config.clone();
    let gone = super::schema::prune(&target.resource.schema, &mut known);
    if let (Some(field), UnknownFields::Strict) = (gone.first(), options.unknown) {
        let message = format!(
            "failed to create typed patch object ({}; {}, Kind={}): .{field}: field not declared \
             in schema",
            target.name,
            target.resource.api_version(),
            target.resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    let mut config = known;
    if config
        .pointer("/metadata/managedFields")
        .is_some_and(|m| !m.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    config["metadata"]["name"] = json!(target.name);
    let stored = tx.get(&target.key());
    let resource = &target.resource;
    let Some(stored) = stored else {
        if target.door == Door::Status {
            return Err(ApiError::not_found(target.subject()));
        }
        return apply_new(tx, catalog, target, config, options);
    };
    if let Some(version) = config["metadata"]["resourceVersion"].as_str()
        && version != stored.version.to_string()
    {
        return Err(ApiError::modified(target.subject()));
    }
    let mut owners = Ownership::of(&stored.value).unwrap_or_default();
    let merged = owners
        .apply(
            &resource.schema,
            &stored.value,
            &config,
            target.owner(options, Operation::Apply),
            strategy::scope(resource, target.door),
            options.force,
            tx.now,
        )
        .map_err(|conflicts| ApiError::apply_conflict(&conflicts))?;
    save(
        tx,
        target,
        &stored,
        merged,
        Some(owners),
        options,
        Vec::new(),
    )
}

/// An apply that creates.
fn apply_new(
    tx: &mut Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    config: Value,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    let scope = strategy::scope(&target.resource, target.door);
    let owner = target.owner(options, Operation::Apply);
    let mut owners = Ownership::default();
    let schema = &target.resource.schema;
    owners
        .apply(schema, &json!({}), &config, owner, scope, true, tx.now)
        .map_err(|conflicts| ApiError::apply_conflict(&conflicts))?;
    let quiet = WriteOptions {
        dry_run: true,
        ..options.clone()
    };
    let mut reply = create(tx, catalog, target, config, &quiet)?;
    owners.store(&mut reply.body);
    if !options.dry_run {
        reply.body = tx.put(target.key(), reply.body);
    }
    Ok(reply)
}

/// Puts `new` in the place of `stored`. `owners` are given when an apply has already settled them.
fn save(
    tx: &mut Transaction<'_>,
    target: &Target,
    stored: &Arc<Stored>,
    mut new: Value,
    owners: Option<Ownership>,
    options: &WriteOptions,
    warnings: Vec<String>,
) -> Result<Reply, ApiError> {
    let (resource, old) = (&target.resource, &stored.value);
    strategy::update(resource, old, &mut new, target.door)?;
    super::schema::apply_defaults(&resource.schema, &mut new);
    strategy::validate(resource, &new, Some(old))?;
    let owners = owners.unwrap_or_else(|| {
        let mut owners = Ownership::of(&new)
            .or_else(|| Ownership::of(old))
            .unwrap_or_default();
        let owner = target.owner(options, Operation::Update);
        let scope = strategy::scope(resource, target.door);
        owners.update(&resource.schema, old, &new, owner, scope, tx.now);
        owners
    });
    owners.store(&mut new);
    let mut reply = Reply {
        code: 200,
        body: Value::Null,
        is_object: true,
        warnings,
    };
    let finalized = new["metadata"]["deletionTimestamp"].is_string() && !has_finalizers(&new);
    reply.body = if options.dry_run || (new == *old && !finalized) {
        new
    } else if finalized {
        let last = Arc::new(Stored {
            key: stored.key.clone(),
            version: stored.version,
            written_at: stored.written_at,
            value: new,
        });
        remove(tx, &last)
    } else {
        tx.put(target.key(), new)
    };
    Ok(reply)
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

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
    let metadata = &stored.value["metadata"];
    for (wanted, field, title) in [
        (&options.uid, "uid", "UID"),
        (&options.version, "resourceVersion", "ResourceVersion"),
    ] {
        let found = metadata[field].as_str().unwrap_or_default();
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "Precondition failed: {title} in precondition: {wanted}, {title} in object meta: \
                 {found}"
            );
            return Err(ApiError::conflict(target.subject(), &why));
        }
    }
    let object = |body| Reply {
        code: 200,
        body,
        is_object: true,
        warnings: Vec::new(),
    };
    if options.dry_run {
        return Ok(object(stored.value.clone()));
    }
    if target.resource.slot == NAMESPACE_SLOT {
        return Ok(object(delete_namespace(tx, catalog, &stored)));
    }
    if let Some(waiting) = retire(tx, &stored) {
        return Ok(object(waiting));
    }
    let mut details = json!({"name": target.name, "kind": target.resource.plural,
                             "uid": metadata["uid"]});
    if !target.resource.group.is_empty() {
        details["group"] = json!(target.resource.group);
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
fn retire(tx: &mut Transaction<'_>, stored: &Arc<Stored>) -> Option<Value> {
    if !has_finalizers(&stored.value) {
        remove(tx, stored);
        return None;
    }
    if stored.value["metadata"]["deletionTimestamp"].is_string() {
        return Some(stored.value.clone());
    }
    let mut marked = stored.value.clone();
    mark_deleted(&mut marked, tx);
    Some(tx.put(stored.key.clone(), marked))
}

fn mark_deleted(object: &mut Value, tx: &Transaction<'_>) {
    let metadata = &mut object["metadata"];
    metadata["deletionTimestamp"] = json!(rfc3339(tx.now));
    metadata["deletionGracePeriodSeconds"] = json!(0);
    if let Some(generation) = metadata["generation"].as_i64() {
        metadata["generation"] = json!(generation + 1);
    }
}

/// Removes an object and, when it was the last in a namespace that is going away, the namespace.
fn remove(tx: &mut Transaction<'_>, stored: &Arc<Stored>) -> Value {
    let last = tx.remove(stored);
    let name = stored.key.namespace.clone();
    let key = Key {
        slot: NAMESPACE_SLOT,
        namespace: String::new(),
        name: name.clone(),
    };
    if let Some(namespace) = tx.get(&key)
        && namespace.value["metadata"]["deletionTimestamp"].is_string()
        && tx.is_namespace_empty(&name)
    {
        tx.remove(&namespace);
    }
    last
}

fn delete_namespace(tx: &mut Transaction<'_>, catalog: &Catalog, stored: &Arc<Stored>) -> Value {
    let name = stored.key.name.clone();
    let mut marked = stored.value.clone();
    if !marked["metadata"]["deletionTimestamp"].is_string() {
        mark_deleted(&mut marked, tx);
        marked["status"]["phase"] = json!("Terminating");
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
    if contents.is_empty() {
        if let Some(namespace) = tx.get(&stored.key) {
            tx.remove(&namespace);
        }
    }
    for object in &contents {
        // What finalizers hold keeps the namespace until they are gone.
        retire(tx, object);
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
    dry_run: bool,
) -> Result<Reply, ApiError> {
    let mut items = Vec::new();
    for stored in tx.list(target.resource.slot, namespace) {
        let shown = match target.resource.family {
            Family::EventView => event_view::from_core(&stored.value),
            Family::Core | Family::Custom => stored.value.clone(),
        };
        if !selector.matches(&shown) {
            continue;
        }
        items.push(shown);
        if dry_run {
            continue;
        }
        if target.resource.slot == NAMESPACE_SLOT {
            delete_namespace(tx, catalog, &stored);
        } else {
            retire(tx, &stored);
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
