//! AccountService: accounts come, change and go; logins are judged.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::message::Refusal;
use super::patch::{check_tag, not_writable, properties};
use super::query::Query;
use super::route::Asked;
use super::view::view;
use crate::accounts::{Login, Role, Who};
use crate::bmc::{Bmc, State};
use crate::profile::Lockout;
use crate::tree::address;

const PATH: &str = "AccountService/Accounts";

/// Judges a password and counts what comes of it.
pub(super) fn login(bmc: &Bmc, user: &str, password: &str, now: Instant) -> Login {
    let mut state = bmc.state();
    let lockout = lockout(bmc, &state);
    let login = state.accounts.login(user, password, lockout, now);
    match login {
        Login::Welcome(_) => {}
        Login::Refused => state.counters.logins_refused += 1,
        Login::LockedNow => {
            state.counters.logins_refused += 1;
            state.counters.lockouts += 1;
        }
    }
    login
}

fn written(state: &State, path: &str, property: &str) -> Option<u64> {
    state.written.get(path)?.get(property)?.as_u64()
}

fn lockout(bmc: &Bmc, state: &State) -> Option<Lockout> {
    let of = |property: &str| written(state, "AccountService", property);
    let strikes = of("AccountLockoutThreshold").and_then(|strikes| u32::try_from(strikes).ok());
    Some(Lockout {
        strikes: strikes.or(bmc.profile.lockout.map(|lockout| lockout.strikes))?,
        seconds: of("AccountLockoutDuration")
            .or(bmc.profile.lockout.map(|lockout| lockout.seconds))
            .unwrap_or(60),
    })
}

/// The time a session may be idle.
pub(super) fn session_timeout(bmc: &Bmc, state: &State) -> Duration {
    written(state, "SessionService", "SessionTimeout")
        .map_or(bmc.profile.session_timeout(), Duration::from_secs)
}

/// What a request says about an account.
#[derive(Default)]
struct Wish {
    user: Option<String>,
    password: Option<String>,
    role: Option<Role>,
    is_enabled: Option<bool>,
    must_change: Option<bool>,
    unlock: bool,
}

impl Wish {
    fn read(body: &Value, shown: &Value) -> Result<Self, Refusal> {
        let mut wish = Self::default();
        for (property, value) in properties(body)? {
            let wrong = || {
                Refusal::bad(
                    "PropertyValueTypeError",
                    format!(
                        "The value for the property {property} is not one that the property can accept."
                    ),
                )
            };
            let text = || value.as_str().map(ToOwned::to_owned).ok_or_else(wrong);
            let flag = || value.as_bool().ok_or_else(wrong);
            match property.as_str() {
                "UserName" => wish.user = Some(text()?),
                "Password" => wish.password = Some(text()?),
                "RoleId" => wish.role = Some(Role::named(&text()?).ok_or_else(wrong)?),
                "Enabled" => wish.is_enabled = Some(flag()?),
                "PasswordChangeRequired" => wish.must_change = Some(flag()?),
                "Locked" if !flag()? => wish.unlock = true,
                "AccountTypes" => {}
                _ => return Err(not_writable(property, shown)),
            }
        }
        match &wish.password {
            Some(password) if !(4..=64).contains(&password.len()) => Err(Refusal::bad(
                "PropertyValueFormatError",
                "The value for the property Password is of a different length than the property can accept.",
            )),
            Some(_) | None => Ok(wish),
        }
    }
}

pub(super) fn create(bmc: &Bmc, asked: &Asked) -> Result<Response, Refusal> {
    let wish = Wish::read(&asked.json()?, &Value::Null)?;
    let missing = |property: &str| {
        Refusal::bad(
            "PropertyMissing",
            format!(
                "The property {property} is a required property and must be included in the request."
            ),
        )
    };
    let user = wish.user.ok_or_else(|| missing("UserName"))?;
    let password = wish.password.ok_or_else(|| missing("Password"))?;
    let role = wish.role.ok_or_else(|| missing("RoleId"))?;
    let mut state = bmc.state();
    if state.accounts.has(&user) {
        return Err(Refusal::bad(
            "ResourceAlreadyExists",
            format!("An account with the UserName {user} exists already."),
        ));
    }
    let id = state.accounts.add(&user, &password, role);
    if let Some(account) = state.accounts.get_mut(id) {
        account.is_enabled = wish.is_enabled.unwrap_or(true);
        account.must_change = wish.must_change.unwrap_or(false);
    }
    let path = format!("{PATH}/{id}");
    let made = view(bmc, &state, &path, &Query::default()).ok_or_else(Refusal::missing)?;
    let headers = [("Location", address(&path))];
    Ok((StatusCode::CREATED, headers, axum::Json(made.body)).into_response())
}

pub(super) fn change(
    bmc: &Bmc,
    who: Option<Who>,
    id: u64,
    path: &str,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let who = who.ok_or_else(Refusal::forbidden)?;
    if who.role != Role::Administrator && who.account != id {
        return Err(Refusal::forbidden());
    }
    let mut state = bmc.state();
    let found = view(bmc, &state, path, &Query::default()).ok_or_else(Refusal::missing)?;
    let body = asked.json()?;
    let only_password = properties(&body)?
        .iter()
        .all(|(property, _)| *property == "Password");
    if who.role != Role::Administrator && !only_password {
        return Err(Refusal::forbidden());
    }
    check_tag(bmc, &asked.headers, &found)?;
    let wish = Wish::read(&body, &found.body)?;
    if let Some(user) = &wish.user
        && found.body.get("UserName").and_then(Value::as_str) != Some(user)
        && state.accounts.has(user)
    {
        return Err(Refusal::bad(
            "ResourceAlreadyExists",
            "An account with this UserName exists already.",
        ));
    }
    if !asked.ignore {
        let account = state.accounts.get_mut(id).ok_or_else(Refusal::missing)?;
        if let Some(password) = wish.password {
            account.must_change = false;
            account.password = password;
            account.unlock();
        }
        if let Some(user) = wish.user {
            account.user = user;
        }
        account.role = wish.role.unwrap_or(account.role);
        account.is_enabled = wish.is_enabled.unwrap_or(account.is_enabled);
        account.must_change = wish.must_change.unwrap_or(account.must_change);
        if wish.unlock {
            account.unlock();
        }
    }
    let changed = view(bmc, &state, path, &Query::default()).ok_or_else(Refusal::missing)?;
    let mut response = axum::Json(&changed.body).into_response();
    if let Some(tag) = changed
        .etag
        .and_then(|tag| http::HeaderValue::from_str(&tag).ok())
    {
        response.headers_mut().insert(http::header::ETAG, tag);
    }
    Ok(response)
}

pub(super) fn delete(bmc: &Bmc, id: u64) -> Result<Response, Refusal> {
    let mut state = bmc.state();
    if id == 1 {
        return Err(Refusal::bad(
            "ResourceCannotBeDeleted",
            "The first account cannot be deleted.",
        ));
    }
    if !state.accounts.remove(id) {
        return Err(Refusal::missing());
    }
    state.sessions.close_all_of(id);
    Ok(StatusCode::NO_CONTENT.into_response())
}
