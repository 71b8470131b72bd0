//! Journal of operations: the stage of each machine inside an operation, with its history.
//!
//! The driver is the only writer. Invariant: a stage, its history, the actions it decided and the
//! permissions it minted become visible together or not at all, and only over the version read.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::ids;
use super::open::{Store, Tx};
use super::outbox::{self, Decided, FinishedAction, NewAction};
use super::rows::{Bound, InsertRows};
use super::timeline::{self, NewTimelineEntry};
use super::tokens::{self, TokenChange};

const TABLE: &str = "targets";

static HISTORY: InsertRows = InsertRows::new(
    "INSERT INTO target_history (id, operation_uid, machine, at, from_stage, to_stage, reason)",
    7,
    "",
);

/// One machine inside one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub operation_uid: String,
    pub operation_name: String,
    pub machine: String,
    /// The operation kind, for example `HostReplace`.
    pub kind: String,
    /// Counts commits, from 1.
    pub version: i64,
    /// The engine's stage with its data.
    pub state: Value,
    pub finished: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One change of stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    pub at: Timestamp,
    pub from: String,
    pub to: String,
    pub reason: String,
}

/// Everything one step decided, written in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitTarget {
    pub operation_uid: String,
    pub operation_name: String,
    pub machine: String,
    pub kind: String,
    /// The version the step was computed from; 0 creates the target.
    pub expected_version: i64,
    pub state: Value,
    pub finished: bool,
    pub now: Timestamp,
    pub history: Vec<HistoryEntry>,
    /// Actions whose results this step has taken in.
    pub finished_actions: Vec<FinishedAction>,
    pub outbox: Vec<NewAction>,
    pub timeline: Vec<NewTimelineEntry>,
    pub tokens: Vec<TokenChange>,
}

impl CommitTarget {
    /// A commit on top of `row` that changes nothing yet.
    pub fn of(row: &Target, now: Timestamp) -> Self {
        Self {
            operation_uid: row.operation_uid.clone(),
            operation_name: row.operation_name.clone(),
            machine: row.machine.clone(),
            kind: row.kind.clone(),
            expected_version: row.version,
            state: row.state.clone(),
            finished: row.finished,
            now,
            history: Vec::new(),
            finished_actions: Vec::new(),
            outbox: Vec::new(),
            timeline: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

/// What a commit gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The new version.
    pub version: i64,
    /// Numbers of the actions in the outbox, in order.
    pub actions: Vec<i64>,
}

/// Table `targets`.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'s> {
    store: &'s Store,
}

impl Store {
    /// The operation journal.
    pub const fn targets(&self) -> Targets<'_> {
        Targets { store: self }
    }
}

impl Targets<'_> {
    /// The target, if the operation has begun on this machine.
    pub async fn load(
        &self,
        operation_uid: &str,
        machine: &str,
    ) -> Result<Option<Target>, StoreError> {
        let row = sqlx::query(
            "SELECT operation_uid, operation_name, machine, kind, version, state, finished,
                 created_at, updated_at
             FROM targets WHERE operation_uid = $1 AND machine = $2",
        )
        .bind(operation_uid)
        .bind(machine)
        .fetch_optional(self.store.pool())
        .await
        .map_err(during("targets.load"))?;
        row.as_ref().map(from_row).transpose()
    }

    /// Targets that still run, oldest first.
    pub async fn unfinished(&self) -> Result<Vec<Target>, StoreError> {
        let rows = sqlx::query(
            "SELECT operation_uid, operation_name, machine, kind, version, state, finished,
                 created_at, updated_at
             FROM targets WHERE finished = 0 ORDER BY created_at, operation_uid, machine",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(during("targets.unfinished"))?;
        all(&rows, from_row)
    }

    /// All targets of an operation, by machine.
    pub async fn of_operation(&self, operation_uid: &str) -> Result<Vec<Target>, StoreError> {
        let rows = sqlx::query(
            "SELECT operation_uid, operation_name, machine, kind, version, state, finished,
                 created_at, updated_at
             FROM targets WHERE operation_uid = $1 ORDER BY machine",
        )
        .bind(operation_uid)
        .fetch_all(self.store.pool())
        .await
        .map_err(during("targets.of_operation"))?;
        all(&rows, from_row)
    }

    /// The changes of stage of one target, oldest first.
    pub async fn history(
        &self,
        operation_uid: &str,
        machine: &str,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT at, from_stage, to_stage, reason FROM target_history
             WHERE operation_uid = $1 AND machine = $2 ORDER BY id",
        )
        .bind(operation_uid)
        .bind(machine)
        .fetch_all(self.store.pool())
        .await
        .map_err(during("targets.history"))?;
        all(&rows, history_from_row)
    }

    /// Writes a decided step.
    ///
    /// # Errors
    /// `Stale` when somebody else committed since `expected_version`; nothing is written then.
    pub async fn commit(&self, target: CommitTarget) -> Result<Committed, StoreError> {
        let written = self.store.commit_together(vec![target]).await?;
        // One went in, one came back.
        written.into_iter().next().ok_or(StoreError::Interrupted {
            operation: "targets.commit",
        })
    }

    /// Writes several decided steps, all or none; the answers are in the same order.
    ///
    /// # Errors
    /// As for [`Targets::commit`]; nothing is written then.
    pub async fn commit_all(
        &self,
        targets: Vec<CommitTarget>,
    ) -> Result<Vec<Committed>, StoreError> {
        self.store.commit_together(targets).await
    }

    /// Forgets a finished operation with its history and actions.
    pub async fn delete_operation(&self, operation_uid: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM targets WHERE operation_uid = $1")
            .bind(operation_uid)
            .execute(self.store.writer())
            .await
            .map_err(during("targets.delete_operation"))?;
        Ok(())
    }
}

/// Writes decided steps with everything that belongs to them.
pub(super) async fn write(
    tx: &mut Tx,
    targets: &[&CommitTarget],
) -> Result<Vec<Committed>, StoreError> {
    let mut versions = Vec::with_capacity(targets.len());
    for target in targets {
        versions.push(write_stage(tx, target).await?);
        for finished in &target.finished_actions {
            outbox::finish(tx, finished, target.now).await?;
        }
        let (uid, machine) = (&target.operation_uid, &target.machine);
        tokens::apply(tx, uid, machine, &target.tokens, target.now).await?;
    }
    write_history(tx, targets).await?;
    let decided: Vec<Decided<'_>> = targets
        .iter()
        .map(|target| Decided {
            operation_uid: &target.operation_uid,
            machine: &target.machine,
            actions: &target.outbox,
            now: target.now,
        })
        .collect();
    let actions = outbox::insert(tx, &decided).await?;
    timeline::insert(tx, targets.iter().flat_map(|target| &target.timeline)).await?;
    let committed = versions.into_iter().zip(actions);
    Ok(committed
        .map(|(version, actions)| Committed { version, actions })
        .collect())
}

async fn write_stage(tx: &mut Tx, target: &CommitTarget) -> Result<i64, StoreError> {
    let version = target.expected_version + 1;
    let now = target.now.as_microsecond();
    let statement = if target.expected_version == 0 {
        sqlx::query(
            "INSERT INTO targets (operation_uid, operation_name, machine, kind, version, state,
                 finished, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
             ON CONFLICT (operation_uid, machine) DO NOTHING",
        )
        .bind(&target.operation_uid)
        .bind(&target.operation_name)
        .bind(&target.machine)
        .bind(&target.kind)
        .bind(version)
        .bind(target.state.to_string())
        .bind(i64::from(target.finished))
        .bind(now)
    } else {
        sqlx::query(
            "UPDATE targets SET version = $4, state = $5, finished = $6, updated_at = $7
             WHERE operation_uid = $1 AND machine = $2 AND version = $3",
        )
        .bind(&target.operation_uid)
        .bind(&target.machine)
        .bind(target.expected_version)
        .bind(version)
        .bind(target.state.to_string())
        .bind(i64::from(target.finished))
        .bind(now)
    };
    let written = statement
        .execute(&mut **tx)
        .await
        .map_err(during("targets.commit"))?;
    if written.rows_affected() == 1 {
        Ok(version)
    } else {
        Err(StoreError::Stale {
            operation_uid: target.operation_uid.clone(),
            machine: target.machine.clone(),
            expected_version: target.expected_version,
        })
    }
}

async fn write_history(tx: &mut Tx, targets: &[&CommitTarget]) -> Result<(), StoreError> {
    let mut rows: Vec<(i64, &CommitTarget, &HistoryEntry)> = Vec::new();
    for target in targets {
        rows.extend(target.history.iter().map(|entry| (0, *target, entry)));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let first = ids::take(tx, rows.len()).await?;
    (first..).zip(&mut rows).for_each(|(id, row)| row.0 = id);
    let bind = |query: Bound, (id, target, entry): &(i64, &CommitTarget, &HistoryEntry)| {
        query
            .bind(*id)
            .bind(&target.operation_uid)
            .bind(&target.machine)
            .bind(entry.at.as_microsecond())
            .bind(&entry.from)
            .bind(&entry.to)
            .bind(&entry.reason)
    };
    let written = HISTORY.run(tx, &rows, bind).await;
    written.map_err(during("target_history.append"))
}

fn from_row(row: &AnyRow) -> Result<Target, StoreError> {
    let columns = Columns::new(TABLE, row);
    Ok(Target {
        operation_uid: columns.get("operation_uid")?,
        operation_name: columns.get("operation_name")?,
        machine: columns.get("machine")?,
        kind: columns.get("kind")?,
        version: columns.get("version")?,
        state: columns.json("state")?,
        finished: columns.flag("finished")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

fn history_from_row(row: &AnyRow) -> Result<HistoryEntry, StoreError> {
    let columns = Columns::new("target_history", row);
    Ok(HistoryEntry {
        at: columns.time("at")?,
        from: columns.get("from_stage")?,
        to: columns.get("to_stage")?,
        reason: columns.get("reason")?,
    })
}
