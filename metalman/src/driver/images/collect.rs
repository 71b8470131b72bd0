//! Removal of images that nobody needs: what is needed is found out here, the store removes.
//!
//! Needed are the images of unfinished operations, of live install tokens, and the netboot images
//! that machines have now.

use std::{collections::HashSet, sync::PoisonError};

use jiff::{SignedDuration, Timestamp};
use netboot::images::{CollectionGoal, ImageReference};
use tracing::{info, warn};

use super::{ImageJobs, Wanted, key};
use crate::{
    clock,
    domain::{TargetState, facts::Images, state::FrozenInput},
    driver::Driver,
    site::architecture,
    store::StoreError,
    supervisor::chain,
};

/// Pause between two rounds.
const EVERY: SignedDuration = SignedDuration::from_secs(60);

/// When the last round was.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    last: Option<Timestamp>,
    over_limit: bool,
}

impl ImageJobs {
    /// Starts a round when one is due.
    pub(in crate::driver) fn keep_size(&self, driver: &Driver) {
        let now = clock::now();
        {
            let mut schedule = self
                .collector
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if schedule
                .last
                .is_some_and(|last| now.duration_since(last) < EVERY)
            {
                return;
            }
            schedule.last = Some(now);
        }
        let (jobs, driver) = (self.clone(), driver.clone());
        self.parts.tasks.spawn(async move {
            jobs.collect(&driver, CollectionGoal::Limit).await;
        });
    }

    /// Removes all that is not needed, because the disk is full.
    pub(super) async fn make_room(&self, driver: &Driver) {
        self.collect(driver, CollectionGoal::Everything).await;
    }

    async fn collect(&self, driver: &Driver, goal: CollectionGoal) {
        // Before anything is asked: what is used from here on stays.
        let round = self.parts.store.begin_collection();
        let needed = match self.needed(driver).await {
            Ok(needed) => needed,
            Err(error) => {
                warn!(error = %chain(&error), "cannot tell which images are needed, none is removed");
                return;
            }
        };
        match self.parts.store.collect(round, needed, goal).await {
            Ok(collected) => {
                for digest in &collected.removed {
                    info!(image.digest = %digest, "image removed from the cache, nobody needs it");
                }
                let mut schedule = self
                    .collector
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if collected.over_limit && !schedule.over_limit {
                    warn!(
                        cache.bytes = collected.cache_bytes,
                        "images that are needed take more than images.cache_size; raise it"
                    );
                }
                schedule.over_limit = collected.over_limit;
            }
            Err(error) => warn!(error = %chain(&error), "image cache could not be cleaned up"),
        }
    }

    async fn needed(&self, driver: &Driver) -> Result<HashSet<String>, StoreError> {
        let mut needed = HashSet::new();
        let (known, mut unfinished) = (self.known(), HashSet::new());
        for row in driver.store.targets().unfinished().await? {
            unfinished.insert(key(&row.operation_uid, &row.machine));
            if let Ok(state) = serde_json::from_value::<TargetState>(row.state) {
                needed.extend(state.input.into_iter().flat_map(digests));
            }
            if let Images::Ready(input) = self.fact(&row.operation_uid, &row.machine) {
                needed.extend(digests(input));
            }
        }
        self.forget(&known, &unfinished);
        for token in driver.store.install_tokens().live(clock::now()).await? {
            needed.insert(token.image_digest);
        }
        let default = self.parts.default_netboot_image.as_deref();
        for machine in self.parts.site.owned_machines() {
            let remembered = Wanted::netboot_of(&machine, default).and_then(|wanted| {
                let reference: ImageReference = wanted.text.parse().ok()?;
                let architecture = architecture(wanted.architecture);
                self.parts.store.remembered(&reference, architecture)
            });
            needed.extend(remembered.map(|image| image.digest));
        }
        Ok(needed)
    }
}

fn digests(input: FrozenInput) -> [String; 2] {
    [input.host_image_digest, input.netboot_image_digest]
}
