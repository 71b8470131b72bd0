//! PATCH of a resource: which properties may change, and the ETag that has to match.
//!
//! All or nothing: one property that may not be written refuses the whole.

use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderMap, IF_MATCH};
use serde_json::{Map, Value, json};

use super::live::boot_order;
use super::message::Refusal;
use super::query::Query;
use super::route::Asked;
use super::tasks;
use super::view::{View, view};
use crate::bmc::{Bmc, State};
use crate::boot::PROPERTIES;
use crate::faults::merge;
use crate::profile::{BootPlace, EtagMode};

/// Changes a resource of the tree.
pub(super) fn change(
    bmc: &Bmc,
    path: &str,
    writable: &Map<String, Value>,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let wanted = asked.json()?;
    let fails = asked.task.is_some_and(|task| task.fails);
    {
        let mut state = bmc.state();
        let found = view(bmc, &state, path, &Query::default()).ok_or_else(Refusal::missing)?;
        check_tag(bmc, &asked.headers, &found)?;
        let mut plain = Map::new();
        let mut boot = None;
        for (property, value) in properties(&wanted)? {
            match writable.get(property) {
                Some(kind) if kind == "boot" => boot = Some(value),
                Some(kind) => {
                    check(property, value, kind)?;
                    let shown = found.body.get(property).unwrap_or(&Value::Null);
                    plain.insert(property.clone(), resolved(shown, value));
                }
                None => return Err(not_writable(property, &found.body)),
            }
        }
        let changed = boot
            .map(|boot| new_boot(bmc, &state, path, boot))
            .transpose()?;
        if !asked.ignore && !fails {
            if let Some((choice, order)) = changed {
                if bmc.profile.settings_apply_on_reset {
                    state.pending_boot = Some(choice);
                } else {
                    state.boot = choice;
                }
                state.boot_order = order.or(state.boot_order.take());
            }
            if !plain.is_empty() {
                let written = state
                    .written
                    .entry(path.to_owned())
                    .or_insert_with(|| json!({}));
                merge(written, &Value::Object(plain));
            }
        }
    }
    Ok(tasks::done(bmc, asked))
}

/// What a value becomes: in an array `{}` leaves an element as it is and null takes it away.
fn resolved(shown: &Value, wanted: &Value) -> Value {
    match wanted {
        Value::Array(items) => {
            let shown = |at: usize| shown.get(at).unwrap_or(&Value::Null);
            let kept = items.iter().enumerate().filter(|(_, item)| !item.is_null());
            kept.map(|(at, item)| match item.as_object() {
                Some(same) if same.is_empty() => shown(at).clone(),
                Some(_) => {
                    let mut whole = shown(at).clone();
                    merge(&mut whole, item);
                    whole
                }
                None => item.clone(),
            })
            .filter(|item| !item.is_null())
            .collect()
        }
        Value::Object(properties) => properties
            .iter()
            .map(|(name, wanted)| {
                let shown = shown.get(name).unwrap_or(&Value::Null);
                (name.clone(), resolved(shown, wanted))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => wanted.clone(),
    }
}

/// The properties of a PATCH without annotations.
///
/// # Errors
/// Nothing but annotations: there is nothing to do.
pub(super) fn properties(wanted: &Value) -> Result<Vec<(&String, &Value)>, Refusal> {
    let all = wanted.as_object().into_iter().flatten();
    let found: Vec<_> = all
        .filter(|(property, _)| !property.contains('@'))
        .collect();
    if found.is_empty() {
        return Err(Refusal::bad(
            "NoOperation",
            "The request body submitted contains no properties that can be changed.",
        ));
    }
    Ok(found)
}

pub(super) fn not_writable(property: &str, body: &Value) -> Refusal {
    if body.get(property).is_some() {
        return Refusal::bad(
            "PropertyNotWritable",
            format!(
                "The property {property} is a read-only property and cannot be assigned a value."
            ),
        );
    }
    Refusal::bad(
        "PropertyUnknown",
        format!("The property {property} is not in the list of valid properties for the resource."),
    )
}

/// Judges If-Match as the profile has it.
pub(super) fn check_tag(bmc: &Bmc, headers: &HeaderMap, found: &View) -> Result<(), Refusal> {
    let given = headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
    let outdated = || {
        Refusal::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "The ETag supplied did not match the ETag required to change this resource.",
        )
    };
    match (bmc.profile.etag, given) {
        (EtagMode::None, _) | (EtagMode::Strong | EtagMode::Weak | EtagMode::Refused, None) => {
            Ok(())
        }
        (EtagMode::Refused, Some(_)) => Err(outdated()),
        (EtagMode::Required, None) => Err(Refusal::new(
            StatusCode::PRECONDITION_REQUIRED,
            "PreconditionRequired",
            "A precondition header or annotation is required to change this resource.",
        )),
        (EtagMode::Strong | EtagMode::Weak | EtagMode::Required, Some(given)) => {
            let is_current = given == "*" || Some(given) == found.etag.as_deref();
            if is_current { Ok(()) } else { Err(outdated()) }
        }
    }
}

/// Judges a value by what `@sim: writable` says of it: a type, or the list of words.
fn check(property: &str, value: &Value, kind: &Value) -> Result<(), Refusal> {
    let is_right = match kind.as_str() {
        Some("text") => value.is_string(),
        Some("number") => value.is_u64(),
        Some("flag") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("list") => value.is_array(),
        Some(_) => false,
        None => {
            let words = kind.as_array().is_some_and(|words| words.contains(value));
            if !words && value.is_string() {
                return Err(not_in_list(property, value));
            }
            words
        }
    };
    if is_right {
        return Ok(());
    }
    Err(Refusal::bad(
        "PropertyValueTypeError",
        format!(
            "The value {value} for the property {property} is not a type that the property can accept."
        ),
    ))
}

fn not_in_list(property: &str, value: &Value) -> Refusal {
    Refusal::bad(
        "PropertyValueNotInList",
        format!(
            "The value {value} for the property {property} is not in the list of acceptable values."
        ),
    )
}

type NewBoot = (crate::boot::BootOverride, Option<Vec<String>>);

fn new_boot(bmc: &Bmc, state: &State, path: &str, wanted: &Value) -> Result<NewBoot, Refusal> {
    let is_settings = path.ends_with("/SD");
    if bmc.profile.boot_place == BootPlace::SettingsObject && !is_settings {
        return Err(Refusal::bad(
            "ActionNotSupported",
            "Boot settings are changed at the settings resource.",
        ));
    }
    let mut own = wanted.clone();
    let mut order = None;
    if let Some(properties) = own.as_object_mut() {
        properties.retain(|property, _| !property.contains('@'));
        if let Some(wanted) = properties.remove("BootOrder") {
            let system = path.trim_end_matches("/SD");
            order = Some(permuted(&wanted, boot_order(bmc, state, system))?);
        }
        if let Some(other) = properties
            .keys()
            .find(|name| !PROPERTIES.contains(&name.as_str()))
        {
            return Err(not_writable(other, &json!({})));
        }
    }
    let shown = state.pending_boot.as_ref().unwrap_or(&state.boot);
    let patched = shown
        .patched(&own, &bmc.profile.boot_targets, &bmc.profile.boot_enabled)
        .map_err(|refusal| Refusal::bad("PropertyValueNotInList", refusal.to_string()))?;
    Ok((patched, order))
}

/// A new boot order: the same options, each once; options left out follow at the end.
fn permuted(wanted: &Value, known: Vec<String>) -> Result<Vec<String>, Refusal> {
    let refuse = || not_in_list("BootOrder", wanted);
    let mut order: Vec<String> = Vec::new();
    for option in wanted.as_array().ok_or_else(refuse)? {
        let option = option.as_str().ok_or_else(refuse)?;
        if !known.iter().any(|known| known == option) || order.iter().any(|taken| taken == option) {
            return Err(refuse());
        }
        order.push(option.to_owned());
    }
    let left: Vec<String> = known
        .into_iter()
        .filter(|option| !order.contains(option))
        .collect();
    order.extend(left);
    Ok(order)
}
