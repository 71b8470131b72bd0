//! Tells the process what the store has learnt. Evidence and reports reach the store on several
//! ways; this is the one place that wakes the others about them. Invariant: only reads.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::view::Heard;
use crate::{
    site::Site,
    store::{Store, StoreError, TimelineEntry, TimelineSource},
    supervisor::chain,
    timeline::Recorder,
};

/// Longest pause between two looks; the recorder's batches are seen at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Entries read at one time, and looked back at a start.
const ENTRIES: u32 = 2000;

/// Looks for new entries until `stop`; notes who was heard, wakes the engine, and tells the pages
/// of every change. The end of `pages` lets open event streams end, so that the stop is quick.
pub(super) async fn watch(
    store: Store,
    site: Arc<Site>,
    heard: Heard,
    recorder: Recorder,
    pages: watch::Sender<u64>,
    stop: CancellationToken,
) -> Result<()> {
    let mut written = recorder.written();
    let mut changes = site.changes();
    let mut tick = tokio::time::interval(LOOK_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
            Ok(()) = written.changed() => {}
            Ok(()) = changes.changed() => {
                pages.send_modify(|count| *count += 1);
                continue;
            }
        }
        match look(&store, &heard, seen).await {
            Ok(last) => {
                let (last, machines) = last;
                if seen.replace(last).is_some() {
                    for machine in machines {
                        site.poke_machine(&machine);
                    }
                }
            }
            Err(error) => {
                warn!(error = %chain(&error), "could not read the timeline, will look again");
            }
        }
    }
}

/// Takes in what came after `seen`; returns the id of the last entry, and whom they are about.
async fn look(
    store: &Store,
    heard: &Heard,
    seen: Option<i64>,
) -> Result<(i64, HashSet<String>), StoreError> {
    let timeline = store.timeline();
    let after = match seen {
        Some(id) => id,
        None => timeline.last_id().await?.saturating_sub(i64::from(ENTRIES)),
    };
    let entries = timeline.list_since(after, ENTRIES).await?;
    heard.take(&entries);
    let last = entries
        .last()
        .map_or(after.max(seen.unwrap_or(0)), |entry| entry.id);
    // The driver knows what it wrote itself.
    let told = entries.into_iter().filter(is_from_outside);
    let machines = told.map(|entry| entry.machine).collect();
    Ok((last, machines))
}

fn is_from_outside(entry: &TimelineEntry) -> bool {
    match entry.source {
        TimelineSource::Bmc | TimelineSource::Operation => false,
        TimelineSource::Dhcp
        | TimelineSource::Tftp
        | TimelineSource::Http
        | TimelineSource::Grub
        | TimelineSource::Installer
        | TimelineSource::Host => true,
    }
}
