//! Network cards that asked for an address and belong to no machine of this site.
//!
//! Anybody on the wire can fill this table, so it is bounded: the longest unseen cards are dropped.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::{Store, Tx};

/// Cards kept.
const KEPT: i64 = 1000;

/// One sighting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMacSeen {
    pub mac: String,
    pub at: Timestamp,
    pub arch: Option<String>,
    pub vendor_class: Option<String>,
    /// Address of the relay it asked through.
    pub relay: Option<String>,
    /// Port of the switch, as that relay says it.
    pub circuit_id: Option<String>,
}

/// A card with its sightings counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMac {
    pub mac: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub count: i64,
    pub arch: Option<String>,
    pub vendor_class: Option<String>,
    /// Address of the relay it asked through.
    pub relay: Option<String>,
    /// Port of the switch, as that relay says it.
    pub circuit_id: Option<String>,
}

/// Table `unknown_macs`.
#[derive(Debug, Clone, Copy)]
pub struct UnknownMacs<'s> {
    store: &'s Store,
}

impl Store {
    /// Cards nobody owns.
    pub const fn unknown_macs(&self) -> UnknownMacs<'_> {
        UnknownMacs { store: self }
    }
}

impl UnknownMacs<'_> {
    /// All kept cards, last seen first.
    pub async fn all(&self) -> Result<Vec<UnknownMac>, StoreError> {
        let rows = sqlx::query(
            "SELECT mac, first_seen, last_seen, count, arch, vendor_class, relay, circuit_id
             FROM unknown_macs
             ORDER BY last_seen DESC, mac",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(during("unknown_macs.all"))?;
        all(&rows, from_row)
    }

    /// Forgets a card, once a machine owns it.
    pub async fn forget(&self, mac: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM unknown_macs WHERE mac = $1")
            .bind(mac)
            .execute(self.store.writer())
            .await
            .map_err(during("unknown_macs.forget"))?;
        Ok(())
    }
}

pub(super) async fn insert(tx: &mut Tx, seen: &[UnknownMacSeen]) -> Result<(), StoreError> {
    if seen.is_empty() {
        return Ok(());
    }
    for card in seen {
        sqlx::query(
            "INSERT INTO unknown_macs
                 (mac, first_seen, last_seen, count, arch, vendor_class, relay, circuit_id)
             VALUES ($1, $2, $2, 1, $3, $4, $5, $6)
             ON CONFLICT (mac) DO UPDATE SET last_seen = excluded.last_seen,
                 count = unknown_macs.count + 1,
                 arch = COALESCE(excluded.arch, unknown_macs.arch),
                 vendor_class = COALESCE(excluded.vendor_class, unknown_macs.vendor_class),
                 relay = excluded.relay, circuit_id = excluded.circuit_id",
        )
        .bind(&card.mac)
        .bind(card.at.as_microsecond())
        .bind(card.arch.as_deref())
        .bind(card.vendor_class.as_deref())
        .bind(card.relay.as_deref())
        .bind(card.circuit_id.as_deref())
        .execute(&mut **tx)
        .await
        .map_err(during("unknown_macs.record"))?;
    }
    sqlx::query(
        "DELETE FROM unknown_macs WHERE last_seen < (
             SELECT last_seen FROM unknown_macs ORDER BY last_seen DESC LIMIT 1 OFFSET $1)",
    )
    .bind(KEPT - 1)
    .execute(&mut **tx)
    .await
    .map_err(during("unknown_macs.prune"))?;
    Ok(())
}

fn from_row(row: &AnyRow) -> Result<UnknownMac, StoreError> {
    let columns = Columns::new("unknown_macs", row);
    Ok(UnknownMac {
        mac: columns.get("mac")?,
        first_seen: columns.time("first_seen")?,
        last_seen: columns.time("last_seen")?,
        count: columns.get("count")?,
        arch: columns.get("arch")?,
        vendor_class: columns.get("vendor_class")?,
        relay: columns.get("relay")?,
        circuit_id: columns.get("circuit_id")?,
    })
}
