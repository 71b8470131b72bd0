//! Reading event logs: the newest entries, whichever way round a BMC lists them.

use std::sync::Arc;

use serde_json::Value;

use super::Client;
use super::ask::next_page;
use crate::error::Error;
use crate::model::{EventLog, LogEntry, items, link, log_rank, text};
use crate::operation::Operation;

const OPERATION: Operation = Operation::ReadLog;
/// Log services looked at.
const SERVICE_LIMIT: usize = 32;
/// Pages read of one log.
const PAGE_LIMIT: usize = 64;

impl Client {
    /// The newest `limit` entries of the machine's event log (SEL, IML, or what comes next to it).
    ///
    /// # Errors
    /// [`Error::NotFound`] when the BMC offers no event log.
    pub async fn event_log(&self, limit: usize) -> Result<EventLog, Error> {
        let (service, entries) = self.log_place().await?;
        let mut log = EventLog {
            service: service.to_string(),
            ..EventLog::default()
        };
        let mut next = Some(entries.to_string());
        let mut pages = 0;
        while let Some(page) = next.take().filter(|_| pages < PAGE_LIMIT) {
            let page = self.get(OPERATION, &page).await?;
            pages += 1;
            let total = page.body.get("Members@odata.count").and_then(Value::as_u64);
            log.total = log.total.or(total);
            let (new, is_ascending) = self.entries_of(&page.body, limit).await?;
            let received = new.len();
            log.entries.extend(new);
            newest(&mut log.entries, limit);
            next = next_page(&page.body);
            if is_ascending == Some(false) && log.entries.len() >= limit {
                break;
            }
            // Oldest first: go to the end at once instead of page by page, if the BMC lets us.
            if let (1, Some(true), Some(_), Some(total)) = (pages, is_ascending, &next, total)
                && let Some(skip) = to_the_end(total, limit, received)
            {
                next = Some(format!("{entries}?$skip={skip}"));
            }
        }
        Ok(log)
    }

    /// Paths of the log service and of its entries, found once.
    async fn log_place(&self) -> Result<(Arc<str>, Arc<str>), Error> {
        let known = self.places().log.clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let service = self.log_service().await?;
        let path = text(&service, "@odata.id").unwrap_or_default();
        let entries = link(&service, "Entries")
            .unwrap_or_else(|| format!("{}/Entries", path.trim_end_matches('/')));
        let found: (Arc<str>, Arc<str>) = (path.into(), entries.into());
        self.places().log = Some(found.clone());
        Ok(found)
    }

    /// The log service that fits best.
    async fn log_service(&self) -> Result<Value, Error> {
        let system = self.raw_system().await?;
        let mut best: Option<(u8, Value)> = None;
        let mut collections = vec![system.links.log_services.clone()];
        if let Ok(manager) = self.manager().await {
            collections.push(manager.log_services);
        }
        for path in collections.iter().flatten() {
            self.better_log(path, &mut best).await?;
            if best.as_ref().is_some_and(|(rank, _)| *rank == 0) {
                break;
            }
        }
        if best.is_none()
            && let Some(chassis) = self.chassis().await?
            && let Some(path) = &chassis.log_services
        {
            self.better_log(path, &mut best).await?;
        }
        best.map(|(_, service)| service)
            .ok_or_else(|| Error::NotFound {
                operation: OPERATION,
                path: system.odata_id,
                message: "no event log is offered".to_owned(),
            })
    }

    async fn better_log(
        &self,
        collection: &str,
        best: &mut Option<(u8, Value)>,
    ) -> Result<(), Error> {
        let services = self.collect(OPERATION, collection, SERVICE_LIMIT).await?;
        for service in services.members {
            let Some(rank) = log_rank(&service) else {
                continue;
            };
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                *best = Some((rank, service));
            }
        }
        Ok(())
    }

    /// The entries of a page, at most `limit` of those that have to be read one by one, and whether
    /// the page goes from old to new (`None`: it does not show).
    async fn entries_of(
        &self,
        page: &Value,
        limit: usize,
    ) -> Result<(Vec<LogEntry>, Option<bool>), Error> {
        let members: Vec<&Value> = items(page, "Members").collect();
        let is_inline = |member: &Value| member.get("Message").or(member.get("Created")).is_some();
        let inline: Vec<LogEntry> = members
            .iter()
            .filter(|member| is_inline(member))
            .map(|member| LogEntry::parse(member))
            .collect();
        let is_ascending = match (inline.first(), inline.last()) {
            (Some(first), Some(last)) if inline.len() > 1 => {
                Some(first.age_key() <= last.age_key())
            }
            (Some(_) | None, _) => None,
        };
        if !inline.is_empty() {
            return Ok((inline, is_ascending));
        }
        // Links only: both ends are read, since nothing says where the new ones are.
        let half = limit.div_ceil(2);
        let mut entries = Vec::new();
        let mut gaps = Vec::new();
        let tail = members.len().saturating_sub(half);
        for (index, member) in members.iter().enumerate() {
            if (index < half || index >= tail)
                && let Some(path) = text(member, "@odata.id")
                && let Some(entry) = self.get_or_note(OPERATION, &path, &mut gaps).await?
            {
                entries.push(LogEntry::parse(&entry.body));
            }
        }
        Ok((entries, None))
    }
}

/// Keeps the newest `limit`, newest first.
fn newest(entries: &mut Vec<LogEntry>, limit: usize) {
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.age_key()));
    entries.dedup_by(|a, b| a.id == b.id && a.created == b.created);
    entries.truncate(limit);
}

/// How many entries to skip so that the last `limit` remain; `None` if those are read already.
fn to_the_end(total: u64, limit: usize, received: usize) -> Option<u64> {
    let skip = total.checked_sub(u64::try_from(limit).ok()?)?;
    (skip > u64::try_from(received).ok()?).then_some(skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_log_is_one_jump_away() {
        assert_eq!(to_the_end(1000, 20, 50), Some(980));
        assert_eq!(to_the_end(60, 20, 50), None);
        assert_eq!(to_the_end(10, 20, 10), None);
    }
}
