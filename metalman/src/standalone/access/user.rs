//! Users and their roles. Pure.
//!
//! A role is written in the groups, so that a user can be named in a review or impersonated without
//! a token. Invariant: whoever has no known group has no role.

use crate::store::{ApiToken, TokenRole};

const ADMINS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";
const OPERATORS: &str = "unbounded:operators";
const VIEWERS: &str = "unbounded:viewers";
const AGENTS: &str = "unbounded:agents";
/// An agent's user name is this and the name of its Machine.
const AGENT_PREFIX: &str = "unbounded:agent:";

/// What somebody is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Machines, operations and what they need, without Secrets.
    Operator,
    /// Reading, without Secrets.
    Viewer,
    /// The agent on one host.
    Agent {
        /// Name of its Machine, and of its Node and Lease.
        machine: String,
    },
    /// Nobody in particular: may ask about itself.
    None,
}

impl Role {
    /// Bounded word for metrics and the table.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Agent { .. } => "agent",
            Self::None => "none",
        }
    }
}

/// Somebody who showed a token, or about whom is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name for the audit log.
    pub name: String,
    /// For an agent the uid of its Machine, else empty.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What the groups and the name say.
    pub role: Role,
}

impl User {
    /// The administrator.
    pub fn admin() -> Self {
        Self::new("admin", vec![ADMINS.to_owned(), AUTHENTICATED.to_owned()])
    }

    /// A user by name and groups.
    pub fn new(name: &str, groups: Vec<String>) -> Self {
        let is_in = |group: &str| groups.iter().any(|g| g == group);
        let agent = name.strip_prefix(AGENT_PREFIX).filter(|m| !m.is_empty());
        let role = match agent {
            _ if is_in(ADMINS) => Role::Admin,
            _ if is_in(OPERATORS) => Role::Operator,
            _ if is_in(VIEWERS) => Role::Viewer,
            Some(machine) if is_in(AGENTS) => Role::Agent {
                machine: machine.to_owned(),
            },
            Some(_) | None => Role::None,
        };
        Self {
            name: name.to_owned(),
            uid: String::new(),
            groups,
            role,
        }
    }

    /// The user a kept token belongs to.
    pub fn of_token(token: &ApiToken) -> Self {
        let (name, group) = match token.role {
            TokenRole::Admin => (token.name.clone(), ADMINS),
            TokenRole::Operator => (token.name.clone(), OPERATORS),
            TokenRole::Viewer => (token.name.clone(), VIEWERS),
            TokenRole::Agent => (format!("{AGENT_PREFIX}{}", token.name), AGENTS),
        };
        let uid = token.machine_uid.clone().unwrap_or_default();
        let groups = vec![group.to_owned(), AUTHENTICATED.to_owned()];
        Self {
            uid,
            ..Self::new(&name, groups)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_make_the_role() {
        let role = |name: &str, groups: &[&str]| {
            User::new(name, groups.iter().map(ToString::to_string).collect()).role
        };
        let agent = Role::Agent {
            machine: "node-1".to_owned(),
        };
        assert_eq!(role("x", &["system:masters"]), Role::Admin);
        assert_eq!(role("x", &["unbounded:operators"]), Role::Operator);
        assert_eq!(role("x", &["unbounded:viewers"]), Role::Viewer);
        assert_eq!(role("unbounded:agent:node-1", &["unbounded:agents"]), agent);
        assert_eq!(role("unbounded:agent:", &["unbounded:agents"]), Role::None);
        assert_eq!(role("unbounded:agent:node-1", &[]), Role::None);
        assert_eq!(role("node-1", &["unbounded:agents"]), Role::None);
        assert_eq!(role("admin", &["system:authenticated"]), Role::None);
    }
}
