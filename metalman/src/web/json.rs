//! The same facts as JSON, for scripts: `/api/v1`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::error;

use super::Ui;
use super::problem::Problem;
use super::view::{Card, MachineFacts, MachineRow, ViewError};
use super::words::sorted;
use crate::store::TimelineEntry;

/// Entries of a page of the timeline, unless asked otherwise.
const LIMIT: u32 = 100;
/// Entries of a page at most.
const LIMIT_MOST: u32 = 1000;

/// One page of a list.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    items: Vec<T>,
    /// `before` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    before: Option<i64>,
    limit: Option<u32>,
}

pub(super) async fn machines(State(ui): State<Ui>) -> Json<List<MachineRow>> {
    Json(List {
        items: sorted(ui.view.machines()),
        next_before: None,
    })
}

pub(super) async fn machine(
    State(ui): State<Ui>,
    Path(name): Path<String>,
) -> Result<Json<MachineFacts>, Problem> {
    ui.view
        .machine(&name)
        .map(Json)
        .ok_or_else(|| unknown(&name))
}

pub(super) async fn timeline(
    State(ui): State<Ui>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<List<TimelineEntry>>, Problem> {
    if ui.view.machine(&name).is_none() {
        return Err(unknown(&name));
    }
    let limit = page.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MOST);
    let entries = ui.view.timeline(&name, page.before, limit + 1);
    let mut items = entries
        .await
        .map_err(|source| unavailable("timeline", &source))?;
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_before = if has_more {
        items.last().map(|entry| entry.id)
    } else {
        None
    };
    Ok(Json(List { items, next_before }))
}

pub(super) async fn discovered(State(ui): State<Ui>) -> Result<Json<List<Card>>, Problem> {
    let cards = ui.view.discovered().await;
    let items = cards.map_err(|source| unavailable("list of unknown network cards", &source))?;
    let next_before = None;
    Ok(Json(List { items, next_before }))
}

fn unavailable(what: &str, source: &ViewError) -> Problem {
    error!(error = %source, cause = ?source, "{what} not readable");
    let text = format!("the {what} cannot be read now, try again");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "StoreUnavailable", &text)
}

fn unknown(name: &str) -> Problem {
    let text = format!("this site has no machine {name:?}");
    Problem::new(StatusCode::NOT_FOUND, "MachineNotFound", text)
}
