//! Secrets as far as they are known. Pure; the API is somewhere else.
//!
//! Invariant: what is said to be current came from a watch that is up.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    /// By `namespace/name`, with the time they were read.
    secrets: HashMap<String, (Timestamp, Secret)>,
    /// Namespaces that were asked for, and how their watches are.
    namespaces: HashMap<String, Watch>,
    /// When those whose content was refused were last asked for, by `namespace/name`.
    asked: HashMap<String, Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Nobody has begun it.
    Wanted,
    /// It has not listed yet, or it broke.
    Down,
    Up,
}

impl Known {
    /// Notes that Secrets of a namespace are needed; `true` when that is new.
    pub(super) fn want(&mut self, namespace: &str) -> bool {
        if self.namespaces.contains_key(namespace) {
            return false;
        }
        self.namespaces.insert(namespace.to_owned(), Watch::Wanted);
        true
    }

    /// Namespaces that nobody watches yet; from now on somebody does.
    pub(super) fn begin(&mut self) -> Vec<String> {
        let wanted = self.namespaces.iter_mut();
        let wanted = wanted.filter(|(_, watch)| **watch == Watch::Wanted);
        wanted
            .map(|(namespace, watch)| {
                *watch = Watch::Down;
                namespace.clone()
            })
            .collect()
    }

    /// A Secret that is as it is in the API now.
    pub(super) fn current(&self, namespace: &str, name: &str) -> Option<&Secret> {
        let is_up = self.namespaces.get(namespace) == Some(&Watch::Up);
        self.last(namespace, name)
            .filter(|_| is_up)
            .map(|(_, secret)| secret)
    }

    /// A Secret as it was read last.
    pub(super) fn last(&self, namespace: &str, name: &str) -> Option<&(Timestamp, Secret)> {
        self.secrets.get(&full(namespace, name))
    }

    /// Its version as it was read last.
    pub(super) fn version(&self, namespace: &str, name: &str) -> Option<String> {
        let (_, secret) = self.last(namespace, name)?;
        secret.metadata.resource_version.clone()
    }

    /// Whether a Secret was not asked for within `pause`; from now on it was.
    pub(super) fn may_ask(
        &mut self,
        namespace: &str,
        name: &str,
        now: Timestamp,
        pause: SignedDuration,
    ) -> bool {
        let name = full(namespace, name);
        let last = self.asked.get(&name);
        let may = last.is_none_or(|last| now.duration_since(*last) >= pause);
        if may {
            self.asked.insert(name, now);
        }
        may
    }

    /// The watch of a namespace has listed it.
    pub(super) fn replace(&mut self, namespace: &str, now: Timestamp, secrets: Vec<Secret>) {
        let prefix = full(namespace, "");
        self.secrets.retain(|name, _| !name.starts_with(&prefix));
        for secret in secrets {
            self.put(namespace, now, secret);
        }
        self.namespaces.insert(namespace.to_owned(), Watch::Up);
    }

    /// A Secret was read, or has changed. A watch that is late brings what is older than known.
    pub(super) fn put(&mut self, namespace: &str, now: Timestamp, mut secret: Secret) {
        // Neither is looked at, and the annotations of `kubectl apply` repeat the content.
        secret.metadata.managed_fields = None;
        secret.metadata.annotations = None;
        let name = secret.metadata.name.clone().unwrap_or_default();
        let number = |version: Option<String>| version?.parse::<u64>().ok();
        let known = number(self.version(namespace, &name));
        if known.is_some() && number(secret.metadata.resource_version.clone()) < known {
            return;
        }
        self.secrets.insert(full(namespace, &name), (now, secret));
    }

    /// A Secret is gone.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) {
        self.secrets.remove(&full(namespace, name));
    }

    /// The watch of a namespace broke; what it said is old from now on.
    pub(super) fn broke(&mut self, namespace: &str) {
        self.namespaces.insert(namespace.to_owned(), Watch::Down);
    }
}

fn full(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn secret(name: &str, version: &str) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some(name.into());
        secret.metadata.resource_version = Some(version.into());
        secret
    }

    fn version(secret: Option<&Secret>) -> Option<&str> {
        secret.and_then(|secret| secret.metadata.resource_version.as_deref())
    }

    #[test]
    fn only_a_watch_that_is_up_is_believed() {
        let mut known = Known::default();
        assert!(known.want("a") && !known.want("a"));
        assert_eq!(known.begin(), ["a"]);
        assert!(known.begin().is_empty(), "one watch a namespace");
        known.put("a", NOW, secret("x", "1"));
        assert_eq!(version(known.current("a", "x")), None);
        known.replace("a", NOW, vec![secret("x", "2")]);
        assert_eq!(version(known.current("a", "x")), Some("2"));
        known.put("a", NOW, secret("x", "3"));
        assert_eq!(version(known.current("a", "x")), Some("3"));
        known.broke("a");
        assert_eq!(version(known.current("a", "x")), None);
        let last = known.last("a", "x").map(|(_, secret)| secret);
        assert_eq!(version(last), Some("3"), "kept while the API is away");
    }

    #[test]
    fn a_late_watch_does_not_bring_back_what_was_replaced() {
        let mut known = Known::default();
        known.replace("a", NOW, vec![secret("x", "9")]);
        known.put("a", NOW, secret("x", "12"));
        known.put("a", NOW, secret("x", "10"));
        assert_eq!(version(known.current("a", "x")), Some("12"));
        // A list is the whole, also of an API server that was put back.
        known.replace("a", NOW, vec![secret("x", "3")]);
        assert_eq!(version(known.current("a", "x")), Some("3"));
        let (at, pause) = (
            Timestamp::from_second(5).unwrap(),
            SignedDuration::from_secs(5),
        );
        assert!(known.may_ask("a", "x", NOW, pause) && !known.may_ask("a", "x", NOW, pause));
        assert!(known.may_ask("a", "x", at, pause));
    }

    #[test]
    fn a_list_is_the_whole_of_its_namespace_only() {
        let mut known = Known::default();
        known.replace("a", NOW, vec![secret("x", "1"), secret("y", "1")]);
        known.replace("ab", NOW, vec![secret("x", "7")]);
        known.replace("a", NOW, vec![secret("y", "2")]);
        assert_eq!(version(known.current("a", "x")), None);
        assert_eq!(version(known.current("a", "y")), Some("2"));
        assert_eq!(version(known.current("ab", "x")), Some("7"));
        known.remove("a", "y");
        assert!(known.last("a", "y").is_none());
    }
}
