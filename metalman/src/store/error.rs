//! Why the store could not do what it was asked; one variant per reaction of the caller.

use std::{path::PathBuf, sync::Arc};

/// A refusal of the store. The cause is in `source()`, never in the text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody committed this target since it was loaded: load again and decide again.
    #[error("target {operation_uid}/{machine} is no longer at version {expected_version}")]
    Stale {
        operation_uid: String,
        machine: String,
        expected_version: i64,
    },
    /// The action is not in the state the caller believed: another run has it or ended it.
    #[error("action {id} is not {expected}")]
    ActionState { id: i64, expected: &'static str },
    /// The database is busy or away; the same call may succeed later.
    #[error("database did not answer {operation}")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// The database refused the statement; repeating it will not help.
    #[error("database refused {operation}")]
    Refused {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// The transaction that carried this change with others failed; nothing was kept.
    #[error("the change was not kept")]
    Together {
        #[source]
        source: Arc<Self>,
    },
    /// The program stopped while the change was being written; it may or may not have been kept.
    #[error("{operation} was interrupted")]
    Interrupted { operation: &'static str },
    /// A row holds what this program cannot have written.
    #[error("database is inconsistent: table {table}, column {column}: {problem}")]
    Inconsistent {
        table: &'static str,
        column: &'static str,
        problem: String,
    },
    /// The database address cannot be used as written. Never carries the address: it may hold a password.
    #[error("database address is not usable: {problem}")]
    Address { problem: String },
    /// The database file cannot be created or opened.
    #[error("cannot create the database file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The schema could not be brought up to date; the program must not start on it.
    #[error("cannot bring the database schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Interrupted { .. } => true,
            Self::Together { source } => source.is_transient(),
            Self::Stale { .. }
            | Self::ActionState { .. }
            | Self::Refused { .. }
            | Self::Inconsistent { .. }
            | Self::Address { .. }
            | Self::File { .. }
            | Self::Migrate(_) => false,
        }
    }

    /// Bounded word for metrics and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "StaleTarget",
            Self::ActionState { .. } => "ActionStateMismatch",
            Self::Unavailable { .. } => "DatabaseUnavailable",
            Self::Refused { .. } => "DatabaseRefused",
            Self::Together { source } => source.reason(),
            Self::Interrupted { .. } => "DatabaseInterrupted",
            Self::Inconsistent { .. } => "DatabaseInconsistent",
            Self::Address { .. } => "DatabaseAddressInvalid",
            Self::File { .. } => "DatabaseFileUnusable",
            Self::Migrate(_) => "DatabaseMigrationFailed",
        }
    }
}

/// For `map_err`: says what was being done and sorts busy from broken.
pub(super) fn during(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| {
        if is_transient(&source) {
            StoreError::Unavailable { operation, source }
        } else {
            StoreError::Refused { operation, source }
        }
    }
}

fn is_transient(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(database) = error {
        let code = database.code().unwrap_or_default();
        // SQLite: SQLITE_BUSY and SQLITE_LOCKED with their extended codes. PostgreSQL: classes
        // 08 (connection), 53 (resources), 57P (shutdown), and 40 (serialisation, deadlock).
        return matches!(&*code, "5" | "6" | "261" | "262" | "517" | "773")
            || (code.len() == 5
                && ["08", "53", "57P", "40"]
                    .iter()
                    .any(|class| code.starts_with(class)));
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}
