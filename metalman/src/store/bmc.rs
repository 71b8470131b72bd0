//! What must be remembered about BMCs across restarts: pinned certificates, refused passwords.
//!
//! A password that a BMC has refused is not tried again until its Secret changes, since BMCs lock
//! accounts. The password itself is never here.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::Store;

/// The certificate a BMC showed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcPin {
    pub address: String,
    /// SHA-256 of the certificate, lower hex.
    pub fingerprint: String,
    pub pinned_at: Timestamp,
}

/// A version of a Secret that a BMC has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCredential {
    pub address: String,
    pub secret_uid: String,
    pub secret_resource_version: String,
    pub refused_at: Timestamp,
}

/// Tables `bmc_pins` and `bmc_credentials_refused`.
#[derive(Debug, Clone, Copy)]
pub struct BmcMemory<'s> {
    store: &'s Store,
}

impl Store {
    /// Pins and refusals of BMCs.
    pub const fn bmc(&self) -> BmcMemory<'_> {
        BmcMemory { store: self }
    }
}

impl BmcMemory<'_> {
    /// Pins the certificate unless one is pinned, and returns the one that counts: a caller whose
    /// fingerprint differs is talking to something else.
    pub async fn pin_first(&self, pin: &BmcPin) -> Result<BmcPin, StoreError> {
        sqlx::query(
            "INSERT INTO bmc_pins (address, fingerprint, pinned_at) VALUES ($1, $2, $3)
             ON CONFLICT (address) DO NOTHING",
        )
        .bind(&pin.address)
        .bind(&pin.fingerprint)
        .bind(pin.pinned_at.as_microsecond())
        .execute(self.store.writer())
        .await
        .map_err(during("bmc_pins.pin_first"))?;
        Ok(self.pin(&pin.address).await?.unwrap_or_else(|| pin.clone()))
    }

    /// The pinned certificate, if any.
    pub async fn pin(&self, address: &str) -> Result<Option<BmcPin>, StoreError> {
        let row =
            sqlx::query("SELECT address, fingerprint, pinned_at FROM bmc_pins WHERE address = $1")
                .bind(address)
                .fetch_optional(self.store.pool())
                .await
                .map_err(during("bmc_pins.find"))?;
        row.as_ref().map(pin_from_row).transpose()
    }

    /// Pins this certificate instead of another. An operator's decision.
    pub async fn pin_anew(&self, pin: &BmcPin) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO bmc_pins (address, fingerprint, pinned_at) VALUES ($1, $2, $3)
             ON CONFLICT (address) DO UPDATE SET
                 fingerprint = excluded.fingerprint, pinned_at = excluded.pinned_at",
        )
        .bind(&pin.address)
        .bind(&pin.fingerprint)
        .bind(pin.pinned_at.as_microsecond())
        .execute(self.store.writer())
        .await
        .map_err(during("bmc_pins.pin_anew"))?;
        Ok(())
    }

    /// Notes that a BMC refused this version of a Secret; an older version is forgotten.
    pub async fn refuse(&self, refused: &RefusedCredential) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO bmc_credentials_refused
                 (address, secret_uid, secret_resource_version, refused_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (address, secret_uid) DO UPDATE SET
                 secret_resource_version = excluded.secret_resource_version,
                 refused_at = excluded.refused_at",
        )
        .bind(&refused.address)
        .bind(&refused.secret_uid)
        .bind(&refused.secret_resource_version)
        .bind(refused.refused_at.as_microsecond())
        .execute(self.store.writer())
        .await
        .map_err(during("bmc_credentials_refused.put"))?;
        Ok(())
    }

    /// All refusals, to load the breaker at start-up.
    pub async fn refused(&self) -> Result<Vec<RefusedCredential>, StoreError> {
        let rows = sqlx::query(
            "SELECT address, secret_uid, secret_resource_version, refused_at
             FROM bmc_credentials_refused ORDER BY address, secret_uid",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(during("bmc_credentials_refused.all"))?;
        all(&rows, refused_from_row)
    }

    /// Whether exactly this version of the Secret was refused there.
    pub async fn is_refused(
        &self,
        address: &str,
        secret_uid: &str,
        secret_resource_version: &str,
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT address FROM bmc_credentials_refused
             WHERE address = $1 AND secret_uid = $2 AND secret_resource_version = $3",
        )
        .bind(address)
        .bind(secret_uid)
        .bind(secret_resource_version)
        .fetch_optional(self.store.pool())
        .await
        .map_err(during("bmc_credentials_refused.find"))?;
        Ok(row.is_some())
    }

    /// Forgets the refusals of a BMC, after a login worked.
    pub async fn accept(&self, address: &str, secret_uid: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM bmc_credentials_refused WHERE address = $1 AND secret_uid = $2")
            .bind(address)
            .bind(secret_uid)
            .execute(self.store.writer())
            .await
            .map_err(during("bmc_credentials_refused.delete"))?;
        Ok(())
    }
}

fn pin_from_row(row: &AnyRow) -> Result<BmcPin, StoreError> {
    let columns = Columns::new("bmc_pins", row);
    Ok(BmcPin {
        address: columns.get("address")?,
        fingerprint: columns.get("fingerprint")?,
        pinned_at: columns.time("pinned_at")?,
    })
}

fn refused_from_row(row: &AnyRow) -> Result<RefusedCredential, StoreError> {
    let columns = Columns::new("bmc_credentials_refused", row);
    Ok(RefusedCredential {
        address: columns.get("address")?,
        secret_uid: columns.get("secret_uid")?,
        secret_resource_version: columns.get("secret_resource_version")?,
        refused_at: columns.time("refused_at")?,
    })
}
