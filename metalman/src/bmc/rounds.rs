//! Goes round all BMCs at a slow pace and reads their [`Vitals`]. What is worth keeping goes to the
//! store; all of it goes to the site view, which decides what a status shows.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    BmcDesk, ReadVitals, Vitals,
    pace::{self, Impression},
};
use crate::{
    site::Site,
    store::{BmcReadingRow, Store, StoreError},
    supervisor::chain,
};

/// Pause between two looks at who is due.
const TICK: Duration = Duration::from_secs(1);
/// The first round of a start takes this long for each machine, up to the interval.
const FIRST_ROUND: SignedDuration = SignedDuration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct Rounds {
    desk: BmcDesk,
    store: Store,
    interval: SignedDuration,
    due: HashMap<String, Timestamp>,
    running: JoinSet<(String, SignedDuration)>,
    /// Whose readings may be in the store without a Machine.
    doubtful: HashSet<String>,
}

impl Rounds {
    /// `interval` is the pause for a machine where nothing happens.
    pub fn new(desk: BmcDesk, store: Store, interval: SignedDuration) -> Self {
        Self {
            desk,
            store,
            interval,
            due: HashMap::new(),
            running: JoinSet::new(),
            doubtful: HashSet::new(),
        }
    }

    /// Shows what was known before the start, then runs until `stop`; readings under way are given
    /// up.
    ///
    /// # Errors
    /// When a reading panicked.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        if let Err(error) = self.load().await {
            warn!(error = %chain(&error), "earlier readings of BMCs are not shown");
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(done) = self.running.join_next() => {
                    let (machine, pause) = done?;
                    if let Ok(next) = (self.desk.clock)().checked_add(pause) {
                        self.due.insert(machine, next);
                    }
                }
                () = tokio::time::sleep(TICK) => {
                    self.begin();
                    forget_gone(&self.desk.site, &self.store, &mut self.doubtful).await;
                }
            }
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        for row in self.store.bmc_readings().all().await? {
            self.doubtful.insert(row.machine.clone());
            match serde_json::from_value::<Vitals>(row.body) {
                Ok(vitals) => self
                    .desk
                    .site
                    .remember_vitals(&row.machine, vitals, row.read_at),
                Err(error) => debug!(machine.id = row.machine, %error, "old reading left out"),
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        let now = (self.desk.clock)();
        let machines = self.desk.site.owned_machines();
        let with_bmc = machines.iter().filter(|machine| machine.has_bmc);
        let names: HashSet<String> = with_bmc.map(|machine| machine.name.to_string()).collect();
        let gone = self.due.extract_if(|name, _| !names.contains(name));
        self.doubtful.extend(gone.map(|(name, _)| name));
        let count = i32::try_from(names.len()).unwrap_or(i32::MAX);
        let span = FIRST_ROUND.checked_mul(count).unwrap_or(self.interval);
        let span = span.min(self.interval);
        for name in names {
            let first = || now.checked_add(pace::spread(&name, span)).unwrap_or(now);
            let due = self.due.entry(name.clone()).or_insert_with(first);
            if *due > now {
                continue;
            }
            // Until its reading has ended.
            *due = Timestamp::MAX;
            let (desk, store) = (self.desk.clone(), self.store.clone());
            self.running.spawn(read(desk, store, self.interval, name));
        }
    }
}

/// Removes the readings of those of `names` that are no Machine any more; what cannot be removed now
/// stays among them.
async fn forget_gone(site: &Site, store: &Store, names: &mut HashSet<String>) {
    if names.is_empty() || !site.is_synced() {
        return;
    }
    names.retain(|name| site.kept(name).is_none());
    let gone: Vec<String> = names.iter().cloned().collect();
    match store.bmc_readings().forget(&gone).await {
        Ok(()) => names.clear(),
        Err(error) => {
            warn!(error = %chain(&error), "readings of BMCs without a Machine are not removed yet");
        }
    }
}

/// Reads one BMC and says how long to leave it alone.
async fn read(
    desk: BmcDesk,
    store: Store,
    interval: SignedDuration,
    machine: String,
) -> (String, SignedDuration) {
    let began = (desk.clock)();
    let Some(outcome) = desk.glance(&machine, &ReadVitals).await else {
        // Somebody else is calling this BMC.
        let pause = pace::pause(&machine, interval, Impression::Failed, SignedDuration::ZERO);
        return (machine, pause);
    };
    let now = (desk.clock)();
    let took = now.duration_since(began);
    let impression = match outcome {
        Err(trouble) => {
            debug!(machine.id = machine, error = %trouble.message, "vitals not read");
            Impression::Failed
        }
        Ok(vitals) => {
            let old = desk.site.memory(&machine).vitals.map(|read| read.value);
            let is_news = old.as_ref().is_none_or(|old| vitals.is_news_after(old));
            let same_health = old.is_none_or(|old| old.health() == vitals.health());
            if is_news {
                keep(&store, &machine, &vitals, now).await;
            }
            desk.site.remember_vitals(&machine, vitals, now);
            // A change is looked at again soon, since it is shown when it was read twice.
            if same_health {
                Impression::Same
            } else {
                Impression::Changed
            }
        }
    };
    let pause = pace::pause(&machine, interval, impression, took);
    (machine, pause)
}

async fn keep(store: &Store, machine: &str, vitals: &Vitals, now: Timestamp) {
    let Ok(body) = serde_json::to_value(vitals) else {
        return;
    };
    let row = BmcReadingRow {
        machine: machine.to_owned(),
        read_at: now,
        body,
    };
    if let Err(error) = store.bmc_readings().put(&row).await {
        warn!(machine.id = machine, error = %chain(&error), "reading of a BMC not kept");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn readings_go_with_their_machine() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let site = Site::new("lab");
        for name in ["n1", "n2"] {
            let vitals = Vitals::default();
            keep(&store, name, &vitals, Timestamp::UNIX_EPOCH).await;
            let object = json!({ "metadata": { "name": name }, "spec": {} });
            site.apply_machine(&serde_json::from_value(object).unwrap());
            site.remember_vitals(name, vitals, Timestamp::UNIX_EPOCH);
        }
        let both = || HashSet::from(["n1".to_owned(), "n2".to_owned()]);
        let kept = async || {
            let rows = store.bmc_readings().all().await.unwrap();
            rows.into_iter().map(|row| row.machine).collect::<Vec<_>>()
        };
        // Before the first list nobody knows which Machines there are.
        site.remove_machine("n2");
        let mut names = both();
        forget_gone(&site, &store, &mut names).await;
        assert_eq!(names, both());
        assert_eq!(kept().await, ["n1", "n2"]);

        site.set_synced();
        forget_gone(&site, &store, &mut names).await;
        assert!(names.is_empty());
        assert_eq!(kept().await, ["n1"]);
        assert!(site.memory("n1").vitals.is_some());
        assert!(site.memory("n2").vitals.is_none());
    }
}
