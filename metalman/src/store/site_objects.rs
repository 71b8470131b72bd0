//! Last known Kubernetes objects of the site, so that it keeps booting while the API is away.
//!
//! A projection: the API server owns these objects, and a finished list is made the whole of a kind.

use std::{collections::HashMap, fmt, slice};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::error::{StoreError, during};
use super::open::{Store, Tx, commit};
use super::rows::{Bound, InsertRows};

const TABLE: &str = "site_objects";
/// Lines for DHCP that are read at a time.
const LINES_READ: i64 = 512;
/// The kind that has lines for DHCP.
const MACHINE: &str = "Machine";
/// Objects handed to the database at one time.
const TOGETHER: usize = 64;

static OBJECTS: InsertRows = InsertRows::new(
    "INSERT INTO site_objects (kind, namespace, name, uid, resource_version, body, updated_at)",
    7,
    "ON CONFLICT (kind, namespace, name) DO UPDATE SET uid = excluded.uid,
         resource_version = excluded.resource_version, body = excluded.body,
         updated_at = excluded.updated_at",
);
static LINES: InsertRows = InsertRows::new(
    "INSERT INTO site_boot (name, version, record)",
    3,
    "ON CONFLICT (name) DO UPDATE SET version = excluded.version, record = excluded.record",
);

/// One object as last seen.
#[derive(Clone, PartialEq)]
pub struct SiteObject {
    /// `Machine`, `MachineOperation`, `Secret`, …
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// The whole object as JSON. Text, since a tree of thousands of objects takes ten times the room.
    pub body: String,
    /// What DHCP needs of a Machine, on one line; `None` for other kinds.
    pub boot: Option<String>,
    pub updated_at: Timestamp,
}

/// What has been handed over of what DHCP needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootLines {
    /// Of so many Machines; of fewer than there are after an upgrade.
    pub known: usize,
    /// Highest `resourceVersion` among them.
    pub version: u64,
}

/// How new an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteVersion {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

impl fmt::Debug for SiteObject {
    /// Without the body, which may be a Secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteObject")
            .field("kind", &self.kind)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("uid", &self.uid)
            .field("resource_version", &self.resource_version)
            .finish_non_exhaustive()
    }
}

/// Table `site_objects`.
#[derive(Debug, Clone, Copy)]
pub struct SiteObjects<'s> {
    store: &'s Store,
}

impl Store {
    /// The last known site view.
    pub const fn site_objects(&self) -> SiteObjects<'_> {
        SiteObjects { store: self }
    }
}

impl SiteObjects<'_> {
    /// Writes one object, replacing what was known of it.
    pub async fn put(&self, object: &SiteObject) -> Result<(), StoreError> {
        let mut tx = self.store.begin("site_objects.put").await?;
        insert(&mut tx, slice::from_ref(object)).await?;
        commit(tx, "site_objects.put").await
    }

    /// Forgets one object; forgetting an unknown one is fine.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), StoreError> {
        let mut tx = self.store.begin("site_objects.delete").await?;
        remove(&mut tx, kind, namespace, name).await?;
        commit(tx, "site_objects.delete").await
    }

    /// All known objects of a kind, by namespace and name.
    pub async fn all(&self, kind: &str) -> Result<Vec<SiteObject>, StoreError> {
        let mut objects = Vec::new();
        self.each(kind, |object| objects.push(object)).await?;
        Ok(objects)
    }

    /// Hands over the known objects of a kind one by one, by namespace and name.
    pub async fn each(
        &self,
        kind: &str,
        mut take: impl FnMut(SiteObject) + Send,
    ) -> Result<(), StoreError> {
        let mut rows = sqlx::query(
            "SELECT kind, o.namespace, o.name, uid, resource_version, body, updated_at, record
             FROM site_objects o
             LEFT JOIN site_boot b ON o.kind = 'Machine' AND b.name = o.name
             WHERE kind = $1 ORDER BY o.namespace, o.name",
        )
        .bind(kind)
        .fetch(self.store.pool());
        while let Some(row) = rows.try_next().await.map_err(during("site_objects.all"))? {
            take(from_row(&row)?);
        }
        Ok(())
    }

    /// How many Machines are known.
    pub async fn machines(&self) -> Result<usize, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS machines FROM site_objects WHERE kind = $1")
            .bind(MACHINE)
            .fetch_one(self.store.pool())
            .await
            .map_err(during("site_objects.machines"))?;
        let machines: i64 = Columns::new(TABLE, &row).get("machines")?;
        Ok(usize::try_from(machines).unwrap_or_default())
    }

    /// Hands over what DHCP needs of all Machines, a few hundred lines at a time: a line for each
    /// that boots from the network. All of them in one text, or each in a row of its own, would
    /// take most of the time of a start.
    pub async fn boot_lines(
        &self,
        mut take: impl FnMut(&str) + Send,
    ) -> Result<BootLines, StoreError> {
        let mut read = BootLines::default();
        let mut last = String::new();
        loop {
            let row = sqlx::query(
                "SELECT COUNT(*) AS known, COALESCE(MAX(version), 0) AS version,
                        COALESCE(MAX(name), '') AS last,
                        COALESCE(string_agg(record, $1), '') AS lines
                 FROM (SELECT name, version, record FROM site_boot WHERE name > $2
                       ORDER BY name LIMIT $3) AS part",
            )
            .bind("\n")
            .bind(&last)
            .bind(LINES_READ)
            .fetch_one(self.store.pool())
            .await
            .map_err(during("site_objects.boot_lines"))?;
            let columns = Columns::new("site_boot", &row);
            let (known, version): (i64, i64) = (columns.get("known")?, columns.get("version")?);
            let lines: String = columns.get("lines")?;
            take(&lines);
            read.known += usize::try_from(known).unwrap_or_default();
            read.version = read.version.max(u64::try_from(version).unwrap_or_default());
            if known < LINES_READ {
                return Ok(read);
            }
            last = columns.get("last")?;
        }
    }

    /// What is kept of a cluster-scoped kind and how new it is, by name.
    pub async fn versions(&self, kind: &str) -> Result<HashMap<String, SiteVersion>, StoreError> {
        // A Machine without its line for DHCP is not whole, and as old as can be.
        let mut rows = sqlx::query(
            "SELECT o.name, uid, CASE WHEN kind = 'Machine' AND b.name IS NULL THEN ''
                    ELSE resource_version END AS resource_version
             FROM site_objects o LEFT JOIN site_boot b ON b.name = o.name
             WHERE kind = $1 AND namespace = ''",
        )
        .bind(kind)
        .fetch(self.store.pool());
        let mut versions = HashMap::new();
        while let Some(row) = rows
            .try_next()
            .await
            .map_err(during("site_objects.versions"))?
        {
            let columns = Columns::new(TABLE, &row);
            let version = SiteVersion {
                name: columns.get("name")?,
                uid: columns.get("uid")?,
                resource_version: columns.get("resource_version")?,
            };
            versions.insert(version.name.clone(), version);
        }
        Ok(versions)
    }

    /// Writes what changed of a cluster-scoped kind, each object once, and forgets what is gone, all
    /// at once.
    pub async fn update(
        &self,
        kind: &str,
        changed: impl Iterator<Item = SiteObject> + Send,
        gone: impl IntoIterator<Item = &str, IntoIter: Send> + Send,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin("site_objects.update").await?;
        for name in gone {
            remove(&mut tx, kind, "", name).await?;
        }
        // Some at a time: all of ten thousand would fill the memory.
        let mut changed = changed;
        loop {
            let some: Vec<SiteObject> = changed.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            insert(&mut tx, &some).await?;
        }
        commit(tx, "site_objects.update").await
    }
}

async fn remove(tx: &mut Tx, kind: &str, namespace: &str, name: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM site_objects WHERE kind = $1 AND namespace = $2 AND name = $3")
        .bind(kind)
        .bind(namespace)
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(during("site_objects.delete"))?;
    if kind == MACHINE {
        sqlx::query("DELETE FROM site_boot WHERE name = $1")
            .bind(name)
            .execute(&mut **tx)
            .await
            .map_err(during("site_objects.delete"))?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, objects: &[SiteObject]) -> Result<(), StoreError> {
    let bind = |query: Bound, object: &SiteObject| {
        query
            .bind(&object.kind)
            .bind(&object.namespace)
            .bind(&object.name)
            .bind(&object.uid)
            .bind(&object.resource_version)
            .bind(&object.body)
            .bind(object.updated_at.as_microsecond())
    };
    let written = OBJECTS.run(tx, objects, bind).await;
    written.map_err(during("site_objects.put"))?;
    let lines: Vec<_> = objects.iter().filter(|o| o.boot.is_some()).collect();
    let bind = |query: Bound, object: &&SiteObject| {
        query
            .bind(&object.name)
            .bind(object.resource_version.parse().unwrap_or(0_i64))
            .bind(&object.boot)
    };
    let written = LINES.run(tx, &lines, bind).await;
    written.map_err(during("site_objects.put"))
}

fn from_row(row: &AnyRow) -> Result<SiteObject, StoreError> {
    let columns = Columns::new(TABLE, row);
    Ok(SiteObject {
        kind: columns.get("kind")?,
        namespace: columns.get("namespace")?,
        name: columns.get("name")?,
        uid: columns.get("uid")?,
        resource_version: columns.get("resource_version")?,
        body: columns.get("body")?,
        boot: columns.get("record")?,
        updated_at: columns.time("updated_at")?,
    })
}
