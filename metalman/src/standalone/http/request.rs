//! What a request asks for: its path and its query, checked. Pure.
//!
//! Invariant: a path that is not understood names no resource; nothing is guessed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::standalone::resource::{Catalog, Resource};
use crate::standalone::select::Selector;
use crate::standalone::status::{ApiError, FieldError};
use crate::standalone::strategy::{Door, UnknownFields};

/// A path below `/api/v1` or `/apis/{group}/{version}`.
#[derive(Debug, Clone)]
pub(super) struct Location {
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) door: Door,
}

impl Location {
    /// `status`, or nothing.
    pub(super) fn subresource(&self) -> &'static str {
        match self.door {
            Door::Main => "",
            Door::Status => "status",
        }
    }

    /// Parses `path` (decoded, without query).
    pub(super) fn parse(catalog: &Catalog, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, tail @ ..]
                if tail.first().is_some_and(|plural| {
                    catalog
                        .find(group, version, plural)
                        .is_some_and(|r| r.namespaced)
                }) =>
            {
                (Some((*namespace).to_owned()), tail)
            }
            all => (None, all),
        };
        let (plural, name, door) = match rest {
            [plural] => (*plural, None, Door::Main),
            [plural, name] => (*plural, Some(*name), Door::Main),
            [plural, name, "status"] => (*plural, Some(*name), Door::Status),
            _ => return None,
        };
        let resource = catalog.find(group, version, plural)?;
        let misplaced = name.is_some() && resource.namespaced && namespace.is_none();
        if misplaced || (door == Door::Status && !resource.status) {
            return None;
        }
        Some(Self {
            resource: Arc::clone(resource),
            namespace,
            name: name.map(str::to_owned),
            door,
        })
    }
}

/// The query, last value of each key.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// A value that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.0
            .get(key)
            .is_some_and(|v| matches!(v.as_str(), "" | "true" | "1" | "True"))
    }

    fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                ApiError::bad_request(format!(
                    "invalid resource version: {key}: Invalid value: {text:?}: strconv.ParseUint: \
                     parsing {text:?}: invalid syntax"
                ))
            })
        };
        self.get(key).map(parse).transpose()
    }

    /// `dryRun`, which knows only `All`. `kind` is that of the options, such as `CreateOptions`.
    pub(super) fn dry_run(&self, kind: &str) -> Result<bool, ApiError> {
        self.get("dryRun")
            .map_or(Ok(false), |word| dry_run(kind, &json!([word])))
    }

    /// `fieldValidation`; the default is `Warn`.
    pub(super) fn unknown_fields(&self, kind: &str) -> Result<UnknownFields, ApiError> {
        match self.get("fieldValidation") {
            None | Some("Warn") => Ok(UnknownFields::Warn),
            Some("Strict") => Ok(UnknownFields::Strict),
            Some("Ignore") => Ok(UnknownFields::Ignore),
            Some(other) => {
                let known = ["", "Ignore", "Strict", "Warn"].map(Value::from);
                let error = FieldError::unsupported("fieldValidation", &json!(other), &known);
                Err(ApiError::invalid_options(kind, &[error]))
            }
        }
    }
}

/// `dryRun` of a query or of a body.
pub(super) fn dry_run(kind: &str, words: &Value) -> Result<bool, ApiError> {
    let Some(list) = words.as_array().filter(|list| !list.is_empty()) else {
        return Ok(false);
    };
    if list.iter().all(|word| word == "All") {
        return Ok(true);
    }
    let error = FieldError::unsupported("dryRun", words, &[Value::from("All")]);
    Err(ApiError::invalid_options(kind, &[error]))
}

/// Options of list and watch.
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the flags of the query"
)]
#[derive(Debug, Clone)]
pub(super) struct ListOptions {
    pub(super) selector: Selector,
    pub(super) limit: Option<usize>,
    pub(super) after: Option<Continue>,
    /// `None` when absent; 0 means "any".
    pub(super) version: Option<u64>,
    pub(super) exact: bool,
    pub(super) watch: bool,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    pub(super) timeout_seconds: Option<u64>,
}

impl ListOptions {
    pub(super) fn parse(resource: &Resource, query: &Query) -> Result<Self, ApiError> {
        let selector = Selector::parse(
            query.get("labelSelector"),
            query.get("fieldSelector"),
            |field| resource.is_selectable(field),
        )
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
        let version = query.number("resourceVersion")?;
        let rule = query.get("resourceVersionMatch");
        let watch = query.flag("watch") && query.0.contains_key("watch");
        let initial_events = query.0.contains_key("sendInitialEvents");
        let faults = if watch {
            watch_faults(rule, initial_events)
        } else {
            list_faults(
                rule,
                initial_events,
                version,
                query.get("continue").is_some(),
            )
        };
        if !faults.is_empty() {
            return Err(ApiError::invalid_options("ListOptions", &faults));
        }
        let after = query.get("continue").map(Continue::parse).transpose()?;
        let limit = query.number("limit")?.filter(|limit| *limit > 0);
        Ok(Self {
            selector,
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            after,
            version,
            exact: rule == Some("Exact"),
            watch,
            bookmarks: query.flag("allowWatchBookmarks")
                && query.0.contains_key("allowWatchBookmarks"),
            initial_events: initial_events && query.flag("sendInitialEvents"),
            timeout_seconds: query.number("timeoutSeconds")?.filter(|s| *s > 0),
        })
    }
}

const MATCH: &str = "resourceVersionMatch";

fn watch_faults(rule: Option<&str>, initial_events: bool) -> Vec<FieldError> {
    let forbid = |detail: &str| FieldError::forbidden(MATCH, detail);
    match (initial_events, rule) {
        (true, Some("NotOlderThan")) | (false, None) => Vec::new(),
        (true, None) => vec![forbid(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )],
        (true, Some(other)) => vec![
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            FieldError::unsupported(MATCH, &json!(other), &[Value::from("NotOlderThan")]),
        ],
        (false, Some(_)) => vec![forbid(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )],
    }
}

fn list_faults(
    rule: Option<&str>,
    initial_events: bool,
    version: Option<u64>,
    goes_on: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(rule) = rule {
        let mut forbid = |detail: &str| errors.push(FieldError::forbidden(MATCH, detail));
        if version.is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if goes_on {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if rule == "Exact" && version == Some(0) {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !matches!(rule, "Exact" | "NotOlderThan") {
            let known = ["Exact", "NotOlderThan", ""].map(Value::from);
            errors.push(FieldError::unsupported(MATCH, &json!(rule), &known));
        }
    }
    if initial_events {
        let detail = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden("sendInitialEvents", detail));
    }
    errors
}

/// Where a paged list goes on: the version of its first page and the last object shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Continue {
    pub(super) version: u64,
    pub(super) place: (String, String),
}

impl Continue {
    pub(super) fn token(&self) -> String {
        use base64::Engine as _;
        let text = format!("{}\n{}\n{}", self.version, self.place.0, self.place.1);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    fn parse(token: &str) -> Result<Self, ApiError> {
        use base64::Engine as _;
        let bad = || ApiError::bad_request("continue key is not valid");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let mut lines = text.splitn(3, '\n');
        let version = lines.next().and_then(|v| v.parse().ok()).ok_or_else(bad)?;
        let (namespace, name) = lines.next().zip(lines.next()).ok_or_else(bad)?;
        Ok(Self {
            version,
            place: (namespace.to_owned(), name.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Option<(String, Option<String>, Option<String>, Door)> {
        let catalog = Catalog::new(&[]).unwrap();
        Location::parse(&catalog, path)
            .map(|l| (l.resource.plural.clone(), l.namespace, l.name, l.door))
    }

    #[test]
    fn paths_name_resources() {
        let text = |t: &str| Some(t.to_owned());
        for (path, expected) in [
            ("/api/v1/nodes", Some(("nodes", None, None, Door::Main))),
            (
                "/api/v1/nodes/a/status",
                Some(("nodes", None, text("a"), Door::Status)),
            ),
            (
                "/api/v1/namespaces/x",
                Some(("namespaces", None, text("x"), Door::Main)),
            ),
            (
                "/api/v1/namespaces/x/status",
                Some(("namespaces", None, text("x"), Door::Status)),
            ),
            (
                "/api/v1/namespaces/x/secrets",
                Some(("secrets", text("x"), None, Door::Main)),
            ),
            (
                "/api/v1/namespaces/x/secrets/y",
                Some(("secrets", text("x"), text("y"), Door::Main)),
            ),
            ("/api/v1/secrets", Some(("secrets", None, None, Door::Main))),
            ("/api/v1/secrets/y", None),
            ("/api/v1/namespaces/x/secrets/y/status", None),
            ("/api/v1/namespaces/x/pods", None),
            ("/api/v1/pods", None),
            (
                "/apis/events.k8s.io/v1/events",
                Some(("events", None, None, Door::Main)),
            ),
            ("/apis/apps/v1/deployments", None),
            ("/", None),
        ] {
            let expected = expected.map(|(p, n, m, d)| (p.to_owned(), n, m, d));
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn continue_tokens_survive(version: u64, namespace in "[a-z]{0,5}", name in "[a-z.]{1,9}") {
            let token = Continue { version, place: (namespace, name) };
            prop_assert_eq!(Continue::parse(&token.token()).unwrap(), token);
        }

        #[test]
        fn nothing_panics(path in ".{0,60}", query in ".{0,60}") {
            let query = Query::parse(Some(&query));
            if let Some(found) = Location::parse(&Catalog::new(&[]).unwrap(), &path) {
                drop(ListOptions::parse(&found.resource, &query));
            }
        }
    }
}
