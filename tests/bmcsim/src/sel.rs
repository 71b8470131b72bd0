//! The event log of a machine: what it came with, and what happened since.
//!
//! What it came with is made up from its number, so a thousand machines with long logs cost nothing.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Entries that are kept of what happened.
const LIMIT: usize = 256;

#[derive(Debug)]
pub(crate) struct EventLog {
    /// Entries the machine came with: numbers 1 to this.
    old: usize,
    born: Timestamp,
    new: VecDeque<Entry>,
    last: usize,
}

#[derive(Debug)]
struct Entry {
    number: usize,
    at: Timestamp,
    severity: &'static str,
    message: String,
}

/// Sensor, severity and text of the entries a machine comes with.
const STORIES: &[(&str, &str)] = &[
    ("OK", "Log area reset or cleared"),
    ("OK", "Power supply 1 input restored"),
    (
        "Warning",
        "Temperature of the inlet above the upper caution threshold",
    ),
    ("OK", "Temperature of the inlet back in range"),
    (
        "Critical",
        "Correctable memory error logging limit reached on DIMM 3",
    ),
    ("OK", "OS boot completed"),
];

impl EventLog {
    pub(crate) fn new(old: usize, born: Timestamp) -> Self {
        Self {
            old,
            born,
            new: VecDeque::new(),
            last: old,
        }
    }

    pub(crate) fn add(&mut self, at: Timestamp, severity: &'static str, message: String) {
        self.last += 1;
        self.new.push_back(Entry {
            number: self.last,
            at,
            severity,
            message,
        });
        if self.new.len() > LIMIT {
            self.new.pop_front();
        }
    }

    /// Empties the log and says so in it.
    pub(crate) fn clear(&mut self, at: Timestamp) {
        self.old = 0;
        self.new.clear();
        self.add(at, "OK", "Log area reset or cleared".to_owned());
    }

    /// Numbers of all entries, oldest first.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        (1..=self.old)
            .chain(self.new.iter().map(|entry| entry.number))
            .collect()
    }

    /// The entry as Redfish shows it, without its address.
    pub(crate) fn entry(&self, number: usize) -> Option<Value> {
        if (1..=self.old).contains(&number) {
            let (severity, message) = STORIES.get((number - 1) % STORIES.len())?;
            let age = SignedDuration::from_hours(i64::try_from(self.old - number).unwrap_or(0));
            let at = self.born.checked_sub(age).unwrap_or(self.born);
            return Some(show(number, at, severity, message));
        }
        let entry = self.new.iter().find(|entry| entry.number == number)?;
        Some(show(number, entry.at, entry.severity, &entry.message))
    }
}

fn show(number: usize, at: Timestamp, severity: &str, message: &str) -> Value {
    json!({
        "Id": number.to_string(),
        "Name": format!("Log entry {number}"),
        "EntryType": "SEL",
        "EntryCode": "State Asserted",
        "SensorType": "System Event",
        "Created": stamp(at),
        "Severity": severity,
        "Message": message,
        "MessageId": format!("0x{number:06X}"),
    })
}

/// A time as Redfish writes it: whole seconds, with an offset.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_grows_and_is_cleared() {
        let born = Timestamp::UNIX_EPOCH;
        let mut log = EventLog::new(3, born);
        log.add(born, "OK", "power on".to_owned());
        assert_eq!(log.numbers(), [1, 2, 3, 4]);
        assert_eq!(log.entry(4).unwrap()["Message"], "power on");
        assert_eq!(
            log.entry(3).unwrap()["Created"],
            "1970-01-01T00:00:00+00:00"
        );
        assert!(log.entry(5).is_none() && log.entry(0).is_none());
        log.clear(born);
        assert_eq!(log.numbers(), [5]);
        assert!(log.entry(1).is_none());
    }
}
