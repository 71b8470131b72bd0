//! BMC passwords as their Secrets hold them, and changing one in two writes: first beside the one in
//! force, then instead of it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use metalman_api::machine::PasswordRef;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{Secrets, trouble};
use crate::{bmc::SecretVersion, clock, domain::facts::Trouble, supervisor::chain};

/// What is behind the key of a password that is to come.
const PENDING: &str = ".pending";

/// A BMC password as its Secret holds it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The one in force, as far as the Secret knows.
    pub password: SecretString,
    /// The one it was about to be changed to; left by a change that did not come to its end.
    pub pending: Option<SecretString>,
    /// Which version of which Secret.
    pub version: SecretVersion,
}

/// Keeps everybody else from using a password while it is changed.
#[derive(Debug)]
pub struct Changing {
    secret: String,
    all: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Changing {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.secret);
    }
}

impl Secrets {
    /// Keeps others from using this password; `None` while somebody changes it already.
    pub fn begin_change(&self, reference: &PasswordRef) -> Option<Changing> {
        let secret = full_name(reference);
        let mut all = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(secret.clone()).then(|| Changing {
            secret,
            all: Arc::clone(&self.changing),
        })
    }

    /// Writes a password that is to come beside the one in force.
    ///
    /// # Errors
    /// A [`Trouble`] that names the Secret; nothing was written.
    pub async fn put_pending(
        &self,
        reference: &PasswordRef,
        version: &SecretVersion,
        pending: &SecretString,
    ) -> Result<Credential, Trouble> {
        let value = json!({ pending_key(reference): encoded(pending) });
        self.write(reference, version, value).await
    }

    /// Makes `password` the one in force, and drops what was pending.
    ///
    /// # Errors
    /// A [`Trouble`] that names the Secret; nothing was written.
    pub async fn settle(
        &self,
        reference: &PasswordRef,
        version: &SecretVersion,
        password: &SecretString,
    ) -> Result<Credential, Trouble> {
        let value = json!({ &reference.key: encoded(password), pending_key(reference): null });
        self.write(reference, version, value).await
    }

    async fn write(
        &self,
        reference: &PasswordRef,
        version: &SecretVersion,
        data: serde_json::Value,
    ) -> Result<Credential, Trouble> {
        let full = full_name(reference);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &reference.namespace);
        // Written over this version only: another one has another password.
        let patch = json!({
            "metadata": { "uid": version.uid, "resourceVersion": version.resource_version },
            "data": data,
        });
        let params = PatchParams {
            field_manager: Some("metalman".into()),
            ..PatchParams::default()
        };
        let patched = api
            .patch(&reference.name, &params, &Patch::Merge(patch))
            .await;
        let secret = patched.map_err(|error| {
            let message = format!(
                "Secret {full} cannot be written: {}; metalman needs the verb patch on it",
                chain(&error)
            );
            trouble("SecretNotWritable", message, true)
        })?;
        self.known()
            .put(&reference.namespace, clock::now(), secret.clone());
        read(reference, &secret)
    }

    pub(super) fn is_changing(&self, full: &str) -> bool {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        changing.contains(full)
    }
}

pub(super) fn full_name(reference: &PasswordRef) -> String {
    format!("{}/{}", reference.namespace, reference.name)
}

fn pending_key(reference: &PasswordRef) -> String {
    format!("{}{PENDING}", reference.key)
}

fn encoded(password: &SecretString) -> ByteString {
    ByteString(password.expose_secret().as_bytes().to_vec())
}

/// The password of a Secret, and the one that may come.
pub(super) fn read(reference: &PasswordRef, secret: &Secret) -> Result<Credential, Trouble> {
    let (full, key) = (full_name(reference), &reference.key);
    let data = secret.data.as_ref();
    let text = |key: &str| -> Result<Option<SecretString>, Trouble> {
        let Some(bytes) = data.and_then(|data| data.get(key)) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes.0).map_err(|_| {
            let message = format!("key {key} of Secret {full} is not text");
            trouble("SecretInvalid", message, false)
        })?;
        // `kubectl create secret --from-file` keeps the file's last newline.
        Ok(Some(SecretString::from(
            text.trim_end_matches(['\n', '\r']),
        )))
    };
    let password = text(key)?.ok_or_else(|| {
        let message = format!("Secret {full} has no key {key}; add it");
        trouble("SecretKeyMissing", message, false)
    })?;
    Ok(Credential {
        password,
        pending: text(&pending_key(reference))?,
        version: SecretVersion {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            resource_version: secret.metadata.resource_version.clone().unwrap_or_default(),
            name: full,
        },
    })
}
