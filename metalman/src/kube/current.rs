//! Machines read from the API server itself, because a watch may be behind it.
//!
//! Machines and operations come by watches of their own, in no order between the two: an operation may
//! be seen before the change of its Machine that was made first. Invariant: what was read here is in
//! the site view afterwards, unless a watch has brought something newer.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, Client, api::ListParams, core::Selector};
use metalman_api::machine::{Machine, SITE_LABEL};

use crate::{clock, domain::facts::Trouble, site::Site, supervisor::chain};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Machines asked for at one time.
const PAGE: u32 = 500;

/// Reads Machines as they are now.
#[derive(Clone)]
pub struct CurrentMachines {
    client: Client,
    site: Arc<Site>,
}

impl std::fmt::Debug for CurrentMachines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurrentMachines").finish_non_exhaustive()
    }
}

impl CurrentMachines {
    /// Reads through `client` into `site`.
    pub fn new(client: Client, site: Arc<Site>) -> Self {
        Self { client, site }
    }

    /// One Machine; `None` when it does not exist.
    ///
    /// # Errors
    /// A [`Trouble`] when the API server does not answer.
    pub async fn read(&self, name: &str) -> Result<Option<Arc<Machine>>, Trouble> {
        let before = self.site.kept(name);
        let api: Api<Machine> = Api::all(self.client.clone());
        // Without a resource version the answer is the newest there is.
        match in_time(api.get_opt(name)).await? {
            Some(machine) => self.site.apply_current(machine, before.as_ref()),
            None => self.site.remove_current(name, before.as_ref()),
        }
        Ok(self.site.machine(name))
    }

    /// Names of the Machines of this site that a selector means.
    ///
    /// # Errors
    /// A [`Trouble`] when the API server does not answer.
    pub async fn select(&self, selector: &LabelSelector) -> Result<Vec<String>, Trouble> {
        let api: Api<Machine> = Api::all(self.client.clone());
        let params = ListParams::default().limit(PAGE);
        let mut params = match Selector::try_from(selector.clone()) {
            Ok(selector) => params.labels_from(&selector),
            Err(_) => params.labels(&format!("{SITE_LABEL}={}", self.site.name())),
        };
        let mut names = Vec::new();
        loop {
            let before = self.site.machines();
            let page = in_time(api.list(&params)).await?;
            for machine in page.items {
                let Some(name) = machine.metadata.name.clone() else {
                    continue;
                };
                let known = before.binary_search_by(|kept| (*kept.name).cmp(&name));
                let known = known.ok().and_then(|index| before.get(index));
                self.site.apply_current(machine, known);
                names.push(name);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(names),
            }
        }
    }
}

async fn in_time<T>(ask: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    let why = match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => chain(&error),
        Err(_elapsed) => format!("no answer in {} s", PATIENCE.as_secs()),
    };
    Err(Trouble {
        reason: "ApiServerUnavailable".into(),
        message: why,
        transient: true,
        at: clock::now(),
    })
}
