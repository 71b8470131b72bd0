//! The last DHCP message of each card of each machine: what address it really uses, and when.
//!
//! Not a lease database: addresses are reservations of the Machine object.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::{Store, Tx};

/// The last message of one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSeen {
    pub machine: String,
    pub mac: String,
    /// `None` until an address was acknowledged or offered.
    pub ip: Option<String>,
    pub last_seen: Timestamp,
    /// DHCP message type as RFC 2132 names it, for example `DHCPACK`.
    pub last_message: String,
}

/// Table `leases_seen`.
#[derive(Debug, Clone, Copy)]
pub struct LeasesSeen<'s> {
    store: &'s Store,
}

impl Store {
    /// Cards of machines as DHCP saw them.
    pub const fn leases_seen(&self) -> LeasesSeen<'_> {
        LeasesSeen { store: self }
    }
}

impl LeasesSeen<'_> {
    /// The cards of one machine.
    pub async fn of_machine(&self, machine: &str) -> Result<Vec<LeaseSeen>, StoreError> {
        let rows = sqlx::query(
            "SELECT machine, mac, ip, last_seen, last_message FROM leases_seen
             WHERE machine = $1 ORDER BY mac",
        )
        .bind(machine)
        .fetch_all(self.store.pool())
        .await
        .map_err(during("leases_seen.of_machine"))?;
        all(&rows, from_row)
    }

    /// The cards of all machines.
    pub async fn all(&self) -> Result<Vec<LeaseSeen>, StoreError> {
        let rows = sqlx::query(
            "SELECT machine, mac, ip, last_seen, last_message FROM leases_seen
             ORDER BY machine, mac",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(during("leases_seen.all"))?;
        all(&rows, from_row)
    }
}

pub(super) async fn insert(tx: &mut Tx, seen: &[LeaseSeen]) -> Result<(), StoreError> {
    for lease in seen {
        sqlx::query(
            "INSERT INTO leases_seen (machine, mac, ip, last_seen, last_message)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (machine, mac) DO UPDATE SET ip = COALESCE(excluded.ip, leases_seen.ip),
                 last_seen = excluded.last_seen, last_message = excluded.last_message",
        )
        .bind(&lease.machine)
        .bind(&lease.mac)
        .bind(lease.ip.as_deref())
        .bind(lease.last_seen.as_microsecond())
        .bind(&lease.last_message)
        .execute(&mut **tx)
        .await
        .map_err(during("leases_seen.record"))?;
    }
    Ok(())
}

fn from_row(row: &AnyRow) -> Result<LeaseSeen, StoreError> {
    let columns = Columns::new("leases_seen", row);
    Ok(LeaseSeen {
        machine: columns.get("machine")?,
        mac: columns.get("mac")?,
        ip: columns.get("ip")?,
        last_seen: columns.time("last_seen")?,
        last_message: columns.get("last_message")?,
    })
}
