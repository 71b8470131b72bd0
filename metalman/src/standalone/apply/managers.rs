//! `metadata.managedFields`: the managers of an object, and how updates and applies move fields
//! between them. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fieldset::{FieldSet, compare};
use super::merge::{merge, remove_unowned};
use crate::standalone::fields::Fields as _;
use crate::standalone::resource::Resource;
use crate::standalone::schema::Schema;
use crate::standalone::strategy::rfc3339;

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

/// Identity of a manager.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// How it writes.
    pub operation: Operation,
    /// Field manager name.
    pub name: String,
    /// `group/version` it wrote with.
    pub api_version: String,
    /// `status`, or empty.
    pub subresource: String,
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    owner: Owner,
    time: String,
    fields: FieldSet,
}

/// Which part of the object a request may own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole object.
    Whole,
    /// All but `status`, which has its own subresource.
    WithoutStatus,
    /// Only `status`.
    OnlyStatus,
}

/// The managers of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership(Vec<Manager>);

/// Fields that the server sets, below `metadata`.
const SERVER_SET: [&str; 10] = [
    "f:name",
    "f:namespace",
    "f:creationTimestamp",
    "f:selfLink",
    "f:uid",
    "f:generation",
    "f:managedFields",
    "f:resourceVersion",
    "f:deletionTimestamp",
    "f:deletionGracePeriodSeconds",
];

impl Scope {
    /// What of `set` can be owned.
    fn limit(self, mut set: FieldSet) -> FieldSet {
        set.member = false;
        for element in ["f:apiVersion", "f:kind"] {
            set.drop_child(element);
        }
        if let Some(metadata) = set.children.get_mut("f:metadata") {
            metadata.member = false;
            for element in SERVER_SET {
                metadata.drop_child(element);
            }
            if metadata.is_empty() {
                set.drop_child("f:metadata");
            }
        }
        match self {
            Self::Whole => {}
            Self::WithoutStatus => set.drop_child("f:status"),
            Self::OnlyStatus => set.children.retain(|element, _| element == "f:status"),
        }
        set
    }
}

impl Ownership {
    /// Reads `metadata.managedFields` of an object; `None` when it has none.
    pub fn of(object: &Value) -> Option<Self> {
        let list = object.pointer("/metadata/managedFields")?.as_array()?;
        let text = |entry: &Value, key: &str| entry.at(key).as_str().unwrap_or_default().to_owned();
        let managers = list
            .iter()
            .filter(|entry| entry.at("fieldsV1").is_object())
            .map(|entry| {
                let apply = entry.at("operation") == "Apply";
                Manager {
                    owner: Owner {
                        operation: if apply {
                            Operation::Apply
                        } else {
                            Operation::Update
                        },
                        name: text(entry, "manager"),
                        api_version: text(entry, "apiVersion"),
                        subresource: text(entry, "subresource"),
                    },
                    time: text(entry, "time"),
                    fields: FieldSet::parse(entry.at("fieldsV1")),
                }
            });
        Some(Self(managers.collect()))
    }

    /// Does nobody own anything?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Owners of an object that has none: what is there belongs to nobody in particular, so that
    /// an apply does not take it unnoticed.
    pub fn before_first_apply(resource: &Resource, live: &Value) -> Self {
        let mut owners = Self::default();
        let fields = Scope::Whole.limit(FieldSet::of(Some(&resource.schema), live));
        let owner = Owner {
            operation: Operation::Update,
            name: "before-first-apply".to_owned(),
            api_version: resource.api_version(),
            subresource: String::new(),
        };
        let time = live.at("metadata").at("creationTimestamp");
        owners.0.push(Manager {
            owner,
            time: time.as_str().unwrap_or_default().to_owned(),
            fields,
        });
        owners
    }

    /// Writes `metadata.managedFields`.
    pub fn store(&self, object: &mut Value) {
        let mut managers: Vec<&Manager> = self.0.iter().collect();
        managers.sort_by(|a, b| {
            (a.owner.operation, &a.time, &a.owner).cmp(&(b.owner.operation, &b.time, &b.owner))
        });
        let list: Vec<Value> = managers
            .into_iter()
            .map(|manager| {
                let owner = &manager.owner;
                let apply = owner.operation == Operation::Apply;
                let mut entry = json!({
                    "manager": owner.name, "operation": if apply { "Apply" } else { "Update" },
                    "apiVersion": owner.api_version,
                    "fieldsType": "FieldsV1", "fieldsV1": manager.fields.to_value(),
                });
                if !manager.time.is_empty() {
                    entry.set("time", json!(manager.time));
                }
                if !owner.subresource.is_empty() {
                    entry.set("subresource", json!(owner.subresource));
                }
                entry
            })
            .collect();
        if let Some(metadata) = object.at_mut("metadata").as_object_mut() {
            if list.is_empty() {
                metadata.remove("managedFields");
            } else {
                metadata.insert("managedFields".to_owned(), Value::Array(list));
            }
        }
    }

    /// After an update from `old` to `new` by `owner`: it owns what it changed, others lose it.
    pub fn update(
        &mut self,
        schema: &Schema,
        old: &Value,
        new: &Value,
        owner: Owner,
        scope: Scope,
        now: Timestamp,
    ) {
        let difference = compare(Some(schema), old, new);
        let changed = scope.limit(difference.changed);
        let removed = difference.removed;
        let before = self.0.clone();
        for manager in &mut self.0 {
            if manager.owner != owner {
                manager.fields = manager.fields.difference(&changed);
            }
            manager.fields = manager.fields.difference(&removed);
        }
        let writer = (!changed.is_empty()).then_some(owner);
        if let Some(owner) = &writer {
            let fields = self.fields(owner).union(&changed);
            self.set(owner.clone(), fields);
        }
        self.finish(&before, writer.as_ref(), now);
    }

    /// Applies `config` as `owner` to `live`. Returns the merged object.
    ///
    /// # Errors
    /// `(manager, field)` pairs that others own with another value, unless `force`.
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the inputs of an apply, all distinct"
    )]
    pub fn apply(
        &mut self,
        schema: &Schema,
        live: &Value,
        config: &Value,
        owner: Owner,
        scope: Scope,
        force: bool,
        now: Timestamp,
    ) -> Result<Value, Vec<(String, String)>> {
        let before = self.0.clone();
        let last = self.fields(&owner);
        let applied = scope.limit(FieldSet::of(Some(schema), config));
        let mut merged = live.clone();
        merge(Some(schema), &mut merged, config);
        let others = self.0.iter().filter(|m| m.owner != owner);
        let keep = others.fold(applied.clone(), |all, manager| all.union(&manager.fields));
        remove_unowned(Some(schema), &mut merged, &last, &keep);
        let difference = compare(Some(schema), live, &merged);
        let changed = scope.limit(difference.changed);
        let conflicts: Vec<(String, String)> = self
            .0
            .iter()
            .filter(|manager| manager.owner != owner)
            .flat_map(|manager| {
                let taken = manager.fields.intersection(&changed);
                let title = manager.owner.title();
                taken
                    .paths()
                    .into_iter()
                    .map(move |path| (title.clone(), path))
            })
            .collect();
        if !conflicts.is_empty() && !force {
            return Err(conflicts);
        }
        for manager in self.0.iter_mut().filter(|manager| manager.owner != owner) {
            manager.fields = manager
                .fields
                .difference(&changed)
                .difference(&difference.removed);
        }
        // An apply that changes no value leaves the time as it was, also when it was none.
        let writer = (merged != *live).then(|| owner.clone());
        self.set(owner, applied);
        self.finish(&before, writer.as_ref(), now);
        Ok(merged)
    }

    fn fields(&self, owner: &Owner) -> FieldSet {
        let found = self.0.iter().find(|manager| manager.owner == *owner);
        found
            .map(|manager| manager.fields.clone())
            .unwrap_or_default()
    }

    fn set(&mut self, owner: Owner, fields: FieldSet) {
        self.0.retain(|manager| manager.owner != owner);
        self.0.push(Manager {
            owner,
            time: String::new(),
            fields,
        });
    }

    /// Drops managers that own nothing; stamps the one that wrote.
    fn finish(&mut self, before: &[Manager], writer: Option<&Owner>, now: Timestamp) {
        self.0.retain(|manager| !manager.fields.is_empty());
        for manager in &mut self.0 {
            let same = before.iter().find(|b| b.owner == manager.owner);
            manager.time = match same {
                Some(earlier) if earlier.fields == manager.fields => earlier.time.clone(),
                _ if writer == Some(&manager.owner) => rfc3339(now),
                Some(earlier) => earlier.time.clone(),
                None => String::new(),
            };
        }
    }
}

impl Owner {
    /// As conflicts name it.
    fn title(&self) -> String {
        let mut title = format!("\"{}\"", self.name);
        if !self.subresource.is_empty() {
            title = format!("{title} with subresource \"{}\"", self.subresource);
        }
        if self.operation == Operation::Update {
            title = format!("{title} using {}", self.api_version);
        }
        title
    }
}
