//! The writes of the collector of ownerless objects: each looks again at what it was decided on.

use std::sync::Arc;

use serde_json::{Value, json};

use super::delete::{remove, retire};
use super::propagation::{FOREGROUND, ORPHAN, Propagation};
use super::target::has_finalizers;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::Stored;
use crate::standalone::writer::Transaction;

/// What is to be done with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Delete it in this way.
    Delete(Propagation),
    /// Remove the references to these uids.
    Forget(Vec<String>),
    /// Its dependents are gone: let it go.
    ReleaseForeground,
    /// Its dependents have forgotten it: let it go.
    ReleaseOrphan,
}

/// Does it. `stored` must be of this transaction.
pub fn collect(tx: &mut Transaction<'_>, stored: &Arc<Stored>, step: &Step) {
    let mut value = stored.value();
    match step {
        Step::Delete(policy) => {
            retire(tx, stored, Some(*policy));
        }
        Step::Forget(uids) => {
            let metadata = value.at_mut("metadata");
            let mut owners = metadata.at("ownerReferences").clone();
            if let Some(list) = owners.as_array_mut() {
                list.retain(|owner| !uids.iter().any(|uid| owner.at("uid") == uid.as_str()));
            }
            set_list(metadata, "ownerReferences", owners);
            tx.put(stored.key.clone(), value);
        }
        Step::ReleaseForeground => release(tx, stored, value, FOREGROUND),
        Step::ReleaseOrphan => release(tx, stored, value, ORPHAN),
    }
}

fn release(tx: &mut Transaction<'_>, stored: &Arc<Stored>, mut value: Value, finalizer: &str) {
    let metadata = value.at_mut("metadata");
    let mut list = metadata.at("finalizers").clone();
    if let Some(list) = list.as_array_mut() {
        list.retain(|name| name != finalizer);
    }
    set_list(metadata, "finalizers", list);
    if has_finalizers(&value) {
        tx.put(stored.key.clone(), value);
    } else {
        remove(tx, stored, value);
    }
}

fn set_list(metadata: &mut Value, field: &str, list: Value) {
    if list.as_array().is_some_and(|list| !list.is_empty()) {
        metadata.set(field, list);
    } else if let Some(map) = metadata.as_object_mut() {
        map.remove(field);
    } else {
        metadata.set(field, json!([]));
    }
}
