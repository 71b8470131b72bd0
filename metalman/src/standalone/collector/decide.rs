//! What to do with one object, from its owners and dependents. Pure.

use serde_json::Value;

use crate::standalone::fields::Fields as _;
use crate::standalone::ops::{FOREGROUND, ORPHAN, Propagation, Step, has_finalizer};

/// How an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// It exists, or nobody can know.
    Solid,
    /// It is gone, or another object has its name.
    Gone,
    /// It waits for its dependents to be deleted.
    Waiting,
}

/// The step that is due for `object`, if any. `dependents` are the objects that name it as owner.
pub fn decide(
    object: &Value,
    owner_state: impl Fn(&Value) -> OwnerState,
    dependents: &[Value],
) -> Option<Step> {
    let metadata = object.at("metadata");
    if metadata.at("deletionTimestamp").is_string() {
        return leaving(object, dependents);
    }
    let owners = metadata.at("ownerReferences").as_array()?;
    let states: Vec<(&Value, OwnerState)> = owners
        .iter()
        .map(|owner| (owner, owner_state(owner)))
        .collect();
    let any = |wanted| states.iter().any(|(_, state)| *state == wanted);
    if states.is_empty() {
        return None;
    }
    if any(OwnerState::Solid) {
        let uids: Vec<String> = states
            .iter()
            .filter(|(_, state)| *state != OwnerState::Solid)
            .filter_map(|(owner, _)| owner.at("uid").as_str().map(str::to_owned))
            .collect();
        return (!uids.is_empty()).then_some(Step::Forget(uids));
    }
    if any(OwnerState::Waiting) && !dependents.is_empty() {
        return Some(Step::Delete(Propagation::Foreground));
    }
    Some(Step::Delete(Propagation::of(object)))
}

/// An object that is being deleted waits for its dependents, when it was asked to.
fn leaving(object: &Value, dependents: &[Value]) -> Option<Step> {
    let uid = object.at("metadata").at("uid");
    if has_finalizer(object, ORPHAN) {
        return dependents.is_empty().then_some(Step::ReleaseOrphan);
    }
    if !has_finalizer(object, FOREGROUND) {
        return None;
    }
    let blocks = |dependent: &Value| {
        let owners = dependent.at("metadata").at("ownerReferences").as_array();
        let mut ours = owners.into_iter().flatten().filter(|o| o.at("uid") == uid);
        ours.any(|owner| owner.at("blockOwnerDeletion") == true)
    };
    (!dependents.iter().any(blocks)).then_some(Step::ReleaseForeground)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(owners: &[&str], finalizers: &[&str]) -> Value {
        let owners: Vec<Value> = owners.iter().map(|uid| json!({ "uid": uid })).collect();
        json!({"metadata": {"uid": "me", "ownerReferences": owners, "finalizers": finalizers}})
    }

    fn state(owner: &Value) -> OwnerState {
        match owner["uid"].as_str().unwrap() {
            "here" => OwnerState::Solid,
            "waiting" => OwnerState::Waiting,
            _ => OwnerState::Gone,
        }
    }

    #[test]
    fn owners_decide() {
        let delete = |policy| Some(Step::Delete(policy));
        let forget = |uid: &str| Some(Step::Forget(vec![uid.to_owned()]));
        let one = [json!({})];
        for (owners, finalizers, dependents, step) in [
            (vec![], vec![], &[][..], None),
            (vec!["here"], vec![], &[][..], None),
            (
                vec!["gone"],
                vec![],
                &[][..],
                delete(Propagation::Background),
            ),
            (
                vec!["gone"],
                vec![FOREGROUND],
                &[][..],
                delete(Propagation::Foreground),
            ),
            (
                vec!["gone"],
                vec![ORPHAN],
                &[][..],
                delete(Propagation::Orphan),
            ),
            (vec!["gone", "here"], vec![], &[][..], forget("gone")),
            (vec!["waiting", "here"], vec![], &[][..], forget("waiting")),
            (
                vec!["waiting"],
                vec![],
                &[][..],
                delete(Propagation::Background),
            ),
            (
                vec!["waiting"],
                vec![],
                &one[..],
                delete(Propagation::Foreground),
            ),
        ] {
            let object = owned(&owners, &finalizers);
            assert_eq!(
                decide(&object, state, dependents),
                step,
                "{owners:?} {finalizers:?}"
            );
        }
    }

    #[test]
    fn what_leaves_waits_for_its_dependents() {
        let leaving = |finalizer: &str| {
            json!({"metadata": {"uid": "me", "deletionTimestamp": "x", "finalizers": [finalizer],
                   "ownerReferences": [{"uid": "gone"}]}})
        };
        let dependent = |blocks: bool| {
            json!({"metadata": {"ownerReferences": [
                {"uid": "other", "blockOwnerDeletion": true},
                {"uid": "me", "blockOwnerDeletion": blocks}]}})
        };
        let decide = |finalizer: &str, dependents: &[Value]| {
            super::decide(&leaving(finalizer), state, dependents)
        };
        assert_eq!(decide(FOREGROUND, &[]), Some(Step::ReleaseForeground));
        assert_eq!(
            decide(FOREGROUND, &[dependent(false)]),
            Some(Step::ReleaseForeground)
        );
        assert_eq!(decide(FOREGROUND, &[dependent(true)]), None);
        assert_eq!(decide(ORPHAN, &[dependent(false)]), None);
        assert_eq!(decide(ORPHAN, &[]), Some(Step::ReleaseOrphan));
        assert_eq!(decide("x.io/other", &[]), None);
    }
}
