//! Server-side apply: an object that says what one manager wants.

use serde_json::{Value, json};

use super::create::create;
use super::target::{Target, WriteOptions};
use super::update::save;
use crate::standalone::apply::{Operation, Ownership};
use crate::standalone::fields::Fields as _;
use crate::standalone::resource::{Catalog, Family};
use crate::standalone::status::ApiError;
use crate::standalone::strategy::{self, Door};
use crate::standalone::writer::{Reply, Transaction};

/// PATCH with an applied configuration.
///
/// # Errors
/// Conflicts with other managers, and whatever a create or an update is refused for.
pub(super) fn apply(
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
    // Who owns an unknown field cannot be told, so `fieldValidation` makes no difference here.
    let gone = crate::standalone::schema::prune(&target.resource.schema, &mut config);
    if let Some(field) = gone.first() {
        let message = format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{field}: field not \
             declared in schema",
            config
                .at("metadata")
                .at("namespace")
                .as_str()
                .unwrap_or_default(),
            target.name,
            target.resource.api_version(),
            target.resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    if config
        .pointer("/metadata/managedFields")
        .is_some_and(|m| !m.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if !config.at("metadata").at("name").is_null() {
        target.names(&config)?;
    }
    config.at_mut("metadata").set("name", json!(target.name));
    let stored = tx.get(&target.key());
    let resource = &target.resource;
    let Some(stored) = stored else {
        if target.door == Door::Status {
            return Err(ApiError::not_found(target.subject()));
        }
        return apply_new(tx, catalog, target, config, options);
    };
    if let Some(version) = config.at("metadata").at("resourceVersion").as_str()
        && version != stored.version.to_string()
    {
        return Err(ApiError::modified(target.subject()));
    }
    let live = stored.value();
    let mut owners = Ownership::of(&live)
        .filter(|owners| !owners.is_empty())
        .unwrap_or_else(|| Ownership::before_first_apply(resource, &live));
    let merged = owners
        .apply(
            &resource.schema,
            &live,
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
    mut config: Value,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    if let Some(metadata) = config.at_mut("metadata").as_object_mut() {
        metadata.remove("resourceVersion");
    }
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
