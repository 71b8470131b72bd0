//! Facts that prove progress, for the operation engine.
//!
//! Not for people (that is the timeline). Retention is per machine *and* kind, so chatty progress
//! cannot push out the one packet that proves a network boot.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::ids;
use super::open::{Store, Tx, commit};
use super::rows::{Bound, InsertRows};

const TABLE: &str = "evidence";

static FACTS: InsertRows = InsertRows::new(
    "INSERT INTO evidence (id, machine, at, kind, detail)",
    5,
    "",
);

/// The newest facts kept per machine and kind.
const KEPT: i64 = 64;

/// What was seen. The words are those of the database and of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvidenceKind {
    DhcpDiscover,
    DhcpAck,
    BootFileServed,
    /// A loader was fetched and did not run.
    LoaderRefused,
    GrubDecision,
    InstallClaimed,
    InstallProgress,
    ImageWritten,
    InstallFailed,
    FirstBoot,
    CloudInit,
    PowerState,
}

impl EvidenceKind {
    /// Every kind, in the order of an install.
    pub const ALL: [Self; 12] = [
        Self::PowerState,
        Self::DhcpDiscover,
        Self::DhcpAck,
        Self::BootFileServed,
        Self::LoaderRefused,
        Self::GrubDecision,
        Self::InstallClaimed,
        Self::InstallProgress,
        Self::ImageWritten,
        Self::InstallFailed,
        Self::FirstBoot,
        Self::CloudInit,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DhcpDiscover => "DhcpDiscover",
            Self::DhcpAck => "DhcpAck",
            Self::BootFileServed => "BootFileServed",
            Self::LoaderRefused => "LoaderRefused",
            Self::GrubDecision => "GrubDecision",
            Self::InstallClaimed => "InstallClaimed",
            Self::InstallProgress => "InstallProgress",
            Self::ImageWritten => "ImageWritten",
            Self::InstallFailed => "InstallFailed",
            Self::FirstBoot => "FirstBoot",
            Self::CloudInit => "CloudInit",
            Self::PowerState => "PowerState",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A fact to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvidence {
    pub machine: String,
    pub at: Timestamp,
    pub kind: EvidenceKind,
    pub detail: Value,
}

/// A fact as kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub id: i64,
    pub machine: String,
    pub at: Timestamp,
    pub kind: EvidenceKind,
    pub detail: Value,
}

/// Table `evidence`.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceLog<'s> {
    store: &'s Store,
}

impl Store {
    /// Facts for the operation engine.
    pub const fn evidence(&self) -> EvidenceLog<'_> {
        EvidenceLog { store: self }
    }
}

impl EvidenceLog<'_> {
    /// Writes facts in one transaction.
    pub async fn append(&self, facts: &[NewEvidence]) -> Result<(), StoreError> {
        let mut tx = self.store.begin("evidence.append").await?;
        insert(&mut tx, facts).await?;
        commit(tx, "evidence.append").await
    }

    /// Facts seen after `t`, in the order they were written.
    pub async fn since(&self, machine: &str, t: Timestamp) -> Result<Vec<Evidence>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, machine, at, kind, detail FROM evidence
             WHERE machine = $1 AND at > $2 ORDER BY id",
        )
        .bind(machine)
        .bind(t.as_microsecond())
        .fetch_all(self.store.pool())
        .await
        .map_err(during("evidence.since"))?;
        all(&rows, from_row)
    }
}

pub(super) async fn insert(tx: &mut Tx, facts: &[NewEvidence]) -> Result<(), StoreError> {
    if facts.is_empty() {
        return Ok(());
    }
    let first = ids::take(tx, facts.len()).await?;
    let rows: Vec<(i64, &NewEvidence)> = (first..).zip(facts).collect();
    let bind = |query: Bound, (id, fact): &(i64, &NewEvidence)| {
        query
            .bind(*id)
            .bind(&fact.machine)
            .bind(fact.at.as_microsecond())
            .bind(fact.kind.as_str())
            .bind(fact.detail.to_string())
    };
    let written = FACTS.run(tx, &rows, bind).await;
    written.map_err(during("evidence.append"))?;
    let mut touched = Vec::new();
    for fact in facts {
        if !touched.contains(&(fact.machine.as_str(), fact.kind)) {
            touched.push((fact.machine.as_str(), fact.kind));
        }
    }
    for (machine, kind) in touched {
        prune(tx, machine, kind).await?;
    }
    Ok(())
}

async fn prune(tx: &mut Tx, machine: &str, kind: EvidenceKind) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM evidence WHERE machine = $1 AND kind = $2 AND id < (
             SELECT id FROM evidence WHERE machine = $1 AND kind = $2
             ORDER BY id DESC LIMIT 1 OFFSET $3)",
    )
    .bind(machine)
    .bind(kind.as_str())
    .bind(KEPT - 1)
    .execute(&mut **tx)
    .await
    .map_err(during("evidence.prune"))?;
    Ok(())
}

fn from_row(row: &AnyRow) -> Result<Evidence, StoreError> {
    let columns = Columns::new(TABLE, row);
    Ok(Evidence {
        id: columns.get("id")?,
        machine: columns.get("machine")?,
        at: columns.time("at")?,
        kind: columns.word("kind", EvidenceKind::parse)?,
        detail: columns.json("detail")?,
    })
}
