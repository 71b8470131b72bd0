//! Ownership as two or three managers fight over one object.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::standalone::schema::Schema;

fn schema() -> Schema {
    Schema::parse(&json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {
            "name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {"type": "array", "items": {"type": "string"},
                           "x-kubernetes-list-type": "set"}}},
        "spec": {"type": "object", "properties": {
            "image": {"type": "string"}, "n": {"type": "integer"},
            "dns": {"type": "array", "items": {"type": "string"}}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "targets": {
            "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["machineRef"],
            "items": {"type": "object", "properties": {
                "machineRef": {"type": "string"}, "phase": {"type": "string"},
                "n": {"type": "integer"}}}}}}}}))
    .unwrap()
}

fn owner(operation: Operation, name: &str) -> Owner {
    Owner {
        operation,
        name: name.to_owned(),
        api_version: "g/v1".to_owned(),
        subresource: String::new(),
    }
}

/// One object and everything that happens to it.
struct Stage {
    schema: Schema,
    object: Value,
    owners: Ownership,
    now: Timestamp,
}

impl Stage {
    fn new() -> Self {
        let object = json!({"metadata": {"name": "a"}});
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            schema: schema(),
            object,
            owners: Ownership::default(),
            now,
        }
    }

    fn apply(
        &mut self,
        who: &str,
        config: &Value,
        force: bool,
    ) -> Result<(), Vec<(String, String)>> {
        let owner = owner(Operation::Apply, who);
        let scope = Scope::Whole;
        let mut owners = self.owners.clone();
        let merged = owners.apply(
            &self.schema,
            &self.object,
            config,
            owner,
            scope,
            force,
            self.now,
        )?;
        self.object = merged;
        self.owners = owners;
        Ok(())
    }

    fn update(&mut self, who: &str, new: Value) {
        let owner = owner(Operation::Update, who);
        self.owners.update(
            &self.schema,
            &self.object,
            &new,
            owner,
            Scope::Whole,
            self.now,
        );
        self.object = new;
    }

    fn fields(&self, who: &str) -> Value {
        let mut holder = json!({"metadata": {}});
        self.owners.store(&mut holder);
        let list = holder["metadata"]["managedFields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let entry = list.into_iter().find(|e| e["manager"] == who);
        entry.map_or(Value::Null, |e| e["fieldsV1"].clone())
    }
}

fn target(name: &str, phase: &str) -> Value {
    json!({"status": {"targets": [{"machineRef": name, "phase": phase}]}})
}

#[test]
fn agents_own_their_targets() {
    let mut stage = Stage::new();
    stage.apply("a", &target("a", "Running"), false).unwrap();
    stage.apply("b", &target("b", "Pending"), false).unwrap();
    stage.apply("a", &target("a", "Complete"), false).unwrap();
    assert_eq!(
        stage.object["status"]["targets"],
        json!([{"machineRef": "a", "phase": "Complete"}, {"machineRef": "b", "phase": "Pending"}])
    );
    assert_eq!(
        stage.fields("a"),
        json!({"f:status": {"f:targets": {
            "k:{\"machineRef\":\"a\"}": {".": {}, "f:machineRef": {}, "f:phase": {}}}}})
    );
    let conflicts = stage.apply("b", &target("a", "Failed"), false).unwrap_err();
    assert_eq!(
        conflicts,
        [(
            "\"a\"".to_owned(),
            ".status.targets[machineRef=\"a\"].phase".to_owned()
        )]
    );
    stage.apply("b", &target("a", "Failed"), true).unwrap();
    assert_eq!(
        stage.object["status"]["targets"].as_array().unwrap().len(),
        1,
        "b left its target"
    );
    assert_eq!(
        stage.fields("a"),
        json!({"f:status": {"f:targets": {"k:{\"machineRef\":\"a\"}": {".": {}, "f:machineRef": {}}}}})
    );
}

#[test]
fn what_is_no_longer_applied_goes_unless_others_own_it() {
    let mut stage = Stage::new();
    stage
        .apply(
            "a",
            &json!({"spec": {"image": "x", "n": 1, "dns": ["1"]}}),
            false,
        )
        .unwrap();
    stage.apply("b", &json!({"spec": {"n": 1}}), false).unwrap();
    stage
        .apply("a", &json!({"spec": {"dns": ["2"]}}), false)
        .unwrap();
    assert_eq!(stage.object["spec"], json!({"n": 1, "dns": ["2"]}));
    stage.apply("b", &json!({}), false).unwrap();
    assert_eq!(stage.object["spec"], json!({"dns": ["2"]}));
    assert_eq!(stage.fields("b"), Value::Null);
}

#[test]
fn an_item_goes_with_its_owner_whoever_wrote_into_it() {
    let mut stage = Stage::new();
    stage.apply("a", &target("a", "Running"), false).unwrap();
    stage.apply("b", &target("b", "Running"), false).unwrap();
    let mut changed = stage.object.clone();
    changed["status"]["targets"][0]["phase"] = json!("Complete");
    stage.update("u", changed);
    stage.apply("a", &json!({}), false).unwrap();
    assert_eq!(stage.object["status"], target("b", "Running")["status"]);
    assert_eq!(stage.fields("u"), Value::Null);
}

#[test]
fn updates_take_fields_and_conflict_with_applies() {
    let mut stage = Stage::new();
    stage
        .apply(
            "a",
            &json!({"spec": {"n": 1}, "metadata": {"labels": {"x": "1"}}}),
            false,
        )
        .unwrap();
    let mut new = stage.object.clone();
    new["spec"]["n"] = json!(2);
    new["metadata"]["labels"]["y"] = json!("2");
    stage.update("edit", new);
    assert_eq!(
        stage.fields("a"),
        json!({"f:metadata": {"f:labels": {"f:x": {}}}})
    );
    assert_eq!(
        stage.fields("edit"),
        json!({"f:metadata": {"f:labels": {"f:y": {}}}, "f:spec": {"f:n": {}}})
    );
    let again = json!({"spec": {"n": 1}, "metadata": {"labels": {"x": "1"}}});
    let conflicts = stage.apply("a", &again, false).unwrap_err();
    assert_eq!(
        conflicts,
        [("\"edit\" using g/v1".to_owned(), ".spec.n".to_owned())]
    );
    let mut gone = stage.object.clone();
    gone["metadata"].as_object_mut().unwrap().remove("labels");
    stage.update("other", gone);
    assert_eq!(stage.fields("a"), Value::Null);
}

#[test]
fn sets_are_shared_item_by_item() {
    let mut stage = Stage::new();
    let with = |list: Value| json!({"metadata": {"finalizers": list}});
    stage.apply("a", &with(json!(["x", "y"])), false).unwrap();
    stage.apply("b", &with(json!(["y", "z"])), false).unwrap();
    stage.apply("a", &with(json!(["x"])), false).unwrap();
    assert_eq!(
        stage.object["metadata"]["finalizers"],
        json!(["x", "y", "z"])
    );
    stage.apply("b", &with(json!(["z"])), false).unwrap();
    assert_eq!(stage.object["metadata"]["finalizers"], json!(["x", "z"]));
}

#[test]
fn managed_fields_survive_writing_and_reading() {
    let mut stage = Stage::new();
    stage.apply("a", &target("a", "Running"), false).unwrap();
    stage
        .apply(
            "b",
            &json!({"metadata": {"labels": {"x": "1"}}, "spec": {"n": 2}}),
            false,
        )
        .unwrap();
    let mut holder = json!({"metadata": {}});
    stage.owners.store(&mut holder);
    let read = Ownership::of(&holder).unwrap();
    let mut again = json!({"metadata": {}});
    read.store(&mut again);
    assert_eq!(holder, again);
}

#[test]
fn an_apply_that_changes_nothing_changes_nothing() {
    let mut stage = Stage::new();
    stage.apply("a", &target("a", "Running"), false).unwrap();
    let before = (stage.object.clone(), stage.owners.clone());
    stage.now = "2027-01-01T00:00:00Z".parse().unwrap();
    stage.apply("a", &target("a", "Running"), false).unwrap();
    assert_eq!(before, (stage.object, stage.owners));
}

fn config() -> impl Strategy<Value = Value> {
    let targets = prop::collection::btree_map("[ab]", 0_i64..3, 1..3).prop_map(|map| {
        let items: Vec<Value> = map
            .into_iter()
            .map(|(k, n)| json!({"machineRef": k, "n": n}))
            .collect();
        json!({"status": {"targets": items}})
    });
    let spec = (0_i64..3, "[ab]").prop_map(|(n, image)| json!({"spec": {"n": n, "image": image}}));
    let labels = prop::collection::btree_map("[ab]", "[xy]", 0..3)
        .prop_map(|map| json!({"metadata": {"labels": map}}));
    prop_oneof![targets, spec, labels, Just(json!({}))]
}

proptest! {
    /// Whatever happens, what an applier asked for last and was granted is in the object until
    /// somebody else changes it; and no refused apply leaves a trace.
    #[test]
    fn granted_applies_hold(steps in prop::collection::vec(("[ab]", config(), any::<bool>()), 1..12)) {
        let mut stage = Stage::new();
        for (who, config, force) in steps {
            let before = stage.object.clone();
            match stage.apply(&who, &config, force) {
                Err(conflicts) => {
                    prop_assert!(!force && !conflicts.is_empty());
                    prop_assert_eq!(&before, &stage.object);
                }
                Ok(()) => {
                    let mut again = stage.object.clone();
                    super::merge::merge(Some(&stage.schema), &mut again, &config);
                    prop_assert_eq!(&again, &stage.object);
                }
            }
        }
    }
}

/// An agent may send a body of megabytes: the cost must not grow with the square of a list's length.
#[test]
fn long_lists_are_applied_in_bounded_time() {
    const ITEMS: usize = 30_000;
    let list = |phase: &str, from: usize| {
        let item = |n: usize| json!({"machineRef": format!("m{n}"), "phase": phase});
        let items: Vec<Value> = (from..from + ITEMS).map(item).collect();
        json!({"status": {"targets": items}})
    };
    let begun = std::time::Instant::now();
    let mut stage = Stage::new();
    stage.apply("one", &list("Pending", 0), false).unwrap();
    stage
        .apply("two", &list("Complete", ITEMS / 2), true)
        .unwrap();
    stage
        .apply("one", &list("Pending", ITEMS * 2), true)
        .unwrap();
    let spent = begun.elapsed();
    let left = stage.object["status"]["targets"].as_array().unwrap();
    assert_eq!(left.len(), 2 * ITEMS);
    assert!(spent < std::time::Duration::from_secs(30), "{spent:?}");
}
