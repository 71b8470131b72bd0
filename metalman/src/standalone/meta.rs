//! Rules on object metadata: names, labels, annotations, finalizers. Pure.
//!
//! Types are the schema's business. Invariant: what passes here can be put into a URL and into a
//! label selector.

use serde_json::{Value, json};

use super::fields::Fields as _;
use super::status::FieldError;

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
     characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
     'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
     characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
     or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
     '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
     characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
     'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Removes maps, lists and texts that are empty: in metadata they are the same as absent ones.
pub fn tidy(metadata: &mut Value) {
    if let Some(map) = metadata.as_object_mut() {
        map.retain(|_, value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        });
    }
}

/// Everything wrong with `metadata`. Namespaces are named more narrowly than other objects.
pub fn validate(metadata: &Value, is_namespace: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    name(metadata.at("name"), is_namespace, &mut errors);
    for (key, value) in metadata.at("labels").as_object().into_iter().flatten() {
        key_syntax("metadata.labels", key, &mut errors);
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            errors.push(FieldError::invalid(
                "metadata.labels",
                value,
                "must be no more than 63 bytes",
            ));
        }
        if !text.is_empty() && !is_name_part(text) {
            errors.push(FieldError::invalid("metadata.labels", value, LABEL_VALUE));
        }
    }
    let mut size = 0;
    for (key, value) in metadata.at("annotations").as_object().into_iter().flatten() {
        key_syntax("metadata.annotations", &key.to_lowercase(), &mut errors);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        let message = format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes");
        errors.push(FieldError::new(
            "FieldValueTooLong",
            "metadata.annotations",
            message,
        ));
    }
    owners(metadata.at("ownerReferences"), &mut errors);
    for finalizer in metadata.at("finalizers").as_array().into_iter().flatten() {
        key_syntax(
            "metadata.finalizers",
            finalizer.as_str().unwrap_or_default(),
            &mut errors,
        );
    }
    errors
}

fn owners(list: &Value, errors: &mut Vec<FieldError>) {
    let mut controllers = Vec::new();
    for owner in list.as_array().into_iter().flatten() {
        let text = |field: &str| owner.at(field).as_str().unwrap_or_default();
        let here = |field: &str| format!("metadata.ownerReferences.{field}");
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(field).is_empty() {
                errors.push(FieldError::invalid(&here(field), owner.at(field), detail));
            }
        }
        if owner.at("controller") == true {
            controllers.push(format!("{}/{}", text("kind"), text("name")));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for \
             {first} and {second}"
        );
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            list,
            &detail,
        ));
    }
}

/// Finalizers that `new` adds although the object is being deleted.
pub fn added_finalizers(old: &Value, new: &Value) -> Option<FieldError> {
    let list = |value: &Value| {
        value
            .at("finalizers")
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let before = list(old);
    let added: Vec<String> = list(new)
        .iter()
        .filter(|f| !before.contains(f))
        .map(ToString::to_string)
        .collect();
    (!added.is_empty()).then(|| {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             []string{{{}}}",
            added.join(", ")
        );
        FieldError::forbidden("metadata.finalizers", &detail)
    })
}

fn name(value: &Value, is_namespace: bool, errors: &mut Vec<FieldError>) {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    let (most, rule) = if is_namespace {
        (63, LABEL)
    } else {
        (253, SUBDOMAIN)
    };
    if text.len() > most {
        let detail = format!("must be no more than {most} characters");
        errors.push(FieldError::invalid("metadata.name", value, &detail));
    }
    let fine = if is_namespace {
        is_label(text)
    } else {
        text.split('.').all(is_label)
    };
    if !fine {
        errors.push(FieldError::invalid("metadata.name", value, rule));
    }
}

fn key_syntax(field: &str, key: &str, errors: &mut Vec<FieldError>) {
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(field, &json!(key), detail));
    let (prefix, part) = match key.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            let form = QUALIFIED.trim_start_matches("name part must");
            let detail = format!(
                "a valid label key must{form} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            );
            return refuse(&detail);
        }
        Some((prefix, part)) => (Some(prefix), part),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            refuse("prefix part must be non-empty");
        } else if prefix.len() > 253 || !prefix.split('.').all(is_label) {
            refuse(&format!("prefix part {SUBDOMAIN}"));
        }
    }
    if part.is_empty() {
        refuse("name part must be non-empty");
    } else if part.len() > 63 {
        refuse("name part must be no more than 63 bytes");
    }
    if !is_name_part(part) {
        refuse(QUALIFIED);
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.chars()
        .all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
        && text.starts_with(edge)
        && text.ends_with(edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(metadata: &Value) -> Vec<String> {
        validate(metadata, false)
            .into_iter()
            .map(|e| e.field)
            .collect()
    }

    #[test]
    fn good_metadata_passes() {
        let metadata = json!({"name": "a-1.b", "labels": {"x.io/y": "", "z": "A_b.c"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "finalizers": ["unbounded-cloud.io/cleanup"]});
        assert_eq!(validate(&metadata, false), []);
    }

    #[test]
    fn empty_parts_are_absent_parts() {
        let mut metadata = json!({"name": "a", "labels": {}, "finalizers": [], "generateName": "",
                                  "annotations": {"k": ""}, "selfLink": null});
        tidy(&mut metadata);
        assert_eq!(metadata, json!({"name": "a", "annotations": {"k": ""}}));
    }

    #[test]
    fn bad_metadata_names_the_field() {
        for (metadata, field) in [
            (json!({}), "metadata.name"),
            (json!({"name": "A"}), "metadata.name"),
            (json!({"name": "a..b"}), "metadata.name"),
            (
                json!({"name": "a", "labels": {"/x": "y"}}),
                "metadata.labels",
            ),
            (
                json!({"name": "a", "labels": {"x": "-"}}),
                "metadata.labels",
            ),
            (
                json!({"name": "a", "annotations": {"x y": ""}}),
                "metadata.annotations",
            ),
            (
                json!({"name": "a", "finalizers": ["a/b/c"]}),
                "metadata.finalizers",
            ),
        ] {
            assert_eq!(fields(&metadata), [field], "{metadata}");
        }
        assert!(!validate(&json!({"name": "a.b"}), true).is_empty());
    }

    #[test]
    fn finalizers_cannot_come_late() {
        let old = json!({"finalizers": ["a"]});
        assert!(added_finalizers(&old, &json!({"finalizers": []})).is_none());
        assert!(added_finalizers(&old, &json!({"finalizers": ["a", "b"]})).is_some());
    }
}
