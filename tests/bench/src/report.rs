//! Tables and ratios of what was measured.
//!
//! Invariant: a ratio is always ours against the best peer of the same row and figure, and above 1
//! is better for us, whichever way the figure counts.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// Name of our own server in the rows.
pub const OURS: &str = "metalman";

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(rename = "row")]
    title: String,
    server: String,
    /// Names end in `_max` or `_min`: which way is better; others are shown and not compared.
    figures: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    note: String,
}

/// All rows of a run.
#[derive(Debug)]
pub struct Report(Vec<Row>);

/// Ours against the best peer.
#[derive(Debug, PartialEq)]
struct Ratio<'a> {
    ours: f64,
    best: f64,
    peer: &'a str,
    gain: f64,
}

impl Report {
    /// Reads one JSON object a line.
    pub fn read(text: &str) -> Result<Self> {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| format!("row {line:?}")))
            .collect::<Result<_>>()
            .map(Self)
    }

    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for row in &self.0 {
            if !names.contains(&row.title.as_str()) {
                names.push(row.title.as_str());
            }
        }
        names
    }

    fn figures<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
        let mut names: Vec<_> = rows.iter().flat_map(|row| row.figures.keys()).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(String::as_str).collect()
    }

    fn ratio<'a>(rows: &[&'a Row], figure: &str) -> Option<Ratio<'a>> {
        let more = figure.ends_with("_max");
        if !more && !figure.ends_with("_min") {
            return None;
        }
        let value = |row: &Row| row.figures.get(figure).copied().flatten();
        let ours = rows
            .iter()
            .find(|row| row.server == OURS)
            .and_then(|row| value(row))?;
        let peers = rows.iter().filter(|row| row.server != OURS);
        let (best, peer) = peers
            .filter_map(|row| Some((value(row)?, row.server.as_str())))
            .reduce(|a, b| if (b.0 > a.0) == more { b } else { a })?;
        let gain = if more { ours / best } else { best / ours };
        gain.is_finite().then_some(Ratio {
            ours,
            best,
            peer,
            gain,
        })
    }

    /// For people: per row one line a server, and what we are against the best of the others.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for name in self.names() {
            let rows: Vec<_> = self.0.iter().filter(|row| row.title == name).collect();
            let figures = Self::figures(&rows);
            let mut lines = vec![
                std::iter::once(name.to_owned())
                    .chain(figures.iter().map(|figure| plain(figure).to_owned()))
                    .chain([String::new()])
                    .collect::<Vec<_>>(),
            ];
            for row in &rows {
                let values = figures.iter().map(|figure| {
                    row.figures
                        .get(*figure)
                        .copied()
                        .flatten()
                        .map_or("-".to_owned(), short)
                });
                let line = std::iter::once(format!("  {}", row.server)).chain(values);
                lines.push(line.chain([row.note.clone()]).collect());
            }
            let ratios = figures.iter().map(|figure| {
                Self::ratio(&rows, figure).map_or(String::new(), |r| format!("{:.2}x", r.gain))
            });
            if rows.len() > 1 {
                let line = std::iter::once(format!("  {OURS} / best peer")).chain(ratios);
                lines.push(line.chain([String::new()]).collect());
            }
            align(&mut text, &lines);
            text.push('\n');
        }
        text
    }

    /// For programs: the rows as they are, and the ratios.
    pub fn json(&self) -> Value {
        let mut ratios = Vec::new();
        for name in self.names() {
            let rows: Vec<_> = self.0.iter().filter(|row| row.title == name).collect();
            for figure in Self::figures(&rows) {
                if let Some(found) = Self::ratio(&rows, figure) {
                    ratios.push(json!({
                        "row": name, "figure": plain(figure), "ours": found.ours,
                        "best_peer": found.peer, "peer": found.best, "ratio": found.gain,
                    }));
                }
            }
        }
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|row| {
                json!({
                    "row": row.title, "server": row.server, "figures": row.figures, "note": row.note,
                })
            })
            .collect();
        json!({ "rows": rows, "ratios": ratios })
    }
}

/// The name without its direction.
fn plain(figure: &str) -> &str {
    let figure = figure.strip_suffix("_max").unwrap_or(figure);
    figure.strip_suffix("_min").unwrap_or(figure)
}

/// Three digits are what a measurement is worth.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn align(text: &mut String, lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(String::len)
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    for line in lines {
        let mut out = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let written = match column {
                0 => write!(out, "{cell:width$}"),
                last if last + 1 == columns => write!(out, "  {cell}"),
                _ => write!(out, "  {cell:>width$}"),
            };
            // Writing to a String cannot fail.
            written.ok();
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = r#"
        {"row":"200 clients","server":"a","figures":{"mb_s_max":200,"cpu_min":4,"rss":5}}
        {"row":"200 clients","server":"b","figures":{"mb_s_max":250,"cpu_min":5,"rss":5},"note":"w1"}
        {"row":"200 clients","server":"metalman","figures":{"mb_s_max":500,"cpu_min":2,"rss":9}}
        {"row":"restart","server":"metalman","figures":{"ms_min":null}}
    "#;

    #[test]
    fn a_ratio_is_against_the_best_peer_and_above_one_is_better() -> Result<()> {
        let json = Report::read(ROWS)?.json();
        let ratio = |figure: &str| {
            let all = json["ratios"].as_array().expect("an array");
            let found = all
                .iter()
                .find(|ratio| ratio["figure"] == figure)
                .expect("is there");
            (found["ratio"].as_f64(), found["best_peer"].clone())
        };
        assert_eq!(ratio("mb_s"), (Some(2.0), "b".into()));
        assert_eq!(ratio("cpu"), (Some(2.0), "a".into()));
        assert_eq!(json["ratios"].as_array().map(Vec::len), Some(2));
        Ok(())
    }

    #[test]
    fn the_table_has_a_line_for_each_server_and_one_for_the_ratio() -> Result<()> {
        let table = Report::read(ROWS)?.table();
        let has = |words: &[&str]| {
            let mut lines = table.lines();
            lines.any(|line| line.split_whitespace().eq(words.iter().copied()))
        };
        assert!(
            has(&["metalman", "/", "best", "peer", "2.00x", "2.00x"]),
            "{table}"
        );
        assert!(has(&["b", "5.00", "250", "5.00", "w1"]), "{table}");
        Ok(())
    }
}
