//! Install tokens: the one-shot permission to overwrite the disk of one machine.
//!
//! Minted with the stage that needs it, claimed once by one boot of the installer. Invariant: a
//! token is claimed by at most one boot id, and never after it expired or was revoked.

use std::fmt;

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::boots::{self, NewCapability};
use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::{Store, Tx, commit};

const TABLE: &str = "install_tokens";

/// A token to be minted. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    pub token: String,
    pub machine: String,
    pub operation_uid: String,
    /// Which try of the operation it belongs to, from 1.
    pub attempt: i64,
    pub image_digest: String,
    pub expires_at: Timestamp,
}

/// A token as kept. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq)]
pub struct InstallToken {
    pub token: String,
    pub machine: String,
    pub operation_uid: String,
    pub attempt: i64,
    pub image_digest: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Boot id of the installer that holds it, and since when.
    pub claim: Option<(String, Timestamp)>,
    pub revoked_at: Option<Timestamp>,
    pub consumed_at: Option<Timestamp>,
}

impl InstallToken {
    /// Whether it still permits anything: claimed in time or still claimable, not used up.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none()
            && self.consumed_at.is_none()
            && (self.claim.is_some() || now < self.expires_at)
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("machine", &self.machine)
            .field("operation_uid", &self.operation_uid)
            .field("attempt", &self.attempt)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for InstallToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallToken")
            .field("machine", &self.machine)
            .field("operation_uid", &self.operation_uid)
            .field("attempt", &self.attempt)
            .field("expires_at", &self.expires_at)
            .field("claim", &self.claim)
            .field("revoked_at", &self.revoked_at)
            .field("consumed_at", &self.consumed_at)
            .finish_non_exhaustive()
    }
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// This call took it.
    Claimed(InstallToken),
    /// The same boot asks again: its first answer was lost.
    SameBoot(InstallToken),
    /// Another boot holds it.
    OtherBoot,
    Expired,
    Revoked,
    Unknown,
    /// Its installation is finished.
    Consumed,
}

/// A change of permissions, written with the step that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    Mint(NewToken),
    /// The installation under this token is finished.
    Consume {
        token: String,
    },
    /// Revokes all install tokens of the target being committed.
    RevokeTokens,
    /// Lets the installed host report its boots. Earlier capabilities stay until revoked, so put
    /// `RevokeCapabilities` before it once the old system cannot come back.
    MintCapability(NewCapability),
    /// Revokes all boot capabilities of the machine being committed.
    RevokeCapabilities,
}

/// Table `install_tokens`.
#[derive(Debug, Clone, Copy)]
pub struct InstallTokens<'s> {
    store: &'s Store,
}

impl Store {
    /// Install tokens.
    pub const fn install_tokens(&self) -> InstallTokens<'_> {
        InstallTokens { store: self }
    }
}

impl InstallTokens<'_> {
    /// Mints a token outside a step; inside one use [`TokenChange::Mint`].
    pub async fn mint(&self, token: &NewToken, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.store.begin("install_tokens.mint").await?;
        mint(&mut tx, token, now).await?;
        commit(tx, "install_tokens.mint").await
    }

    /// Takes the token for one boot, or says why not. Atomic: of two boots at most one gets it.
    pub async fn claim(
        &self,
        token: &str,
        boot_id: &str,
        now: Timestamp,
    ) -> Result<ClaimOutcome, StoreError> {
        let mut tx = self.store.begin("install_tokens.claim").await?;
        let is_claimed = sqlx::query(
            "UPDATE install_tokens SET claimed_by = $2, claimed_at = $3
             WHERE token = $1 AND claimed_by IS NULL AND revoked_at IS NULL
                 AND consumed_at IS NULL AND expires_at > $3",
        )
        .bind(token)
        .bind(boot_id)
        .bind(now.as_microsecond())
        .execute(&mut *tx)
        .await
        .map_err(during("install_tokens.claim"))?
        .rows_affected()
            == 1;
        let row = sqlx::query(
            "SELECT token, machine, operation_uid, attempt, image_digest, created_at, expires_at,
                 claimed_by, claimed_at, revoked_at, consumed_at
             FROM install_tokens WHERE token = $1",
        )
        .bind(token)
        .fetch_optional(&mut *tx)
        .await
        .map_err(during("install_tokens.claim"))?;
        commit(tx, "install_tokens.claim").await?;
        let Some(row) = row else {
            return Ok(ClaimOutcome::Unknown);
        };
        let token = from_row(&row)?;
        Ok(if is_claimed {
            ClaimOutcome::Claimed(token)
        } else {
            refusal(token, boot_id)
        })
    }

    /// The token, live or not.
    pub async fn find(&self, token: &str) -> Result<Option<InstallToken>, StoreError> {
        let row = sqlx::query(
            "SELECT token, machine, operation_uid, attempt, image_digest, created_at, expires_at,
                 claimed_by, claimed_at, revoked_at, consumed_at
             FROM install_tokens WHERE token = $1",
        )
        .bind(token)
        .fetch_optional(self.store.pool())
        .await
        .map_err(during("install_tokens.find"))?;
        row.as_ref().map(from_row).transpose()
    }

    /// Marks the installation under this token as finished. `false`: it was not claimed, was
    /// revoked, or was finished before.
    pub async fn consume(&self, token: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.store.begin("install_tokens.consume").await?;
        let consumed = consume(&mut tx, token, now).await?;
        commit(tx, "install_tokens.consume").await?;
        Ok(consumed)
    }

    /// Revokes what a target still holds, claimed or not. Returns how many.
    pub async fn revoke_of(
        &self,
        operation_uid: &str,
        machine: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.store.begin("install_tokens.revoke").await?;
        let revoked = revoke(&mut tx, operation_uid, machine, now).await?;
        commit(tx, "install_tokens.revoke").await?;
        Ok(revoked)
    }

    /// Tokens that still permit something, oldest first: what the boot directory offers.
    pub async fn live(&self, now: Timestamp) -> Result<Vec<InstallToken>, StoreError> {
        let rows = sqlx::query(
            "SELECT token, machine, operation_uid, attempt, image_digest, created_at, expires_at,
                 claimed_by, claimed_at, revoked_at, consumed_at
             FROM install_tokens
             WHERE revoked_at IS NULL AND consumed_at IS NULL
                 AND (claimed_by IS NOT NULL OR expires_at > $1)
             ORDER BY created_at, token",
        )
        .bind(now.as_microsecond())
        .fetch_all(self.store.pool())
        .await
        .map_err(during("install_tokens.live"))?;
        all(&rows, from_row)
    }
}

fn refusal(token: InstallToken, boot_id: &str) -> ClaimOutcome {
    if token.revoked_at.is_some() {
        return ClaimOutcome::Revoked;
    }
    if token.consumed_at.is_some() {
        return ClaimOutcome::Consumed;
    }
    match &token.claim {
        Some((holder, _)) if holder == boot_id => ClaimOutcome::SameBoot(token),
        Some(_) => ClaimOutcome::OtherBoot,
        None => ClaimOutcome::Expired,
    }
}

/// Applies the changes a step decided for one target.
pub(super) async fn apply(
    tx: &mut Tx,
    operation_uid: &str,
    machine: &str,
    changes: &[TokenChange],
    now: Timestamp,
) -> Result<(), StoreError> {
    for change in changes {
        match change {
            TokenChange::Mint(token) => mint(tx, token, now).await?,
            TokenChange::Consume { token } => {
                consume(tx, token, now).await?;
            }
            TokenChange::RevokeTokens => {
                revoke(tx, operation_uid, machine, now).await?;
            }
            TokenChange::MintCapability(capability) => {
                boots::mint_capability(tx, capability, now).await?;
            }
            TokenChange::RevokeCapabilities => {
                boots::revoke_capabilities(tx, machine, now).await?;
            }
        }
    }
    Ok(())
}

async fn mint(tx: &mut Tx, token: &NewToken, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO install_tokens (token, machine, operation_uid, attempt, image_digest,
             created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&token.token)
    .bind(&token.machine)
    .bind(&token.operation_uid)
    .bind(token.attempt)
    .bind(&token.image_digest)
    .bind(now.as_microsecond())
    .bind(token.expires_at.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("install_tokens.mint"))?;
    Ok(())
}

async fn consume(tx: &mut Tx, token: &str, now: Timestamp) -> Result<bool, StoreError> {
    let written = sqlx::query(
        "UPDATE install_tokens SET consumed_at = $2
         WHERE token = $1 AND claimed_by IS NOT NULL AND consumed_at IS NULL
             AND revoked_at IS NULL",
    )
    .bind(token)
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("install_tokens.consume"))?;
    Ok(written.rows_affected() == 1)
}

async fn revoke(
    tx: &mut Tx,
    operation_uid: &str,
    machine: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let written = sqlx::query(
        "UPDATE install_tokens SET revoked_at = $3
         WHERE operation_uid = $1 AND machine = $2 AND revoked_at IS NULL AND consumed_at IS NULL",
    )
    .bind(operation_uid)
    .bind(machine)
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("install_tokens.revoke"))?;
    Ok(written.rows_affected())
}

fn from_row(row: &AnyRow) -> Result<InstallToken, StoreError> {
    let columns = Columns::new(TABLE, row);
    let claim = match (
        columns.get("claimed_by")?,
        columns.optional_time("claimed_at")?,
    ) {
        (None, None) => None,
        (Some(boot_id), Some(at)) => Some((boot_id, at)),
        (Some(_), None) | (None, Some(_)) => {
            return Err(columns.inconsistent(
                "claimed_at",
                "claimed_by and claimed_at disagree".to_owned(),
            ));
        }
    };
    Ok(InstallToken {
        token: columns.get("token")?,
        machine: columns.get("machine")?,
        operation_uid: columns.get("operation_uid")?,
        attempt: columns.get("attempt")?,
        image_digest: columns.get("image_digest")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.time("expires_at")?,
        claim,
        revoked_at: columns.optional_time("revoked_at")?,
        consumed_at: columns.optional_time("consumed_at")?,
    })
}
