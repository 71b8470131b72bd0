//! Accounts on a BMC, and what it does with those who guess passwords.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{flag, id, text, whole};

/// An account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: String,
    /// Path of the resource.
    pub path: String,
    pub username: Option<String>,
    pub role: Option<String>,
    pub enabled: Option<bool>,
    pub locked: Option<bool>,
    pub password_change_required: Option<bool>,
    #[serde(skip)]
    pub(crate) etag: Option<String>,
}

impl Account {
    pub(crate) fn parse(body: &Value, etag: Option<String>) -> Self {
        Self {
            id: id(body),
            path: text(body, "@odata.id").unwrap_or_default(),
            username: text(body, "UserName"),
            role: text(body, "RoleId"),
            enabled: flag(body, "Enabled"),
            locked: flag(body, "Locked"),
            password_change_required: flag(body, "PasswordChangeRequired"),
            etag: etag.or_else(|| text(body, "@odata.etag")),
        }
    }
}

/// `AccountService`: how many wrong passwords lock an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockoutPolicy {
    /// Wrong passwords until the account is locked; 0 or absent: never.
    pub threshold: Option<u64>,
    /// How long it stays locked, in seconds.
    pub duration_s: Option<u64>,
    pub min_password_length: Option<u64>,
    pub max_password_length: Option<u64>,
}

impl LockoutPolicy {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            threshold: whole(body, "AccountLockoutThreshold"),
            duration_s: whole(body, "AccountLockoutDuration"),
            min_password_length: whole(body, "MinPasswordLength"),
            max_password_length: whole(body, "MaxPasswordLength"),
        }
    }
}
