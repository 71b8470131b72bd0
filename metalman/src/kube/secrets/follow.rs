//! Watches of Secrets: one for each namespace somebody reads from.

use std::{pin::pin, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _, runtime::watcher};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Secrets;
use crate::{clock, supervisor::chain};

/// Pause before a watch that broke is begun again; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: a watch that is not allowed costs a request a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Secrets {
    /// Keeps what is known in step with the API, until `stop`.
    ///
    /// # Errors
    /// Never today; the type is that of a task.
    pub async fn follow(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut watches = FuturesUnordered::new();
        loop {
            let begun = self.known().begin();
            watches.extend(begun.into_iter().map(|namespace| self.watch(namespace)));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.wanted.notified() => {}
                Some(()) = watches.next() => {}
            }
        }
    }

    /// Never ends.
    async fn watch(&self, namespace: String) {
        let mut pause = FIRST_PAUSE;
        loop {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            let mut events = pin!(watcher(api, watcher::Config::default()));
            let mut listed = Vec::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init) => listed.clear(),
                    Ok(watcher::Event::InitApply(secret)) => listed.push(secret),
                    Ok(watcher::Event::InitDone) => {
                        pause = FIRST_PAUSE;
                        let listed = std::mem::take(&mut listed);
                        debug!(namespace, secrets = listed.len(), "watching Secrets");
                        self.known().replace(&namespace, clock::now(), listed);
                        self.tell();
                    }
                    Ok(watcher::Event::Apply(secret)) => {
                        self.known().put(&namespace, clock::now(), secret);
                        self.tell();
                    }
                    Ok(watcher::Event::Delete(secret)) => {
                        self.known().remove(&namespace, &secret.name_any());
                        self.tell();
                    }
                    // A new watch lists first, so that nothing is believed that was missed.
                    Err(error) => {
                        warn!(namespace, error = %chain(&error), "Secrets cannot be watched, they are read one by one meanwhile");
                        break;
                    }
                }
            }
            self.known().broke(&namespace);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
