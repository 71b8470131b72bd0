//! Secrets: watched where that is allowed, otherwise read when they are needed; the last good answer
//! serves while the API is away.

mod change;
mod follow;
mod known;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use metalman_api::machine::{PasswordRef, SecretRef};
use netboot::images::{ImageReference, Keyring, PullSecretKind};
use tokio::sync::{Notify, watch};

pub use change::{Changing, Credential};
use change::{full_name, read};
use known::Known;

use crate::{clock, domain::facts::Trouble, supervisor::chain};

/// For how long an answer is recent when Secrets are not watched.
const RECENT: SignedDuration = SignedDuration::from_secs(60);

/// Pause before a Secret whose password a BMC refused is asked for again: many machines share one.
pub const REREAD_PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Asked for now: an operation must see the Secret that was just corrected.
    Now,
    /// Up to a minute old: a poller must not ask the API server for each of a thousand machines.
    Recent,
}

/// Reader of Secrets.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    known: Arc<Mutex<Known>>,
    /// Told when a namespace is needed that nobody watches.
    wanted: Arc<Notify>,
    /// Counts changes.
    changed: watch::Sender<u64>,
    /// Secrets whose password this process is changing.
    changing: Arc<Mutex<HashSet<String>>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Reads through `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Arc::default(),
            wanted: Arc::default(),
            changed: watch::Sender::default(),
            changing: Arc::default(),
        }
    }

    /// Changes whenever a watched Secret does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The password a BMC reference means, and the version of its Secret.
    ///
    /// # Errors
    /// A [`Trouble`] that names Secret and key; transient while this process changes the password.
    pub async fn password(
        &self,
        reference: &PasswordRef,
        fresh: Freshness,
    ) -> Result<Credential, Trouble> {
        let full = full_name(reference);
        if self.is_changing(&full) {
            let message = format!("the password in Secret {full} is being changed");
            return Err(trouble("PasswordChanging", message, true));
        }
        self.credential(reference, fresh).await
    }

    /// As [`Self::password`], for whoever changes it.
    ///
    /// # Errors
    /// A [`Trouble`] that names Secret and key.
    pub async fn credential(
        &self,
        reference: &PasswordRef,
        fresh: Freshness,
    ) -> Result<Credential, Trouble> {
        let secret = self
            .get(&reference.namespace, &reference.name, fresh)
            .await?;
        read(reference, &secret)
    }

    /// The registry credentials of a pull secret, checked for the registry of an image.
    ///
    /// # Errors
    /// A [`Trouble`] that names the Secret.
    pub async fn keyring(
        &self,
        reference: &SecretRef,
        image: &ImageReference,
    ) -> Result<Keyring, Trouble> {
        let (Some(host), Some(repository)) = (image.registry_host(), image.repository()) else {
            return Ok(Keyring::empty());
        };
        let secret = self
            .get(&reference.namespace, &reference.name, Freshness::Now)
            .await?;
        let full = format!("{}/{}", reference.namespace, reference.name);
        let kinds = [
            (PullSecretKind::DockerConfigJson, ".dockerconfigjson"),
            (PullSecretKind::DockerCfg, ".dockercfg"),
        ];
        let found = kinds.into_iter().find_map(|(kind, key)| {
            secret
                .data
                .as_ref()
                .and_then(|data| data.get(key))
                .map(|bytes| (kind, bytes))
        });
        let Some((kind, bytes)) = found else {
            let message = format!(
                "Secret {full} is no pull secret: it has neither .dockerconfigjson nor .dockercfg"
            );
            return Err(trouble("SecretKeyMissing", message, false));
        };
        let keyring = Keyring::parse(kind, &bytes.0);
        let checked = keyring.and_then(|keyring| {
            keyring.find(host, repository)?;
            Ok(keyring)
        });
        checked.map_err(|error| {
            trouble(
                error.reason(),
                format!("Secret {full}: {}", chain(&error)),
                false,
            )
        })
    }

    async fn get(&self, namespace: &str, name: &str, fresh: Freshness) -> Result<Secret, Trouble> {
        let last = {
            let mut known = self.known();
            if known.want(namespace) {
                self.wanted.notify_one();
            }
            if let Some(secret) = known.current(namespace, name) {
                return Ok(secret.clone());
            }
            known.last(namespace, name).cloned()
        };
        if fresh == Freshness::Recent
            && let Some((at, secret)) = &last
            && clock::now().duration_since(*at) < RECENT
        {
            return Ok(secret.clone());
        }
        let full = format!("{namespace}/{name}");
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => {
                self.known().put(namespace, clock::now(), secret.clone());
                Ok(secret)
            }
            Ok(None) => {
                self.known().remove(namespace, name);
                let message = format!("Secret {full} does not exist; create it");
                Err(trouble("SecretNotFound", message, false))
            }
            Err(error) => last.map(|(_, secret)| secret).ok_or_else(|| {
                let message = format!("Secret {full} cannot be read: {}", chain(&error));
                trouble("SecretUnreadable", message, true)
            }),
        }
    }

    /// Asks the API for a Secret whose content was refused, unless that was done within `pause`: a
    /// watch may be behind it. `true` when there is another version now.
    pub async fn has_changed(&self, namespace: &str, name: &str, pause: SignedDuration) -> bool {
        let before = {
            let mut known = self.known();
            if !known.may_ask(namespace, name, clock::now(), pause) {
                return false;
            }
            known.version(namespace, name)
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let Ok(Some(secret)) = api.get_opt(name).await else {
            return false;
        };
        let has_changed = before != secret.metadata.resource_version;
        self.known().put(namespace, clock::now(), secret);
        has_changed
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}

fn trouble(reason: &str, message: String, transient: bool) -> Trouble {
    Trouble {
        reason: reason.into(),
        message,
        transient,
        at: clock::now(),
    }
}
