//! Requests as a logged-in user: reads, writes with preconditions, actions, collections.
//!
//! It does not know what the resources mean.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tracing::debug;

use super::Client;
use crate::call::check;
use crate::error::Error;
use crate::etag::Precondition;
use crate::model::{Messages, items, text};
use crate::operation::Operation;
use crate::quirks;
use crate::session::Ask;
use crate::task;
use crate::wire::Response;

/// Pages of one collection that are read.
const PAGE_LIMIT: usize = 32;

/// The members of a collection, each with its content.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) members: Vec<Value>,
    /// Paths of members that could not be read.
    pub(super) gaps: Vec<String>,
}

impl Client {
    /// An answer of any status but a 401 that a new login cures.
    pub(crate) async fn send_raw(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let root = self.service_root().await?;
        self.session
            .send(&self.transport, root.sessions.as_deref(), ask)
            .await
    }

    async fn call(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let response = self.send_raw(ask).await?;
        check(ask.operation, &ask.method, ask.path, response)
    }

    /// Reads a resource.
    pub(super) async fn get(&self, operation: Operation, path: &str) -> Result<Response, Error> {
        let ask = Ask::get(operation, path);
        let missing = match self.call(&ask).await {
            Err(error @ Error::NotFound { .. }) => error,
            outcome => return outcome,
        };
        let Some(parent) = quirks::parent_to_read_first(path) else {
            return Err(missing);
        };
        match self.call(&Ask::get(operation, parent)).await {
            Ok(parent) if mentions(&parent.body, path) => self.call(&ask).await,
            Ok(_) | Err(_) => Err(missing),
        }
    }

    /// Reads a resource that need not exist.
    pub(super) async fn try_get(
        &self,
        operation: Operation,
        path: &str,
    ) -> Result<Option<Response>, Error> {
        match self.get(operation, path).await {
            Ok(response) => Ok(Some(response)),
            Err(Error::NotFound { .. } | Error::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a resource that is linked and may fail by itself; notes the gap.
    pub(super) async fn get_or_note(
        &self,
        operation: Operation,
        path: &str,
        gaps: &mut Vec<String>,
    ) -> Result<Option<Response>, Error> {
        match self.get(operation, path).await {
            Ok(response) => Ok(Some(response)),
            Err(error) if is_gap(&error) => {
                debug!(error.reason = error.reason(), path, "resource skipped");
                gaps.push(path.to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes a resource, with the tag it had, and follows the change to its end.
    pub(super) async fn patch(
        &self,
        operation: Operation,
        path: &str,
        etag: Option<&str>,
        body: &Value,
    ) -> Result<(), Error> {
        let ask = Ask::write(operation, Method::PATCH, path, body);
        self.write(ask, Precondition::first(etag)).await
    }

    /// Posts an action and follows it to its end. Starts without a precondition: some BMCs refuse
    /// an action that carries one.
    pub(super) async fn act(
        &self,
        operation: Operation,
        path: &str,
        body: &Value,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let mut ask = Ask::write(operation, Method::POST, path, body);
        ask.timeout = timeout;
        self.write(ask, Precondition::None).await
    }

    async fn write(&self, ask: Ask<'_>, mut precondition: Precondition) -> Result<(), Error> {
        loop {
            let attempt = Ask {
                if_match: precondition.if_match(),
                ..ask.clone()
            };
            let response = self.send_raw(&attempt).await?;
            let status = response.status.as_u16();
            if matches!(status, 400 | 412 | 428) {
                let messages = Messages::parse(&response.body);
                if let Some(next) = precondition.next(status, &messages) {
                    precondition = next;
                    continue;
                }
            }
            let accepted = check(ask.operation, &ask.method, ask.path, response)?;
            return task::follow(self, ask.operation, &accepted).await;
        }
    }

    /// Reads up to `limit` members of a collection, with `$expand` where it works.
    pub(super) async fn collect(
        &self,
        operation: Operation,
        path: &str,
        limit: usize,
    ) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        let mut next = Some(path.to_owned());
        let (mut pages, mut listed) = (0, 0);
        while let Some(page_path) = next.take() {
            let page = match self.page(operation, &page_path).await {
                Ok(page) => page,
                Err(Error::NotFound { .. } | Error::Unsupported { .. }) if pages == 0 => break,
                Err(error) if is_gap(&error) => {
                    collected.gaps.push(page_path);
                    break;
                }
                Err(error) => return Err(error),
            };
            for member in items(&page.body, "Members") {
                if listed >= limit {
                    return Ok(collected);
                }
                listed += 1;
                self.take_in(operation, member, &mut collected).await?;
            }
            pages += 1;
            next = next_page(&page.body).filter(|_| pages < PAGE_LIMIT);
        }
        Ok(collected)
    }

    /// A page of a collection, with the members' content if that can be had in one request.
    async fn page(&self, operation: Operation, path: &str) -> Result<Response, Error> {
        let expands = self.service_root().await?.expands && !path.contains('?');
        if expands && !self.expand_failed.load(Ordering::Relaxed) {
            let expanded = format!("{path}?$expand=.($levels=1)");
            match self.call(&Ask::get(operation, &expanded)).await {
                Ok(response) => return Ok(response),
                Err(error @ (Error::Unreachable { .. } | Error::Busy { .. })) => return Err(error),
                Err(error) => {
                    debug!(error.reason = error.reason(), path, "expanding failed");
                    self.expand_failed.store(true, Ordering::Relaxed);
                    if matches!(error, Error::TimedOut { .. }) {
                        return Err(error);
                    }
                }
            }
        }
        self.get(operation, path).await
    }

    async fn take_in(
        &self,
        operation: Operation,
        member: &Value,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let is_whole = member
            .as_object()
            .is_some_and(|object| object.keys().any(|name| !name.starts_with('@')));
        if is_whole {
            collected.members.push(member.clone());
            return Ok(());
        }
        let Some(path) = text(member, "@odata.id") else {
            return Ok(());
        };
        // Not `get`: the collection was read just now.
        match self.call(&Ask::get(operation, &path)).await {
            Ok(response) => collected.members.push(response.body),
            Err(error) if is_gap(&error) => collected.gaps.push(path),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Where a collection goes on.
pub(super) fn next_page(body: &Value) -> Option<String> {
    text(body, "Members@odata.nextLink").or_else(|| text(body, "@odata.nextLink"))
}

/// Whether an error is about one resource only, so that the others are still worth reading.
pub(super) fn is_gap(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::Unsupported { .. }
            | Error::Rejected { .. }
            | Error::AccessDenied { .. }
            | Error::ServerFault { .. }
            | Error::InvalidResponse { .. }
            | Error::BodyTooLarge { .. }
    )
}

fn mentions(body: &Value, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    match body {
        Value::Object(object) => object.iter().any(|(name, value)| {
            (name == "@odata.id"
                && value
                    .as_str()
                    .is_some_and(|id| id.trim_end_matches('/') == path))
                || mentions(value, path)
        }),
        Value::Array(list) => list.iter().any(|value| mentions(value, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
