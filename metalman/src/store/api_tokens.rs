//! Bearer tokens of the embedded API: whose they are and until when. Never the tokens themselves.
//!
//! Every change raises a counter, so that a server sees changes of another process without reading
//! the table. Invariant: a revoked token never becomes valid again.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::{Store, Tx, commit};

const TABLE: &str = "api_tokens";
const COLUMNS: &str =
    "hash, name, role, machine_uid, operation_uid, created_at, expires_at, revoked_at";

/// What a token permits, as a word of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenRole {
    /// Everything.
    Admin,
    /// Machines and operations.
    Operator,
    /// Reading, without Secrets.
    Viewer,
    /// What one host may do for its own Machine.
    Agent,
}

impl TokenRole {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Viewer, Self::Agent];

    /// The word in the table and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Agent => "agent",
        }
    }

    /// The role of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// A token as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// SHA-256 of the token, in hexadecimal digits.
    pub hash: String,
    /// User name; for an agent the name of its Machine.
    pub name: String,
    pub role: TokenRole,
    /// For an agent: the uid of its Machine.
    pub machine_uid: Option<String>,
    /// For an agent: the operation that installed it.
    pub operation_uid: Option<String>,
    pub created_at: Timestamp,
    /// `None`: until revoked.
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl ApiToken {
    /// Whether it opens anything at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Table `api_tokens`.
#[derive(Debug, Clone, Copy)]
pub struct ApiTokens<'s> {
    store: &'s Store,
}

impl Store {
    /// Tokens of the embedded API.
    pub const fn api_tokens(&self) -> ApiTokens<'_> {
        ApiTokens { store: self }
    }
}

impl ApiTokens<'_> {
    /// Keeps a new token. `false`: somebody who is no agent has a live token of that name.
    pub async fn add(&self, token: &ApiToken, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.store.begin("api_tokens.add").await?;
        touch(&mut tx).await?;
        if token.role != TokenRole::Agent {
            let taken: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM api_tokens WHERE name = $1 AND role <> 'agent'
                     AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
            )
            .bind(&token.name)
            .bind(now.as_microsecond())
            .fetch_one(&mut *tx)
            .await
            .map_err(during("api_tokens.add"))?;
            if taken > 0 {
                return Ok(false);
            }
        }
        sqlx::query(
            "INSERT INTO api_tokens (hash, name, role, machine_uid, operation_uid, created_at,
                 expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&token.hash)
        .bind(&token.name)
        .bind(token.role.word())
        .bind(token.machine_uid.as_deref())
        .bind(token.operation_uid.as_deref())
        .bind(token.created_at.as_microsecond())
        .bind(token.expires_at.map(Timestamp::as_microsecond))
        .execute(&mut *tx)
        .await
        .map_err(during("api_tokens.add"))?;
        commit(tx, "api_tokens.add").await?;
        Ok(true)
    }

    /// Revokes the tokens of a person or program. Returns how many.
    pub async fn revoke(&self, name: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.revoke_where("name = $1 AND role <> 'agent'", name, "", now)
            .await
    }

    /// Revokes the agent tokens of a Machine. Returns how many.
    pub async fn revoke_agent(&self, machine: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.revoke_where("name = $1 AND role = 'agent'", machine, "", now)
            .await
    }

    /// Revokes the agent tokens of a Machine that are not bound to `uid`, which it has now.
    pub async fn revoke_orphan(
        &self,
        machine: &str,
        uid: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let which = "name = $1 AND role = 'agent' AND machine_uid <> $3";
        self.revoke_where(which, machine, uid.unwrap_or_default(), now)
            .await
    }

    /// Revokes the agent tokens that earlier installations of a Machine were given.
    pub async fn supersede_agent(
        &self,
        machine: &str,
        operation_uid: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let which = "name = $1 AND role = 'agent' AND operation_uid <> $3";
        self.revoke_where(which, machine, operation_uid, now).await
    }

    async fn revoke_where(
        &self,
        which: &'static str,
        name: &str,
        operation_uid: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.store.begin("api_tokens.revoke").await?;
        touch(&mut tx).await?;
        // `$3` is mentioned always: PostgreSQL counts the parameters.
        let statement = format!(
            "UPDATE api_tokens SET revoked_at = $2
             WHERE revoked_at IS NULL AND {which} AND $3 = $3"
        );
        let written = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(name)
            .bind(now.as_microsecond())
            .bind(operation_uid)
            .execute(&mut *tx)
            .await
            .map_err(during("api_tokens.revoke"))?;
        commit(tx, "api_tokens.revoke").await?;
        Ok(written.rows_affected())
    }

    /// All tokens, by role and name.
    pub async fn all(&self) -> Result<Vec<ApiToken>, StoreError> {
        let statement = format!("SELECT {COLUMNS} FROM api_tokens ORDER BY role, name, created_at");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .fetch_all(self.store.pool())
            .await
            .map_err(during("api_tokens.all"))?;
        all(&rows, from_row)
    }

    /// A number that grows with every change of the table.
    pub async fn revision(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT value FROM counters WHERE name = 'api_tokens'")
            .fetch_one(self.store.pool())
            .await
            .map_err(during("api_tokens.revision"))
    }

    /// Forgets tokens that opened nothing any more at `before`. Returns how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.store.begin("api_tokens.prune").await?;
        let gone = sqlx::query("DELETE FROM api_tokens WHERE revoked_at < $1 OR expires_at < $1")
            .bind(before.as_microsecond())
            .execute(&mut *tx)
            .await
            .map_err(during("api_tokens.prune"))?
            .rows_affected();
        if gone > 0 {
            touch(&mut tx).await?;
        }
        commit(tx, "api_tokens.prune").await?;
        Ok(gone)
    }
}

async fn touch(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'api_tokens'")
        .execute(&mut **tx)
        .await
        .map_err(during("api_tokens.touch"))?;
    Ok(())
}

fn from_row(row: &AnyRow) -> Result<ApiToken, StoreError> {
    let columns = Columns::new(TABLE, row);
    Ok(ApiToken {
        hash: columns.get("hash")?,
        name: columns.get("name")?,
        role: columns.word("role", TokenRole::parse)?,
        machine_uid: columns.get("machine_uid")?,
        operation_uid: columns.get("operation_uid")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.optional_time("expires_at")?,
        revoked_at: columns.optional_time("revoked_at")?,
    })
}
