//! Sets of field paths as `managedFields` writes them (`FieldsV1`), and comparing objects into
//! them. Pure.
//!
//! A path element is kept as the text of `FieldsV1`: `f:name`, `k:{"key":"value"}`, `v:"item"`.
//! Invariant: a node is a member, or has children, or does not exist.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::standalone::schema::{ListType, Schema, item_key};

/// A tree of path elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    pub(super) member: bool,
    pub(super) children: BTreeMap<String, Self>,
}

/// What two versions of an object differ in.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Fields that are new or have another value.
    pub(super) changed: FieldSet,
    /// Fields that are gone.
    pub(super) removed: FieldSet,
}

/// How a value is taken apart.
pub(super) enum Shape<'v> {
    /// A map with fields of their own.
    Fields(&'v Map<String, Value>),
    /// List items told apart by these path elements.
    Items(Vec<(String, &'v Value)>),
    /// One indivisible value.
    Leaf,
}

/// Takes `value` apart as its schema says.
pub(super) fn shape<'v>(schema: Option<&Schema>, value: &'v Value) -> Shape<'v> {
    match value {
        Value::Object(map) if !schema.is_some_and(|s| s.atomic_map) => Shape::Fields(map),
        Value::Array(items) => match schema.map(|s| &s.list) {
            Some(ListType::Map(keys)) => {
                let named = items
                    .iter()
                    .map(|i| (format!("k:{}", item_key(i, keys)), i));
                Shape::Items(named.collect())
            }
            Some(ListType::Set) => {
                Shape::Items(items.iter().map(|i| (format!("v:{i}"), i)).collect())
            }
            Some(ListType::Atomic) | None => Shape::Leaf,
        },
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Shape::Leaf
        }
    }
}

impl FieldSet {
    fn leaf() -> Self {
        Self {
            member: true,
            children: BTreeMap::new(),
        }
    }

    /// All fields of `value`.
    pub(super) fn of(schema: Option<&Schema>, value: &Value) -> Self {
        let mut set = Self::default();
        match shape(schema, value) {
            Shape::Fields(map) => {
                set.member = map.is_empty();
                for (name, child) in map {
                    set.add_child(field(name), Self::of_field(schema, name, child));
                }
            }
            Shape::Items(items) => {
                let item_schema = schema.and_then(|s| s.items.as_deref());
                for (element, item) in items {
                    set.add_child(
                        element,
                        Self {
                            member: true,
                            ..Self::of(item_schema, item)
                        },
                    );
                }
            }
            Shape::Leaf => set.member = true,
        }
        set
    }

    /// All fields of a value that came or went as a whole: what holds them is counted too.
    fn whole(schema: Option<&Schema>, value: &Value) -> Self {
        let mut set = Self::leaf();
        match shape(schema, value) {
            Shape::Fields(map) => {
                for (name, child) in map {
                    let child = Self::whole(schema.and_then(|s| s.field(name)), child);
                    set.children.insert(field(name), child);
                }
            }
            Shape::Items(items) => {
                let schema = schema.and_then(|s| s.items.as_deref());
                for (element, item) in items {
                    set.children.insert(element, Self::whole(schema, item));
                }
            }
            Shape::Leaf => {}
        }
        set
    }

    /// Keys of free maps are members themselves, declared fields only through what is in them.
    fn of_field(schema: Option<&Schema>, name: &str, value: &Value) -> Self {
        let declared = schema.is_some_and(|s| s.properties.contains_key(name));
        let set = Self::of(schema.and_then(|s| s.field(name)), value);
        Self {
            member: set.member || !declared,
            ..set
        }
    }

    fn add_child(&mut self, element: String, child: Self) {
        if !child.is_empty() {
            self.children.insert(element, child);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.member |= other.member;
        for (element, child) in &other.children {
            let mine = all.children.entry(element.clone()).or_default();
            *mine = mine.union(child);
        }
        all
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs, true)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs, false)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool, alone: bool) -> Self {
        let mut result = Self {
            member: keep(self.member, other.member),
            ..Self::default()
        };
        for (element, child) in &self.children {
            let combined = match other.children.get(element) {
                Some(theirs) => child.combine(theirs, keep, alone),
                None if alone => child.clone(),
                None => Self::default(),
            };
            result.add_child(element.clone(), combined);
        }
        result
    }

    /// Removes a child and everything below it.
    pub(super) fn drop_child(&mut self, element: &str) {
        self.children.remove(element);
    }

    /// Reads `FieldsV1`.
    pub(super) fn parse(value: &Value) -> Self {
        let mut set = Self::default();
        for (element, child) in value.as_object().into_iter().flatten() {
            if element == "." {
                set.member = true;
            } else if child.as_object().is_some_and(Map::is_empty) {
                set.children.insert(element.clone(), Self::leaf());
            } else {
                set.add_child(element.clone(), Self::parse(child));
            }
        }
        set
    }

    /// Writes `FieldsV1`.
    pub(super) fn to_value(&self) -> Value {
        let mut map: Map<String, Value> = self
            .children
            .iter()
            .map(|(e, child)| (e.clone(), child.to_value()))
            .collect();
        if self.member && !map.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    /// Members as readable paths: `.spec.targets[machineRef="a"].phase`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths("", &mut found);
        found
    }

    fn collect_paths(&self, path: &str, found: &mut Vec<String>) {
        if self.member {
            found.push(path.to_owned());
        }
        for (element, child) in &self.children {
            child.collect_paths(&format!("{path}{}", readable(element)), found);
        }
    }
}

fn field(name: &str) -> String {
    format!("f:{name}")
}

fn readable(element: &str) -> String {
    match element.split_once(':') {
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, name)) => format!(".{name}"),
        None => element.to_owned(),
    }
}

/// Compares two versions of a value.
pub(super) fn compare(schema: Option<&Schema>, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    match (shape(schema, old), shape(schema, new)) {
        (Shape::Fields(before), Shape::Fields(after)) => {
            for (name, value) in after {
                let child = match before.get(name) {
                    Some(earlier) => compare(schema.and_then(|s| s.field(name)), earlier, value),
                    None => Difference {
                        changed: FieldSet::whole(schema.and_then(|s| s.field(name)), value),
                        removed: FieldSet::default(),
                    },
                };
                difference.add(field(name), child);
            }
            for (name, value) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
                let removed = FieldSet::whole(schema.and_then(|s| s.field(name)), value);
                difference.add(
                    field(name),
                    Difference {
                        changed: FieldSet::default(),
                        removed,
                    },
                );
            }
        }
        (Shape::Items(before), Shape::Items(after)) => {
            let schema = schema.and_then(|s| s.items.as_deref());
            let whole = |item| FieldSet::whole(schema, item);
            let mut stored = HashMap::new();
            for (element, item) in &before {
                stored.entry(element).or_insert(*item);
            }
            let kept: HashSet<&String> = after.iter().map(|(element, _)| element).collect();
            for (element, item) in &after {
                let child = match stored.get(element).copied() {
                    Some(earlier) => compare(schema, earlier, item),
                    None => Difference {
                        changed: whole(item),
                        removed: FieldSet::default(),
                    },
                };
                difference.add(element.clone(), child);
            }
            for (element, item) in before.iter().filter(|(e, _)| !kept.contains(e)) {
                let removed = whole(item);
                let child = Difference {
                    changed: FieldSet::default(),
                    removed,
                };
                difference.add(element.clone(), child);
            }
        }
        (Shape::Fields(_) | Shape::Items(_) | Shape::Leaf, _) => {
            if old != new {
                difference.changed = FieldSet::of(schema, new);
            }
        }
    }
    difference
}

impl Difference {
    fn add(&mut self, element: String, child: Self) {
        self.changed.add_child(element.clone(), child.changed);
        self.removed.add_child(element, child.removed);
    }
}
