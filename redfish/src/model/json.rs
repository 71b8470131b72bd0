//! Reading members of resources whose types cannot be trusted.
//!
//! BMCs send null, numbers and blanks where the schema says string, and strings where it says
//! number; a wrong type is an absence.

use serde_json::Value;

/// A non-blank string member, trimmed.
pub(crate) fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A string member of a member.
pub(crate) fn text_in(value: &Value, outer: &str, key: &str) -> Option<String> {
    text(value.get(outer)?, key)
}

/// A finite number, or a string that is one.
pub(crate) fn number(value: &Value, key: &str) -> Option<f64> {
    let member = value.get(key)?;
    let number = member
        .as_f64()
        .or_else(|| member.as_str()?.trim().parse().ok())?;
    number.is_finite().then_some(number)
}

/// A whole number that is not negative, or a string that is one.
pub(crate) fn whole(value: &Value, key: &str) -> Option<u64> {
    let member = value.get(key)?;
    member
        .as_u64()
        .or_else(|| member.as_str()?.trim().parse().ok())
}

/// A truth value.
pub(crate) fn flag(value: &Value, key: &str) -> Option<bool> {
    value.get(key)?.as_bool()
}

/// `Status.Health`.
pub(crate) fn health(value: &Value) -> Option<String> {
    text_in(value, "Status", "Health")
}

/// Whether `Status.State` says that the slot is empty.
pub(crate) fn is_absent(value: &Value) -> bool {
    text_in(value, "Status", "State").is_some_and(|state| state == "Absent")
}

/// The `@odata.id` of a member, or the member itself where a BMC writes the path as a string.
pub(crate) fn link(value: &Value, key: &str) -> Option<String> {
    let member = value.get(key)?;
    text(member, "@odata.id").or_else(|| text(value, key))
}

/// The links of a list member.
pub(crate) fn links(value: &Value, key: &str) -> Vec<String> {
    items(value, key)
        .filter_map(|member| text(member, "@odata.id"))
        .collect()
}

/// The links of a collection's `Members`.
pub(crate) fn members(collection: &Value) -> Vec<String> {
    links(collection, "Members")
}

/// The elements of a list member.
pub(crate) fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Known words of a list of strings, in its order.
pub(crate) fn word_list<T>(value: Option<&Value>, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let words = value.and_then(Value::as_array);
    words
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(parse)
        .collect()
}

/// All strings of a list.
pub(crate) fn words(value: Option<&Value>) -> Vec<String> {
    word_list(value, |word| Some(word.to_owned()))
}

/// `Id`, or the last segment of the path; empty if there is neither.
pub(crate) fn id(value: &Value) -> String {
    text(value, "Id").unwrap_or_else(|| {
        let path = text(value, "@odata.id").unwrap_or_default();
        let last = path.trim_end_matches('/').rsplit('/').next();
        last.unwrap_or_default().trim().to_owned()
    })
}
