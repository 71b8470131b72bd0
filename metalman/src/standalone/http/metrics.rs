//! Counters of the embedded API.
//!
//! Invariant: labels are roles, verbs, classes of codes and fixed reasons, never a name.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::standalone::access::{Role, Verb};

/// Who asked for what, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    role: &'static str,
    verb: &'static str,
    code: &'static str,
}

/// `role` of a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRole {
    role: &'static str,
}

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What the embedded API counts. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct ApiMetrics {
    requests: Family<Request, Counter>,
    refused: Family<Reason, Counter>,
    watches: Family<OfRole, Gauge>,
    slow_watches: Counter,
    /// Audit entries that are in the log only.
    pub audit_lost: Counter,
}

impl ApiMetrics {
    /// Registers under `api_` of the given registry, whose prefix is the program's.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("api");
        registry.register(
            "requests",
            "Requests to the embedded API with a token that is known, by role, verb and class of code",
            self.requests.clone(),
        );
        registry.register(
            "refused",
            "Requests to the embedded API that were refused: no known token, not allowed, too many \
             requests or watches of a user, body too large",
            self.refused.clone(),
        );
        registry.register(
            "watches",
            "Open watches of the embedded API by role",
            self.watches.clone(),
        );
        registry.register(
            "slow_watches_dropped",
            "Watches of the embedded API that were ended with 410 because they lagged",
            self.slow_watches.clone(),
        );
        registry.register(
            "audit_lost",
            "Audit entries that are in the log but not in the store",
            self.audit_lost.clone(),
        );
    }

    /// A request was answered.
    pub(super) fn answered(&self, role: &Role, verb: Option<Verb>, code: u16) {
        let class = match code {
            0..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let request = Request {
            role: role.word(),
            verb: verb.map_or("other", Verb::word),
            code: class,
        };
        self.requests.get_or_create(&request).inc();
    }

    /// A request was refused with this code.
    pub(super) fn refused(&self, code: u16) {
        let reason = match code {
            401 => "unauthorized",
            403 => "forbidden",
            413 => "too-large",
            429 => "too-many",
            _ => return,
        };
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// A watch begins; it ends when the value is dropped.
    pub(super) fn watch(&self, role: &Role) -> OpenWatch {
        let role = OfRole { role: role.word() };
        let gauge = self.watches.get_or_create_owned(&role);
        gauge.inc();
        OpenWatch(gauge)
    }

    /// A watch lagged too much.
    pub(super) fn dropped_watch(&self) {
        self.slow_watches.inc();
    }
}

/// Counts one open watch.
#[derive(Debug)]
pub(super) struct OpenWatch(Gauge);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_client::encoding::text::encode;

    use super::*;

    const DOCUMENT: &str = include_str!("../METRICS.md");

    /// One of everything, so that everything is shown.
    fn shown() -> String {
        let metrics = ApiMetrics::default();
        metrics.answered(&Role::Viewer, Some(Verb::Get), 200);
        metrics.refused(403);
        metrics.dropped_watch();
        let _watch = metrics.watch(&Role::Viewer);
        let mut registry = Registry::with_prefix("metalman");
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_document_lists_what_there_is() {
        let text = shown();
        let about = |word: &str| -> BTreeMap<&str, &str> {
            let lines = text.lines().filter_map(|l| l.strip_prefix(word));
            lines.filter_map(|l| l.trim().split_once(' ')).collect()
        };
        let (helps, types) = (about("# HELP"), about("# TYPE"));
        let mut rows = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, _) = line.split_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let family = name.strip_suffix("_total").unwrap_or(name);
            let labels: Vec<&str> = labels
                .split(',')
                .filter_map(|l| Some(l.split_once('=')?.0))
                .collect();
            let help = helps[family].trim_end_matches('.');
            rows.push(format!(
                "| `{name}` | {} | {} | {help} |\n",
                types[family],
                labels.join(", ")
            ));
        }
        let table = format!(
            "| metric | type | labels | meaning |\n|---|---|---|---|\n{}",
            rows.concat()
        );
        assert!(
            DOCUMENT.ends_with(&table),
            "METRICS.md must end with:\n{table}"
        );
    }
}
