//! Ordered fault rules: the first that matches a request has its way.
//!
//! Pure; the service carries out what a rule says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tasks::TaskPlan;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// The request has no effect and no answer.
    Before,
    /// The request has its effect and no answer.
    After,
    /// The answer breaks off half way.
    Middle,
}

/// A rule. What is not said matches everything and changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// Name of the BMC.
    pub bmc: Option<String>,
    pub method: Option<String>,
    /// Prefix of the path; with `*` in it, the whole path with `*` for any text.
    pub path: Option<String>,
    /// Requests it applies to; `None` = all that come.
    pub times: Option<u32>,
    /// Matching requests let through first.
    pub skip: u32,
    /// Milliseconds before anything happens.
    pub delay_ms: u64,
    /// Answers with this status instead of doing anything.
    pub status: Option<u16>,
    /// Body for `status`.
    pub body: Option<Value>,
    /// `Retry-After` header, seconds or date.
    pub retry_after: Option<String>,
    /// JSON merge patch (RFC 7396) over the true answer.
    pub merge: Option<Value>,
    /// Cuts the connection.
    pub cut: Option<Cut>,
    /// Takes the request and never answers; the connection stays.
    pub silent: bool,
    /// Says 204 to a write and does not do it.
    pub ignore: bool,
    /// The answer trickles out at this many bytes a second.
    pub bytes_per_s: Option<u32>,
    /// Body instead of the true one, as it is: for JSON that is none.
    pub raw: Option<String>,
    /// Makes the answer at least this long, with a property `Oem`.
    pub pad_bytes: usize,
    /// Headers added to the answer, such as `Location`.
    pub headers: BTreeMap<String, String>,
    /// All sessions are forgotten before the request is looked at: a 401 in mid-operation.
    pub forget_sessions: bool,
    /// A write answers with 202 and a task that goes like this.
    pub task: Option<TaskPlan>,
}

impl Fault {
    fn matches(&self, method: &str, path: &str) -> bool {
        self.method
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self
                .path
                .as_deref()
                .is_none_or(|wanted| matches_path(wanted, path))
    }
}

fn matches_path(wanted: &str, path: &str) -> bool {
    let mut parts = wanted.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
        last = Some(part);
    }
    // Without a star a prefix is enough.
    last.is_none_or(|last| path.ends_with(last))
}

/// Takes the rule that applies to a request and counts it down; used-up rules are removed.
pub(crate) fn take(rules: &mut Vec<Fault>, method: &str, path: &str) -> Option<Fault> {
    let mut chosen = None;
    for rule in rules.iter_mut().filter(|rule| rule.matches(method, path)) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        if rule.times == Some(0) {
            continue;
        }
        rule.times = rule.times.map(|times| times.saturating_sub(1));
        chosen = Some(rule.clone());
        break;
    }
    rules.retain(|rule| rule.times != Some(0));
    chosen
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Some(object) = target.as_object_mut() {
        for (key, value) in members {
            if value.is_null() {
                object.remove(key);
            } else {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rule_applies_to_the_next_n_that_match_and_goes() {
        let mut rules = vec![Fault {
            method: Some("PATCH".into()),
            path: Some("/redfish/v1/Systems".into()),
            times: Some(2),
            status: Some(503),
            ..Fault::default()
        }];
        assert!(take(&mut rules, "GET", "/redfish/v1/Systems/1").is_none());
        assert!(take(&mut rules, "PATCH", "/redfish/v1/Systems/1").is_some());
        assert!(take(&mut rules, "patch", "/redfish/v1/Systems/1").is_some());
        assert!(take(&mut rules, "PATCH", "/redfish/v1/Systems/1").is_none());
        assert!(rules.is_empty());
    }

    #[test]
    fn first_matching_rule_wins_and_skip_lets_requests_through() {
        let mut rules = vec![
            Fault {
                skip: 1,
                times: Some(1),
                status: Some(500),
                ..Fault::default()
            },
            Fault {
                status: Some(429),
                ..Fault::default()
            },
        ];
        let mut next = || take(&mut rules, "GET", "/").and_then(|rule| rule.status);
        assert_eq!([next(), next(), next()], [Some(429), Some(500), Some(429)]);
    }

    #[test]
    fn stars_stand_for_any_text() {
        let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
        assert!(matches_path("/redfish/v1/Systems", reset));
        assert!(matches_path("*ComputerSystem.Reset", reset));
        assert!(matches_path("/redfish/v1/*/Actions/*", reset));
        assert!(!matches_path("*/Systems/1", reset));
        assert!(!matches_path("/redfish/v1/Managers", reset));
        assert!(!matches_path("*Sessions*", reset));
    }

    #[test]
    fn merge_replaces_adds_and_removes() {
        let mut value = json!({"a": 1, "b": {"c": 2, "d": 3}});
        merge(
            &mut value,
            &json!({"a": null, "b": {"c": [1]}, "e": {"f": null, "g": 1}}),
        );
        assert_eq!(value, json!({"b": {"c": [1], "d": 3}, "e": {"g": 1}}));
    }
}
