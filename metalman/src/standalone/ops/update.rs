//! PUT and PATCH: the next state of an object that exists.

use std::sync::Arc;

use serde_json::{Value, json};

use super::delete::remove;
use super::server_side_apply::apply;
use super::target::{Patch, Target, WriteOptions, has_finalizers, stored_resource};
use crate::standalone::apply::{Operation, Ownership};
use crate::standalone::event_view;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::Stored;
use crate::standalone::patch::{json_patch, merge_patch, strategic_patch};
use crate::standalone::resource::{Catalog, Family};
use crate::standalone::status::{ApiError, FieldError};
use crate::standalone::strategy;
use crate::standalone::writer::{Reply, Transaction};

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
    strategy::default_type(&target.resource, &mut body);
    strategy::check_type(&target.resource, &mut body)?;
    target.names(&body)?;
    let warnings = strategy::complete(&target.resource, &mut body, options.unknown, false)?;
    let stored = target.stored(tx)?;
    let new = target.inward(body);
    let unconditional = target.resource.family != Family::Custom && target.resource.kind != "Lease";
    if new
        .at("metadata")
        .at("resourceVersion")
        .as_str()
        .is_none_or(str::is_empty)
        && !unconditional
    {
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            &json!(0),
            "must be specified for an update",
        );
        let resource = &target.resource;
        return Err(ApiError::invalid(
            &resource.group,
            &resource.plural,
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
        other @ (Patch::Json(_) | Patch::Merge(_) | Patch::Strategic(_)) => other,
    };
    let stored = target.stored(tx)?;
    let resource = stored_resource(catalog, target)?;
    let current = match target.resource.family {
        Family::EventView => event_view::from_core(&stored.value()),
        Family::Core | Family::Custom => stored.value(),
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
    target.names(&new)?;
    let warnings = strategy::complete(&target.resource, &mut new, options.unknown, true)?;
    let new = target.inward(new);
    let target = Target {
        resource,
        ..target.clone()
    };
    save(tx, &target, &stored, new, None, options, warnings)
}

/// Puts `new` in the place of `stored`. `owners` are given when an apply has already settled them.
pub(super) fn save(
    tx: &mut Transaction<'_>,
    target: &Target,
    stored: &Arc<Stored>,
    mut new: Value,
    owners: Option<Ownership>,
    options: &WriteOptions,
    warnings: Vec<String>,
) -> Result<Reply, ApiError> {
    let (resource, old) = (&target.resource, &stored.value());
    // Before the generation is judged: a default that comes back is no change.
    crate::standalone::schema::apply_defaults(&resource.schema, &mut new);
    strategy::update(resource, old, &mut new, target.door)?;
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
    let finalized = new.at("metadata").at("deletionTimestamp").is_string() && !has_finalizers(&new);
    reply.body = if options.dry_run || (new == *old && !finalized) {
        new
    } else if finalized {
        remove(tx, stored, new.clone());
        new
    } else {
        tx.put(target.key(), new)
    };
    Ok(reply)
}
