//! Label and field selectors: parsed from the query, matched against objects. Pure.
//!
//! It knows the grammar, not which fields a resource offers. Invariant: a selector that was not
//! understood is an error, never "matches everything".

use serde_json::Value;

use super::fields::plain;

/// What a list or watch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    path: String,
    value: String,
    equal: bool,
}

/// A selector that cannot be used, with the sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(pub String);

impl Selector {
    /// Parses both query parameters. `offered` says whether a field may be selected on.
    ///
    /// # Errors
    /// Names the part that was not understood or the field that is not offered.
    pub fn parse(
        labels: Option<&str>,
        fields: Option<&str>,
        offered: impl Fn(&str) -> bool,
    ) -> Result<Self, BadSelector> {
        let labels = labels.map_or_else(|| Ok(Vec::new()), parse_labels)?;
        let fields = fields.map_or_else(|| Ok(Vec::new()), parse_fields)?;
        if let Some(unknown) = fields.iter().find(|f| !offered(&f.path)) {
            return Err(BadSelector(format!(
                "field label not supported: {}",
                unknown.path
            )));
        }
        Ok(Self { labels, fields })
    }

    /// True when every object matches.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The name, when the selector asks for exactly one.
    pub fn exact_name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// The value that the field at `path` must have.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|f| f.equal && f.path == path)
            .map(|f| f.value.as_str())
    }

    /// Does `object` match?
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.labels.iter().all(|r| r.matches(labels))
            && self.fields.iter().all(|f| f.matches(object))
    }
}

impl Requirement {
    fn matches(&self, labels: Option<&Value>) -> bool {
        let get = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        let number = |key: &str| get(key).and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(key, values) => get(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(key, values) => get(key).is_none_or(|v| values.iter().all(|x| x != v)),
            Self::Exists(key) => get(key).is_some(),
            Self::Absent(key) => get(key).is_none(),
            Self::Greater(key, limit) => number(key).is_some_and(|n| n > *limit),
            Self::Less(key, limit) => number(key).is_some_and(|n| n < *limit),
        }
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        (field_text(object, &self.path) == self.value) == self.equal
    }
}

/// The text of a field by its dotted path; a missing field is the empty string.
fn field_text(object: &Value, path: &str) -> String {
    let found = path
        .split('.')
        .try_fold(object, |value, key| value.get(key));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(value) => plain(value),
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, BadSelector> {
    split_outside_parens(text)
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse_requirement)
        .collect()
}

fn split_outside_parens(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_requirement(part: &str) -> Result<Requirement, BadSelector> {
    let bad = || BadSelector(format!("unable to parse requirement: {part:?}"));
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(label_key(key).ok_or_else(bad)?));
    }
    if let Some((head, list)) = part.split_once('(') {
        let values = list.trim_end().strip_suffix(')').ok_or_else(bad)?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let key = words.next().and_then(label_key).ok_or_else(bad)?;
        let found = match (words.next(), words.next()) {
            (Some("in"), None) => Requirement::In(key, values),
            (Some("notin"), None) => Requirement::NotIn(key, values),
            (Some(_) | None, _) => return Err(bad()),
        };
        return Ok(found);
    }
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = part.split_once(operator) {
            let key = label_key(key).ok_or_else(bad)?;
            let values = vec![label_value(value).ok_or_else(bad)?];
            return Ok(if equal {
                Requirement::In(key, values)
            } else {
                Requirement::NotIn(key, values)
            });
        }
    }
    for (operator, greater) in [('>', true), ('<', false)] {
        if let Some((key, value)) = part.split_once(operator) {
            let key = label_key(key).ok_or_else(bad)?;
            let limit = value.trim().parse().map_err(|_| bad())?;
            return Ok(if greater {
                Requirement::Greater(key, limit)
            } else {
                Requirement::Less(key, limit)
            });
        }
    }
    label_key(part).map(Requirement::Exists).ok_or_else(bad)
}

fn label_key(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (!text.is_empty() && text.chars().all(fine)).then(|| text.to_owned())
}

fn label_value(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().all(fine).then(|| text.to_owned())
}

fn parse_fields(text: &str) -> Result<Vec<FieldRequirement>, BadSelector> {
    split_escaped(text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| {
            [("!=", false), ("==", true), ("=", true)]
                .iter()
                .find_map(|(operator, equal)| {
                    part.split_once(operator)
                        .map(|(path, value)| FieldRequirement {
                            path: path.trim().to_owned(),
                            value: unescape(value),
                            equal: *equal,
                        })
                })
                .ok_or_else(|| {
                    BadSelector(format!(
                        "invalid selector: '{text}'; can't understand '{part}'"
                    ))
                })
        })
        .collect()
}

/// Splits at commas that have no backslash before them.
fn split_escaped(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let split = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        split
    })
    .collect()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            plain.extend(chars.next());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({"metadata": {"name": "a", "labels": {"site": "lab", "rank": "3", "x.io/y": "z"}},
               "spec": {"n": 4}, "status": {"phase": "Ready,Set"}})
    }

    fn labels(text: &str) -> bool {
        Selector::parse(Some(text), None, |_| true)
            .unwrap()
            .matches(&object())
    }

    #[test]
    fn label_selectors_follow_the_grammar() {
        for (text, expected) in [
            ("", true),
            ("site=lab", true),
            ("site==lab,rank!=4", true),
            ("site in (lab, x),!gone", true),
            ("site notin (lab)", false),
            ("gone notin (lab)", true),
            ("gone!=x", true),
            ("x.io/y", true),
            ("rank>2,rank<4", true),
            ("rank>3", false),
            ("gone", false),
        ] {
            assert_eq!(labels(text), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["a in b", "a b", "a in (x", "=x", "a=b=c", "rank>x"] {
            assert!(
                Selector::parse(Some(text), None, |_| true).is_err(),
                "{text}"
            );
        }
        assert!(Selector::parse(None, Some("metadata.name"), |_| true).is_err());
        assert!(Selector::parse(None, Some("spec.secret=1"), |f| f != "spec.secret").is_err());
    }

    #[test]
    fn field_selectors_compare_text_and_unescape() {
        let matches = |text| {
            Selector::parse(None, Some(text), |_| true)
                .unwrap()
                .matches(&object())
        };
        assert!(matches("metadata.name=a,spec.n=4"));
        assert!(matches("status.phase=Ready\\,Set"));
        assert!(matches("status.gone="));
        assert!(!matches("metadata.name!=a"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(labels in ".{0,40}", fields in ".{0,40}") {
            drop(Selector::parse(Some(&labels), Some(&fields), |_| true));
        }
    }
}
