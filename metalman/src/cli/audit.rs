//! `metalman audit`: who changed, or tried to change, what through the embedded API and the BMC
//! commands. Reads the store directly, so it also works while the appliance is stopped.
//!
//! Invariant: only reads, and what somebody else chose never reaches a terminal as control characters.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{stored::StoredArgs, table::table};
use crate::store::{AuditEntry, Store};

/// Entries read at once.
const PAGE: u32 = 1000;

/// Which entries, and where the store is.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Entries shown at most, the newest first
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    wanted: Wanted,
    /// How they are printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    stored: StoredArgs,
}

/// What an entry must be to be shown.
#[derive(Debug, Default, Args)]
struct Wanted {
    /// Only what this user did; the appliance itself is `admin`
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only this verb, such as create, patch or delete
    #[arg(long)]
    verb: Option<String>,
    /// Only objects that contain this text, such as `secrets` or `node-1`
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    /// Only what was refused or failed
    #[arg(long)]
    refused: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Output {
    /// Columns for people
    #[default]
    Table,
    /// One JSON object per line, with everything that is kept
    Json,
}

impl Wanted {
    fn fits(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        is(&self.user, &entry.actor)
            && is(&self.verb, &entry.action)
            && self
                .object
                .as_ref()
                .is_none_or(|part| entry.object.contains(part))
            && (!self.refused || code(entry).is_some_and(|code| code >= 400))
    }
}

/// Gives what is to be printed.
///
/// # Errors
/// There is no store there, or it cannot be read.
pub(super) async fn run(args: AuditArgs) -> Result<String> {
    let (_, store) = args.stored.open().await?;
    let entries = find(&store, &args.wanted, args.limit).await?;
    Ok(match args.output {
        Output::Table if entries.is_empty() => "nothing of that kind was written down\n".to_owned(),
        Output::Table => shown(&entries),
        Output::Json => entries.iter().map(line).collect(),
    })
}

async fn find(store: &Store, wanted: &Wanted, limit: usize) -> Result<Vec<AuditEntry>> {
    let (mut found, mut before) = (Vec::new(), None);
    while found.len() < limit {
        let page = store.audit().list(before, PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        found.extend(page.into_iter().filter(|entry| wanted.fits(entry)));
    }
    found.truncate(limit);
    Ok(found)
}

/// The HTTP status of an API request; BMC commands are written down before they run and have none.
fn code(entry: &AuditEntry) -> Option<u64> {
    entry.detail.get("code").and_then(Value::as_u64)
}

fn shown(entries: &[AuditEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let outcome = code(entry).map_or_else(|| entry.detail.to_string(), |code| code.to_string());
        [
            entry.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            plain(&entry.actor),
            plain(&entry.action),
            plain(&entry.object),
            plain(&outcome),
        ]
    });
    table(["WHEN", "WHO", "VERB", "OBJECT", "OUTCOME"], rows.collect())
}

/// Without control characters: names come from requests.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let shown: Box<dyn Iterator<Item = char>> = if c.is_control() {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            };
            shown
        })
        .collect()
}

fn line(entry: &AuditEntry) -> String {
    let value = json!({"id": entry.id, "at": entry.at.to_string(), "actor": entry.actor,
        "action": entry.action, "object": entry.object, "detail": entry.detail});
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::store::NewAuditEntry;

    async fn store() -> Store {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let entry = |actor: &str, action: &str, object: &str, detail: Value| NewAuditEntry {
            at: Timestamp::UNIX_EPOCH,
            actor: actor.to_owned(),
            action: action.to_owned(),
            object: object.to_owned(),
            detail,
        };
        let mut entries: Vec<_> = (0..u64::from(PAGE) * 2)
            .map(|n| {
                entry(
                    "admin",
                    "patch",
                    &format!("machines/status m{n}"),
                    json!({"code": 200}),
                )
            })
            .collect();
        entries.insert(
            0,
            entry(
                "vera",
                "delete",
                "machines \u{1b}[2Jx",
                json!({"code": 403}),
            ),
        );
        entries.push(entry(
            "olga",
            "bmc-indicator",
            "Machine/m1",
            json!({"state": "lit"}),
        ));
        store.audit().append_all(&entries).await.unwrap();
        store
    }

    #[tokio::test]
    async fn entries_are_found_however_old_and_never_drive_the_terminal() {
        let store = store().await;
        let wanted = Wanted {
            refused: true,
            ..Wanted::default()
        };
        let found = find(&store, &wanted, 10).await.unwrap();
        assert_eq!(
            shown(&found),
            "WHEN                  WHO   VERB    OBJECT               OUTCOME\n\
             1970-01-01 00:00:00Z  vera  delete  machines \\u{1b}[2Jx  403\n"
        );
        assert!(line(&found[0]).contains("\\u001b[2Jx"));
        let wanted = Wanted {
            object: Some("m1".to_owned()),
            verb: Some("bmc-indicator".to_owned()),
            user: Some("olga".to_owned()),
            refused: false,
        };
        let found = find(&store, &wanted, 10).await.unwrap();
        assert!(
            shown(&found).ends_with("{\"state\":\"lit\"}\n"),
            "{}",
            shown(&found)
        );
    }

    #[tokio::test]
    async fn the_newest_come_first_and_no_more_than_asked_for() {
        let store = store().await;
        let found = find(&store, &Wanted::default(), 3).await.unwrap();
        let objects: Vec<_> = found.iter().map(|entry| entry.object.as_str()).collect();
        assert_eq!(
            objects,
            [
                "Machine/m1",
                "machines/status m1999",
                "machines/status m1998"
            ]
        );
        assert!(
            find(&store, &Wanted::default(), 0)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
