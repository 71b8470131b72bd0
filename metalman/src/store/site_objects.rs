//! Last known Kubernetes objects of the site, so that it keeps booting while the API is away.
//!
//! A projection: the API server owns these objects, and a finished list is made the whole of a kind.

use std::{collections::HashMap, fmt};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::{Store, Tx, commit};

const TABLE: &str = "site_objects";

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
    pub updated_at: Timestamp,
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
        insert(&mut tx, object).await?;
        commit(tx, "site_objects.put").await
    }

    /// Forgets one object; forgetting an unknown one is fine.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), StoreError> {
        remove(self.store.pool(), kind, namespace, name).await
    }

    /// All known objects of a kind, by namespace and name.
    pub async fn all(&self, kind: &str) -> Result<Vec<SiteObject>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, namespace, name, uid, resource_version, body, updated_at
             FROM site_objects WHERE kind = $1 ORDER BY namespace, name",
        )
        .bind(kind)
        .fetch_all(self.store.pool())
        .await
        .map_err(during("site_objects.all"))?;
        all(&rows, from_row)
    }

    /// What is kept of a cluster-scoped kind and how new it is, by name.
    pub async fn versions(&self, kind: &str) -> Result<HashMap<String, SiteVersion>, StoreError> {
        let mut rows = sqlx::query(
            "SELECT name, uid, resource_version FROM site_objects
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

    /// Writes what changed of a cluster-scoped kind and forgets what is gone, all at once.
    pub async fn update(
        &self,
        kind: &str,
        changed: impl Iterator<Item = SiteObject> + Send,
        gone: impl IntoIterator<Item = &str, IntoIter: Send> + Send,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin("site_objects.update").await?;
        for name in gone {
            remove(&mut *tx, kind, "", name).await?;
        }
        for object in changed {
            insert(&mut tx, &object).await?;
        }
        commit(tx, "site_objects.update").await
    }
}

async fn remove(
    executor: impl sqlx::Executor<'_, Database = sqlx::Any>,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM site_objects WHERE kind = $1 AND namespace = $2 AND name = $3")
        .bind(kind)
        .bind(namespace)
        .bind(name)
        .execute(executor)
        .await
        .map_err(during("site_objects.delete"))?;
    Ok(())
}

async fn insert(tx: &mut Tx, object: &SiteObject) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO site_objects (kind, namespace, name, uid, resource_version, body, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (kind, namespace, name) DO UPDATE SET uid = excluded.uid,
             resource_version = excluded.resource_version, body = excluded.body,
             updated_at = excluded.updated_at",
    )
    .bind(&object.kind)
    .bind(&object.namespace)
    .bind(&object.name)
    .bind(&object.uid)
    .bind(&object.resource_version)
    .bind(&object.body)
    .bind(object.updated_at.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("site_objects.put"))?;
    Ok(())
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
        updated_at: columns.time("updated_at")?,
    })
}
