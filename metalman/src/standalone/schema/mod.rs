//! Structural schemas: parsed once from a CRD (or from a core type), then used to default, prune,
//! validate and merge objects. Pure.
//!
//! Only the keywords that Kubernetes allows in structural schemas are read. Invariant: a schema
//! that was parsed has compiled patterns and rules, so nothing can fail to compile later.

mod complete;
mod matches;
mod rules;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

pub use complete::{apply_defaults, prune};
pub use rules::Rule;
pub use validate::{item_key, validate};

/// A schema node.
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the flags of the schema language"
)]
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// JSON type; `None` when anything goes or for int-or-string.
    pub kind: Option<Kind>,
    /// Declared fields.
    pub properties: BTreeMap<String, Self>,
    /// Schema of undeclared keys.
    pub additional: Option<Box<Self>>,
    /// Schema of list items.
    pub items: Option<Box<Self>>,
    /// How a list is merged and compared.
    pub list: ListType,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// Unknown fields below are kept.
    pub preserve_unknown: bool,
    /// The value is a whole Kubernetes object.
    pub embedded: bool,
    /// Integer or string.
    pub int_or_string: bool,
    /// `null` is a value.
    pub nullable: bool,
    /// Default value.
    pub default: Option<Value>,
    limits: Limits,
    required: Vec<String>,
    all_of: Vec<Self>,
    any_of: Vec<Self>,
    one_of: Vec<Self>,
    not: Option<Box<Self>>,
    rules: Vec<Rule>,
    /// There are rules, here or below.
    has_rules: bool,
}

/// JSON types a structural schema names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A map.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A number without fraction.
    Integer,
    /// A number.
    Number,
    /// A truth value.
    Boolean,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// A set of scalars.
    Set,
    /// Items keyed by these fields.
    Map(Vec<String>),
}

#[derive(Debug, Clone, Default)]
struct Limits {
    format: Option<String>,
    pattern: Option<Regex>,
    choices: Option<Vec<Value>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    unique_items: bool,
}

/// A schema that cannot be used, with the place in it.
#[derive(Debug, thiserror::Error)]
#[error("schema at {path}: {problem}")]
pub struct BadSchema {
    path: String,
    problem: String,
}

impl Kind {
    /// The word of JSON schema.
    pub fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [
            Self::Object,
            Self::Array,
            Self::String,
            Self::Integer,
            Self::Number,
            Self::Boolean,
        ]
        .into_iter()
        .find(|kind| kind.word() == word)
    }
}

impl Schema {
    /// Parses an OpenAPI v3 schema value.
    ///
    /// # Errors
    /// Patterns and CEL rules that do not compile, unknown types.
    pub fn parse(raw: &Value) -> Result<Self, BadSchema> {
        Self::parse_at(raw, "")
    }

    fn parse_at(raw: &Value, path: &str) -> Result<Self, BadSchema> {
        let empty = Map::new();
        let map = raw.as_object().unwrap_or(&empty);
        let bad = |problem: String| BadSchema {
            path: path.to_owned(),
            problem,
        };
        let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
        let each = |key: &str| -> Result<Vec<Self>, BadSchema> {
            let list = map.get(key).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .map(|s| Self::parse_at(s, &format!("{path}.{key}")))
                .collect()
        };
        let one = |key: &str| -> Result<Option<Box<Self>>, BadSchema> {
            let child = map.get(key).filter(|s| s.is_object());
            child
                .map(|s| Self::parse_at(s, &format!("{path}.{key}")).map(Box::new))
                .transpose()
        };
        let kind = match map.get("type").and_then(Value::as_str) {
            None => None,
            Some(word) => {
                Some(Kind::parse(word).ok_or_else(|| bad(format!("unknown type {word:?}")))?)
            }
        };
        let mut properties = BTreeMap::new();
        for (name, child) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            properties.insert(
                name.clone(),
                Self::parse_at(child, &format!("{path}.{name}"))?,
            );
        }
        let additional = match map.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Box::new(Self {
                preserve_unknown: true,
                ..Self::default()
            })),
            _ => one("additionalProperties")?,
        };
        let items = one("items")?;
        let rules = rules::parse(map.get("x-kubernetes-validations")).map_err(bad)?;
        let mut below = properties
            .values()
            .chain(additional.as_deref())
            .chain(items.as_deref());
        let has_rules = !rules.is_empty() || below.any(|schema| schema.has_rules);
        Ok(Self {
            kind,
            properties,
            additional,
            items,
            list: list_type(map),
            atomic_map: map
                .get("x-kubernetes-map-type")
                .is_some_and(|t| t == "atomic"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            nullable: flag("nullable"),
            default: map.get("default").filter(|d| !d.is_null()).cloned(),
            limits: Limits::parse(map).map_err(bad)?,
            required: texts(map.get("required")),
            all_of: each("allOf")?,
            any_of: each("anyOf")?,
            one_of: each("oneOf")?,
            not: one("not")?,
            rules,
            has_rules,
        })
    }

    /// The schema of field `name`, declared or additional.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }
}

impl Limits {
    fn parse(map: &Map<String, Value>) -> Result<Self, String> {
        let number = |key: &str| map.get(key).and_then(Value::as_f64);
        let count = |key: &str| map.get(key).and_then(Value::as_u64);
        let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
        let pattern = map.get("pattern").and_then(Value::as_str);
        let pattern = pattern
            .map(Regex::new)
            .transpose()
            .map_err(|e| format!("pattern: {e}"))?;
        Ok(Self {
            format: map.get("format").and_then(Value::as_str).map(str::to_owned),
            pattern,
            choices: map.get("enum").and_then(Value::as_array).cloned(),
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            unique_items: flag("uniqueItems"),
        })
    }
}

fn list_type(map: &Map<String, Value>) -> ListType {
    match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(texts(map.get("x-kubernetes-list-map-keys"))),
        Some(_) | None => ListType::Atomic,
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod cel_tests;
#[cfg(test)]
mod tests;
