//! Row numbers that become visible in the order of commits.
//!
//! The counter row stays locked until the transaction ends, so numbers of one transaction are
//! together and no reader sees N+1 before N.

use super::error::{StoreError, during};
use super::open::Tx;

/// Takes `count` consecutive numbers and returns the first.
pub(super) async fn take(tx: &mut Tx, count: usize) -> Result<i64, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let last: i64 = sqlx::query_scalar(
        "UPDATE counters SET value = value + $1 WHERE name = 'row' RETURNING value",
    )
    .bind(count)
    .fetch_one(&mut **tx)
    .await
    .map_err(during("counters.take"))?;
    Ok(last - count + 1)
}
