//! Which process works on a database: the one whose connection holds PostgreSQL's advisory lock.
//!
//! The server lets go of the lock when the connection ends, also by SIGKILL, and within half a minute
//! when the machine behind it is gone. A SQLite file is in a state folder, which has a lock of its own.
//! Invariant: an [`Ownership`] exists in one process of a schema at a time.

use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::{
    error::{StoreError, during},
    open::{Backend, Store},
};

/// First half of the lock's number, the same for all versions; the second half is of the schema.
const LOCK: i32 = 0x6d65_7461;
/// A peer that does not answer is given up after 10 s and 3 probes of 5 s.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
    SET tcp_keepalives_count = 3";

/// The right to work on a database; it ends with the value.
#[derive(Debug)]
pub struct Ownership {
    connection: Option<AnyConnection>,
}

impl Store {
    /// Takes the database for this process; `None` while another process has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn own(&self) -> Result<Option<Ownership>, StoreError> {
        if self.backend() == Backend::Sqlite {
            return Ok(Some(Ownership { connection: None }));
        }
        let connection = self.pool().acquire().await.map_err(during("own"))?;
        // Out of the pool, which would end it after a while.
        let mut connection = connection.detach();
        connection.execute(KEEPALIVE).await.map_err(during("own"))?;
        let taken: i32 = sqlx::query_scalar(
            "SELECT CASE WHEN pg_try_advisory_lock($1, hashtext(current_schema()::text)) \
             THEN 1 ELSE 0 END",
        )
        .bind(LOCK)
        .fetch_one(&mut connection)
        .await
        .map_err(during("own"))?;
        Ok((taken == 1).then_some(Ownership {
            connection: Some(connection),
        }))
    }
}

impl Ownership {
    /// Whether it is still ours.
    ///
    /// # Errors
    /// When the connection broke, and the lock with it.
    pub async fn check(&mut self) -> Result<(), StoreError> {
        match &mut self.connection {
            Some(connection) => connection.ping().await.map_err(during("own.check")),
            None => Ok(()),
        }
    }

    /// Lets go of it.
    pub async fn release(self) {
        if let Some(connection) = self.connection {
            connection.close().await.ok();
        }
    }
}
