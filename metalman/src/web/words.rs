//! What the pages say: rows and entries turned into words, colours and times. Pure.
//!
//! The templates only place them. Invariant: a colour never comes without its word.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use metalman_api::machine::MachinePhase;
use metalman_api::operation::Phase;
use serde::Serialize;

use super::view::{Card, MachineRow, PastOperation, Power, RunningOperation};
use crate::store::TimelineEntry;

/// By name, with numbers in names by value: `node-2` before `node-10`.
pub(super) fn sorted(mut rows: Vec<MachineRow>) -> Vec<MachineRow> {
    rows.sort_by_cached_key(|row| natural(&row.name));
    rows
}

fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, String)> = vec![(String::new(), String::new())];
    for c in name.chars() {
        match parts.last_mut() {
            Some((_, digits)) if c.is_ascii_digit() => digits.push(c),
            Some((text, digits)) if digits.is_empty() => text.push(c),
            Some(_) | None => parts.push((c.to_string(), String::new())),
        }
    }
    parts
        .into_iter()
        .map(|(text, digits)| (text, digits.parse().unwrap_or(0)))
        .collect()
}

/// A word and how it is coloured.
#[derive(Debug, Serialize)]
pub(super) struct Word {
    label: &'static str,
    tone: &'static str,
}

impl Word {
    const fn new(label: &'static str, tone: &'static str) -> Self {
        Self { label, tone }
    }

    const fn of_power(power: Power) -> Self {
        match power {
            Power::On => Self::new("On", "good"),
            Power::Off => Self::new("Off", "idle"),
            Power::PoweringOn => Self::new("Powering on", "busy"),
            Power::PoweringOff => Self::new("Powering off", "busy"),
            Power::Unknown => Self::new("Unknown", "warn"),
        }
    }

    const fn of_machine(phase: MachinePhase) -> Self {
        match phase {
            MachinePhase::Pending => Self::new("Pending", "idle"),
            MachinePhase::Rebooting => Self::new("Rebooting", "busy"),
            MachinePhase::Provisioning => Self::new("Provisioning", "busy"),
            MachinePhase::Joining => Self::new("Joining", "busy"),
            MachinePhase::Ready => Self::new("Ready", "good"),
            MachinePhase::Failed => Self::new("Failed", "bad"),
        }
    }

    const fn of_operation(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::new("Pending", "idle"),
            Phase::InProgress => Self::new("In progress", "busy"),
            Phase::Complete => Self::new("Complete", "good"),
            Phase::Failed => Self::new("Failed", "bad"),
        }
    }
}

/// An instant, exactly and as people say it.
#[derive(Debug, Serialize)]
pub(super) struct Moment {
    iso: String,
    text: String,
}

impl Moment {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self {
            iso: format!("{at:.0}"),
            text: relative(at, now),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RowWords<'a> {
    name: &'a str,
    pub(super) href: String,
    power: Word,
    phase: Word,
    operation: Option<RunningWords<'a>>,
    last_seen: Option<Moment>,
    problem: Option<&'a str>,
}

impl<'a> RowWords<'a> {
    pub(super) fn new(row: &'a MachineRow, now: Timestamp) -> Self {
        let name: String = url::form_urlencoded::byte_serialize(row.name.as_bytes()).collect();
        Self {
            name: &row.name,
            href: format!("/machines/{name}"),
            power: Word::of_power(row.power),
            phase: Word::of_machine(row.phase),
            operation: row
                .operation
                .as_ref()
                .map(|running| RunningWords::new(running, now)),
            last_seen: row.last_seen.map(|at| Moment::new(at, now)),
            problem: row.problem.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RunningWords<'a> {
    name: &'a str,
    kind: &'a str,
    stage: &'a str,
    percent: Option<u8>,
    waits_for: Option<&'a str>,
    deadline: Option<Moment>,
}

impl<'a> RunningWords<'a> {
    pub(super) fn new(running: &'a RunningOperation, now: Timestamp) -> Self {
        Self {
            name: &running.name,
            kind: &running.kind,
            stage: &running.stage,
            percent: running.percent.map(|percent| percent.min(100)),
            waits_for: running.waits_for.as_deref(),
            deadline: running.deadline.map(|at| Moment {
                iso: format!("{at:.0}"),
                text: format!(
                    "{} UTC, {}",
                    at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S"),
                    relative(at, now)
                ),
            }),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct PastWords<'a> {
    name: &'a str,
    kind: &'a str,
    phase: Word,
    message: Option<&'a str>,
    started_at: Option<Moment>,
    took: Option<String>,
}

impl<'a> PastWords<'a> {
    pub(super) fn new(past: &'a PastOperation, now: Timestamp) -> Self {
        let took = past
            .started_at
            .zip(past.ended_at)
            .map(|(from, to)| span(to.as_second() - from.as_second()));
        Self {
            name: &past.name,
            kind: &past.kind,
            phase: Word::of_operation(past.phase),
            message: past.message.as_deref(),
            started_at: past.started_at.map(|at| Moment::new(at, now)),
            took,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct EntryWords<'a> {
    /// Heading before the first entry of a day.
    day: Option<String>,
    iso: String,
    clock: String,
    source: &'static str,
    text: &'a str,
}

pub(super) fn timeline(entries: &[TimelineEntry]) -> Vec<EntryWords<'_>> {
    let mut day: Option<civil::Date> = None;
    entries
        .iter()
        .map(|entry| {
            let time = entry.at.to_zoned(TimeZone::UTC);
            let is_new_day = day.replace(time.date()) != Some(time.date());
            EntryWords {
                day: is_new_day.then(|| time.strftime("%A, %-d %B %Y").to_string()),
                iso: format!("{:.3}", entry.at),
                clock: time.strftime("%H:%M:%S%.3f").to_string(),
                source: entry.source.as_str(),
                text: &entry.text,
            }
        })
        .collect()
}

#[derive(Debug, Serialize)]
pub(super) struct Count {
    number: usize,
    label: &'static str,
    tone: &'static str,
}

/// How many there are, how many run an operation, how many need somebody.
pub(super) fn counts(rows: &[MachineRow]) -> Vec<Count> {
    let running = rows.iter().filter(|row| row.operation.is_some()).count();
    let ready = rows
        .iter()
        .filter(|row| row.phase == MachinePhase::Ready)
        .count();
    let bad = rows
        .iter()
        .filter(|row| row.problem.is_some() || row.phase == MachinePhase::Failed)
        .count();
    let mut counts = vec![
        Count {
            number: rows.len(),
            label: "in all",
            tone: "idle",
        },
        Count {
            number: ready,
            label: "ready",
            tone: "good",
        },
        Count {
            number: running,
            label: "running an operation",
            tone: "busy",
        },
    ];
    if bad > 0 {
        let label = if bad == 1 {
            "needs attention"
        } else {
            "need attention"
        };
        counts.push(Count {
            number: bad,
            label,
            tone: "bad",
        });
    }
    counts
}

/// A line of the list of cards that nobody owns.
#[derive(Debug, Serialize)]
pub(super) struct CardWords<'a> {
    #[serde(flatten)]
    card: &'a Card,
    first: Moment,
    last: Moment,
}

impl<'a> CardWords<'a> {
    pub(super) fn new(card: &'a Card, now: Timestamp) -> Self {
        Self {
            card,
            first: Moment::new(card.first_seen, now),
            last: Moment::new(card.last_seen, now),
        }
    }
}

pub(super) fn stamp(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}

/// `12 s ago`, `in 4 min`.
fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{} ago", span(seconds)),
        ..0 => format!("in {}", span(-seconds)),
    }
}

/// Seconds in the one or two units that matter.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |unit: i64, name: &str, part: i64, part_name: &str| match seconds % unit / part {
        0 => format!("{} {name}", seconds / unit),
        rest => format!("{} {name} {rest} {part_name}", seconds / unit),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => two(60, "min", 1, "s"),
        600..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(3600, "h", 60, "min"),
        _ => two(86_400, "d", 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_sort_by_value() {
        let mut names = ["node-10", "node-2", "a9b", "a10", "node-1", "node"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a9b", "a10", "node", "node-1", "node-2", "node-10"]);
    }

    #[test]
    fn times_are_said_as_people_do() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (75, "1 min 15 s"),
            (1800, "30 min"),
            (3700, "1 h 1 min"),
            (90_000, "1 d 1 h"),
            (86_700, "1 d"),
        ] {
            assert_eq!(span(seconds), words);
        }
        let at = |second| Timestamp::from_second(second).expect("in range");
        assert_eq!(relative(at(10), at(22)), "12 s ago");
        assert_eq!(relative(at(300), at(60)), "in 4 min");
        assert_eq!(relative(at(5), at(5)), "now");
    }
}
