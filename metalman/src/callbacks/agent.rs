//! The credential an installed host is given for the embedded API: a kubeconfig with a token that is
//! bound to its Machine.
//!
//! Invariant: a token that was given to an earlier installation ends when a later one is finished.

use jiff::Timestamp;
use metalman_api::machine::Machine;

use crate::{
    standalone::{
        access,
        kubeconfig::{kubeconfig, kubeconfig_text},
    },
    store::{ApiToken, InstallToken, Store, StoreError, TokenRole},
};

/// Where the agent finds it on its host.
pub(super) const KUBECONFIG_PATH: &str = "/etc/unbounded/agent/kubeconfig";

/// How agents reach the embedded API.
#[derive(Debug, Clone)]
pub struct AgentApi {
    /// `https://` URL.
    pub url: String,
    /// PEM of the CA to trust.
    pub ca_pem: String,
}

impl AgentApi {
    /// Mints a token for the agent of `machine` and returns its kubeconfig; `None` for a Machine that
    /// has no uid yet.
    pub(super) async fn mint(
        &self,
        store: &Store,
        machine: &Machine,
        install: &InstallToken,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let Some(uid) = machine.metadata.uid.clone() else {
            return Ok(None);
        };
        let text = access::random_token();
        let token = ApiToken {
            machine_uid: Some(uid),
            operation_uid: Some(install.operation_uid.clone()),
            ..access::minted(&text, &install.machine, TokenRole::Agent, now)
        };
        store.api_tokens().add(&token, now).await?;
        let config = kubeconfig(&self.url, &self.ca_pem, &install.machine, text.into());
        Ok(Some(kubeconfig_text(&config)))
    }
}
