//! The API's tables: objects, the change log and the one resource version.
//!
//! One SQL text for SQLite and PostgreSQL. It knows rows, not rules. Invariant: a batch of changes
//! and the version it ends at are committed together or not at all, and only if nobody else moved
//! the version meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use sqlx::{AnyPool, Row as _};

use super::hub::{Change, ChangeKind, Key, News, Packers, Stored};
use super::resource::{Catalog, Resource};
use crate::store::Store;
use crate::store::open::Tx;
use crate::store::rows::{Bound, InsertRows};

/// Changes kept for watches to resume from.
pub const LOG_LENGTH: usize = 4096;

/// Access to the tables.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Store,
    catalog: Arc<Catalog>,
}

static CHANGES: InsertRows = InsertRows::new(
    "INSERT INTO api_changes (resource_version, change, api_group, resource, namespace, name, \
     written_at, body)",
    8,
    "",
);
static OBJECTS: InsertRows = InsertRows::new(
    "INSERT INTO api_objects (api_group, resource, namespace, name, uid, resource_version, \
     written_at, body)",
    8,
    "ON CONFLICT (api_group, resource, namespace, name) DO UPDATE SET uid = excluded.uid, \
     resource_version = excluded.resource_version, written_at = excluded.written_at, \
     body = excluded.body",
);

/// A change with the names of its resource.
struct Row<'n> {
    resource: &'n Resource,
    news: &'n News,
}

impl Row<'_> {
    fn bind_key(&self, query: Bound) -> Bound {
        let key = &self.news.change.object.key;
        query
            .bind(&self.resource.group)
            .bind(&self.resource.plural)
            .bind(&key.namespace)
            .bind(&key.name)
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.news.text).unwrap_or_default()
    }
}

/// Everything that is needed to start.
#[derive(Debug)]
pub struct Loaded {
    /// Newest version given out.
    pub version: u64,
    /// Changes up to this version are gone.
    pub compacted: u64,
    /// Live objects.
    pub objects: Vec<Arc<Stored>>,
    /// Log, oldest first.
    pub changes: Vec<Arc<Change>>,
}

/// A change as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// The object is gone.
    pub is_deleted: bool,
    /// Its name.
    pub name: String,
    /// The object as JSON.
    pub body: String,
}

/// What can go wrong with the tables.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database refused or did not answer.
    #[error("cannot {operation} API objects")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// A row that cannot be read back.
    #[error("stored {resource} {namespace}/{name} is damaged: {problem}")]
    Damaged {
        /// Plural and group.
        resource: String,
        /// Namespace, empty when cluster-scoped.
        namespace: String,
        /// Name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process writes to the same tables.
    #[error("resource version is {found}, expected {expected}: another process writes to this API")]
    NotAlone {
        /// In the database.
        found: u64,
        /// In memory.
        expected: u64,
    },
}

fn database(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StorageError {
    move |source| StorageError::Database { operation, source }
}

impl Storage {
    /// The tables in `store`.
    pub const fn new(store: Store, catalog: Arc<Catalog>) -> Self {
        Self { store, catalog }
    }

    /// Reads everything. Objects of resources that are no longer served stay in the table.
    ///
    /// # Errors
    /// Database errors and damaged rows.
    pub async fn load(&self, packers: &Packers) -> Result<Loaded, StorageError> {
        let (version, compacted) = self.versions().await?;
        let mut rows = sqlx::query(
            "SELECT api_group, resource, namespace, name, resource_version, written_at, body \
             FROM api_objects",
        )
        .fetch(self.store.pool());
        let mut objects = Vec::new();
        // Row by row: all texts at once are what packing is there to avoid.
        while let Some(row) = rows.try_next().await.map_err(database("load"))? {
            objects.extend(self.stored(&row, packers)?.map(Arc::new));
        }
        drop(rows);
        let mut rows = sqlx::query(
            "SELECT api_group, resource, namespace, name, resource_version, written_at, body, \
             change FROM api_changes WHERE resource_version > $1 ORDER BY resource_version",
        )
        .bind(signed(compacted))
        .fetch(self.store.pool());
        let mut changes = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(database("load changes of"))? {
            let word: String = row.try_get("change").map_err(database("read changes of"))?;
            if let (Some(object), Some(kind)) =
                (self.stored(&row, packers)?, ChangeKind::parse(&word))
            {
                let version = object.version;
                changes.push(Arc::new(Change {
                    version,
                    kind,
                    object: Arc::new(object),
                    previous: None,
                }));
            }
        }
        Ok(Loaded {
            version,
            compacted,
            objects,
            changes,
        })
    }

    /// Changes of one resource after version `since`, oldest first, for those who know it up to
    /// there; `None` when the log does not reach back so far or has never been there.
    ///
    /// # Errors
    /// Database errors.
    pub async fn changes_since(
        pool: &AnyPool,
        (group, plural): (&str, &str),
        since: u64,
    ) -> Result<Option<Vec<LoggedChange>>, StorageError> {
        let (version, compacted) = versions(pool).await?;
        if since < compacted || since > version {
            return Ok(None);
        }
        let rows = sqlx::query(
            "SELECT change, name, body FROM api_changes WHERE resource_version > $1 \
             AND api_group = $2 AND resource = $3 ORDER BY resource_version",
        )
        .bind(signed(since))
        .bind(group)
        .bind(plural)
        .fetch_all(pool)
        .await
        .map_err(database("load changes of"))?;
        let text = |row: &sqlx::any::AnyRow, column: &str| {
            row.try_get::<String, _>(column)
                .map_err(database("read changes of"))
        };
        let change = |row| {
            let kind = ChangeKind::parse(&text(row, "change")?);
            Ok(LoggedChange {
                is_deleted: kind == Some(ChangeKind::Deleted),
                name: text(row, "name")?,
                body: text(row, "body")?,
            })
        };
        rows.iter().map(change).collect::<Result<_, _>>().map(Some)
    }

    /// The version and the compaction mark in the database.
    ///
    /// # Errors
    /// Database errors.
    pub async fn versions(&self) -> Result<(u64, u64), StorageError> {
        versions(self.store.pool()).await
    }

    /// Writes `changes`, which take the version from `from` to `to`, and drops log entries up to
    /// `compacted`.
    ///
    /// # Errors
    /// On `Database` the outcome is unknown until [`Storage::versions`] answers.
    pub async fn commit(
        &self,
        from: u64,
        to: u64,
        compacted: Option<u64>,
        changes: &[News],
    ) -> Result<(), StorageError> {
        let mut transaction = self.store.transaction().await.map_err(database("write"))?;
        let moved =
            sqlx::query("UPDATE api_versions SET current = $1 WHERE id = 1 AND current = $2")
                .bind(signed(to))
                .bind(signed(from))
                .execute(&mut *transaction)
                .await
                .map_err(database("write"))?;
        if moved.rows_affected() != 1 {
            transaction.rollback().await.map_err(database("write"))?;
            let (found, _) = self.versions().await?;
            return Err(StorageError::NotAlone {
                found,
                expected: from,
            });
        }
        self.write(&mut transaction, changes).await?;
        if let Some(compacted) = compacted {
            sqlx::query("DELETE FROM api_changes WHERE resource_version <= $1")
                .bind(signed(compacted))
                .execute(&mut *transaction)
                .await
                .map_err(database("compact"))?;
            sqlx::query("UPDATE api_versions SET compacted = $1 WHERE id = 1")
                .bind(signed(compacted))
                .execute(&mut *transaction)
                .await
                .map_err(database("compact"))?;
        }
        transaction.commit().await.map_err(database("commit"))
    }

    /// Writes the log, and of each object its last state.
    async fn write(&self, transaction: &mut Tx, news: &[News]) -> Result<(), StorageError> {
        let rows: Vec<Row<'_>> = news.iter().filter_map(|news| self.row(news)).collect();
        let bind = |query: Bound, row: &Row<'_>| {
            let change = &row.news.change;
            row.bind_key(query.bind(signed(change.version)).bind(change.kind.word()))
                .bind(change.object.written_at.as_millisecond())
                .bind(row.text())
        };
        let logged = CHANGES.run(transaction, &rows, bind).await;
        logged.map_err(database("log"))?;
        let mut seen = HashSet::new();
        let last = rows
            .iter()
            .rev()
            .filter(|row| seen.insert(&row.news.change.object.key));
        let (gone, live): (Vec<&Row<'_>>, Vec<_>) =
            last.partition(|row| row.news.change.kind == ChangeKind::Deleted);
        for row in gone {
            let delete = sqlx::query(
                "DELETE FROM api_objects WHERE api_group = $1 AND resource = $2 \
                 AND namespace = $3 AND name = $4",
            );
            let deleted = row.bind_key(delete).execute(&mut **transaction).await;
            deleted.map_err(database("write"))?;
        }
        let bind = |query: Bound, row: &&Row<'_>| {
            let object = &row.news.change.object;
            row.bind_key(query)
                .bind(&*row.news.uid)
                .bind(signed(object.version))
                .bind(object.written_at.as_millisecond())
                .bind(row.text())
        };
        let written = OBJECTS.run(transaction, &live, bind).await;
        written.map_err(database("write"))
    }

    /// `None` for a resource that is no longer served.
    fn row<'n>(&'n self, news: &'n News) -> Option<Row<'n>> {
        let resource = self.catalog.of_slot(news.change.object.key.slot)?;
        Some(Row { resource, news })
    }

    /// `None` for a resource that is no longer served.
    fn stored(
        &self,
        row: &sqlx::any::AnyRow,
        packers: &Packers,
    ) -> Result<Option<Stored>, StorageError> {
        let text = |column: &str| row.try_get::<String, _>(column).map_err(database("read"));
        let number = |column: &str| row.try_get::<i64, _>(column).map_err(database("read"));
        let (group, plural) = (text("api_group")?, text("resource")?);
        let (namespace, name) = (text("namespace")?, text("name")?);
        let Some(resource) = self.catalog.stored(&group, &plural) else {
            return Ok(None);
        };
        let damaged = |problem: String| StorageError::Damaged {
            resource: format!("{plural}.{group}"),
            namespace: namespace.clone(),
            name: name.clone(),
            problem,
        };
        let body = text("body")?;
        serde_json::from_str::<IgnoredAny>(&body).map_err(|e| damaged(e.to_string()))?;
        let written_at = Timestamp::from_millisecond(number("written_at")?)
            .map_err(|e| damaged(e.to_string()))?;
        let version = unsigned(number("resource_version")?);
        let key = Key {
            slot: resource.slot,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        Ok(Some(Stored {
            key,
            version,
            written_at,
            body: packers.pack(resource.slot, &body),
        }))
    }
}

async fn versions(pool: &AnyPool) -> Result<(u64, u64), StorageError> {
    let row = sqlx::query("SELECT current, compacted FROM api_versions WHERE id = 1")
        .fetch_one(pool)
        .await
        .map_err(database("read the version of"))?;
    let get = |column: &str| {
        row.try_get::<i64, _>(column)
            .map(unsigned)
            .map_err(database("read the version of"))
    };
    Ok((get("current")?, get("compacted")?))
}

/// Versions count from 1 by ones: they never leave the range of `i64`.
fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn unsigned(version: i64) -> u64 {
    u64::try_from(version).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const MACHINES: (&str, &str) = ("unbounded-cloud.io", "machines");

    /// A log whose entries up to `compacted` are gone, and that has these: version, word, resource,
    /// name.
    async fn logged(compacted: i64, entries: &[(i64, &str, &str, &str)]) -> Store {
        let store = Store::open("sqlite::memory:").await.unwrap();
        for (version, word, resource, name) in entries {
            sqlx::query(
                "INSERT INTO api_changes (resource_version, change, api_group, resource, \
                 namespace, name, written_at, body) \
                 VALUES ($1, $2, 'unbounded-cloud.io', $3, '', $4, 0, $5)",
            )
            .bind(*version)
            .bind(*word)
            .bind(*resource)
            .bind(*name)
            .bind(format!("body of {version}"))
            .execute(store.pool())
            .await
            .unwrap();
        }
        let current = entries.last().map_or(compacted, |entry| entry.0);
        sqlx::query("UPDATE api_versions SET current = $1, compacted = $2")
            .bind(current)
            .bind(compacted)
            .execute(store.pool())
            .await
            .unwrap();
        store
    }

    async fn since(store: &Store, version: u64) -> Option<Vec<(bool, String, String)>> {
        let changes = Storage::changes_since(store.pool(), MACHINES, version).await;
        let all = changes.unwrap()?.into_iter();
        Some(all.map(|c| (c.is_deleted, c.name, c.body)).collect())
    }

    fn change(is_deleted: bool, name: &str, version: u64) -> (bool, String, String) {
        (is_deleted, name.into(), format!("body of {version}"))
    }

    #[tokio::test]
    async fn changes_of_one_resource_after_a_version_come_oldest_first() {
        let entries = [
            (11, "ADDED", "machines", "a"),
            (12, "ADDED", "machineoperations", "b"),
            (13, "MODIFIED", "machines", "a"),
            (14, "DELETED", "machines", "c"),
        ];
        let store = logged(10, &entries).await;
        let all = vec![
            change(false, "a", 11),
            change(false, "a", 13),
            change(true, "c", 14),
        ];
        assert_eq!(since(&store, 10).await, Some(all.clone()));
        assert_eq!(since(&store, 12).await, Some(all[1..].to_vec()));
        assert_eq!(since(&store, 14).await, Some(Vec::new()));
    }

    #[tokio::test]
    async fn a_log_that_does_not_reach_says_nothing() {
        let store = logged(10, &[(11, "ADDED", "machines", "a")]).await;
        assert_eq!(since(&store, 9).await, None, "entry 10 is gone");
        assert_eq!(since(&store, 12).await, None, "never been there");
    }
}
