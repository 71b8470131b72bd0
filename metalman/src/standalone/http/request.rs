//! What a request asks for: its path and its query, checked. Pure.
//!
//! Invariant: a path that is not understood names no resource; nothing is guessed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::standalone::resource::{Catalog, Resource};
use crate::standalone::select::Selector;
use crate::standalone::status::ApiError;
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
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("{key}: invalid number {text:?}")))
        };
        self.get(key).map(parse).transpose()
    }

    /// `dryRun`, which knows only `All`.
    pub(super) fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!(
                "Invalid value: dryRun: Unsupported value: \"{other}\": supported values: \"All\""
            ))),
        }
    }

    /// `fieldValidation`; the default is `Warn`.
    pub(super) fn unknown_fields(&self) -> Result<UnknownFields, ApiError> {
        match self.get("fieldValidation") {
            None | Some("Warn") => Ok(UnknownFields::Warn),
            Some("Strict") => Ok(UnknownFields::Strict),
            Some("Ignore") => Ok(UnknownFields::Ignore),
            Some(other) => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \
                 \"Strict\", \"Warn\""
            ))),
        }
    }
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
        if initial_events {
            if !watch {
                return Err(forbidden_option(
                    resource,
                    "sendInitialEvents is forbidden for list",
                ));
            }
            if rule != Some("NotOlderThan") {
                return Err(forbidden_option(
                    resource,
                    "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
                     resourceVersionMatch to NotOlderThan",
                ));
            }
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

fn forbidden_option(resource: &Resource, detail: &str) -> ApiError {
    let error = crate::standalone::status::FieldError::forbidden("sendInitialEvents", detail);
    ApiError::invalid("meta.k8s.io", "ListOptions", &resource.plural, &[error])
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
