//! Boots of installed hosts: the capability a host reports with, and the boots it reported.
//!
//! A boot id is new at most once per machine; that a *new* one came is the proof of a reboot.

use std::fmt;

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::{Store, Tx, commit};

/// The newest boots kept per machine.
const BOOTS_KEPT: i64 = 100;

/// A capability to be minted. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCapability {
    pub capability: String,
    pub machine: String,
    pub operation_uid: Option<String>,
}

/// A capability as kept. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct BootCapability {
    pub capability: String,
    pub machine: String,
    pub operation_uid: Option<String>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

impl fmt::Debug for NewCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCapability")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BootCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootCapability")
            .field("machine", &self.machine)
            .field("operation_uid", &self.operation_uid)
            .field("revoked_at", &self.revoked_at)
            .finish_non_exhaustive()
    }
}

/// What a host said about its boot just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSighting {
    pub machine: String,
    pub boot_id: String,
    pub at: Timestamp,
    pub kernel: String,
    pub agent_version: String,
    pub machine_uuid: Option<String>,
}

/// A boot with its first and last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBoot {
    pub machine: String,
    pub boot_id: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub kernel: String,
    pub agent_version: String,
    pub machine_uuid: Option<String>,
}

/// Tables `boot_capabilities` and `boot_reports`.
#[derive(Debug, Clone, Copy)]
pub struct BootLog<'s> {
    store: &'s Store,
}

impl Store {
    /// Boot capabilities and boot reports.
    pub const fn boots(&self) -> BootLog<'_> {
        BootLog { store: self }
    }
}

impl BootLog<'_> {
    /// Mints a capability outside a step; inside one use [`super::TokenChange::MintCapability`].
    pub async fn mint_capability(
        &self,
        capability: &NewCapability,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin("boot_capabilities.mint").await?;
        mint_capability(&mut tx, capability, now).await?;
        commit(tx, "boot_capabilities.mint").await
    }

    /// The capability, revoked or not.
    pub async fn capability(&self, capability: &str) -> Result<Option<BootCapability>, StoreError> {
        let row = sqlx::query(
            "SELECT capability, machine, operation_uid, created_at, revoked_at
             FROM boot_capabilities WHERE capability = $1",
        )
        .bind(capability)
        .fetch_optional(self.store.pool())
        .await
        .map_err(during("boot_capabilities.find"))?;
        row.as_ref().map(capability_from_row).transpose()
    }

    /// Revokes all capabilities of a machine. Returns how many.
    pub async fn revoke_capabilities(
        &self,
        machine: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.store.begin("boot_capabilities.revoke").await?;
        let revoked = revoke_capabilities(&mut tx, machine, now).await?;
        commit(tx, "boot_capabilities.revoke").await?;
        Ok(revoked)
    }

    /// Notes a report of a host. `true`: a boot not heard of before.
    pub async fn record_boot(&self, boot: &BootSighting) -> Result<bool, StoreError> {
        let mut tx = self.store.begin("boot_reports.record").await?;
        let is_new = record(&mut tx, boot).await?;
        if is_new {
            prune(&mut tx, &boot.machine).await?;
        }
        commit(tx, "boot_reports.record").await?;
        Ok(is_new)
    }

    /// The boot that was heard of first most recently.
    pub async fn latest(&self, machine: &str) -> Result<Option<RecordedBoot>, StoreError> {
        let row = sqlx::query(
            "SELECT machine, boot_id, first_seen, last_seen, kernel, agent_version, machine_uuid
             FROM boot_reports WHERE machine = $1 ORDER BY first_seen DESC, boot_id LIMIT 1",
        )
        .bind(machine)
        .fetch_optional(self.store.pool())
        .await
        .map_err(during("boot_reports.latest"))?;
        row.as_ref().map(boot_from_row).transpose()
    }

    /// Boots first heard of after `t`, oldest first.
    pub async fn since(
        &self,
        machine: &str,
        t: Timestamp,
    ) -> Result<Vec<RecordedBoot>, StoreError> {
        let rows = sqlx::query(
            "SELECT machine, boot_id, first_seen, last_seen, kernel, agent_version, machine_uuid
             FROM boot_reports WHERE machine = $1 AND first_seen > $2
             ORDER BY first_seen, boot_id",
        )
        .bind(machine)
        .bind(t.as_microsecond())
        .fetch_all(self.store.pool())
        .await
        .map_err(during("boot_reports.since"))?;
        all(&rows, boot_from_row)
    }
}

async fn record(tx: &mut Tx, boot: &BootSighting) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO boot_reports (machine, boot_id, first_seen, last_seen, kernel, agent_version,
             machine_uuid)
         VALUES ($1, $2, $3, $3, $4, $5, $6)
         ON CONFLICT (machine, boot_id) DO NOTHING",
    )
    .bind(&boot.machine)
    .bind(&boot.boot_id)
    .bind(boot.at.as_microsecond())
    .bind(&boot.kernel)
    .bind(&boot.agent_version)
    .bind(boot.machine_uuid.as_deref())
    .execute(&mut **tx)
    .await
    .map_err(during("boot_reports.record"))?;
    if inserted.rows_affected() == 1 {
        return Ok(true);
    }
    sqlx::query(
        "UPDATE boot_reports SET last_seen = $3, kernel = $4, agent_version = $5, machine_uuid = $6
         WHERE machine = $1 AND boot_id = $2",
    )
    .bind(&boot.machine)
    .bind(&boot.boot_id)
    .bind(boot.at.as_microsecond())
    .bind(&boot.kernel)
    .bind(&boot.agent_version)
    .bind(boot.machine_uuid.as_deref())
    .execute(&mut **tx)
    .await
    .map_err(during("boot_reports.record"))?;
    Ok(false)
}

async fn prune(tx: &mut Tx, machine: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM boot_reports WHERE machine = $1 AND first_seen < (
             SELECT first_seen FROM boot_reports WHERE machine = $1
             ORDER BY first_seen DESC LIMIT 1 OFFSET $2)",
    )
    .bind(machine)
    .bind(BOOTS_KEPT - 1)
    .execute(&mut **tx)
    .await
    .map_err(during("boot_reports.prune"))?;
    Ok(())
}

pub(super) async fn mint_capability(
    tx: &mut Tx,
    capability: &NewCapability,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO boot_capabilities (capability, machine, operation_uid, created_at)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(&capability.capability)
    .bind(&capability.machine)
    .bind(capability.operation_uid.as_deref())
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("boot_capabilities.mint"))?;
    Ok(())
}

pub(super) async fn revoke_capabilities(
    tx: &mut Tx,
    machine: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let written = sqlx::query(
        "UPDATE boot_capabilities SET revoked_at = $2 WHERE machine = $1 AND revoked_at IS NULL",
    )
    .bind(machine)
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("boot_capabilities.revoke"))?;
    Ok(written.rows_affected())
}

fn capability_from_row(row: &AnyRow) -> Result<BootCapability, StoreError> {
    let columns = Columns::new("boot_capabilities", row);
    Ok(BootCapability {
        capability: columns.get("capability")?,
        machine: columns.get("machine")?,
        operation_uid: columns.get("operation_uid")?,
        created_at: columns.time("created_at")?,
        revoked_at: columns.optional_time("revoked_at")?,
    })
}

fn boot_from_row(row: &AnyRow) -> Result<RecordedBoot, StoreError> {
    let columns = Columns::new("boot_reports", row);
    Ok(RecordedBoot {
        machine: columns.get("machine")?,
        boot_id: columns.get("boot_id")?,
        first_seen: columns.time("first_seen")?,
        last_seen: columns.time("last_seen")?,
        kernel: columns.get("kernel")?,
        agent_version: columns.get("agent_version")?,
        machine_uuid: columns.get("machine_uuid")?,
    })
}
