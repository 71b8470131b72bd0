//! Inserts of many rows in few statements. Each statement is a trip to another thread or to the
//! server, and that, not the row, is what an insert costs.
//!
//! Invariant: rows go in in the order given, and the number of different statements is small, so
//! that all of them stay prepared.

use std::sync::{Arc, OnceLock};

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

/// Rows of one statement: the largest size that is not too large, again and again.
const SIZES: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// A statement whose values are being bound.
pub(crate) type Bound = Query<'static, Any, AnyArguments>;

/// An `INSERT` of any number of rows into one table.
#[derive(Debug)]
pub(crate) struct InsertRows {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    texts: OnceLock<Vec<Arc<str>>>,
}

impl InsertRows {
    /// `head` is `INSERT INTO table (columns)`, `columns` their number, and `tail` follows the values.
    ///
    /// No two rows of one call may conflict with each other if `tail` updates on conflict: PostgreSQL
    /// refuses to update a row twice in one statement.
    pub(crate) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self {
            head,
            columns,
            tail,
            texts: OnceLock::new(),
        }
    }

    /// Inserts `rows`; `bind` binds the values of one row in the order of the columns.
    pub(crate) async fn run<R: Sync>(
        &self,
        connection: &mut AnyConnection,
        rows: &[R],
        bind: impl Fn(Bound, &R) -> Bound + Sync,
    ) -> Result<(), sqlx::Error> {
        let mut rest = rows;
        while let Some((text, size)) = self.largest(rest.len()) {
            let (now, later) = rest.split_at(size);
            let query = now.iter().fold(sqlx::query(AssertSqlSafe(text)), &bind);
            query.execute(&mut *connection).await?;
            rest = later;
        }
        Ok(())
    }

    /// The statement for the most rows up to `rows`, and for how many it is; `None` for no rows.
    fn largest(&self, rows: usize) -> Option<(Arc<str>, usize)> {
        let texts = self
            .texts
            .get_or_init(|| SIZES.iter().map(|size| self.text(*size).into()).collect());
        let fits = SIZES.iter().position(|size| *size <= rows)?;
        Some((Arc::clone(texts.get(fits)?), *SIZES.get(fits)?))
    }

    fn text(&self, rows: usize) -> String {
        let row = |row: usize| {
            let places: Vec<String> = (1..=self.columns)
                .map(|column| format!("${}", row * self.columns + column))
                .collect();
            format!("({})", places.join(", "))
        };
        let values: Vec<String> = (0..rows).map(row).collect();
        format!("{} VALUES {} {}", self.head, values.join(", "), self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_a_place_for_every_value() {
        let insert = InsertRows::new("INSERT INTO t (a, b)", 2, "ON CONFLICT DO NOTHING");
        assert_eq!(
            insert.text(2),
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn any_number_of_rows_is_made_of_few_statements() {
        let insert = InsertRows::new("INSERT INTO t (a)", 1, "");
        let sizes = |mut rows: usize| {
            let mut sizes = Vec::new();
            while let Some((_, size)) = insert.largest(rows) {
                sizes.push(size);
                rows -= size;
            }
            sizes
        };
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(13), [8, 4, 1]);
        assert_eq!(sizes(200), [64, 64, 64, 8]);
    }
}
