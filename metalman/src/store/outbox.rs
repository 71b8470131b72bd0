//! Actions a step decided, kept until they ended.
//!
//! An action is written with the stage that decided it and run right after that commit. A crash may
//! come between doing and noting: what such an action did is judged by readings, not by this table. Invariant: `seq` counts up within
//! a target and never repeats.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::ids;
use super::open::{Store, Tx, commit};
use super::rows::{Bound, InsertRows};

const TABLE: &str = "outbox";

/// Where an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionState {
    /// Decided and not known to have ended: after a restart its effect is unknown.
    Running,
    Done,
    Failed,
}

impl ActionState {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionOutcome {
    Done,
    Failed,
}

impl ActionOutcome {
    const fn state(self) -> ActionState {
        match self {
            Self::Done => ActionState::Done,
            Self::Failed => ActionState::Failed,
        }
    }
}

/// An action to be run after the commit.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAction {
    pub action: Value,
}

/// The end of an action, to be written with the step that takes it in.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedAction {
    pub id: i64,
    pub outcome: ActionOutcome,
    pub result: Value,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    pub id: i64,
    pub operation_uid: String,
    pub machine: String,
    /// Position within the target, from 1.
    pub seq: i64,
    pub action: Value,
    pub state: ActionState,
    /// How often it was started; more than 1 after a crash.
    pub starts: i64,
    pub result: Option<Value>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// Table `outbox`.
#[derive(Debug, Clone, Copy)]
pub struct Outbox<'s> {
    store: &'s Store,
}

impl Store {
    /// The actions of the operation engine.
    pub const fn outbox(&self) -> Outbox<'_> {
        Outbox { store: self }
    }
}

impl Outbox<'_> {
    /// Actions started and not ended: at start-up, those a crash interrupted.
    pub async fn running(&self) -> Result<Vec<Action>, StoreError> {
        self.in_state(ActionState::Running).await
    }

    /// All actions of a target in order of `seq`.
    pub async fn of_target(
        &self,
        operation_uid: &str,
        machine: &str,
    ) -> Result<Vec<Action>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, operation_uid, machine, seq, action, state, starts, result, created_at,
                 started_at, finished_at
             FROM outbox WHERE operation_uid = $1 AND machine = $2 ORDER BY seq",
        )
        .bind(operation_uid)
        .bind(machine)
        .fetch_all(self.store.pool())
        .await
        .map_err(during("outbox.of_target"))?;
        all(&rows, from_row)
    }

    /// Writes the end of an action on its own; [`super::CommitTarget::finished_actions`] does it
    /// together with the step that takes the result in, and is to be preferred.
    ///
    /// # Errors
    /// `ActionState` when it has already ended or is unknown.
    pub async fn finish(
        &self,
        finished: &FinishedAction,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin("outbox.finish").await?;
        finish(&mut tx, finished, now).await?;
        commit(tx, "outbox.finish").await
    }

    async fn in_state(&self, state: ActionState) -> Result<Vec<Action>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, operation_uid, machine, seq, action, state, starts, result, created_at,
                 started_at, finished_at
             FROM outbox WHERE state = $1 ORDER BY id",
        )
        .bind(state.as_str())
        .fetch_all(self.store.pool())
        .await
        .map_err(during("outbox.in_state"))?;
        all(&rows, from_row)
    }
}

/// The actions of one target's step.
pub(super) struct Decided<'a> {
    pub(super) operation_uid: &'a str,
    pub(super) machine: &'a str,
    pub(super) actions: &'a [NewAction],
    pub(super) now: Timestamp,
}

/// A row to be written.
struct Row<'a> {
    id: i64,
    seq: i64,
    of: &'a Decided<'a>,
    action: &'a NewAction,
}

static ACTIONS: InsertRows = InsertRows::new(
    "INSERT INTO outbox
         (id, operation_uid, machine, seq, action, state, starts, created_at, started_at)",
    9,
    "",
);

/// Writes what was decided for several targets; gives back the ids for each.
pub(super) async fn insert(
    tx: &mut Tx,
    decided: &[Decided<'_>],
) -> Result<Vec<Vec<i64>>, StoreError> {
    let mut rows = Vec::new();
    let mut last_seqs: HashMap<(&str, &str), i64> = HashMap::new();
    for of in decided.iter().filter(|of| !of.actions.is_empty()) {
        let key = (of.operation_uid, of.machine);
        let last_seq = match last_seqs.get(&key) {
            Some(last_seq) => *last_seq,
            None => last_seq(tx, of).await?,
        };
        for (seq, action) in (last_seq + 1..).zip(of.actions) {
            last_seqs.insert(key, seq);
            rows.push(Row {
                id: 0,
                seq,
                of,
                action,
            });
        }
    }
    let mut next = match rows.len() {
        0 => 0,
        count => ids::take(tx, count).await?,
    };
    for row in &mut rows {
        row.id = next;
        next += 1;
    }
    let bind = |query: Bound, row: &Row<'_>| {
        let now = row.of.now.as_microsecond();
        query
            .bind(row.id)
            .bind(row.of.operation_uid)
            .bind(row.of.machine)
            .bind(row.seq)
            .bind(row.action.action.to_string())
            .bind(ActionState::Running.as_str())
            .bind(1_i64)
            .bind(now)
            .bind(now)
    };
    let written = ACTIONS.run(tx, &rows, bind).await;
    written.map_err(during("outbox.append"))?;
    let mut ids = rows.iter().map(|row| row.id);
    let of = |decided: &Decided<'_>| ids.by_ref().take(decided.actions.len()).collect();
    Ok(decided.iter().map(of).collect())
}

async fn last_seq(tx: &mut Tx, of: &Decided<'_>) -> Result<i64, StoreError> {
    sqlx::query_scalar(
        "SELECT COALESCE(MAX(seq), 0) FROM outbox WHERE operation_uid = $1 AND machine = $2",
    )
    .bind(of.operation_uid)
    .bind(of.machine)
    .fetch_one(&mut **tx)
    .await
    .map_err(during("outbox.append"))
}

pub(super) async fn finish(
    tx: &mut Tx,
    finished: &FinishedAction,
    now: Timestamp,
) -> Result<(), StoreError> {
    let written = sqlx::query(
        "UPDATE outbox SET state = $2, result = $3, finished_at = $4
         WHERE id = $1 AND state = 'running'",
    )
    .bind(finished.id)
    .bind(finished.outcome.state().as_str())
    .bind(finished.result.to_string())
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(during("outbox.finish"))?;
    if written.rows_affected() == 1 {
        Ok(())
    } else {
        Err(StoreError::ActionState {
            id: finished.id,
            expected: "running",
        })
    }
}

fn from_row(row: &AnyRow) -> Result<Action, StoreError> {
    let columns = Columns::new(TABLE, row);
    let result = match columns.get::<Option<String>>("result")? {
        Some(_) => Some(columns.json("result")?),
        None => None,
    };
    Ok(Action {
        id: columns.get("id")?,
        operation_uid: columns.get("operation_uid")?,
        machine: columns.get("machine")?,
        seq: columns.get("seq")?,
        action: columns.json("action")?,
        state: columns.word("state", ActionState::parse)?,
        starts: columns.get("starts")?,
        result,
        created_at: columns.time("created_at")?,
        started_at: columns.optional_time("started_at")?,
        finished_at: columns.optional_time("finished_at")?,
    })
}
