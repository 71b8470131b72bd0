//! The custom resource definitions, generated from the types: what `deploy/crd` holds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::configuration::{MachineConfiguration, MachineConfigurationVersion};
use crate::machine::Machine;
use crate::operation::MachineOperation;

/// Every definition, in the order they should be applied.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        Machine::crd(),
        MachineOperation::crd(),
        MachineConfiguration::crd(),
        MachineConfigurationVersion::crd(),
    ]
}

/// File name and YAML text of every definition.
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn files() -> Result<Vec<(String, String)>, yaml::ser::Error> {
    all()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.metadata.name.clone().unwrap_or_default());
            Ok((name, yaml::to_string(&crd)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_cluster_scoped_with_a_status() {
        for mut crd in all() {
            let version = crd.spec.versions.remove(0);
            assert_eq!(crd.spec.group, "unbounded-cloud.io");
            assert_eq!(crd.spec.scope, "Cluster", "{:?}", crd.metadata.name);
            assert_eq!(version.name, "v1alpha3");
            assert!(version.subresources.unwrap().status.is_some());
        }
    }

    #[test]
    fn the_generated_files_hold_the_rules() {
        let text: String = files().unwrap().into_iter().map(|(_, yaml)| yaml).collect();
        for needle in [
            "exactly one of machineRef and machineSelector must be set",
            "spec is immutable except suspend",
            "must be a MAC address",
            "must be an IPv4 address",
            "x-kubernetes-list-map-keys",
            "selectableFields",
        ] {
            assert!(text.contains(needle), "{needle}");
        }
    }
}
