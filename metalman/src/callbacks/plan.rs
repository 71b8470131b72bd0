//! The install plan: everything an installer needs, from what was frozen for its operation.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use metalman_api::{
    disk::InstallMark,
    install::{EfiEntry, ImageCompression, ImagePlan, InstallPlan, SeedFile},
    machine::{Machine, UserDataRef},
};
use netboot::{
    directory::BootMachine,
    images::{Compression, ImageStore},
    render::{Renderer, SeedInputs},
};
use serde_json::json;

use crate::{clock, domain::facts::Trouble, store::InstallToken, supervisor::chain};

/// Seconds an installer waits after a failure before it restarts the machine.
const REBOOT_DELAY_SECONDS: u32 = 30;

/// Makes install plans.
#[derive(Clone)]
pub struct Planner {
    client: Client,
    images: ImageStore,
    renderer: Arc<Renderer>,
    site: String,
    serve_url: String,
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner")
            .field("serve_url", &self.serve_url)
            .finish_non_exhaustive()
    }
}

impl Planner {
    /// Plans for machines of `site`, which reach us at `serve_url`.
    pub fn new(
        client: Client,
        images: ImageStore,
        renderer: Arc<Renderer>,
        site: &str,
        serve_url: &str,
    ) -> Self {
        Self {
            client,
            images,
            renderer,
            site: site.to_owned(),
            serve_url: serve_url.to_owned(),
        }
    }

    /// The plan for a claimed token.
    ///
    /// # Errors
    /// When the image or the user data is not at hand; asking again later may help.
    pub(super) async fn plan(
        &self,
        machine: &Machine,
        boot: &BootMachine,
        token: &InstallToken,
        operation: &str,
        capability: &str,
    ) -> Result<InstallPlan, Trouble> {
        let name = &token.machine;
        let gone = |what: &str| trouble(format!("Machine {name}: {what}"));
        let image = self
            .images
            .get(&token.image_digest)
            .ok_or_else(|| gone("its image is not in the cache any more"))?;
        let disk = image
            .disk
            .as_ref()
            .ok_or_else(|| gone("its image has no disk"))?;
        let pxe = machine
            .spec
            .pxe
            .as_ref()
            .ok_or_else(|| gone("spec.pxe is missing"))?;
        let boot_report_url = format!("{}/boot/{capability}/report", self.serve_url);
        let files = self
            .files(machine, boot, token, &boot_report_url, capability)
            .await?;
        Ok(InstallPlan {
            machine: name.clone(),
            operation: operation.to_owned(),
            image: ImagePlan {
                url: format!("{}/install/{}/disk", self.serve_url, token.token),
                compression: match disk.compression {
                    Compression::Gzip => ImageCompression::Gzip,
                    Compression::Zstd => ImageCompression::Zstd,
                    Compression::None => ImageCompression::None,
                },
                compressed_size: disk.compressed_size,
                raw_size: disk.raw_size,
                raw_sha256: disk.raw_sha256.clone(),
                digest: image.digest.clone(),
            },
            disk: pxe.disk_rule(),
            files,
            efi: EfiEntry {
                label: "unbounded".into(),
                loader: match pxe.architecture {
                    metalman_api::machine::Architecture::Amd64 => "/EFI/BOOT/BOOTX64.EFI".into(),
                    metalman_api::machine::Architecture::Arm64 => "/EFI/BOOT/BOOTAA64.EFI".into(),
                },
            },
            mark: InstallMark {
                site: self.site.clone(),
                machine: name.clone(),
                operation: operation.to_owned(),
                digest: image.digest.clone(),
            },
            boot_report_url,
            reboot_delay_seconds: REBOOT_DELAY_SECONDS,
        })
    }

    async fn files(
        &self,
        machine: &Machine,
        boot: &BootMachine,
        token: &InstallToken,
        boot_report_url: &str,
        capability: &str,
    ) -> Result<Vec<SeedFile>, Trouble> {
        let user_data = match machine
            .spec
            .pxe
            .as_ref()
            .and_then(|pxe| pxe.cloud_init.as_ref())
            .and_then(|cloud_init| cloud_init.user_data_config_map_ref.as_ref())
        {
            Some(reference) => Some(self.user_data(reference).await?),
            None => None,
        };
        let inputs = SeedInputs {
            // A new instance for each installation, so that cloud-init runs again.
            instance_id: format!(
                "{}-{}-{}",
                token.machine, token.operation_uid, token.attempt
            ),
            boot_report_url: boot_report_url.to_owned(),
            cloud_init_url: format!("{}/boot/{capability}/cloud-init", self.serve_url),
            user_data,
        };
        let seed = super::seed::render(&self.renderer, boot, inputs)?;
        let config = json!({
            "MachineName": token.machine,
            "BootReport": { "URL": boot_report_url },
        });
        let mut files: BTreeMap<String, (u32, String)> = BTreeMap::new();
        for (file, content) in seed {
            files.insert(
                format!("/var/lib/cloud/seed/nocloud/{file}"),
                (0o600, content),
            );
        }
        files.insert(
            "/etc/unbounded/agent/config.json".into(),
            (0o600, config.to_string()),
        );
        let hostname = format!("{}\n", token.machine);
        files.insert("/etc/hostname".into(), (0o644, hostname));
        Ok(files
            .into_iter()
            .map(|(path, (mode, content))| SeedFile {
                path,
                mode,
                content,
            })
            .collect())
    }

    async fn user_data(&self, reference: &UserDataRef) -> Result<String, Trouble> {
        let UserDataRef {
            name,
            namespace,
            key,
        } = reference;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = api.get_opt(name).await.map_err(|error| {
            trouble(format!(
                "ConfigMap {namespace}/{name} cannot be read: {}",
                chain(&error)
            ))
        })?;
        let map = map.ok_or_else(|| {
            trouble(format!(
                "ConfigMap {namespace}/{name} does not exist; create it"
            ))
        })?;
        if let Some(text) = map.data.as_ref().and_then(|data| data.get(key)) {
            return Ok(text.clone());
        }
        map.binary_data
            .as_ref()
            .and_then(|data| data.get(key))
            .and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
            .ok_or_else(|| {
                trouble(format!(
                    "ConfigMap {namespace}/{name} has no text under key {key}; add it"
                ))
            })
    }
}

pub(super) fn trouble(message: String) -> Trouble {
    Trouble {
        reason: "PlanUnavailable".into(),
        message,
        transient: true,
        at: clock::now(),
    }
}
