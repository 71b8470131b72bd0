//! `MachineConfiguration` and `MachineConfigurationVersion`: what nodes are built from.
#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema writes a private twin of each struct"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A template for machines, versioned on deployment.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "unbounded-cloud.io",
    version = "v1alpha3",
    kind = "MachineConfiguration",
    plural = "machineconfigurations",
    singular = "machineconfiguration",
    shortname = "mc",
    status = "MachineConfigurationStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"LATEST VERSION","type":"integer","jsonPath":".status.latestVersion"}"#,
    printcolumn = r#"{"name":"UPDATE STRATEGY","type":"string","jsonPath":".spec.updateStrategy.type"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfigurationSpec {
    /// What machines get.
    pub template: ConfigurationTemplate,
    /// Machines it applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_selector: Option<LabelSelector>,
    /// The highest one wins; at a tie the first name.
    #[serde(default)]
    pub priority: i32,
    /// How changes reach machines.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
    /// Versions to keep.
    #[serde(default = "ten")]
    #[schemars(range(min = 0))]
    pub revision_history_limit: i32,
}

fn ten() -> i32 {
    10
}

/// What machines get.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationTemplate {
    /// Host settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostTemplate>,
    /// Kubernetes settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesTemplate>,
    /// Agent settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentTemplate>,
}

/// Host settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostTemplate {
    /// Machine image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How the first boot is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_format: Option<ProvisioningFormat>,
}

/// How the first boot is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProvisioningFormat {
    /// cloud-init.
    CloudInit,
    /// Ignition.
    Ignition,
}

/// Kubernetes settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesTemplate {
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Labels the Node registers with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// Taints the Node registers with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub register_with_taints: Vec<Taint>,
}

/// Agent settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentTemplate {
    /// OCI image with the root file system of the node.
    pub image: String,
    /// Run a DNS cache on the host.
    #[serde(default, rename = "localDNS", skip_serializing_if = "Option::is_none")]
    pub local_dns: Option<bool>,
}

/// How changes reach machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Kind of strategy.
    #[serde(default, rename = "type")]
    pub kind: UpdateStrategyType,
}

/// Kind of update strategy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateStrategyType {
    /// A node is rebuilt when its Node object is deleted.
    #[default]
    OnDelete,
}

/// What is known about a configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfigurationStatus {
    /// Newest version number.
    #[serde(default)]
    pub latest_version: i32,
    /// Editable draft, 0 when there is none.
    #[serde(default)]
    pub current_version: i32,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One version of a configuration; frozen once deployed.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "unbounded-cloud.io",
    version = "v1alpha3",
    kind = "MachineConfigurationVersion",
    plural = "machineconfigurationversions",
    singular = "machineconfigurationversion",
    shortname = "mcv",
    status = "MachineConfigurationVersionStatus",
    derive = "PartialEq",
    validation = ("!has(oldSelf.status) || !has(oldSelf.status.deployed) || !oldSelf.status.deployed || self.spec == oldSelf.spec", "spec is frozen once the version has been deployed; create a new version"),
    printcolumn = r#"{"name":"CONFIGURATION","type":"string","jsonPath":".metadata.labels.unbounded-cloud\\.io/machine-configuration"}"#,
    printcolumn = r#"{"name":"VERSION","type":"integer","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"DEPLOYED","type":"boolean","jsonPath":".status.deployed"}"#,
    printcolumn = r#"{"name":"MACHINES","type":"integer","jsonPath":".status.deployedMachines"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfigurationVersionSpec {
    /// Number, from 1.
    #[schemars(range(min = 1))]
    pub version: i32,
    /// What machines get.
    pub template: ConfigurationTemplate,
}

/// What is known about a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfigurationVersionStatus {
    /// Some machine has been built from it.
    #[serde(default)]
    pub deployed: bool,
    /// How many machines run it.
    #[serde(default)]
    pub deployed_machines: i32,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
