//! Reads typed values out of a row; the one place where a row may turn out to be inconsistent.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Decode, Row, Type};

use super::error::StoreError;

/// A row together with the name of its table, for error texts.
pub(super) struct Columns<'r> {
    table: &'static str,
    row: &'r AnyRow,
}

impl<'r> Columns<'r> {
    pub(super) const fn new(table: &'static str, row: &'r AnyRow) -> Self {
        Self { table, row }
    }

    /// A column of a plain SQL type: `String`, `i64` or an `Option` of them.
    pub(super) fn get<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Any> + Type<Any>,
    {
        self.row
            .try_get(column)
            .map_err(|error| self.inconsistent(column, error.to_string()))
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        match self.get::<i64>(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.inconsistent(column, format!("{other} is neither 0 nor 1"))),
        }
    }

    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.as_time(column, self.get(column)?)
    }

    pub(super) fn optional_time(
        &self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.get::<Option<i64>>(column)?
            .map(|micros| self.as_time(column, micros))
            .transpose()
    }

    pub(super) fn json(&self, column: &'static str) -> Result<serde_json::Value, StoreError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| self.inconsistent(column, error.to_string()))
    }

    /// A column whose text must be one of the words `parse` knows.
    pub(super) fn word<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        parse(&text).ok_or_else(|| self.inconsistent(column, format!("unknown word {text:?}")))
    }

    pub(super) fn inconsistent(&self, column: &'static str, problem: String) -> StoreError {
        StoreError::Inconsistent {
            table: self.table,
            column,
            problem,
        }
    }

    fn as_time(&self, column: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(micros)
            .map_err(|error| self.inconsistent(column, error.to_string()))
    }
}

/// Converts rows, stopping at the first inconsistent one.
pub(super) fn all<T>(
    rows: &[AnyRow],
    convert: impl Fn(&AnyRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(convert).collect()
}
