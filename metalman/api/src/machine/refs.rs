//! References from a Machine to other objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SYSTEM_NAMESPACE;

/// Key in a Secret that holds an SSH private key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshKeyRef {
    /// Secret name.
    pub name: String,
    /// Secret namespace.
    #[serde(default = "system_namespace")]
    pub namespace: String,
    /// Key inside the Secret.
    #[serde(default = "ssh_private_key")]
    pub key: String,
}

fn system_namespace() -> String {
    SYSTEM_NAMESPACE.into()
}

fn ssh_private_key() -> String {
    "ssh-privatekey".into()
}

/// Key in a Secret that holds a password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRef {
    /// Secret name.
    pub name: String,
    /// Secret namespace.
    #[serde(default = "system_namespace")]
    pub namespace: String,
    /// Key inside the Secret.
    #[serde(default = "password_key")]
    pub key: String,
}

fn password_key() -> String {
    "password".into()
}

/// Reference to a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Secret name.
    pub name: String,
    /// Secret namespace.
    #[serde(default = "system_namespace")]
    pub namespace: String,
}

/// Key in a ConfigMap that holds cloud-init user data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDataRef {
    /// ConfigMap name.
    pub name: String,
    /// ConfigMap namespace.
    #[serde(default = "system_namespace")]
    pub namespace: String,
    /// Key inside the ConfigMap.
    #[serde(default = "user_data_key")]
    pub key: String,
}

fn user_data_key() -> String {
    "user-data".into()
}

/// Reference by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameRef {
    /// Object name.
    pub name: String,
}

/// Provider object that owns a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRef {
    /// API group.
    #[serde(default)]
    pub api_group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Configuration a node is built from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationRef {
    /// MachineConfiguration name.
    pub name: String,
    /// Version number; the newest deployed one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub version: Option<i32>,
}
