//! One image for one machine: which, with which credentials, what is told while it comes, and what
//! to do when it does not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jiff::SignedDuration;
use metalman_api::machine::{Architecture, Machine, SecretRef};
use netboot::{
    event::{BootEvent, BootEventKind},
    images::{
        FetchPhase, FetchProgress, ImageError, ImageReference, Keyring, ProgressSink, UnpackedImage,
    },
};
use tokio::time::Instant;

use super::{ImageJobs, trouble};
use crate::{
    clock,
    domain::facts::{Images, Trouble},
    site::{KeptMachine, NetbootWish, architecture},
    supervisor::chain,
};

/// Images smaller than this arrive before anybody can read how far they are.
const TOLD_FROM_BYTES: u64 = 64 << 20;
/// Steps of the progress in the timeline, in percent.
const TOLD_EVERY: u64 = 25;

/// Where an image is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Host,
    Netboot,
    DefaultNetboot,
}

impl Field {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Host => "spec.pxe.image",
            Self::Netboot => "spec.pxe.netbootImage",
            Self::DefaultNetboot => "default_netboot_image",
        }
    }

    const fn secret(self) -> &'static str {
        match self {
            Self::Host => "spec.pxe.pullSecretRef",
            Self::Netboot => "spec.pxe.netbootPullSecretRef",
            Self::DefaultNetboot => "images.pull_secret_file",
        }
    }
}

/// An image a machine asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) machine: String,
    pub(super) field: Field,
    pub(super) text: String,
    pub(super) secret: Option<SecretRef>,
    pub(super) architecture: Architecture,
}

impl Wanted {
    /// The image for the disk.
    pub(super) fn host(machine: &Machine) -> Option<Self> {
        let pxe = machine.spec.pxe.as_ref()?;
        Some(Self {
            machine: machine.metadata.name.clone().unwrap_or_default(),
            field: Field::Host,
            text: pxe.image.clone()?,
            secret: pxe.pull_secret_ref.clone(),
            architecture: pxe.architecture,
        })
    }

    /// The boot environment, its own or the appliance's.
    pub(super) fn netboot(machine: &Machine, default: Option<&str>) -> Option<Self> {
        let name = machine.metadata.name.as_deref().unwrap_or_default();
        Self::wished(name, NetbootWish::of(machine)?, default)
    }

    /// The same of a Machine as the site keeps it.
    pub(super) fn netboot_of(machine: &KeptMachine, default: Option<&str>) -> Option<Self> {
        Self::wished(&machine.name, machine.netboot.clone()?, default)
    }

    fn wished(machine: &str, wish: NetbootWish, default: Option<&str>) -> Option<Self> {
        let (field, text, secret) = match wish.image {
            Some(own) => (Field::Netboot, own.into(), wish.secret.map(|s| *s)),
            None => (Field::DefaultNetboot, default?.to_owned(), None),
        };
        Some(Self {
            machine: machine.to_owned(),
            field,
            text,
            secret,
            architecture: wish.architecture,
        })
    }
}

impl ImageJobs {
    /// Obtains an image for an operation and tells how far it is.
    pub(super) async fn obtain_for(
        &self,
        key: &str,
        wanted: &Wanted,
    ) -> Result<Arc<UnpackedImage>, Trouble> {
        let (jobs, job_key, told) = (self.clone(), key.to_owned(), wanted.clone());
        let last = AtomicU64::new(0);
        let begun = Instant::now();
        let progress = ProgressSink::new(move |progress| {
            jobs.set(&job_key, Images::Working(words(told.field, progress)));
            jobs.tell_progress(&told, progress, &last);
        });
        let image = self.obtain(wanted, progress).await?;
        self.tell(
            &wanted.machine,
            BootEventKind::ImageReady {
                field: wanted.field.name().to_owned(),
                image: wanted.text.clone(),
                digest: image.digest.clone(),
                duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
        );
        Ok(image)
    }

    /// Obtains an image; where that is refused, once more with the pull Secret as it is by then, of
    /// which a watch may not have told yet.
    pub(super) async fn obtain(
        &self,
        wanted: &Wanted,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, Trouble> {
        let outcome = self.obtain_once(wanted, progress.clone()).await;
        match (&outcome, &wanted.secret) {
            (Err(trouble), Some(SecretRef { name, namespace }))
                if !trouble.transient && self.has_changed(namespace, name).await =>
            {
                self.obtain_once(wanted, progress).await
            }
            _ => outcome,
        }
    }

    /// A refusal ends the operation, so that it asks no more than once.
    async fn has_changed(&self, namespace: &str, name: &str) -> bool {
        let secrets = &self.parts.secrets;
        secrets
            .has_changed(namespace, name, SignedDuration::ZERO)
            .await
    }

    async fn obtain_once(
        &self,
        wanted: &Wanted,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, Trouble> {
        let failed = |error: ImageError| explain(wanted, &error);
        let reference: ImageReference = wanted.text.parse().map_err(failed)?;
        let keyring = match (&wanted.secret, wanted.field) {
            (Some(secret), _) => self.parts.secrets.keyring(secret, &reference).await?,
            // What a Machine names is not fetched with the appliance's own credentials.
            (None, Field::Host | Field::Netboot) => Keyring::empty(),
            (None, Field::DefaultNetboot) => {
                self.parts.store.site_keyring().await.map_err(failed)?
            }
        };
        self.parts
            .store
            .obtain(
                &reference,
                architecture(wanted.architecture),
                Some(&keyring),
                progress,
            )
            .await
            .map_err(failed)
    }

    fn tell_progress(&self, wanted: &Wanted, progress: FetchProgress, last: &AtomicU64) {
        if progress.phase != FetchPhase::Layers || progress.total_bytes < TOLD_FROM_BYTES {
            return;
        }
        let percent = percent(progress) / TOLD_EVERY * TOLD_EVERY;
        if percent > 0 && last.fetch_max(percent, Ordering::Relaxed) < percent {
            self.tell(
                &wanted.machine,
                BootEventKind::ImageProgress {
                    field: wanted.field.name().to_owned(),
                    percent: u8::try_from(percent).unwrap_or(100),
                    total_bytes: progress.total_bytes,
                },
            );
        }
    }

    /// Tells of a failure, unless the last try failed in the same way.
    pub(super) fn tell_failure(&self, machine: &str, before: Option<&Images>, trouble: &Trouble) {
        if let Some(Images::Failed(last)) = before
            && last.message == trouble.message
        {
            return;
        }
        self.tell(
            machine,
            BootEventKind::ImageFailed {
                reason: trouble.reason.clone(),
                message: trouble.message.clone(),
            },
        );
    }

    fn tell(&self, machine: &str, kind: BootEventKind) {
        self.parts.recorder.record(BootEvent {
            machine: Some(machine.to_owned()),
            mac: None,
            ip: None,
            at: clock::now(),
            kind,
        });
    }
}

fn percent(progress: FetchProgress) -> u64 {
    progress.bytes.saturating_mul(100) / progress.total_bytes.max(1)
}

fn words(field: Field, progress: FetchProgress) -> String {
    let doing = match progress.phase {
        FetchPhase::Layers => "fetching",
        FetchPhase::Hashing => "verifying",
    };
    let (field, percent) = (field.name(), percent(progress));
    format!("{doing} the image of {field}, {percent} %")
}

/// A failure with the object, the field and what helps.
fn explain(wanted: &Wanted, error: &ImageError) -> Trouble {
    let (machine, field) = (&wanted.machine, wanted.field.name());
    let cure = cure(wanted, error)
        .map(|cure| format!("; {cure}"))
        .unwrap_or_default();
    let message = format!("Machine {machine}, {field}: {}{cure}", chain(error));
    trouble(error.reason(), message, error.is_transient())
}

fn cure(wanted: &Wanted, error: &ImageError) -> Option<String> {
    let secret = wanted.field.secret();
    let text = match error {
        ImageError::InvalidReference { .. } => {
            "write HOST/REPOSITORY:TAG, HOST/REPOSITORY@sha256:… or oci-layout:/DIRECTORY"
                .to_owned()
        }
        ImageError::NotFound { .. } => "correct the reference, or push the image".to_owned(),
        ImageError::Unauthorized { .. } => match &wanted.secret {
            Some(SecretRef { name, namespace }) => {
                format!("correct the credentials in Secret {namespace}/{name} ({secret})")
            }
            None => format!("give credentials for it in {secret}"),
        },
        ImageError::InvalidCredentials { .. } => format!("correct {secret}"),
        ImageError::NoPlatform { .. } => {
            "correct spec.pxe.architecture, or push the image for that platform".to_owned()
        }
        ImageError::Unsigned { .. } => {
            "sign it with `cosign sign --key`, or change images.cosign_public_key_file".to_owned()
        }
        ImageError::DigestMismatch { .. } => {
            "the registry holds a damaged copy: push the image again".to_owned()
        }
        ImageError::HostileLayer { .. } => "build the image without that entry".to_owned(),
        ImageError::Ambiguous { .. }
        | ImageError::Unreachable { .. }
        | ImageError::Forbidden { .. }
        | ImageError::DiskFull { .. }
        | ImageError::TooSlow { .. }
        | ImageError::InvalidManifest { .. }
        | ImageError::TooLarge { .. }
        | ImageError::InvalidContent { .. }
        | ImageError::Cache { .. }
        | ImageError::Cancelled => return None,
    };
    Some(text)
}
