//! The known differences: rows `| case | difference | reason |` of the documentation.

use std::collections::BTreeMap;

const TABLE: &str = include_str!("../../../metalman/src/standalone/DIFFERENCES.md");

/// Difference and reason by the case's title.
pub(crate) fn differences() -> BTreeMap<String, String> {
    let rows = TABLE.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .trim()
            .strip_prefix('|')?
            .split('|')
            .map(str::trim)
            .collect();
        let [case, difference, reason, ..] = cells.as_slice() else {
            return None;
        };
        let case = case.strip_prefix('`')?.strip_suffix('`')?;
        Some((case.to_owned(), format!("{difference}: {reason}")))
    });
    rows.collect()
}
