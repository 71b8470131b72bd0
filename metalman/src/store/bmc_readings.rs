//! What BMCs were last found to be like; a restart shows it until they have been asked again.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;

use super::columns::{Columns, all};
use super::error::{StoreError, during};
use super::open::Store;

/// The last reading of one machine's BMC.
#[derive(Debug, Clone, PartialEq)]
pub struct BmcReadingRow {
    pub machine: String,
    pub read_at: Timestamp,
    /// Written and read by `bmc::Vitals`.
    pub body: Value,
}

/// Table `bmc_readings`.
#[derive(Debug, Clone, Copy)]
pub struct BmcReadings<'s> {
    store: &'s Store,
}

impl Store {
    /// Last readings of BMCs.
    pub const fn bmc_readings(&self) -> BmcReadings<'_> {
        BmcReadings { store: self }
    }
}

impl BmcReadings<'_> {
    /// Keeps a reading instead of the one before.
    pub async fn put(&self, row: &BmcReadingRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO bmc_readings (machine, read_at, body) VALUES ($1, $2, $3)
             ON CONFLICT (machine) DO UPDATE SET
                 read_at = excluded.read_at, body = excluded.body",
        )
        .bind(&row.machine)
        .bind(row.read_at.as_microsecond())
        .bind(row.body.to_string())
        .execute(self.store.writer())
        .await
        .map_err(during("bmc_readings.put"))?;
        Ok(())
    }

    /// Removes the readings of these machines.
    pub async fn forget(&self, machines: &[String]) -> Result<(), StoreError> {
        for machine in machines {
            sqlx::query("DELETE FROM bmc_readings WHERE machine = $1")
                .bind(machine)
                .execute(self.store.pool())
                .await
                .map_err(during("bmc_readings.forget"))?;
        }
        Ok(())
    }

    /// All of them, by name.
    pub async fn all(&self) -> Result<Vec<BmcReadingRow>, StoreError> {
        let rows = sqlx::query("SELECT machine, read_at, body FROM bmc_readings ORDER BY machine")
            .fetch_all(self.store.pool())
            .await
            .map_err(during("bmc_readings.all"))?;
        all(&rows, from_row)
    }
}

fn from_row(row: &AnyRow) -> Result<BmcReadingRow, StoreError> {
    let columns = Columns::new("bmc_readings", row);
    Ok(BmcReadingRow {
        machine: columns.get("machine")?,
        read_at: columns.time("read_at")?,
        body: columns.json("body")?,
    })
}
