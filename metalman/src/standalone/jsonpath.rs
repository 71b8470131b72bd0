//! The part of JSONPath that printer columns use: fields, indices, `[*]` and one equality filter.
//! Pure.
//!
//! Invariant: evaluation of a parsed path cannot fail; what is missing yields nothing.

use serde_json::Value;

use super::fields::plain;

/// A parsed path such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Where { path: Vec<String>, equals: String },
}

impl JsonPath {
    /// Parses `text`; `None` when it uses more than this module knows.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        while !rest.is_empty() {
            rest = if let Some(tail) = rest.strip_prefix('[') {
                let (inside, after) = tail.split_once(']')?;
                steps.push(bracket(inside)?);
                after
            } else {
                let (name, after) = field_name(rest.strip_prefix('.')?)?;
                steps.push(if name == "*" {
                    Step::All
                } else {
                    Step::Field(name)
                });
                after
            };
        }
        Some(Self(steps))
    }

    /// All values the path leads to.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        self.0.iter().fold(vec![root], |found, step| {
            found
                .into_iter()
                .flat_map(|value| step.apply(value))
                .collect()
        })
    }
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(name) = inside.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = inside
        .strip_prefix("?(@.")
        .and_then(|t| t.strip_suffix(')'))
    {
        let (path, equals) = filter.split_once("==")?;
        let path = path.trim().split('.').map(str::to_owned).collect();
        let equals = equals
            .trim()
            .trim_matches(|c| c == '"' || c == '\'')
            .to_owned();
        return Some(Step::Where { path, equals });
    }
    inside.parse().ok().map(Step::Index)
}

/// One field name up to the next unescaped `.` or `[`, and the rest.
fn field_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => return (!name.is_empty()).then(|| (name, text.get(at..).unwrap_or(""))),
            other => name.push(other),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

impl Step {
    fn apply<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
            },
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
                let at = if *index < 0 {
                    items.len().checked_sub(from_end)
                } else {
                    Some(from_end)
                };
                at.and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::Where { path, equals } => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let fits = |item: &&Value| {
                    let found = path.iter().try_fold(*item, |v, key| v.get(key));
                    found.is_some_and(|v| plain(v) == *equals)
                };
                items.iter().filter(fits).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_what_columns_ask_for() {
        let object = json!({
            "metadata": {"labels": {"unbounded-cloud.io/site": "lab"}},
            "status": {"conditions": [{"type": "A", "status": "False"},
                                      {"type": "Ready", "status": "True"}],
                       "n": [1, 2, 3]}});
        for (path, expected) in [
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                json!(["True"]),
            ),
            (".status.conditions[*].type", json!(["A", "Ready"])),
            (".metadata.labels.unbounded-cloud\\.io/site", json!(["lab"])),
            (
                ".metadata.labels['unbounded-cloud.io/site']",
                json!(["lab"]),
            ),
            (".status.n[0]", json!([1])),
            (".status.n[-1]", json!([3])),
            (".status.gone.deeper", json!([])),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(json!(parsed.find(&object)), expected, "{path}");
        }
        assert_eq!(JsonPath::parse("status"), None);
        assert_eq!(JsonPath::parse(".a["), None);
    }
}
