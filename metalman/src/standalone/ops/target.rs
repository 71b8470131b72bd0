//! What a write is aimed at and how it is to be done.

use std::sync::Arc;

use serde_json::Value;

use super::propagation::Propagation;
use crate::standalone::apply::{Operation, Owner};
use crate::standalone::event_view;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::{Key, Stored};
use crate::standalone::resource::{Catalog, Family, Resource};
use crate::standalone::status::{ApiError, Subject};
use crate::standalone::strategy::{Birth, Door, OTHER_NAMESPACE, UnknownFields, subject};
use crate::standalone::writer::Transaction;

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
    /// `propagationPolicy`.
    pub propagation: Option<Propagation>,
    /// `dryRun=All`.
    pub dry_run: bool,
}

impl Target {
    pub(super) fn key(&self) -> Key {
        Key {
            slot: self.resource.slot,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        subject(&self.resource, &self.name)
    }

    pub(super) fn stored(&self, tx: &Transaction<'_>) -> Result<Arc<Stored>, ApiError> {
        tx.get(&self.key())
            .ok_or_else(|| ApiError::not_found(self.subject()))
    }

    pub(super) fn owner(&self, options: &WriteOptions, operation: Operation) -> Owner {
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

    /// Checks that a body is about this object.
    ///
    /// # Errors
    /// 400 for another name or namespace.
    pub(super) fn names(&self, body: &Value) -> Result<(), ApiError> {
        let given = |field: &str| body.at("metadata").at(field).as_str().unwrap_or_default();
        if given("name") != self.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                given("name"),
                self.name
            )));
        }
        let namespace = given("namespace");
        if self.resource.namespaced && !namespace.is_empty() && namespace != self.namespace {
            return Err(ApiError::bad_request(OTHER_NAMESPACE));
        }
        Ok(())
    }

    /// Brings a body of the Event view into the stored form.
    pub(super) fn inward(&self, body: Value) -> Value {
        match self.resource.family {
            Family::EventView => event_view::to_core(body),
            Family::Core | Family::Custom => body,
        }
    }
}

pub(super) fn birth(tx: &Transaction<'_>) -> Birth {
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

/// The stored resource behind a view.
pub(super) fn stored_resource(
    catalog: &Catalog,
    target: &Target,
) -> Result<Arc<Resource>, ApiError> {
    catalog
        .of_slot(target.resource.slot)
        .cloned()
        .ok_or_else(ApiError::no_such_resource)
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    object
        .at("metadata")
        .at("finalizers")
        .as_array()
        .is_some_and(|list| !list.is_empty())
}
