//! Event logs of a machine and its BMC.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{id, text};

/// The newest part of one log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EventLog {
    /// Path of the log service that was read.
    pub service: String,
    /// How many entries the BMC says it has.
    pub total: Option<u64>,
    /// Entries, newest first.
    pub entries: Vec<LogEntry>,
}

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    pub id: String,
    /// When it was written, by the BMC's clock, if that can be read.
    pub created: Option<Timestamp>,
    /// `OK`, `Warning`, `Critical`.
    pub severity: Option<String>,
    pub message: String,
    pub message_id: Option<String>,
    /// Kind of sensor, for entries of the SEL.
    pub sensor: Option<String>,
}

/// Length of a message that is kept, in characters.
const MESSAGE_LIMIT: usize = 1024;

impl LogEntry {
    pub(crate) fn parse(body: &Value) -> Self {
        let message = text(body, "Message")
            .or_else(|| text(body, "Name"))
            .unwrap_or_default();
        Self {
            id: id(body),
            created: text(body, "Created").and_then(|time| time.parse().ok()),
            severity: text(body, "Severity"),
            message: message
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(MESSAGE_LIMIT)
                .collect(),
            message_id: text(body, "MessageId"),
            sensor: text(body, "SensorType"),
        }
    }

    /// Sorts by time, then by number: clocks of BMCs stand still or start in 1970.
    pub(crate) fn age_key(&self) -> (Option<Timestamp>, u64) {
        let digits: String = self
            .id
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        (self.created, digits.parse().unwrap_or(0))
    }
}

/// How well a log service fits when asked for "the event log": lower is better. `None`: not at all.
pub(crate) fn rank(service: &Value) -> Option<u8> {
    let name = id(service).to_ascii_lowercase();
    let kind = text(service, "LogEntryType").unwrap_or_default();
    Some(match name.as_str() {
        "sel" | "iml" => 0,
        // AMI calls the log of its BIOS a SEL as well.
        "bios" => 3,
        _ if kind == "SEL" => 1,
        "eventlog" | "log" => 2,
        "auditlog" | "diagnosticlog" | "dump" | "journal" | "hostlogger" | "postcodes"
        | "crashdump" => return None,
        _ => 3,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_system_event_log_is_preferred() {
        let service = |id: &str, kind: &str| json!({"Id": id, "LogEntryType": kind});
        assert_eq!(rank(&service("Sel", "SEL")), Some(0));
        assert_eq!(rank(&service("IML", "Oem")), Some(0));
        assert_eq!(rank(&service("Log1", "SEL")), Some(1));
        assert_eq!(rank(&service("BIOS", "SEL")), Some(3));
        assert_eq!(rank(&service("Lclog", "Event")), Some(3));
        assert_eq!(rank(&service("PostCodes", "OEM")), None);
    }

    #[test]
    fn entries_are_ordered_by_time_then_number() {
        let entry = |id: &str, created: Option<&str>| {
            LogEntry::parse(&json!({"Id": id, "Created": created, "Message": "m\n1"}))
        };
        let old = entry("9", Some("2024-08-08T18:48:10-05:00"));
        let new = entry("10", Some("2024-08-08T18:48:10-05:00"));
        assert!(new.age_key() > old.age_key());
        assert_eq!(old.message, "m 1");
        assert_eq!(entry("1", Some("yesterday")).created, None);
    }
}
