//! Watches: the stream of changes a client follows.
//!
//! A watcher that lags behind is dropped with 410 and has to list again. Invariant: versions on
//! one stream never go back, and a bookmark is sent only when everything before it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::meter::WatchPlace;
use super::metrics::OpenWatch;
use super::negotiate::{Shape, shown};
use super::request::{ListOptions, Location};
use super::router::Server;
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::{ChangeKind, News, Stored, Subscription};
use crate::standalone::resource::Resource;
use crate::standalone::select::Selector;
use crate::standalone::status::ApiError;

const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// Watches without `timeoutSeconds` end after this and up to twice as long.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;
const LONGEST_TIMEOUT_SECONDS: u64 = 6 * 3600;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Watcher {
    server: Server,
    resource: Arc<Resource>,
    namespace: Option<String>,
    selector: Selector,
    shape: Shape,
    bookmarks: bool,
    definitions_sent: bool,
    waiting: VecDeque<Bytes>,
    feed: broadcast::Receiver<Arc<News>>,
    deadline: Instant,
    ticks: Interval,
    ended: bool,
    _place: (WatchPlace, OpenWatch),
}

/// Starts a watch.
///
/// # Errors
/// 410 when the version is not watchable.
pub(super) fn watch(
    server: &Server,
    location: &Location,
    options: ListOptions,
    shape: Shape,
    place: (WatchPlace, OpenWatch),
) -> Result<Response, ApiError> {
    let any = options.initial_events || options.version.is_none_or(|version| version == 0);
    let since = if any { None } else { options.version };
    let Subscription {
        version,
        objects,
        replay,
        feed,
    } = server
        .hub
        .subscribe(location.resource.slot, location.namespace.as_deref(), since)?;
    let seconds = options.timeout_seconds.map_or_else(
        || DEFAULT_TIMEOUT_SECONDS + rand::random_range(0..DEFAULT_TIMEOUT_SECONDS),
        |seconds| seconds.min(LONGEST_TIMEOUT_SECONDS),
    );
    let now = Instant::now();
    let mut ticks = interval_at(now + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut watcher = Watcher {
        server: server.clone(),
        resource: Arc::clone(&location.resource),
        namespace: location.namespace.clone(),
        selector: options.selector,
        shape,
        bookmarks: options.bookmarks,
        definitions_sent: false,
        waiting: VecDeque::new(),
        feed,
        deadline: now + Duration::from_secs(seconds),
        ticks,
        ended: false,
        _place: place,
    };
    for object in &objects {
        watcher.initial(object);
    }
    for change in &replay {
        watcher.change(&News::again(change));
    }
    if options.initial_events && watcher.bookmarks {
        watcher.bookmark(version, true);
    }
    let body = Body::from_stream(stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watcher))
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

impl Watcher {
    /// The next chunk: all events that are ready.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.waiting.is_empty() {
                return Some(self.waiting.drain(..).flatten().collect());
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                received = self.feed.recv() => match received {
                    Ok(change) => self.change(&change),
                    Err(RecvError::Lagged(missed)) => self.drop_slow(missed),
                    Err(RecvError::Closed) => self.ended = true,
                },
                _ = self.ticks.tick(), if self.bookmarks => {
                    if let Some(version) = self.server.hub.drained(&self.feed) {
                        self.bookmark(version, false);
                    }
                }
                () = sleep_until(self.deadline) => self.ended = true,
                () = self.server.shutdown.cancelled() => self.ended = true,
            }
        }
    }

    /// Whether texts go out as they are, whatever is in them.
    fn is_plain(&self) -> bool {
        self.selector.is_empty() && self.shape.is_stored(&self.resource)
    }

    fn initial(&mut self, object: &Stored) {
        if self.is_plain() {
            self.push_text("ADDED", object.body.text().as_bytes());
            return;
        }
        let value = object.value();
        if self.selector.matches(&shown(&self.resource, &value)) {
            self.send("ADDED", &value);
        }
    }

    fn change(&mut self, news: &News) {
        let change = &news.change;
        let key = &change.object.key;
        if self
            .namespace
            .as_ref()
            .is_some_and(|namespace| *namespace != key.namespace)
        {
            return;
        }
        if self.is_plain() {
            self.push_text(change.kind.word(), &news.text);
            return;
        }
        let selects = |value: &Value| self.selector.matches(&shown(&self.resource, value));
        let fits = selects(news.value());
        let word = match change.kind {
            ChangeKind::Added | ChangeKind::Deleted => fits.then(|| change.kind.word()),
            ChangeKind::Modified => {
                match (fits, news.previous().map(selects)) {
                    (true, Some(true) | None) => Some("MODIFIED"),
                    (true, Some(false)) => Some("ADDED"),
                    // Unknown before: telling a client that something it may hold is gone is safe.
                    (false, Some(true) | None) => Some("DELETED"),
                    (false, Some(false)) => None,
                }
            }
        };
        match (word, change.kind, news.previous()) {
            // What left the selection is shown as it was in it, under the version at which it left.
            (Some("DELETED"), ChangeKind::Modified, Some(previous)) => {
                let mut last = previous.clone();
                let version = news.value().at("metadata").at("resourceVersion");
                last.at_mut("metadata")
                    .set("resourceVersion", version.clone());
                self.send("DELETED", &last);
            }
            (Some(word), ..) => self.send(word, news.value()),
            (None, ..) => {}
        }
    }

    fn send(&mut self, word: &str, object: &Value) {
        let definitions = !self.definitions_sent;
        self.definitions_sent = true;
        let shown = self
            .shape
            .one(&self.resource, object, definitions, self.server.now());
        self.push(word, &shown);
    }

    /// An event with an object that is JSON already.
    fn push_text(&mut self, word: &str, object: &[u8]) {
        let mut line = Vec::with_capacity(object.len() + 40);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(word.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        self.waiting.push_back(Bytes::from(line));
    }

    fn push(&mut self, word: &str, object: &Value) {
        let mut line = json!({"type": word, "object": object}).to_string();
        line.push('\n');
        self.waiting.push_back(Bytes::from(line));
    }

    fn bookmark(&mut self, version: u64, end_of_initial: bool) {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if end_of_initial {
            metadata.set("annotations", json!({INITIAL_EVENTS_END: "true"}));
        }
        let object = json!({"kind": self.resource.kind,
                            "apiVersion": self.resource.api_version(), "metadata": metadata});
        let object = match self.shape {
            Shape::Objects => object,
            Shape::Metadata => {
                let mut partial = object;
                partial.set("kind", json!("PartialObjectMetadata"));
                partial.set("apiVersion", json!("meta.k8s.io/v1"));
                partial
            }
            Shape::Table(_) => {
                let partial = json!({"kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1", "metadata": object.at("metadata")});
                let meta = json!({"resourceVersion": version.to_string()});
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
                       "columnDefinitions": null, "rows": [{"cells": [], "object": partial}]})
            }
        };
        self.push("BOOKMARK", &object);
    }

    fn drop_slow(&mut self, missed: u64) {
        self.server.metrics.dropped_watch();
        tracing::warn!(resource = %self.resource.plural, missed, "dropped a slow watcher");
        let text = format!("too old resource version: the watch lagged {missed} changes behind");
        self.push("ERROR", &ApiError::expired(text).to_value());
        self.ended = true;
    }
}
