//! Tables: what `kubectl get` prints, computed on the server. Pure.
//!
//! Columns come from the CRD or from `core`. Invariant: every row has as many cells as there are
//! column definitions.

use std::borrow::Borrow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{Fields as _, plain};
use super::jsonpath::JsonPath;

/// What the real server says of the first column.
const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating \
    resources, although some resources may allow a client to request the generation of an \
    appropriate name automatically. Name is primarily intended for creation idempotence and \
    configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// One column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// OpenAPI format, often empty.
    pub format: String,
    /// For `kubectl explain`-like tools.
    pub description: String,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i64,
    /// Where the cell comes from.
    pub cell: Cell,
}

/// How a cell is computed.
#[derive(Debug, Clone)]
pub enum Cell {
    /// By path into the object.
    Path(JsonPath),
    /// By code, for core kinds.
    Code(fn(&Value, Timestamp) -> Value),
}

/// Whether rows carry their object, and how much of it (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// No object.
    None,
    /// Only its metadata; the default.
    Metadata,
    /// All of it.
    Object,
}

impl Column {
    /// A column by JSONPath.
    pub fn path(name: &str, kind: &str, path: JsonPath) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            cell: Cell::Path(path),
        }
    }

    /// A column by code; `wide` ones show with `-o wide` only.
    pub fn code(name: &str, wide: bool, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self {
            name: name.to_owned(),
            kind: "string".to_owned(),
            format: if name == "Name" {
                "name".to_owned()
            } else {
                String::new()
            },
            description: String::new(),
            priority: i64::from(wide),
            cell: Cell::Code(cell),
        }
    }

    /// The name column that starts every table.
    pub fn name() -> Self {
        let mut column = Self::code("Name", false, |object, _| text(object, "/metadata/name"));
        NAME_DESCRIPTION.clone_into(&mut column.description);
        column
    }

    /// The age column that ends most tables.
    pub fn age() -> Self {
        Self::code("Age", false, |object, now| {
            age(object.at("metadata").at("creationTimestamp"), now)
        })
    }

    fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format,
               "description": self.description, "priority": self.priority})
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let path = match &self.cell {
            Cell::Code(code) => return code(object, now),
            Cell::Path(path) => path,
        };
        let found = path.find(object);
        match (self.kind.as_str(), found.as_slice()) {
            (_, [] | [Value::Null]) => Value::Null,
            ("date", [first, ..]) => age(first, now),
            ("integer" | "number" | "boolean", [first, ..]) => (*first).clone(),
            (_, [first, ..]) => Value::String(plain(first)),
        }
    }
}

/// A `Table` of `objects`; `meta` is the list metadata. Definitions are left out for watch events
/// after the first.
pub fn table<V: Borrow<Value>>(
    columns: &[Column],
    objects: impl Iterator<Item = V>,
    meta: &Value,
    include: Include,
    definitions: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .map(|object| {
            let object = object.borrow();
            let cells: Vec<Value> = columns.iter().map(|c| c.cell(object, now)).collect();
            match include {
                Include::None => json!({"cells": cells, "object": null}),
                Include::Metadata => json!({"cells": cells, "object": metadata_only(object)}),
                Include::Object => json!({"cells": cells, "object": object}),
            }
        })
        .collect();
    let definitions = if definitions {
        columns.iter().map(Column::definition).collect()
    } else {
        Value::Null
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
           "columnDefinitions": definitions, "rows": rows})
}

/// The `PartialObjectMetadata` of an object.
pub fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
           "metadata": object.at("metadata")})
}

/// A string field by JSON pointer, or null.
pub fn text(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).cloned().unwrap_or(Value::Null)
}

/// Time since an RFC 3339 timestamp as kubectl prints it.
pub fn age(timestamp: &Value, now: Timestamp) -> Value {
    let Some(text) = timestamp.as_str() else {
        return json!("<unknown>");
    };
    match text.parse::<Timestamp>() {
        Ok(then) => Value::String(human_duration(now.as_second() - then.as_second())),
        Err(_) => json!("<invalid>"),
    }
}

/// Seconds in at most two units, with less detail the longer it is.
fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_like_kubectl() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (400_000_000, "12y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn rows_match_columns() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let path = |p| JsonPath::parse(p).unwrap();
        let columns = [
            Column::name(),
            Column::path("Phase", "string", path(".status.phase")),
            Column::path("Count", "integer", path(".spec.count")),
            Column::path("Since", "date", path(".status.since")),
            Column::age(),
        ];
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
                            "spec": {"count": 3}, "status": {"since": "2026-01-01T23:59:00Z"}});
        let meta = json!({"resourceVersion": "4"});
        let table = table(
            &columns,
            [&object].into_iter(),
            &meta,
            Include::Metadata,
            true,
            now,
        );
        assert_eq!(
            table["rows"][0]["cells"],
            json!(["a", null, 3, "60s", "24h"])
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["columnDefinitions"].as_array().unwrap().len(), 5);
    }
}
