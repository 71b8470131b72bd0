//! What is moved, in the order in which it can be applied.

use kube::api::{ApiResource, GroupVersionKind};

/// A kind that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// Lives in a namespace.
    pub namespaced: bool,
}

const fn core(kind: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind,
        plural,
        namespaced,
    }
}

const fn ours(kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: "unbounded-cloud.io",
        version: "v1alpha3",
        kind,
        plural,
        namespaced: false,
    }
}

/// All of them. Events and Leases are not: they are about the moment.
pub const KINDS: [Kind; 8] = [
    core("Namespace", "namespaces", false),
    core("Secret", "secrets", true),
    core("ConfigMap", "configmaps", true),
    ours("MachineConfiguration", "machineconfigurations"),
    ours(
        "MachineConfigurationVersion",
        "machineconfigurationversions",
    ),
    ours("Machine", "machines"),
    core("Node", "nodes", false),
    ours("MachineOperation", "machineoperations"),
];

impl Kind {
    /// The kind of an object, if it is one of them.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        KINDS
            .into_iter()
            .find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// `v1`, or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// For kube.
    pub fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}
