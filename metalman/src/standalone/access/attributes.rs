//! What a request wants, in the terms of the table of roles, and how a refusal reads. Pure.

use std::fmt;

use crate::standalone::status::{ApiError, Subject};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object, or a path that is no resource.
    Get,
    /// Many.
    List,
    /// Changes.
    Watch,
    /// A new object.
    Create,
    /// Replace.
    Update,
    /// Change in part.
    Patch,
    /// One object.
    Delete,
    /// Many.
    DeleteCollection,
    /// Act as somebody else.
    Impersonate,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::DeleteCollection,
        Self::Impersonate,
    ];

    /// The word of Kubernetes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Impersonate => "impersonate",
        }
    }

    /// The verb of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }

    /// The verb of a request for a resource.
    pub fn of_request(method: &str, has_name: bool, watch: bool) -> Option<Self> {
        Some(match (method, has_name) {
            ("GET", true) => Self::Get,
            ("GET", false) if watch => Self::Watch,
            ("GET", false) => Self::List,
            ("POST", _) => Self::Create,
            ("PUT", _) => Self::Update,
            ("PATCH", _) => Self::Patch,
            ("DELETE", true) => Self::Delete,
            ("DELETE", false) => Self::DeleteCollection,
            _ => return None,
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is asked for. Empty texts mean "not given".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `None` for a word that is no verb: only who may do everything may do it.
    pub verb: Option<Verb>,
    /// API group, empty for core.
    pub group: String,
    /// Plural, empty for a path.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Namespace, empty for all or when cluster-scoped.
    pub namespace: String,
    /// Object name; for lists and watches the one that a field selector names.
    pub name: String,
    /// The Machine that a field selector `spec.machineRef` names.
    pub machine: String,
    /// A path that is no resource.
    pub path: String,
}

impl Attributes {
    /// For a path that is no resource.
    pub fn path(verb: Verb, path: &str) -> Self {
        Self {
            verb: Some(verb),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// `machines/status`
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// 403 in the words of the real server.
    pub fn refusal(&self, user: &str) -> ApiError {
        let verb = self.verb.map_or("use", Verb::word);
        if self.resource.is_empty() {
            let why = format!("User \"{user}\" cannot {verb} path \"{}\"", self.path);
            return ApiError::forbidden_path(&why);
        }
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", self.namespace)
        };
        let why = format!(
            "User \"{user}\" cannot {verb} resource \"{}\" in API group \"{}\" {scope}",
            self.full_resource(),
            self.group
        );
        let subject = Subject {
            group: &self.group,
            resource: &self.resource,
            name: &self.name,
        };
        ApiError::forbidden(subject, &why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_like_those_of_the_real_server() {
        let mut asked = Attributes {
            verb: Some(Verb::Get),
            group: "unbounded-cloud.io".into(),
            resource: "machines".into(),
            name: "x".into(),
            ..Attributes::default()
        };
        assert_eq!(
            asked.refusal("eve").message(),
            "machines.unbounded-cloud.io \"x\" is forbidden: User \"eve\" cannot get resource \
             \"machines\" in API group \"unbounded-cloud.io\" at the cluster scope"
        );
        asked.subresource = "status".into();
        assert!(
            asked
                .refusal("eve")
                .message()
                .contains("\"machines/status\"")
        );
        let secrets = Attributes {
            verb: Some(Verb::List),
            resource: "secrets".into(),
            namespace: "default".into(),
            ..Attributes::default()
        };
        assert_eq!(
            secrets.refusal("eve").message(),
            "secrets is forbidden: User \"eve\" cannot list resource \"secrets\" in API group \"\" \
             in the namespace \"default\""
        );
        let path = Attributes::path(Verb::Get, "/metrics");
        assert_eq!(
            path.refusal("eve").message(),
            "forbidden: User \"eve\" cannot get path \"/metrics\""
        );
    }

    #[test]
    fn requests_have_verbs() {
        for (method, name, watch, verb) in [
            ("GET", true, false, Some(Verb::Get)),
            ("GET", true, true, Some(Verb::Get)),
            ("GET", false, true, Some(Verb::Watch)),
            ("GET", false, false, Some(Verb::List)),
            ("DELETE", false, false, Some(Verb::DeleteCollection)),
            ("OPTIONS", false, false, None),
        ] {
            assert_eq!(Verb::of_request(method, name, watch), verb, "{method}");
        }
    }
}
