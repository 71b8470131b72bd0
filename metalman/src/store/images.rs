//! What each image reference meant when it was last resolved; survives restarts and an absent
//! registry.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::Store;

/// A reference and its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    pub reference: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
    pub resolved_at: Timestamp,
}

/// Table `images`.
#[derive(Debug, Clone, Copy)]
pub struct ImageMap<'s> {
    store: &'s Store,
}

impl Store {
    /// Image references and their digests.
    pub const fn images(&self) -> ImageMap<'_> {
        ImageMap { store: self }
    }
}

impl ImageMap<'_> {
    /// Notes what a reference means now.
    pub async fn put(&self, image: &ResolvedImage) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO images (reference, digest, resolved_at) VALUES ($1, $2, $3)
             ON CONFLICT (reference) DO UPDATE SET digest = excluded.digest,
                 resolved_at = excluded.resolved_at",
        )
        .bind(&image.reference)
        .bind(&image.digest)
        .bind(image.resolved_at.as_microsecond())
        .execute(self.store.pool())
        .await
        .map_err(during("images.put"))?;
        Ok(())
    }

    /// What a reference meant last.
    pub async fn find(&self, reference: &str) -> Result<Option<ResolvedImage>, StoreError> {
        let row =
            sqlx::query("SELECT reference, digest, resolved_at FROM images WHERE reference = $1")
                .bind(reference)
                .fetch_optional(self.store.pool())
                .await
                .map_err(during("images.find"))?;
        row.as_ref().map(from_row).transpose()
    }

    /// All references.
    pub async fn all(&self) -> Result<Vec<ResolvedImage>, StoreError> {
        let rows =
            sqlx::query("SELECT reference, digest, resolved_at FROM images ORDER BY reference")
                .fetch_all(self.store.pool())
                .await
                .map_err(during("images.all"))?;
        all(&rows, from_row)
    }

    /// Forgets a reference nobody uses.
    pub async fn delete(&self, reference: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM images WHERE reference = $1")
            .bind(reference)
            .execute(self.store.pool())
            .await
            .map_err(during("images.delete"))?;
        Ok(())
    }
}

fn from_row(row: &AnyRow) -> Result<ResolvedImage, StoreError> {
    let columns = Columns::new("images", row);
    Ok(ResolvedImage {
        reference: columns.get("reference")?,
        digest: columns.get("digest")?,
        resolved_at: columns.time("resolved_at")?,
    })
}
