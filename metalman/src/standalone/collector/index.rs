//! Who depends on whom, by the uid of owners. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::standalone::fields::Fields as _;
use crate::standalone::hub::Key;

/// Only objects that have owners, and objects that wait for dependents, take room here.
#[derive(Debug, Default)]
pub(super) struct Index {
    owners: BTreeMap<Key, Vec<String>>,
    dependents: HashMap<String, BTreeSet<Key>>,
    leaving: HashMap<String, Key>,
}

impl Index {
    /// Takes in the newest state of an object; `None` when it is gone. Returns the objects to be
    /// looked at because of that.
    pub(super) fn update(&mut self, key: &Key, uid: &str, object: Option<&Value>) -> Vec<Key> {
        let before = self.owners.remove(key).unwrap_or_default();
        for owner in &before {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(key);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        let after: Vec<String> = object.map(owner_uids).unwrap_or_default();
        for owner in &after {
            let set = self.dependents.entry(owner.clone()).or_default();
            set.insert(key.clone());
        }
        let waits = object.is_some_and(|o| {
            let metadata = o.at("metadata");
            metadata.at("deletionTimestamp").is_string() && metadata.at("finalizers").is_array()
        });
        if waits {
            self.leaving.insert(uid.to_owned(), key.clone());
        } else {
            self.leaving.remove(uid);
        }
        let mut look: Vec<Key> = Vec::new();
        if object.is_none() || waits {
            look.extend(self.dependents(uid));
        }
        if waits || !after.is_empty() {
            look.push(key.clone());
        }
        let owners = before.iter().chain(&after);
        look.extend(owners.filter_map(|owner| self.leaving.get(owner).cloned()));
        if !after.is_empty() {
            self.owners.insert(key.clone(), after);
        }
        look
    }

    /// Did this object have owners, or wait for dependents, when it was last looked at?
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.owners.contains_key(key) || self.leaving.values().any(|leaving| leaving == key)
    }

    /// Objects that name this uid as owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Key> {
        let set = self.dependents.get(uid).into_iter().flatten();
        set.cloned().collect()
    }
}

/// Uids of the owners of an object.
pub(super) fn owner_uids(object: &Value) -> Vec<String> {
    let owners = object.at("metadata").at("ownerReferences").as_array();
    let owners = owners.into_iter().flatten();
    owners
        .filter_map(|owner| owner.at("uid").as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        Key {
            slot: 0,
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn dependents_are_looked_at_when_their_owner_goes() {
        let mut index = Index::default();
        let child = json!({"metadata": {"ownerReferences": [{"uid": "p"}]}});
        assert_eq!(
            index.update(&key("child"), "c", Some(&child)),
            [key("child")]
        );
        let parent = json!({"metadata": {}});
        assert_eq!(index.update(&key("parent"), "p", Some(&parent)), []);
        assert_eq!(index.update(&key("parent"), "p", None), [key("child")]);
        assert_eq!(index.dependents("p"), [key("child")]);
        assert_eq!(index.update(&key("child"), "c", None), []);
        assert!(index.dependents.is_empty() && index.owners.is_empty());
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_when_a_dependent_goes() {
        let mut index = Index::default();
        let child = json!({"metadata": {"ownerReferences": [{"uid": "p"}]}});
        index.update(&key("child"), "c", Some(&child));
        let waiting = json!({"metadata": {"deletionTimestamp": "x", "finalizers": ["y"]}});
        let look = index.update(&key("parent"), "p", Some(&waiting));
        assert_eq!(look, [key("child"), key("parent")]);
        assert_eq!(index.update(&key("child"), "c", None), [key("parent")]);
        index.update(&key("parent"), "p", None);
        assert!(index.leaving.is_empty());
    }
}
