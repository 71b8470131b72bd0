//! Images of running operations: resolved, fetched and verified in the background, one job per
//! target; plus the netboot images that idle machines need to start their disks.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use metalman_api::machine::{Machine, SecretRef};
use netboot::images::{
    FetchPhase, FetchProgress, ImageError, ImageReference, ImageStore, ProgressSink,
    RegistryCredentials, UnpackedImage,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::Driver;
use crate::{
    clock,
    domain::{
        facts::{Images, Trouble},
        state::FrozenInput,
    },
    kube::secrets::Secrets,
    site::{BootView, Site, architecture},
    supervisor::chain,
};

/// Pause before a netboot image that could not be fetched is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// Background fetches.
#[derive(Debug, Clone)]
pub struct ImageJobs {
    store: ImageStore,
    secrets: Secrets,
    site: Arc<Site>,
    tasks: TaskTracker,
    stop: CancellationToken,
    jobs: Arc<Mutex<HashMap<String, Images>>>,
    prefetch: Arc<Mutex<Prefetch>>,
}

#[derive(Debug, Default)]
struct Prefetch {
    running: HashSet<String>,
    failed: HashMap<String, Timestamp>,
}

impl ImageJobs {
    /// No job runs yet.
    pub fn new(store: ImageStore, secrets: Secrets, site: Arc<Site>, tasks: TaskTracker) -> Self {
        Self {
            store,
            secrets,
            site,
            tasks,
            stop: CancellationToken::new(),
            jobs: Arc::default(),
            prefetch: Arc::default(),
        }
    }

    /// Gives up all running fetches.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// How far the images of a target are.
    pub(super) fn fact(&self, uid: &str, machine: &str) -> Images {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(&key(uid, machine))
            .cloned()
            .unwrap_or(Images::Unknown)
    }

    fn set(&self, key: &str, images: Images) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned(), images);
        let machine = key.split_once('/').map_or(key, |(_, machine)| machine);
        self.site.poke_machine(machine);
    }

    /// Starts fetching the images of a target, unless that is under way or done.
    pub(super) fn prepare(&self, driver: &Driver, uid: &str, machine: &str) {
        let key = key(uid, machine);
        {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(jobs.get(&key), Some(Images::Working(_) | Images::Ready(_))) {
                return;
            }
            jobs.insert(key.clone(), Images::Working("resolving images".into()));
        }
        let (jobs, name) = (self.clone(), machine.to_owned());
        let default_netboot = driver.boot.default_netboot_image.clone();
        self.tasks.spawn(async move {
            let work = jobs.prepare_now(&key, &name, default_netboot);
            let outcome = tokio::select! {
                () = jobs.stop.cancelled() => return,
                outcome = work => outcome,
            };
            jobs.set(&key, outcome.map_or_else(Images::Failed, Images::Ready));
        });
    }

    async fn prepare_now(
        &self,
        key: &str,
        name: &str,
        default_netboot: Option<String>,
    ) -> Result<FrozenInput, Trouble> {
        let gone = |what: &str| trouble("InvalidInput", format!("Machine {name}: {what}"), false);
        let machine = self
            .site
            .machine(name)
            .ok_or_else(|| gone("does not exist any more"))?;
        let pxe = machine
            .spec
            .pxe
            .as_ref()
            .ok_or_else(|| gone("spec.pxe is missing"))?;
        let host_image = pxe
            .image
            .clone()
            .ok_or_else(|| gone("spec.pxe.image is missing"))?;
        let (netboot_image, netboot_secret) = match &pxe.netboot_image {
            Some(image) => (image.clone(), pxe.netboot_pull_secret_ref.as_ref()),
            None => (
                default_netboot.ok_or_else(|| gone("spec.pxe.netbootImage is missing"))?,
                None,
            ),
        };
        let netboot = self
            .obtain(
                key,
                &machine,
                "spec.pxe.netbootImage",
                &netboot_image,
                netboot_secret,
            )
            .await?;
        if netboot.metadata.dhcp_boot_image_name.is_none() {
            return Err(gone(
                "the image of spec.pxe.netbootImage names no dhcpBootImageName in its metadata.yaml",
            ));
        }
        let host = self
            .obtain(
                key,
                &machine,
                "spec.pxe.image",
                &host_image,
                pxe.pull_secret_ref.as_ref(),
            )
            .await?;
        let disk = host
            .disk
            .as_ref()
            .ok_or_else(|| gone("the image of spec.pxe.image has no /disk/disk.img.zst or .gz"))?;
        Ok(FrozenInput {
            host_image,
            host_image_digest: host.digest.clone(),
            netboot_image,
            netboot_image_digest: netboot.digest.clone(),
            raw_sha256: disk.raw_sha256.clone(),
        })
    }

    async fn obtain(
        &self,
        key: &str,
        machine: &Machine,
        field: &'static str,
        text: &str,
        secret: Option<&SecretRef>,
    ) -> Result<Arc<UnpackedImage>, Trouble> {
        let name = machine.metadata.name.as_deref().unwrap_or_default();
        let failed = |error: ImageError| {
            trouble(
                error.reason(),
                format!("Machine {name}, {field}: {}", chain(&error)),
                error.is_transient(),
            )
        };
        let reference: ImageReference = text.parse().map_err(failed)?;
        let credentials = match secret {
            Some(secret) => self.secrets.registry(secret, &reference).await?,
            None => None,
        };
        let pxe = machine
            .spec
            .pxe
            .as_ref()
            .map(|pxe| pxe.architecture)
            .unwrap_or_default();
        let jobs = self.clone();
        let (job_key, what) = (key.to_owned(), field);
        let progress = ProgressSink::new(move |progress| {
            jobs.set(&job_key, Images::Working(told(what, progress)));
        });
        self.fetch(
            &reference,
            architecture(pxe),
            credentials.as_ref(),
            progress,
        )
        .await
        .map_err(failed)
    }

    async fn fetch(
        &self,
        reference: &ImageReference,
        architecture: netboot::directory::Architecture,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        let resolved = self
            .store
            .resolve(reference, architecture, credentials)
            .await?;
        self.store
            .fetch(reference, &resolved.digest, credentials, progress)
            .await
    }

    /// Fetches the netboot image of every machine that has none in the cache, so that a machine
    /// which netboots without an operation is told to start its disk.
    pub(super) fn keep_netboot_images(&self, boot: &BootView) {
        let now = clock::now();
        let snapshot = self.site.boot_snapshot();
        for machine in snapshot.machines().iter().filter(|m| m.netboot.is_none()) {
            let Some(object) = self.site.machine(&machine.name) else {
                continue;
            };
            let Some(pxe) = object.spec.pxe.as_ref() else {
                continue;
            };
            let Some(text) = pxe
                .netboot_image
                .clone()
                .or_else(|| boot.default_netboot_image.clone())
            else {
                continue;
            };
            {
                let mut prefetch = self.prefetch.lock().unwrap_or_else(PoisonError::into_inner);
                let recently = prefetch
                    .failed
                    .get(&text)
                    .is_some_and(|at| now.duration_since(*at) < RETRY);
                if recently || !prefetch.running.insert(text.clone()) {
                    continue;
                }
            }
            let jobs = self.clone();
            self.tasks.spawn(async move {
                let work = jobs.obtain_netboot(&object, &text);
                let outcome = tokio::select! {
                    () = jobs.stop.cancelled() => return,
                    outcome = work => outcome,
                };
                let mut prefetch = jobs.prefetch.lock().unwrap_or_else(PoisonError::into_inner);
                prefetch.running.remove(&text);
                match outcome {
                    Ok(image) => {
                        info!(image.digest = %image.digest, reference = text, "netboot image is ready");
                        prefetch.failed.remove(&text);
                    }
                    Err(trouble) => {
                        warn!(error.reason = %trouble.reason, "{}", trouble.message);
                        prefetch.failed.insert(text, clock::now());
                    }
                }
                drop(prefetch);
                jobs.site.poke();
            });
        }
    }

    async fn obtain_netboot(
        &self,
        machine: &Machine,
        text: &str,
    ) -> Result<Arc<UnpackedImage>, Trouble> {
        let pxe = machine.spec.pxe.as_ref();
        let secret = pxe.and_then(|pxe| pxe.netboot_pull_secret_ref.as_ref());
        let failed = |error: ImageError| {
            trouble(
                error.reason(),
                format!("netboot image {text}: {}", chain(&error)),
                error.is_transient(),
            )
        };
        let reference: ImageReference = text.parse().map_err(failed)?;
        let credentials = match secret {
            Some(secret) => self.secrets.registry(secret, &reference).await?,
            None => None,
        };
        let arch = architecture(pxe.map(|pxe| pxe.architecture).unwrap_or_default());
        self.fetch(
            &reference,
            arch,
            credentials.as_ref(),
            ProgressSink::silent(),
        )
        .await
        .map_err(failed)
    }
}

fn key(uid: &str, machine: &str) -> String {
    format!("{uid}/{machine}")
}

fn told(field: &str, progress: FetchProgress) -> String {
    let doing = match progress.phase {
        FetchPhase::Layers => "fetching",
        FetchPhase::Hashing => "verifying",
    };
    let percent = progress.bytes.saturating_mul(100) / progress.total_bytes.max(1);
    format!("{doing} the image of {field}, {percent} %")
}

fn trouble(reason: &str, message: String, transient: bool) -> Trouble {
    Trouble {
        reason: reason.into(),
        message,
        transient,
        at: clock::now(),
    }
}
