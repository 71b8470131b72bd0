//! Keeps the readings of idle BMCs fresh. Each machine has a time of its own; a machine that an
//! operation reads anyway is left out.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    BmcDesk,
    pace::{self, Impression},
};
use crate::domain::facts::Power;

/// Pause between two looks at who is due.
const TICK: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Poller {
    desk: BmcDesk,
    interval: SignedDuration,
    due: HashMap<String, Timestamp>,
    running: JoinSet<(String, SignedDuration)>,
    /// Machines to read once more at once: a Secret has changed during their reading.
    again: HashSet<String>,
}

impl Poller {
    /// A poller that has read nothing yet; `interval` is the pause for a machine where nothing
    /// happens.
    pub fn new(desk: BmcDesk, interval: SignedDuration) -> Self {
        Self {
            desk,
            interval,
            due: HashMap::new(),
            running: JoinSet::new(),
            again: HashSet::new(),
        }
    }

    /// Runs until `stop`; readings that are under way are given up.
    ///
    /// # Errors
    /// When a reading panicked.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut secrets = self.desk.secrets.changes();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(done) = self.running.join_next() => {
                    let (machine, mut pause) = done?;
                    if self.again.remove(&machine) && self.hangs_on_secret(&machine) {
                        pause = SignedDuration::ZERO;
                    }
                    if let Ok(next) = (self.desk.clock)().checked_add(pause) {
                        self.due.insert(machine, next);
                    }
                }
                () = tokio::time::sleep(TICK) => self.begin(),
                _ = secrets.changed() => self.wake(),
            }
        }
    }

    fn begin(&mut self) {
        let now = (self.desk.clock)();
        let names = self.names();
        self.due.retain(|name, _| names.contains(name));
        let count = names.len();
        for name in names {
            let first = || now.checked_add(pace::first(&name, count)).unwrap_or(now);
            let due = self.due.entry(name.clone()).or_insert_with(first);
            if *due > now {
                continue;
            }
            // Until its reading has ended.
            *due = Timestamp::MAX;
            self.running
                .spawn(read(self.desk.clone(), self.interval, name));
        }
    }

    /// A Secret has changed: machines whose password did not do are read now.
    fn wake(&mut self) {
        let now = (self.desk.clock)();
        let machines: Vec<String> = self.due.keys().cloned().collect();
        for machine in machines {
            if self.due.get(&machine) == Some(&Timestamp::MAX) {
                self.again.insert(machine);
            } else if self.hangs_on_secret(&machine) {
                self.due.insert(machine, now);
            }
        }
        self.begin();
    }

    fn hangs_on_secret(&self, machine: &str) -> bool {
        let trouble = self.desk.site.memory(machine).trouble;
        trouble.is_some_and(|trouble| pace::hangs_on_secret(&trouble))
    }

    /// Owned machines that have a BMC.
    fn names(&self) -> HashSet<String> {
        let machines = self.desk.site.owned_machines();
        let with_bmc = machines.iter().filter(|machine| machine.has_bmc);
        with_bmc.map(|machine| machine.name.to_string()).collect()
    }
}

/// Reads one machine's BMC and says how long to leave it alone.
async fn read(
    desk: BmcDesk,
    interval: SignedDuration,
    machine: String,
) -> (String, SignedDuration) {
    let began = (desk.clock)();
    let before = desk.site.memory(&machine);
    let calm = pace::pause(&machine, interval, Impression::Same, SignedDuration::ZERO);
    let recent = before
        .last_asked()
        .map(|at| began.duration_since(at))
        .filter(|age| *age < calm / 2)
        .filter(|_| !before.trouble.as_ref().is_some_and(pace::hangs_on_secret));
    if let Some(age) = recent {
        return (machine, calm - age);
    }
    let trouble = desk.poll(&machine).await;
    let took = (desk.clock)().duration_since(began);
    let power = |memory: crate::site::MachineMemory| memory.power.map(|reading| reading.value);
    let (old, new) = (power(before), power(desk.site.memory(&machine)));
    let impression = match (trouble, new) {
        (Some(_), _) => Impression::Failed,
        (None, Some(Power::On | Power::Off)) if old == new => Impression::Same,
        (None, _) => Impression::Changed,
    };
    let pause = pace::pause(&machine, interval, impression, took);
    (machine, pause)
}
