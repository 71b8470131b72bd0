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
/// Connections to SQLite that read, beside the one that writes.
const SQLITE_READERS: u32 = 3;

/// Settings of every SQLite connection; `busy_timeout` is in milliseconds, a negative `cache_size`
/// in KiB. Pages are in the kernel's cache anyway.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA cache_size = -512";
/// The one that writes keeps what it reads: nobody else changes pages under it.
const SQLITE_WRITER_SETTINGS: &str = "PRAGMA cache_size = -2048";

pub(crate) type Tx = Transaction<'static, Any>;

/// Which database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The database of this site. Cheap to clone; clones share its connections.
///
/// All writes to SQLite go through one connection, in the order they came. Writers on connections of
/// their own would sleep and try again while another commits, and would read again what it wrote.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    writer: AnyPool,
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
        let (backend, url, readers) = if let Some(path) = url.strip_prefix("sqlite:") {
            let (url, readers) = sqlite(path)?;
            (Backend::Sqlite, url, readers)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            (Backend::Postgres, url.to_owned(), 0)
        } else {
            return Err(StoreError::Address {
                problem: "it must begin with sqlite: or postgres://".to_owned(),
            });
        };
        let options = match backend {
            Backend::Sqlite => sqlite_writer(),
            Backend::Postgres => AnyPoolOptions::new().max_connections(POSTGRES_CONNECTIONS),
        };
        let connect = async |options: AnyPoolOptions| {
            let options = options.acquire_timeout(ACQUIRE_TIMEOUT);
            options.connect(&url).await.map_err(during("connect"))
        };
        let writer = connect(options).await?;
        sqlx::migrate!("./migrations")
            .run(&writer)
            .await
            .map_err(StoreError::Migrate)?;
        let pool = match readers {
            0 => writer.clone(),
            readers => connect(sqlite_options().max_connections(readers)).await?,
        };
        Ok(Self {
            pool,
            writer,
            backend,
            batches: Arc::default(),
        })
    }

    /// Connections for single statements that read.
    pub const fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Connections for single statements that write.
    pub(super) const fn writer(&self) -> &AnyPool {
        &self.writer
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
        self.writer.close().await;
    }

    /// A transaction that may write. SQLite takes its write lock at once, since a lock taken later,
    /// after a read, can fail without waiting.
    pub(super) async fn begin(&self, operation: &'static str) -> Result<Tx, StoreError> {
        self.transaction().await.map_err(during(operation))
    }

    /// As [`Store::begin`], for the embedded API's own tables.
    pub(crate) async fn transaction(&self) -> Result<Tx, sqlx::Error> {
        let statement = match self.backend {
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN",
        };
        self.writer.begin_with(statement).await
    }
}

pub(super) async fn commit(tx: Tx, operation: &'static str) -> Result<(), StoreError> {
    tx.commit().await.map_err(during(operation))
}

/// What all connections to SQLite have in common. There is no network that could have lost them, so
/// they are not tried before each use.
fn sqlite_options() -> AnyPoolOptions {
    AnyPoolOptions::new()
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SQLITE_SETTINGS).await.map(|_| ()) })
        })
}

/// The one connection that writes; it never ends, since what it has read would be gone.
fn sqlite_writer() -> AnyPoolOptions {
    sqlite_options()
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(SQLITE_SETTINGS).await?;
                connection.execute(SQLITE_WRITER_SETTINGS).await.map(|_| ())
            })
        })
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// The address of a SQLite file, which is made when it is missing, and how many connections may read
/// beside the one that writes.
fn sqlite(path: &str) -> Result<(String, u32), StoreError> {
    if path == ":memory:" {
        // Each connection would have a database of its own, so there is one.
        return Ok(("sqlite::memory:".to_owned(), 0));
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
    Ok((url, SQLITE_READERS))
}
