//! Validation of an object against its schema, in the words of the real server. Pure.
//!
//! Defaults and pruning have been done before. Invariant: CEL rules run only on values whose types
//! are right, so that a wrong type is told once and clearly.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use serde_json::{Map, Value};

use super::{Kind, ListType, Schema, rules};
use crate::standalone::status::FieldError;

/// Faults after which rules are not run.
const BLOCKING: [&str; 5] = [
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; \
     correct the existing errors to complete validation";

/// Adds everything that is wrong with `value` to `errors`, which may have faults of the metadata;
/// `old` is the stored object on an update.
pub fn validate(schema: &Schema, value: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    structure(schema, value, "", errors);
    if !schema.has_rules {
        return;
    }
    if errors.iter().any(|error| BLOCKING.contains(&error.reason)) {
        errors.push(FieldError::invalid("<nil>", &Value::Null, NOT_CHECKED));
    } else {
        run_rules(schema, value, old, "", errors);
    }
}

fn structure(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && schema.nullable {
        return;
    }
    if !type_fits(schema, value) {
        errors.push(type_error(schema, value, path));
    }
    if let Some(choices) = &schema.limits.choices
        && !choices.contains(value)
    {
        errors.push(FieldError::unsupported(path, value, choices));
    }
    if !type_fits(schema, value) {
        whole_number(schema, value, path, errors);
        return;
    }
    match value {
        Value::String(text) => text_limits(schema, value, text, path, errors),
        Value::Number(number) => {
            number_limits(
                schema,
                value,
                number.as_f64().unwrap_or_default(),
                path,
                errors,
            );
        }
        Value::Array(items) => list(schema, value, items, path, errors),
        Value::Object(map) => object(schema, value, map, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
    alternatives(schema, value, path, errors);
}

fn type_fits(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema.kind {
        None => true,
        Some(Kind::Object) => value.is_object(),
        Some(Kind::Array) => value.is_array(),
        Some(Kind::String) => value.is_string(),
        Some(Kind::Boolean) => value.is_boolean(),
        Some(Kind::Number) => value.is_number(),
        Some(Kind::Integer) => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
    }
}

fn type_error(schema: &Schema, value: &Value, path: &str) -> FieldError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = schema.kind.map_or("integer,string", Kind::word);
    let (wanted, found) = match schema.limits.format.as_deref() {
        Some(format) if wanted == "integer" && found == "number" => (format, "float64"),
        Some(_) | None => (wanted, found),
    };
    let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
    FieldError::new(
        "FieldValueTypeInvalid",
        path,
        format!("Invalid value: \"{found}\": {detail}"),
    )
}

/// A number that is none of an integer's format; the real server tells this of no field.
fn whole_number(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (Some(Kind::Integer), Some(format)) = (schema.kind, schema.limits.format.as_deref()) else {
        return;
    };
    let fits = match format {
        "int32" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        "int64" => value.is_i64(),
        _ => true,
    };
    if value.is_number() && !fits {
        let detail =
            format!("Checked value must be of type integer with format {format} in {path}");
        errors.push(FieldError::invalid("<nil>", &Value::from(""), &detail));
    }
}

fn text_limits(
    schema: &Schema,
    value: &Value,
    text: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let limits = &schema.limits;
    let length = text.chars().count() as u64;
    let mut refuse = |detail: String| errors.push(FieldError::invalid(path, value, &detail));
    if let Some(least) = limits.min_length.filter(|least| length < *least) {
        refuse(format!(
            "{path} in body should be at least {least} chars long"
        ));
    }
    if let Some(pattern) = limits.pattern.as_ref().filter(|p| !p.is_match(text)) {
        refuse(format!("{path} in body should match '{pattern}'"));
    }
    if let Some(format) = limits.format.as_deref().filter(|f| !format_fits(f, text)) {
        // The real server names only the last part of a field that may be null.
        let leaf = path.rsplit('.').next().filter(|_| schema.nullable);
        let detail = format!(
            "{} in body must be of type {format}: {value}",
            leaf.unwrap_or(path)
        );
        let message = format!("Invalid value: {value}: {detail}");
        errors.push(FieldError::new("FieldValueTypeInvalid", path, message));
    }
    if let Some(most) = limits.max_length.filter(|most| length > *most) {
        let message = format!("Too long: may not be more than {most} bytes");
        errors.push(FieldError::new("FieldValueTooLong", path, message));
    }
}

fn format_fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "byte" => base64::engine::general_purpose::STANDARD
            .decode(text)
            .is_ok(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "uri" => url::Url::parse(text).is_ok(),
        _ => true,
    }
}

fn number_limits(
    schema: &Schema,
    value: &Value,
    number: f64,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let limits = &schema.limits;
    let mut refuse = |detail: String| errors.push(FieldError::invalid(path, value, &detail));
    if let Some(least) = limits.minimum {
        if limits.exclusive_minimum && number <= least {
            refuse(format!("{path} in body should be greater than {least}"));
        } else if number < least {
            refuse(format!(
                "{path} in body should be greater than or equal to {least}"
            ));
        }
    }
    if let Some(most) = limits.maximum {
        if limits.exclusive_maximum && number >= most {
            refuse(format!("{path} in body should be less than {most}"));
        } else if number > most {
            refuse(format!(
                "{path} in body should be less than or equal to {most}"
            ));
        }
    }
    if let Some(step) = limits
        .multiple_of
        .filter(|step| (number / step).fract() != 0.0)
    {
        refuse(format!("{path} in body should be a multiple of {step}"));
    }
    whole_number(schema, value, path, errors);
}

fn list(schema: &Schema, value: &Value, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let limits = &schema.limits;
    let length = items.len() as u64;
    if let Some(least) = limits.min_items.filter(|least| length < *least) {
        let detail = format!("{path} in body should have at least {least} items");
        errors.push(FieldError::invalid(path, value, &detail));
    }
    if let Some(most) = limits.max_items.filter(|most| length > *most) {
        let message = format!("Too many: {length}: must have at most {most} items");
        errors.push(FieldError::new("FieldValueTooMany", path, message));
    }
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let here = format!("{path}[{index}]");
        let identity = match &schema.list {
            ListType::Atomic if !limits.unique_items => None,
            ListType::Atomic | ListType::Set => Some(item.to_string()),
            ListType::Map(keys) => Some(item_key(item, keys).to_string()),
        };
        if let Some(shown) = identity.as_ref()
            && seen.contains(shown)
        {
            let message = format!("Duplicate value: {shown}");
            errors.push(FieldError::new("FieldValueDuplicate", &here, message));
        }
        seen.extend(identity);
        if let Some(item_schema) = &schema.items {
            structure(item_schema, item, &here, errors);
        }
        if matches!(schema.list, ListType::Map(_)) && !item.is_object() {
            let detail = "must be an object for an array of list-type map";
            errors.push(FieldError::invalid(&here, item, detail));
        }
    }
}

/// The key fields of a list-map item, as an object.
pub fn item_key(item: &Value, keys: &[String]) -> Value {
    let fields = keys
        .iter()
        .filter_map(|key| item.get(key).map(|value| (key.clone(), value.clone())));
    Value::Object(fields.collect())
}

fn object(
    schema: &Schema,
    value: &Value,
    map: &Map<String, Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let limits = &schema.limits;
    let length = map.len() as u64;
    for name in &schema.required {
        if !map.contains_key(name) {
            errors.push(FieldError::required(&join(path, name), ""));
        }
    }
    if let Some(least) = limits.min_properties.filter(|least| length < *least) {
        let detail = format!("{path} in body should have at least {least} properties");
        errors.push(FieldError::invalid(path, value, &detail));
    }
    if let Some(most) = limits.max_properties.filter(|most| length > *most) {
        let message = format!("Too many: {length}: must have at most {most} items");
        errors.push(FieldError::new("FieldValueTooMany", path, message));
    }
    for (name, child) in map {
        if let Some(child_schema) = schema.field(name) {
            structure(child_schema, child, &join(path, name), errors);
        }
    }
}

fn alternatives(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let passes = |candidate: &Schema| {
        let mut found = Vec::new();
        structure(candidate, value, path, &mut found);
        found.is_empty()
    };
    let mut refuse = |detail: String| {
        let message = format!("Invalid value: {detail}");
        errors.push(FieldError::new("FieldValueInvalid", path, message));
    };
    if !schema.any_of.is_empty() && !schema.any_of.iter().any(passes) {
        refuse(format!(
            "\"{path}\" must validate at least one schema (anyOf)"
        ));
    }
    if !schema.one_of.is_empty() && schema.one_of.iter().filter(|s| passes(s)).count() != 1 {
        refuse(format!(
            "\"{path}\" must validate one and only one schema (oneOf)"
        ));
    }
    if schema.not.as_deref().is_some_and(passes) {
        refuse(format!("\"{path}\" must not validate the schema (not)"));
    }
    for part in &schema.all_of {
        structure(part, value, path, errors);
    }
}

fn run_rules(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if value.is_null() {
        return;
    }
    rules::check(schema, path, value, old, errors);
    match value {
        Value::Object(map) => {
            for (name, child) in map {
                if let Some(child_schema) = schema.field(name) {
                    let old_child = old.and_then(|o| o.get(name));
                    run_rules(child_schema, child, old_child, &join(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(item_schema) = &schema.items else {
                return;
            };
            if !item_schema.has_rules {
                return;
            }
            // Items of other lists cannot be told apart over time.
            let keys = match &schema.list {
                ListType::Map(keys) => Some(keys),
                ListType::Atomic | ListType::Set => None,
            };
            let mut olds = HashMap::new();
            for item in old.and_then(Value::as_array).into_iter().flatten() {
                let key = keys.map(|keys| item_key(item, keys).to_string());
                olds.entry(key).or_insert(item);
            }
            for (index, item) in items.iter().enumerate() {
                let key = keys.map(|keys| item_key(item, keys).to_string());
                let old_item = key.and_then(|key| olds.get(&Some(key)).copied());
                run_rules(
                    item_schema,
                    item,
                    old_item,
                    &format!("{path}[{index}]"),
                    errors,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
