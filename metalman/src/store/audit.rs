//! Who caused what. Nothing in this program changes an entry; the oldest are forgotten when there are
//! too many.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::ids;
use super::open::{Store, commit};
use super::rows::{Bound, InsertRows};

static ENTRIES: InsertRows = InsertRows::new(
    "INSERT INTO audit (id, at, actor, action, object, detail)",
    6,
    "",
);

/// An entry to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAuditEntry {
    pub at: Timestamp,
    /// User, agent or component.
    pub actor: String,
    /// Verb, for example `create` or `power-cycle`.
    pub action: String,
    /// `Kind/name`.
    pub object: String,
    pub detail: Value,
}

/// An entry as kept.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub id: i64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub detail: Value,
}

/// Table `audit`.
#[derive(Debug, Clone, Copy)]
pub struct AuditLog<'s> {
    store: &'s Store,
}

impl Store {
    /// The audit log.
    pub const fn audit(&self) -> AuditLog<'_> {
        AuditLog { store: self }
    }
}

impl AuditLog<'_> {
    /// Writes one entry.
    pub async fn append(&self, entry: &NewAuditEntry) -> Result<(), StoreError> {
        self.append_all(std::slice::from_ref(entry)).await
    }

    /// Writes entries in one transaction, in this order.
    pub async fn append_all(&self, entries: &[NewAuditEntry]) -> Result<(), StoreError> {
        let mut tx = self.store.begin("audit.append").await?;
        let first = ids::take(&mut tx, entries.len()).await?;
        let rows: Vec<(i64, &NewAuditEntry)> = (first..).zip(entries).collect();
        let bind = |query: Bound, (id, entry): &(i64, &NewAuditEntry)| {
            query
                .bind(*id)
                .bind(entry.at.as_microsecond())
                .bind(&entry.actor)
                .bind(&entry.action)
                .bind(&entry.object)
                .bind(entry.detail.to_string())
        };
        let written = ENTRIES.run(&mut tx, &rows, bind).await;
        written.map_err(during("audit.append"))?;
        commit(tx, "audit.append").await
    }

    /// Forgets all but the newest `keep` entries.
    pub async fn prune(&self, keep: u32) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM audit WHERE id <= (
                 SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET $1)",
        )
        .bind(i64::from(keep))
        .execute(self.store.writer())
        .await
        .map_err(during("audit.prune"))?;
        Ok(())
    }

    /// Up to `limit` entries, newest first; `before_id` pages back.
    pub async fn list(
        &self,
        before_id: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, at, actor, action, object, detail FROM audit
             WHERE id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before_id.unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(self.store.pool())
        .await
        .map_err(during("audit.list"))?;
        all(&rows, from_row)
    }
}

fn from_row(row: &AnyRow) -> Result<AuditEntry, StoreError> {
    let columns = Columns::new("audit", row);
    Ok(AuditEntry {
        id: columns.get("id")?,
        at: columns.time("at")?,
        actor: columns.get("actor")?,
        action: columns.get("action")?,
        object: columns.get("object")?,
        detail: columns.json("detail")?,
    })
}
