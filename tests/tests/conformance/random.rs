//! Random sequences of operations leave the same objects on both servers, and every operation is
//! answered with the same code.
//!
//! 20 sequences by default; `METALMAN_RANDOM_SEQUENCES=1000` for a longer run by hand.

use std::cell::Cell;

use metalman_tests::apis::{Embedded, Endpoint, Reference, assets};
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::cases::widget;
use crate::session::Session;

/// One operation on the object of a name.
#[derive(Debug, Clone)]
enum Operation {
    Create(Value),
    /// Reads the object, gives it another spec and writes it back.
    Replace(Value),
    Merge(Value),
    Json(Value),
    Apply {
        manager: &'static str,
        force: bool,
        spec: Value,
    },
    Status(Value),
    ApplyStatus {
        manager: &'static str,
        force: bool,
        status: Value,
    },
    Label(Value),
    Delete,
}

type Step = (&'static str, Operation);

/// Some of these fields, each with one of a few values, good and bad.
fn spec() -> impl Strategy<Value = Value> {
    let fields: Vec<(&str, Vec<Value>)> = vec![
        (
            "colour",
            vec![json!("red"), json!("green"), json!("red"), json!("blue")],
        ),
        ("size", vec![json!(1), json!(3), json!(10), json!(11)]),
        ("note", vec![json!("n"), json!(null), json!("")]),
        ("flag", vec![json!(true), json!(false), json!(null)]),
        (
            "plain",
            vec![json!([]), json!([1]), json!([2, 1]), json!([1, 2, 3, 4])],
        ),
        (
            "tags",
            vec![
                json!(["a"]),
                json!(["b", "a"]),
                json!(["c", "d", "a"]),
                json!([]),
            ],
        ),
        (
            "parts",
            vec![
                json!([{"name": "x"}]),
                json!([{"name": "y", "count": 2}, {"name": "x", "count": 1}]),
                json!([{"name": "z", "labels": {"l": "1"}}, {"name": "x", "labels": {"m": "2"}}]),
                json!([]),
            ],
        ),
        (
            "whole",
            vec![json!({"a": "1"}), json!({"b": "2"}), json!({})],
        ),
        (
            "free",
            vec![
                json!({"a": {"b": 1}}),
                json!({"a": {"c": [1]}, "d": null}),
                json!({}),
            ],
        ),
        (
            "deep",
            vec![
                json!({}),
                json!({"level": 1}),
                json!({"mode": "hand"}),
                json!({"mode": "auto", "level": null}),
            ],
        ),
        ("low", vec![json!(1), json!(5)]),
        ("high", vec![json!(2), json!(6)]),
        ("unknown", vec![json!(1)]),
    ];
    let count = fields.len();
    subsequence(fields, 1..=count.min(6)).prop_flat_map(|chosen| {
        let values: Vec<_> = chosen
            .into_iter()
            .map(|(name, values)| (Just(name), proptest::sample::select(values)))
            .collect();
        values.prop_map(|pairs| {
            let map = pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            Value::Object(map.collect())
        })
    })
}

/// Without nulls, which the real server does not take in an applied configuration.
fn applied(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            for child in map.values_mut() {
                *child = applied(child.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = applied(item.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

/// Without a map of unknown fields that is empty: a known difference (`apply: a map of unknown fields is
/// emptied` in DIFFERENCES.md).
fn without_empty_free(mut spec: Value) -> Value {
    if let Value::Object(map) = &mut spec {
        map.retain(|name, value| name != "free" || *value != json!({}));
    }
    spec
}

/// A spec that is good more often than not.
fn whole_spec() -> impl Strategy<Value = Value> {
    spec().prop_map(|mut spec| {
        if spec["colour"].is_null() {
            spec["colour"] = json!("red");
        }
        spec
    })
}

fn status() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!({"phase": "Up"}),
        json!({"phase": "Down", "ready": 1}),
        json!({"conditions": [{"type": "A", "status": "True"}]}),
        json!({"conditions": [{"type": "B", "status": "True"}, {"type": "A", "status": "False"}]}),
        json!({"phase": null}),
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let manager = || proptest::sample::select(vec!["one", "two"]);
    let name = proptest::sample::select(vec!["a", "b"]);
    let pointer = proptest::sample::select(vec![
        "/spec/size",
        "/spec/note",
        "/spec/plain/0",
        "/spec/tags/-",
    ]);
    let json = (
        pointer,
        prop_oneof![Just("add"), Just("remove"), Just("replace")],
        1..12_i64,
    )
        .prop_map(|(path, op, value)| {
            let value = if path.ends_with("note") || path.ends_with('-') {
                json!(value.to_string())
            } else {
                json!(value)
            };
            json!([{"op": op, "path": path, "value": value}])
        });
    let label = prop_oneof![
        Just(json!("1")),
        Just(json!("2")),
        Just(Value::Null),
        Just(json!("not good!"))
    ];
    let operation = prop_oneof![
        3 => whole_spec().prop_map(Operation::Create),
        2 => whole_spec().prop_map(Operation::Replace),
        3 => spec().prop_map(Operation::Merge),
        2 => json.prop_map(Operation::Json),
        6 => (manager(), any::<bool>(), whole_spec().prop_map(applied))
            .prop_map(|(manager, force, spec)| {
                let spec = without_empty_free(spec);
                Operation::Apply { manager, force, spec }
            }),
        2 => status().prop_map(Operation::Status),
        2 => (manager(), any::<bool>(), status().prop_map(applied))
            .prop_map(|(manager, force, status)| Operation::ApplyStatus { manager, force, status }),
        1 => label.prop_map(Operation::Label),
        1 => Just(Operation::Delete),
    ];
    (name, operation)
}

/// Does the step; gives the code of the answer.
async fn take(s: &Session, list: &str, step: &Step) -> u16 {
    let (name, operation) = step;
    let path = format!("{list}/{name}");
    let call = match operation {
        Operation::Create(spec) => s.post(list, &widget(name, spec)),
        Operation::Replace(spec) => {
            let mut object = s.get(&path).quietly().await;
            if object.code != 200 {
                return object.code;
            }
            object.body["spec"] = spec.clone();
            s.put(path, &object.body)
        }
        Operation::Merge(spec) => s.merge(path, &json!({ "spec": spec })),
        Operation::Json(patch) => s.json_patch(path, patch),
        Operation::Apply {
            manager,
            force,
            spec,
        } => s.apply(
            &format!("{path}?force={force}"),
            manager,
            &widget(name, spec),
        ),
        Operation::Status(status) => {
            s.merge(format!("{path}/status"), &json!({ "status": status }))
        }
        Operation::ApplyStatus {
            manager,
            force,
            status,
        } => {
            let mut body = widget(name, &json!({}));
            body.as_object_mut().unwrap().remove("spec");
            body["status"] = status.clone();
            s.apply(&format!("{path}/status?force={force}"), manager, &body)
        }
        Operation::Label(value) => s.merge(path, &json!({"metadata": {"labels": {"l": value}}})),
        Operation::Delete => s.delete(path),
    };
    call.quietly().await.code
}

/// Codes of all steps and what is left, without what may differ.
async fn play(
    endpoint: &Endpoint,
    http: &reqwest::Client,
    id: &str,
    steps: &[Step],
) -> Vec<String> {
    let session = Session::new(endpoint, http.clone(), id.to_owned());
    let list = session.widgets().await;
    for step in steps {
        let code = match take(&session, &list, step).await {
            // Refusals of server-side apply that the real server calls its own mistake.
            400 | 422 | 500
                if matches!(
                    step.1,
                    Operation::Apply { .. } | Operation::ApplyStatus { .. }
                ) =>
            {
                400
            }
            code => code,
        };
        session.note(&format!("{step:?} -> {code}"), &Value::Null);
    }
    session.get(&list).send().await;
    session.transcript()
}

#[test]
fn random_operations_leave_the_same_objects() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let embedded = runtime.block_on(Embedded::start()).unwrap();
    let reference = assets().map(|assets| runtime.block_on(Reference::start(&assets)).unwrap());
    let http = embedded.endpoint.http().unwrap();
    let reference_http = reference
        .as_ref()
        .map(|server| server.endpoint.http().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    let count = std::env::var("METALMAN_RANDOM_SEQUENCES")
        .ok()
        .and_then(|text| text.parse().ok());
    let config = Config {
        cases: count.unwrap_or(20),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let number = Cell::new(0);
    // The same sequences each time, so that a run that finds something can be had again; a longer run
    // that is asked for tries new ones.
    let mut runner = match count {
        None => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
        Some(_) => TestRunner::new(config),
    };
    let result = runner.run(&prop::collection::vec(step(), 1..25), |steps| {
        number.set(number.get() + 1);
        let id = format!("r{}", number.get());
        let ours = runtime.block_on(play(&embedded.endpoint, &http, &id, &steps));
        let failed = ours.iter().find(|line| line.ends_with("-> 500"));
        prop_assert!(failed.is_none(), "{failed:?}");
        let (Some(server), Some(http)) = (&reference, &reference_http) else {
            return Ok(());
        };
        let theirs = runtime.block_on(play(&server.endpoint, http, &id, &steps));
        if ours == theirs {
            return Ok(());
        }
        let (ours, theirs) = (ours.join("\n"), theirs.join("\n"));
        let diff = similar::TextDiff::from_lines(&theirs, &ours);
        Err(TestCaseError::fail(
            diff.unified_diff().context_radius(6).to_string(),
        ))
    });
    eprintln!(
        "{} random sequences{}",
        number.get(),
        if reference.is_some() {
            " on both servers"
        } else {
            "; NOT COMPARED with a real server: KUBEBUILDER_ASSETS is not set"
        }
    );
    runtime.block_on(embedded.stop()).unwrap();
    if let Some(server) = reference {
        runtime.block_on(server.stop()).unwrap();
    }
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
