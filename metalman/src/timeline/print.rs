//! The timeline of one machine as text, for `metalman timeline MACHINE`.

use std::io;

use jiff::{Timestamp, tz::TimeZone};

use crate::store::TimelineEntry;

/// Prints entries oldest first, in UTC, with the pause before each; a new day gets a heading.
///
/// # Errors
/// Those of `out`.
pub fn print(entries: &[TimelineEntry], out: &mut impl io::Write) -> io::Result<()> {
    let mut entries: Vec<&TimelineEntry> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.id);
    let mut day = None;
    let mut previous: Option<Timestamp> = None;
    for entry in entries {
        let time = entry.at.to_zoned(TimeZone::UTC);
        if day != Some(time.date()) {
            day = Some(time.date());
            writeln!(out, "{} UTC", time.date())?;
        }
        let pause = previous
            .map(|previous| pause(previous, entry.at))
            .unwrap_or_default();
        previous = Some(entry.at);
        let text = super::words::clean(&entry.text);
        let clock = time.strftime("%H:%M:%S%.3f");
        writeln!(
            out,
            "  {clock}  {pause:>9}  {:<9}  {text}",
            entry.source.as_str()
        )?;
    }
    Ok(())
}

/// `+0.123 s`; empty when the clock went back.
fn pause(from: Timestamp, to: Timestamp) -> String {
    match u64::try_from(to.as_millisecond() - from.as_millisecond()) {
        Ok(ms) if ms >= 600_000 => format!("+{} min", ms / 60_000),
        Ok(ms) => format!("+{}.{:03} s", ms / 1000, ms % 1000),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::TimelineSource;

    #[test]
    fn a_timeline_reads_from_top_to_bottom() {
        let entry = |id: i64, at: &str, source, text: &str| TimelineEntry {
            id,
            machine: "node-1".into(),
            at: at.parse().expect("a time"),
            source,
            text: text.into(),
            detail: json!({}),
            operation: None,
        };
        let entries = [
            entry(
                4,
                "2026-11-21T00:00:01Z",
                TimelineSource::Host,
                "host is up\u{1b}[0m",
            ),
            entry(
                3,
                "2026-11-20T23:40:00Z",
                TimelineSource::Installer,
                "writing the image 0 %",
            ),
            entry(
                1,
                "2026-11-20T23:39:58.5Z",
                TimelineSource::Dhcp,
                "DHCP ACK 10.77.0.11",
            ),
        ];
        let mut out = Vec::new();
        print(&entries, &mut out).expect("a vector takes all");
        insta::assert_snapshot!(String::from_utf8(out).expect("text"), @r"
        2026-11-20 UTC
          23:39:58.500             dhcp       DHCP ACK 10.77.0.11
          23:40:00.000   +1.500 s  installer  writing the image 0 %
        2026-11-21 UTC
          00:00:01.000    +20 min  host       host is up�[0m
        ");
    }
}
