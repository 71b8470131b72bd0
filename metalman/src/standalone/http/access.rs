//! From a request to its user, and to what it wants in the terms of the table of roles.

use http::{HeaderMap, header};
use serde_json::Value;

use super::request::{ListOptions, Location, Query};
use super::router::Server;
use crate::standalone::access::{
    Access, Attributes, Decision, Role, User, Verb, allows, may_change,
};
use crate::standalone::hub::{ChangeKind, Key, News};
use crate::standalone::resource::Catalog;
use crate::standalone::status::ApiError;

const IMPERSONATE_USER: &str = "impersonate-user";
const IMPERSONATE_GROUP: &str = "impersonate-group";

/// The user of a request, after `kubectl --as`.
///
/// # Errors
/// 401 without a token that is known, 403 for impersonation by anybody but an administrator.
pub(super) fn authenticate(access: &Access, headers: &HeaderMap) -> Result<User, ApiError> {
    let user = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| access.user(token.trim()))
        .ok_or_else(ApiError::unauthorized)?;
    let texts = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).into_iter();
        values
            .filter_map(|v| v.to_str().ok().map(str::to_owned))
            .collect()
    };
    let (name, groups) = (texts(IMPERSONATE_USER), texts(IMPERSONATE_GROUP));
    let Some(name) = name.first() else {
        if groups.is_empty() {
            return Ok(user);
        }
        let text = "requested impersonation of groups without a user";
        return Err(ApiError::bad_request(text));
    };
    let asked = Attributes {
        verb: Some(Verb::Impersonate),
        resource: "users".to_owned(),
        name: name.clone(),
        ..Attributes::default()
    };
    match allows(&user, &asked, None) {
        Decision::Allow => Ok(User::new(name, groups)),
        Decision::Deny => Err(asked.refusal(&user.name)),
    }
}

/// Decides about a path that is no resource.
///
/// # Errors
/// 403.
pub(super) fn authorize_path(user: &User, method: &str, path: &str) -> Result<(), ApiError> {
    let verb = match method {
        "GET" | "HEAD" => Verb::Get,
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        _ => Verb::Delete,
    };
    decide(user, &Attributes::path(verb, path), None)
}

/// Decides about a request for a resource; what it would change is decided by [`guard`].
///
/// # Errors
/// 403, also where the query cannot be read: what is wrong with it is only for those who may ask.
pub(super) fn authorize(
    server: &Server,
    user: &User,
    method: &str,
    location: &Location,
    query: &Query,
) -> Result<(), ApiError> {
    if user.role == Role::Admin {
        return Ok(());
    }
    let asked = attributes(method, location, query);
    let object = stored(server, &asked);
    decide(user, &asked, object.as_ref())
}

pub(super) fn decide(
    user: &User,
    asked: &Attributes,
    object: Option<&Value>,
) -> Result<(), ApiError> {
    match allows(user, asked, object) {
        Decision::Allow => Ok(()),
        Decision::Deny => Err(asked.refusal(&user.name)),
    }
}

fn attributes(method: &str, location: &Location, query: &Query) -> Attributes {
    let mut asked = Attributes {
        group: location.resource.group.clone(),
        resource: location.resource.plural.clone(),
        subresource: location.subresource().to_owned(),
        namespace: location.namespace.clone().unwrap_or_default(),
        name: location.name.clone().unwrap_or_default(),
        ..Attributes::default()
    };
    let mut watch = query.flag("watch");
    if location.name.is_none()
        && method != "POST"
        && let Ok(options) = ListOptions::parse(&location.resource, query)
    {
        // One object, when a field selector says so.
        watch = options.watch;
        let exact = |path| options.selector.exact(path).unwrap_or_default().to_owned();
        asked.name = exact("metadata.name");
        asked.machine = exact("spec.machineRef");
    }
    asked.verb = Verb::of_request(method, location.name.is_some(), watch);
    if asked.group.is_empty() && asked.resource == "namespaces" {
        asked.namespace.clone_from(&asked.name);
    }
    asked
}

/// The stored object a decision may depend on: an operation, for an agent.
pub(super) fn stored(server: &Server, asked: &Attributes) -> Option<Value> {
    if asked.resource != "machineoperations" || asked.name.is_empty() {
        return None;
    }
    let slot = server.catalog.stored(&asked.group, &asked.resource)?.slot;
    let key = Key {
        slot,
        namespace: String::new(),
        name: asked.name.clone(),
    };
    Some(server.hub.get(&key)?.value())
}

/// Looks at what a write of `user` changed: objects that a patch made need the right to create, and
/// an agent keeps to its own.
///
/// # Errors
/// 403.
pub(super) fn guard(
    catalog: &Catalog,
    user: &User,
    is_patch: bool,
    news: &News,
) -> Result<(), ApiError> {
    let change = &news.change;
    let Some(resource) = catalog.of_slot(change.object.key.slot) else {
        return Ok(());
    };
    let key = &change.object.key;
    if is_patch && change.kind == ChangeKind::Added {
        let asked = Attributes {
            verb: Some(Verb::Create),
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            ..Attributes::default()
        };
        decide(user, &asked, None)?;
    }
    may_change(user, resource, &key.name, news.previous(), news.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_the_user() {
        let access = Access::new("right", || jiff::Timestamp::UNIX_EPOCH, |_| None);
        let mut headers = HeaderMap::new();
        let code = |headers: &HeaderMap| authenticate(&access, headers).unwrap_err().code();
        assert_eq!(code(&headers), 401);
        headers.insert(header::AUTHORIZATION, "Basic right".parse().unwrap());
        assert_eq!(code(&headers), 401);
        headers.insert(header::AUTHORIZATION, "bearer right".parse().unwrap());
        assert_eq!(authenticate(&access, &headers).unwrap().name, "admin");
        headers.insert(IMPERSONATE_GROUP, "unbounded:viewers".parse().unwrap());
        assert_eq!(code(&headers), 400);
        headers.insert(IMPERSONATE_USER, "vera".parse().unwrap());
        let user = authenticate(&access, &headers).unwrap();
        assert_eq!((user.name.as_str(), &user.role), ("vera", &Role::Viewer));
    }
}
