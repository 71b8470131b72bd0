//! Tells browsers that something changed; they fetch what they show.
//!
//! Changes in quick succession become one event, so a page is fetched at most every [`GAP`].

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use tokio::sync::watch;

use super::Ui;

/// Time between two events to one browser.
const GAP: Duration = Duration::from_millis(400);
/// Silence after which a comment is sent, so that dead connections are found.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The first event comes at once, so a browser that reconnects learns what it missed.
pub(super) async fn stream(
    State(ui): State<Ui>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = ui.view.changes();
    Sse::new(stream::unfold((changes, true), next))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

type Listening = (watch::Receiver<u64>, bool);

async fn next(
    (mut changes, is_first): Listening,
) -> Option<(Result<Event, Infallible>, Listening)> {
    if !is_first {
        changes.changed().await.ok()?;
        tokio::time::sleep(GAP).await;
    }
    let revision = *changes.borrow_and_update();
    let event = Event::default()
        .event("site")
        .data(format!("{{\"revision\":{revision}}}"));
    Some((Ok(event), (changes, false)))
}
