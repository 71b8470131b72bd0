//! What happened to each machine, for people.
//!
//! Invariant: ids grow in the order of commits, so a reader that asks for entries after the last
//! id it saw misses none.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::ids;
use super::open::{Store, Tx, commit};
use super::rows::{Bound, InsertRows};

const TABLE: &str = "timeline";

static ENTRIES: InsertRows = InsertRows::new(
    "INSERT INTO timeline (id, machine, at, source, text, detail, operation)",
    7,
    "",
);

/// The newest entries kept per machine: several installs.
const KEPT: i64 = 2000;

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimelineSource {
    Dhcp,
    Tftp,
    Http,
    Grub,
    Installer,
    Host,
    Bmc,
    Operation,
}

impl TimelineSource {
    /// Every source.
    pub const ALL: [Self; 8] = [
        Self::Dhcp,
        Self::Tftp,
        Self::Http,
        Self::Grub,
        Self::Installer,
        Self::Host,
        Self::Bmc,
        Self::Operation,
    ];

    /// The word in the database, in JSON and on screen.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Tftp => "tftp",
            Self::Http => "http",
            Self::Grub => "grub",
            Self::Installer => "installer",
            Self::Host => "host",
            Self::Bmc => "bmc",
            Self::Operation => "operation",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// An entry to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTimelineEntry {
    pub machine: String,
    pub at: Timestamp,
    pub source: TimelineSource,
    /// One line for people.
    pub text: String,
    pub detail: Value,
    /// Name of the operation it belongs to, if any.
    pub operation: Option<String>,
}

/// An entry as kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    pub id: i64,
    pub machine: String,
    pub at: Timestamp,
    pub source: TimelineSource,
    pub text: String,
    pub detail: Value,
    pub operation: Option<String>,
}

/// Table `timeline`.
#[derive(Debug, Clone, Copy)]
pub struct Timeline<'s> {
    store: &'s Store,
}

impl Store {
    /// The boot timeline.
    pub const fn timeline(&self) -> Timeline<'_> {
        Timeline { store: self }
    }
}

impl Timeline<'_> {
    /// Writes entries in one transaction.
    pub async fn append(&self, entries: &[NewTimelineEntry]) -> Result<(), StoreError> {
        let mut tx = self.store.begin("timeline.append").await?;
        insert(&mut tx, entries).await?;
        commit(tx, "timeline.append").await
    }

    /// Up to `limit` entries of a machine, newest first; `before_id` pages back.
    pub async fn list(
        &self,
        machine: &str,
        before_id: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, machine, at, source, text, detail, operation FROM timeline
             WHERE machine = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(machine)
        .bind(before_id.unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(self.store.pool())
        .await
        .map_err(during("timeline.list"))?;
        all(&rows, from_row)
    }

    /// Up to `limit` entries of all machines written after `id`, oldest first.
    pub async fn list_since(&self, id: i64, limit: u32) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, machine, at, source, text, detail, operation FROM timeline
             WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(self.store.pool())
        .await
        .map_err(during("timeline.list_since"))?;
        all(&rows, from_row)
    }

    /// The id of the newest entry of any machine; 0 when there is none.
    pub async fn last_id(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM timeline")
            .fetch_one(self.store.pool())
            .await
            .map_err(during("timeline.last_id"))
    }
}

/// Writes entries in this order.
pub(super) async fn insert(
    tx: &mut Tx,
    entries: impl IntoIterator<Item = &NewTimelineEntry>,
) -> Result<(), StoreError> {
    let mut rows: Vec<(i64, &NewTimelineEntry)> =
        entries.into_iter().map(|entry| (0, entry)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let first = ids::take(tx, rows.len()).await?;
    (first..)
        .zip(&mut rows)
        .for_each(|(id, (place, _))| *place = id);
    let bind = |query: Bound, (id, entry): &(i64, &NewTimelineEntry)| {
        query
            .bind(*id)
            .bind(&entry.machine)
            .bind(entry.at.as_microsecond())
            .bind(entry.source.as_str())
            .bind(&entry.text)
            .bind(entry.detail.to_string())
            .bind(entry.operation.as_deref())
    };
    let written = ENTRIES.run(tx, &rows, bind).await;
    written.map_err(during("timeline.append"))?;
    let touched: BTreeSet<&str> = rows.iter().map(|(_, e)| e.machine.as_str()).collect();
    for machine in touched {
        prune(tx, machine).await?;
    }
    Ok(())
}

async fn prune(tx: &mut Tx, machine: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM timeline WHERE machine = $1 AND id < (
             SELECT id FROM timeline WHERE machine = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
    )
    .bind(machine)
    .bind(KEPT - 1)
    .execute(&mut **tx)
    .await
    .map_err(during("timeline.prune"))?;
    Ok(())
}

fn from_row(row: &AnyRow) -> Result<TimelineEntry, StoreError> {
    let columns = Columns::new(TABLE, row);
    Ok(TimelineEntry {
        id: columns.get("id")?,
        machine: columns.get("machine")?,
        at: columns.time("at")?,
        source: columns.word("source", TimelineSource::parse)?,
        text: columns.get("text")?,
        detail: columns.json("detail")?,
        operation: columns.get("operation")?,
    })
}
