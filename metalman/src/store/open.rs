//! Opens the database and brings its schema up to date.
//!
//! SQLite: file of mode 0600, write-ahead log, every commit on disk before it is answered.
//! Invariant: a `Store` exists only for a database whose schema is the one of this program.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, Executor as _, Transaction};
use url::Url;

use super::batch::Batches;
use super::error::{StoreError, during};

/// How long a caller waits for a free connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections to PostgreSQL. Statements are short: nothing is held across a call to the outside.
const POSTGRES_CONNECTIONS: u32 = 8;
/// Connections to SQLite: one writer at a time, a few readers beside it.
const SQLITE_CONNECTIONS: u32 = 4;

/// Settings of every SQLite connection; `busy_timeout` is in milliseconds, a negative `cache_size`
/// in KiB. Pages are in the kernel's cache anyway.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA cache_size = -768";

pub(super) type Tx = Transaction<'static, Any>;

/// Which database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The database of this site. Cheap to clone; clones share one pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
    batches: Arc<Batches>,
}

impl Store {
    /// Opens `sqlite:/path/to/file`, `sqlite::memory:` or `postgres://…` and runs the migrations.
    ///
    /// # Errors
    /// `Address` and `File` for a wrong address, `Unavailable` while the server is away, `Migrate`
    /// when the schema is newer than this program or a migration fails.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (backend, url, options) = if let Some(path) = url.strip_prefix("sqlite:") {
            let (url, options) = sqlite(path)?;
            (Backend::Sqlite, url, options)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            (Backend::Postgres, url.to_owned(), postgres())
        } else {
            return Err(StoreError::Address {
                problem: "it must begin with sqlite: or postgres://".to_owned(),
            });
        };
        let pool = options
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect(&url)
            .await
            .map_err(during("connect"))?;
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(StoreError::Migrate)?;
        Ok(Self {
            pool,
            backend,
            batches: Arc::default(),
        })
    }

    /// The pool, for the embedded API's own tables. Others call the table methods.
    pub const fn pool(&self) -> &AnyPool {
        &self.pool
    }

    pub(super) fn batches(&self) -> &Batches {
        &self.batches
    }

    /// Which database answers.
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// Whether the database answers now; for the readiness check.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(&self.pool)
            .await
            .map_err(during("ping"))?;
        Ok(())
    }

    /// Waits for running statements and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that may write. SQLite takes its write lock at once, since a lock taken later,
    /// after a read, can fail without waiting.
    pub(super) async fn begin(&self, operation: &'static str) -> Result<Tx, StoreError> {
        let statement = match self.backend {
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN",
        };
        self.pool
            .begin_with(statement)
            .await
            .map_err(during(operation))
    }
}

pub(super) async fn commit(tx: Tx, operation: &'static str) -> Result<(), StoreError> {
    tx.commit().await.map_err(during(operation))
}

fn postgres() -> AnyPoolOptions {
    AnyPoolOptions::new().max_connections(POSTGRES_CONNECTIONS)
}

fn sqlite(path: &str) -> Result<(String, AnyPoolOptions), StoreError> {
    let options = AnyPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move { connection.execute(SQLITE_SETTINGS).await.map(|_| ()) })
    });
    if path == ":memory:" {
        // Each connection would have a database of its own, so there is one and it never ends.
        let options = options
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        return Ok(("sqlite::memory:".to_owned(), options));
    }
    // `sqlite:///x` has an empty authority, `sqlite:/x` has none; both mean the file /x.
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = PathBuf::from(path.split_once('?').map_or(path, |(path, _)| path));
    if path.as_os_str().is_empty() {
        return Err(StoreError::Address {
            problem: "sqlite: needs the path of a file".to_owned(),
        });
    }
    let path = std::path::absolute(&path).map_err(|source| StoreError::File {
        path: path.clone(),
        source,
    })?;
    // Created here because SQLite would use the umask; its side files take the mode of this one.
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(source) => return Err(StoreError::File { path, source }),
    }
    let mut url = Url::from_file_path(&path).map_err(|()| StoreError::Address {
        problem: format!("{} is not an absolute path", path.display()),
    })?;
    url.set_query(Some("mode=rw"));
    let url = url.as_str().replacen("file:", "sqlite:", 1);
    Ok((url, options.max_connections(SQLITE_CONNECTIONS)))
}
