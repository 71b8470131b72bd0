//! POST: a new object.

use serde_json::{Value, json};

use super::target::{Target, WriteOptions, birth, stored_resource};
use crate::standalone::apply::{Operation, Ownership};
use crate::standalone::core::NAMESPACE_SLOT;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::Key;
use crate::standalone::resource::Catalog;
use crate::standalone::status::{ApiError, Subject};
use crate::standalone::strategy::{self, Door};
use crate::standalone::writer::{Reply, Transaction};

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
    strategy::default_type(&target.resource, &mut body);
    strategy::check_type(&target.resource, &mut body)?;
    let warnings = strategy::complete(&target.resource, &mut body, options.unknown, false)?;
    let mut object = target.inward(body);
    let resource = stored_resource(catalog, target)?;
    if let Some(metadata) = object.at_mut("metadata").as_object_mut() {
        metadata.remove("managedFields");
    }
    strategy::create(&resource, &mut object, &target.namespace, &birth(tx))?;
    let name = object
        .at("metadata")
        .at("name")
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
    if namespace
        .value()
        .at("metadata")
        .at("deletionTimestamp")
        .is_string()
    {
        return Err(ApiError::namespace_terminating(target.subject(), name));
    }
    Ok(())
}
