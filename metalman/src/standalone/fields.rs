//! Reading and writing fields of JSON objects without a chance to panic. Pure.
//!
//! Invariant: reading what is not there gives `null`; writing into what is no object makes it one.

use serde_json::{Map, Value};

/// Field access on JSON values.
pub trait Fields {
    /// The field, or `null`.
    fn at(&self, name: &str) -> &Value;
    /// The field, made when it is missing.
    fn at_mut(&mut self, name: &str) -> &mut Value;
    /// Sets a field.
    fn set(&mut self, name: &str, value: Value);
}

impl Fields for Value {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Self::Null)
    }

    fn at_mut(&mut self, name: &str) -> &mut Value {
        if !self.is_object() {
            *self = Self::Object(Map::new());
        }
        match self {
            Self::Object(map) => map.entry(name).or_insert(Self::Null),
            other @ (Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::String(_)
            | Self::Array(_)) => other,
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        *self.at_mut(name) = value;
    }
}

/// A string as it is, anything else as JSON.
pub fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_panics() {
        let mut value = json!("text");
        assert_eq!(value.at("a").at("b"), &Value::Null);
        value.at_mut("a").set("b", json!(1));
        assert_eq!(value, json!({"a": {"b": 1}}));
    }
}
