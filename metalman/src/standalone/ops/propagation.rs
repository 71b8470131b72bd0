//! What a delete means for dependents, written as finalizers for the collector. Pure.

use serde_json::{Value, json};

use crate::standalone::fields::Fields as _;

/// Holds an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Holds an object until its dependents have forgotten it.
pub const ORPHAN: &str = "orphan";

/// `propagationPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes at once, its dependents after it.
    Background,
    /// Dependents first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

impl Propagation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Foreground, Self::Background, Self::Orphan];

    /// The word of `DeleteOptions`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }

    /// What the finalizers of an object ask for.
    pub fn of(object: &Value) -> Self {
        if has_finalizer(object, ORPHAN) {
            Self::Orphan
        } else if has_finalizer(object, FOREGROUND) {
            Self::Foreground
        } else {
            Self::Background
        }
    }

    /// Sets the finalizers of an object that is about to be deleted; true when that changed any.
    pub fn mark(self, object: &mut Value) -> bool {
        let before = finalizers(object);
        let mut after: Vec<Value> = before
            .iter()
            .filter(|f| **f != FOREGROUND && **f != ORPHAN)
            .cloned()
            .collect();
        match self {
            Self::Background => {}
            Self::Foreground => after.push(json!(FOREGROUND)),
            Self::Orphan => after.push(json!(ORPHAN)),
        }
        let changed = after != before;
        if changed {
            object.at_mut("metadata").set("finalizers", json!(after));
        }
        changed
    }
}

/// Does the object carry this finalizer?
pub fn has_finalizer(object: &Value, name: &str) -> bool {
    finalizers(object).iter().any(|finalizer| finalizer == name)
}

fn finalizers(object: &Value) -> Vec<Value> {
    let list = object.at("metadata").at("finalizers").as_array();
    list.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_follow_the_policy() {
        let object = |list: &[&str]| json!({"metadata": {"finalizers": list}});
        for (before, policy, after) in [
            (vec![], Propagation::Background, vec![]),
            (vec![], Propagation::Foreground, vec![FOREGROUND]),
            (
                vec!["x", ORPHAN],
                Propagation::Foreground,
                vec!["x", FOREGROUND],
            ),
            (
                vec![FOREGROUND, "x"],
                Propagation::Orphan,
                vec!["x", ORPHAN],
            ),
            (vec![FOREGROUND, ORPHAN], Propagation::Background, vec![]),
        ] {
            let mut changed = object(&before);
            assert_eq!(policy.mark(&mut changed), before != after);
            assert_eq!(changed, object(&after));
            assert_eq!(Propagation::of(&changed), policy);
        }
        let mut bare = json!({"metadata": {}});
        assert!(!Propagation::Background.mark(&mut bare));
        assert_eq!(bare, json!({"metadata": {}}));
    }
}
