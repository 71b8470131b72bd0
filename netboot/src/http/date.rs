//! The `Date` header, written once a second.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use super::conditional::http_date;

/// The last date that was written, with its second.
#[derive(Debug, Default)]
pub(crate) struct DateLine(ArcSwapOption<(i64, String)>);

impl DateLine {
    /// `now` as HTTP writes it.
    pub(crate) fn at(&self, now: Timestamp) -> Arc<(i64, String)> {
        let second = now.as_second();
        match self.0.load_full() {
            Some(line) if line.0 == second => line,
            Some(_) | None => {
                let line = Arc::new((second, http_date(now)));
                self.0.store(Some(Arc::clone(&line)));
                line
            }
        }
    }
}
