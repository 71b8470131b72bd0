//! The two pages and the messages beside them: fetch, turn into words, render.

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracing::error;

use super::Ui;
use super::view::{Fact, ViewError};
use super::words::{
    CardWords, Count, EntryWords, PastWords, RowWords, counts, sorted, stamp, timeline,
};

/// Timeline entries on a page.
const ENTRIES: u32 = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    before: Option<i64>,
}

/// Context of `machines.html.j2`.
#[derive(Debug, Serialize)]
struct MachinesPage<'a> {
    site: String,
    revision: u64,
    now: String,
    counts: Vec<Count>,
    machines: Vec<RowWords<'a>>,
}

/// Context of `machine.html.j2`.
#[derive(Debug, Serialize)]
struct MachinePage<'a> {
    site: String,
    revision: u64,
    now: String,
    machine: RowWords<'a>,
    facts: &'a [Fact],
    operations: Vec<PastWords<'a>>,
    timeline: Vec<EntryWords<'a>>,
    /// Address of the next older page.
    older: Option<String>,
    /// An older page does not change and is not live.
    is_paged: bool,
}

/// Context of `discovered.html.j2`.
#[derive(Debug, Serialize)]
struct DiscoveredPage<'a> {
    site: String,
    revision: u64,
    now: String,
    cards: Vec<CardWords<'a>>,
}

/// Context of `message.html.j2`.
#[derive(Debug, Serialize)]
struct MessagePage<'a> {
    site: String,
    revision: u64,
    heading: &'a str,
    text: &'a str,
}

/// `/`
pub(super) async fn machines(State(ui): State<Ui>) -> Response {
    let now = (ui.clock)();
    // Read before the rows, so that a change in between is told again rather than never.
    let revision = *ui.view.changes().borrow();
    let rows = sorted(ui.view.machines());
    let context = MachinesPage {
        site: ui.view.site(),
        revision,
        now: stamp(now),
        counts: counts(&rows),
        machines: rows.iter().map(|row| RowWords::new(row, now)).collect(),
    };
    ui.renderer
        .respond(StatusCode::OK, "machines.html.j2", &context)
}

/// `/machines/{name}`
pub(super) async fn machine(
    State(ui): State<Ui>,
    Path(name): Path<String>,
    Query(paging): Query<Paging>,
) -> Response {
    let now = (ui.clock)();
    let revision = *ui.view.changes().borrow();
    let Some(machine) = ui.view.machine(&name) else {
        let text = format!("This site has no machine named {name}.");
        return message(&ui, StatusCode::NOT_FOUND, "No such machine", &text);
    };
    let mut entries = match ui.view.timeline(&name, paging.before, ENTRIES + 1).await {
        Ok(entries) => entries,
        Err(source) => return unavailable(&ui, "timeline", &source),
    };
    let has_older = entries.len() > ENTRIES as usize;
    entries.truncate(ENTRIES as usize);
    let row = RowWords::new(&machine.row, now);
    let older = entries
        .last()
        .filter(|_| has_older)
        .map(|entry| format!("{}?before={}", row.href, entry.id));
    let context = MachinePage {
        site: ui.view.site(),
        revision,
        now: stamp(now),
        machine: row,
        facts: &machine.facts,
        operations: machine
            .operations
            .iter()
            .map(|past| PastWords::new(past, now))
            .collect(),
        timeline: timeline(&entries),
        older,
        is_paged: paging.before.is_some(),
    };
    ui.renderer
        .respond(StatusCode::OK, "machine.html.j2", &context)
}

/// `/discovered`
pub(super) async fn discovered(State(ui): State<Ui>) -> Response {
    let now = (ui.clock)();
    let revision = *ui.view.changes().borrow();
    let cards = match ui.view.discovered().await {
        Ok(cards) => cards,
        Err(source) => return unavailable(&ui, "list of unknown network cards", &source),
    };
    let context = DiscoveredPage {
        site: ui.view.site(),
        revision,
        now: stamp(now),
        cards: cards.iter().map(|card| CardWords::new(card, now)).collect(),
    };
    ui.renderer
        .respond(StatusCode::OK, "discovered.html.j2", &context)
}

/// What is in the store cannot be shown.
fn unavailable(ui: &Ui, what: &str, source: &ViewError) -> Response {
    error!(error = %source, cause = ?source, "{what} not readable");
    let text = format!("The {what} cannot be read now. Reload in a moment.");
    message(ui, StatusCode::SERVICE_UNAVAILABLE, "Not available", &text)
}

/// Everything else.
pub(super) async fn not_found(State(ui): State<Ui>, uri: Uri) -> Response {
    let text = format!("There is no page {}.", uri.path());
    message(&ui, StatusCode::NOT_FOUND, "Not found", &text)
}

fn message(ui: &Ui, status: StatusCode, heading: &str, text: &str) -> Response {
    let context = MessagePage {
        site: ui.view.site(),
        revision: 0,
        heading,
        text,
    };
    ui.renderer.respond(status, "message.html.j2", &context)
}
