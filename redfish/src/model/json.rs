//! Reading members of resources whose types cannot be trusted.
//!
//! BMCs send null, numbers and blanks where the schema says string; a wrong type is an absence.

use serde_json::Value;

/// A non-blank string member, trimmed.
pub(crate) fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The `@odata.id` of a member, or the member itself where a BMC writes the path as a string.
pub(crate) fn link(value: &Value, key: &str) -> Option<String> {
    let member = value.get(key)?;
    text(member, "@odata.id").or_else(|| text(value, key))
}

/// The links of a collection's `Members`.
pub(crate) fn members(collection: &Value) -> Vec<String> {
    let members = collection.get("Members").and_then(Value::as_array);
    members
        .into_iter()
        .flatten()
        .filter_map(|member| text(member, "@odata.id"))
        .collect()
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
