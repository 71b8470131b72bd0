//! One audit line per write that was tried: in the log and, but for dry runs and renewals of Leases, in
//! the store.

use http::header;
use http::request::Parts;
use serde_json::json;

use super::request::{Location, Query};
use super::router::Server;
use crate::standalone::access::{User, Verb};
use crate::standalone::fields::Fields as _;
use crate::standalone::status::ApiError;
use crate::standalone::writer::Reply;
use crate::store::NewAuditEntry;

/// Longest foreign text kept, in characters.
const TEXT_LIMIT: usize = 256;

/// Notes who tried what and what came of it.
pub(super) fn note(
    server: &Server,
    user: &User,
    parts: &Parts,
    location: &Location,
    query: &Query,
    result: &Result<Reply, ApiError>,
) {
    let code = match result {
        Ok(reply) => reply.code,
        Err(error) => error.code(),
    };
    let agent = parts
        .headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .map(|agent| agent.chars().take(TEXT_LIMIT).collect::<String>())
        .unwrap_or_default();
    let made = result
        .as_ref()
        .ok()
        .and_then(|r| r.body.at("metadata").at("name").as_str());
    let resource = &location.resource;
    let namespace = location.namespace.as_deref().unwrap_or_default();
    let name = location.name.as_deref().or(made).unwrap_or_default();
    let dry_run = query.get("dryRun").is_some();
    tracing::info!(
        target: "audit",
        user = %user.name,
        method = %parts.method,
        resource = %resource.plural,
        group = %resource.group,
        namespace,
        name,
        status = !location.subresource().is_empty(),
        dry_run,
        code,
        agent,
        "API write"
    );
    // Hosts renew their Leases every minute; kept, these would push out what people did.
    let is_renewal = resource.plural == "leases" && code == 200;
    if dry_run || is_renewal {
        return;
    }
    let verb = Verb::of_request(parts.method.as_str(), location.name.is_some(), false);
    let mut kind = resource.plural.clone();
    for (mark, part) in [
        ('.', resource.group.as_str()),
        ('/', location.subresource()),
    ] {
        if !part.is_empty() {
            kind.push(mark);
            kind.push_str(part);
        }
    }
    let mut object = vec![kind.as_str(), namespace, name];
    object.retain(|part| !part.is_empty());
    server.audit.note(NewAuditEntry {
        at: server.now(),
        actor: user.name.clone(),
        action: verb.map_or("other", Verb::word).to_owned(),
        object: object.join(" ").chars().take(2 * TEXT_LIMIT).collect(),
        detail: json!({"code": code, "agent": agent}),
    });
}
