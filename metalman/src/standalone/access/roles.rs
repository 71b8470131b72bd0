//! The table of roles, and the one function that decides by it. Pure.
//!
//! `ARCHITECTURE.md` shows the same table; a test holds the two together. Invariant: what no rule
//! allows is denied.

use serde_json::Value;

use super::attributes::{Attributes, Verb};
use super::user::{Role, User};
use crate::standalone::fields::Fields as _;

/// Namespace of the Leases that Nodes renew.
const NODE_LEASES: &str = "kube-node-lease";
const OURS: &str = "unbounded-cloud.io";
const ANY: &str = "*";

/// Which objects of a resource a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// All.
    All,
    /// Those named like the agent's Machine. A new object has no name yet: `guard` sees to it.
    Own,
    /// Leases in `kube-node-lease` named like the agent's Machine.
    OwnLease,
    /// Operations that name the agent's Machine, in their spec or among their targets.
    Concerned,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Role, as [`Role::word`] says it.
    pub role: &'static str,
    /// API group, or `*`.
    pub group: &'static str,
    /// Plurals, with `/status` where it is meant, or `*`.
    pub resources: &'static [&'static str],
    /// Verbs; empty means all there are and will be.
    pub verbs: &'static [Verb],
    /// Which objects.
    pub only: Only,
}

const READ: &[Verb] = &[Verb::Get, Verb::List, Verb::Watch];
const WRITE: &[Verb] = &[
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch,
    Verb::Delete,
    Verb::DeleteCollection,
];
const CHANGE: &[Verb] = &[
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Update,
    Verb::Patch,
];
const REPORT: &[Verb] = &[Verb::Get, Verb::Update, Verb::Patch];
const KEEP: &[Verb] = &[
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch,
];
const OUR_KINDS: &[&str] = &[
    "machines",
    "machineoperations",
    "machineconfigurations",
    "machineconfigurationversions",
];
const OUR_STATUS: &[&str] = &[
    "machines/status",
    "machineoperations/status",
    "machineconfigurations/status",
    "machineconfigurationversions/status",
];

const fn rule(
    role: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [Verb],
) -> Rule {
    Rule {
        role,
        group,
        resources,
        verbs,
        only: Only::All,
    }
}

const fn own(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [Verb],
    only: Only,
) -> Rule {
    Rule {
        role: "agent",
        group,
        resources,
        verbs,
        only,
    }
}

/// The table.
pub const RULES: &[Rule] = &[
    rule("admin", ANY, &[ANY], &[]),
    rule("operator", OURS, OUR_KINDS, WRITE),
    rule("operator", OURS, OUR_STATUS, &[Verb::Get]),
    rule("operator", "", &["configmaps"], WRITE),
    rule("operator", "", &["nodes"], CHANGE),
    rule("operator", "", &["namespaces", "events"], READ),
    rule(
        "operator",
        "",
        &["nodes/status", "namespaces/status"],
        &[Verb::Get],
    ),
    rule("operator", "events.k8s.io", &["events"], READ),
    rule("operator", "coordination.k8s.io", &["leases"], READ),
    rule(
        "operator",
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        READ,
    ),
    rule("viewer", OURS, OUR_KINDS, READ),
    rule("viewer", OURS, OUR_STATUS, &[Verb::Get]),
    rule(
        "viewer",
        "",
        &["configmaps", "nodes", "namespaces", "events"],
        READ,
    ),
    rule(
        "viewer",
        "",
        &["nodes/status", "namespaces/status"],
        &[Verb::Get],
    ),
    rule("viewer", "events.k8s.io", &["events"], READ),
    rule("viewer", "coordination.k8s.io", &["leases"], READ),
    rule(
        "viewer",
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        READ,
    ),
    own(OURS, &["machines"], READ, Only::Own),
    own(OURS, &["machines/status"], REPORT, Only::Own),
    own(OURS, &["machineoperations"], READ, Only::Concerned),
    own(OURS, &["machineoperations/status"], REPORT, Only::Concerned),
    own("", &["nodes"], KEEP, Only::Own),
    own("", &["nodes/status"], REPORT, Only::Own),
    own("coordination.k8s.io", &["leases"], KEEP, Only::OwnLease),
];

/// Reviews that everybody with a token may ask for.
const ABOUT_ONESELF: [(&str, &str); 3] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// Paths that everybody with a token may read, and everything below them.
pub(super) const PATHS: [&str; 7] = [
    "/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz",
];

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// 403.
    Deny,
}

/// May `user` do this? `object` is the stored object, where there is one; only rules about
/// operations that concern a Machine look at it.
pub fn allows(user: &User, asked: &Attributes, object: Option<&Value>) -> Decision {
    let allowed = if asked.resource.is_empty() {
        user.role == Role::Admin || is_readable_path(asked)
    } else {
        is_about_oneself(asked) || RULES.iter().any(|rule| permits(rule, user, asked, object))
    };
    if allowed {
        Decision::Allow
    } else {
        Decision::Deny
    }
}

fn is_readable_path(asked: &Attributes) -> bool {
    asked.verb == Some(Verb::Get)
        && PATHS.iter().any(|path| {
            asked
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

fn is_about_oneself(asked: &Attributes) -> bool {
    asked.verb == Some(Verb::Create)
        && ABOUT_ONESELF.contains(&(asked.group.as_str(), asked.resource.as_str()))
}

fn permits(rule: &Rule, user: &User, asked: &Attributes, object: Option<&Value>) -> bool {
    let group = rule.group == ANY || rule.group == asked.group;
    let resource =
        rule.resources.contains(&ANY) || rule.resources.contains(&asked.full_resource().as_str());
    let verb = rule.verbs.is_empty() || asked.verb.is_some_and(|verb| rule.verbs.contains(&verb));
    rule.role == user.role.word()
        && group
        && resource
        && verb
        && concerns(rule.only, user, asked, object)
}

fn concerns(only: Only, user: &User, asked: &Attributes, object: Option<&Value>) -> bool {
    let machine = match &user.role {
        Role::Agent { machine } => machine.as_str(),
        Role::Admin | Role::Operator | Role::Viewer | Role::None => "",
    };
    let is_new = asked.verb == Some(Verb::Create) && asked.name.is_empty();
    match only {
        Only::All => true,
        Only::Own => asked.name == machine || is_new,
        Only::OwnLease => asked.namespace == NODE_LEASES && (asked.name == machine || is_new),
        Only::Concerned => {
            asked.machine == machine || object.is_some_and(|object| names(object, machine))
        }
    }
}

/// Does an operation name this Machine?
pub(super) fn names(operation: &Value, machine: &str) -> bool {
    let targets = operation.at("status").at("targets").as_array();
    operation.at("spec").at("machineRef") == machine
        || targets
            .into_iter()
            .flatten()
            .any(|target| target.at("machineRef") == machine)
}

/// The table as Markdown.
pub fn describe() -> String {
    let mut lines = vec![
        "| role | API group | resources | verbs | which |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for rule in RULES {
        let verbs: Vec<&str> = rule.verbs.iter().map(|verb| verb.word()).collect();
        let verbs = if verbs.is_empty() {
            ANY.to_owned()
        } else {
            verbs.join(", ")
        };
        let group = if rule.group.is_empty() {
            "core"
        } else {
            rule.group
        };
        let which = match rule.only {
            Only::All => "all",
            Only::Own => "of its Machine's name",
            Only::OwnLease => "of its Machine's name, in kube-node-lease",
            Only::Concerned => "that name its Machine",
        };
        let resources = rule.resources.join(", ");
        lines.push(format!(
            "| {} | {group} | {resources} | {verbs} | {which} |",
            rule.role
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests;
