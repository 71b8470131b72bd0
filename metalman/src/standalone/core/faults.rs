//! What the real server refuses in built-in kinds beyond their schemas. Pure.

use serde_json::{Value, json};

use crate::standalone::fields::Fields as _;
use crate::standalone::resource::{Family, Resource};
use crate::standalone::status::FieldError;

/// Everything that is wrong with the values of a built-in object.
pub fn faults(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match (resource.family, resource.kind.as_str()) {
        (Family::Core, "Secret" | "ConfigMap") => {
            for field in ["data", "binaryData"] {
                for key in object
                    .at(field)
                    .as_object()
                    .into_iter()
                    .flat_map(|m| m.keys())
                {
                    errors.extend(key_fault(field, key));
                }
            }
        }
        (Family::Core, "Lease") => {
            let spec = object.at("spec");
            let mut least = |field: &str, least: i64, detail: &str| {
                if spec.at(field).as_i64().is_some_and(|number| number < least) {
                    let path = format!("spec.{field}");
                    errors.push(FieldError::invalid(&path, spec.at(field), detail));
                }
            };
            least("leaseDurationSeconds", 1, "must be greater than 0");
            least("leaseTransitions", 0, "must be greater than or equal to 0");
        }
        (Family::Core, "Event") => {
            let about = object.at("involvedObject").at("namespace");
            let own = object.at("metadata").at("namespace");
            // Objects without a namespace have their Events in `default`, or where their writer is.
            if about.as_str().is_some_and(|name| !name.is_empty()) && about != own {
                let detail = "does not match event.namespace";
                errors.push(FieldError::invalid(
                    "involvedObject.namespace",
                    about,
                    detail,
                ));
            }
        }
        _ => {}
    }
    errors
}

fn key_fault(field: &str, key: &str) -> Option<FieldError> {
    let detail = if key.len() > 253 {
        "must be no more than 253 characters"
    } else if key.is_empty()
        || !key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
         'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
         '[-._a-zA-Z0-9]+')"
    } else if key == "." {
        "must not be '.'"
    } else if key == ".." {
        "must not be '..'"
    } else if key.starts_with("..") {
        "must not start with '..'"
    } else {
        return None;
    };
    Some(FieldError::invalid(
        &format!("{field}[{key}]"),
        &json!(key),
        detail,
    ))
}
