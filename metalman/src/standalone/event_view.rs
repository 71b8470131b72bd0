//! `events.k8s.io/v1` Events are core Events with other field names. Pure.
//!
//! Invariant: converting there and back gives the same object.

use serde_json::{Value, json};

/// (name in core, name in events.k8s.io)
const NAMES: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// A core Event as `events.k8s.io/v1` shows it.
pub fn from_core(core: &Value) -> Value {
    rename(core.clone(), "events.k8s.io/v1", |(from, to)| (from, to))
}

/// An `events.k8s.io/v1` Event as it is stored.
pub fn to_core(view: Value) -> Value {
    rename(view, "v1", |(from, to)| (to, from))
}

fn rename(
    mut event: Value,
    api_version: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    if let Some(map) = event.as_object_mut() {
        let moved: Vec<(&str, Value)> = NAMES
            .into_iter()
            .map(direction)
            .filter_map(|(from, to)| map.remove(from).map(|value| (to, value)))
            .collect();
        map.extend(
            moved
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        map.insert("apiVersion".to_owned(), json!(api_version));
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"},
            "message": "m", "involvedObject": {"kind": "Machine"}, "reportingComponent": "c",
            "source": {}, "count": 3, "type": "Normal", "reason": "R"});
        let view = from_core(&core);
        assert_eq!(view["note"], "m");
        assert_eq!(view["regarding"]["kind"], "Machine");
        assert_eq!(view["apiVersion"], "events.k8s.io/v1");
        assert_eq!(to_core(view), core);
    }
}
