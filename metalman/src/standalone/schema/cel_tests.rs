//! What CEL here can and cannot do, and what the worst object costs.

use std::time::{Duration, Instant};

use serde_json::{Map, json};

use super::*;
use crate::standalone::resource::Catalog;

/// What a rule says of an object: `None` when it holds.
fn verdict(rule: &str) -> Option<String> {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}},
        "x-kubernetes-validations": [{ "rule": rule }]});
    let schema = match Schema::parse(&schema) {
        Ok(schema) => schema,
        Err(error) => return Some(error.to_string()),
    };
    let mut errors = Vec::new();
    validate(&schema, &json!({"text": "a"}), None, &mut errors);
    errors.first().map(ToString::to_string)
}

#[test]
fn these_libraries_are_there() {
    for rule in [
        "self.text.matches('^[a-z]$') && self.text.startsWith('a')",
        "'a,b'.split(',').size() == 2 && ['a', 'b'].join('-') == 'a-b'",
        "'Abc'.lowerAscii() == 'abc' && 'abc'.indexOf('c') == 2 && ' a '.trim() == 'a'",
        "'abc'.replace('b', 'x').substring(1) == 'xc' && 'abc'.charAt(0) == 'a'",
        "[1, 2].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x == 1)",
        "[1, 2].map(x, x * 2) == [2, 4] && [1, 2].filter(x, x > 1) == [2]",
        "has(self.text) && type(1) == int && int('3') == 3",
    ] {
        assert_eq!(verdict(rule), None, "{rule}");
    }
}

#[test]
fn these_libraries_are_not_and_a_rule_that_needs_one_refuses() {
    for rule in [
        "url('https://a/b').getHost() == 'a'",
        "isURL('https://a/b')",
        "ip('10.0.0.1').family() == 4",
        "isIP('10.0.0.1')",
        "cidr('10.0.0.0/8').containsIP('10.0.0.1')",
        "quantity('1Gi').isGreaterThan(quantity('1Mi'))",
        "semver('1.0.0').major() == 1",
        "!format.dns1123Label().value().validate('a').hasValue()",
        "'a1b'.find('[0-9]') == '1'",
        "'a1b2'.findAll('[0-9]') == ['1', '2']",
        "[1, 2].isSorted()",
        "[1, 2].sum() == 3",
        "[1, 2].indexOf(2) == 1",
        "sets.contains([1, 2], [1])",
    ] {
        assert!(
            verdict(rule).is_some(),
            "{rule} works: say so in standalone/mod.rs"
        );
    }
}

/// Values of a schema that are as large as `size` allows in one place, which grows in turn.
fn grown(schema: &Schema, size: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let words = |count: usize| (0..count).map(|n| format!("k{n}"));
    match schema.kind {
        Some(Kind::String) => all.push(Value::from("x".repeat(size))),
        Some(Kind::Array) => {
            let item = schema.items.as_deref().map_or(Value::Null, least);
            let count = size / (item.to_string().len() + 12);
            let items = words(count).map(|word| distinct(schema, &item, word));
            all.push(items.collect());
            let below = schema
                .items
                .as_deref()
                .map_or_else(Vec::new, |s| grown(s, size));
            all.extend(below.into_iter().map(|value| json!([value])));
        }
        Some(Kind::Object) => {
            let whole = least(schema);
            for (name, child) in &schema.properties {
                for value in grown(child, size) {
                    let mut whole = whole.clone();
                    whole[name] = value;
                    all.push(whole);
                }
            }
            if let Some(child) = &schema.additional {
                let item = least(child);
                let count = size / (item.to_string().len() + 12);
                let map: Map<_, _> = words(count).map(|word| (word, item.clone())).collect();
                all.push(Value::Object(map));
            }
        }
        _ => {}
    }
    all
}

/// A list item that differs from the others where the list's type wants it.
fn distinct(list: &Schema, item: &Value, word: String) -> Value {
    let mut item = item.clone();
    match &list.list {
        ListType::Map(keys) => {
            for key in keys {
                item[key] = Value::from(word.clone());
            }
        }
        ListType::Set | ListType::Atomic if item.is_string() => item = Value::from(word),
        ListType::Set | ListType::Atomic => {}
    }
    item
}

/// The smallest value that has what is required.
fn least(schema: &Schema) -> Value {
    if let Some(value) = schema.limits.choices.as_ref().and_then(|list| list.first()) {
        return value.clone();
    }
    match schema.kind {
        Some(Kind::Object) => {
            let fields = schema.required.iter();
            let fields =
                fields.map(|name| (name.clone(), schema.field(name).map_or(Value::Null, least)));
            Value::Object(fields.collect())
        }
        Some(Kind::Array) => json!([]),
        Some(Kind::Integer | Kind::Number) => Value::from(1),
        Some(Kind::Boolean) => json!(true),
        Some(Kind::String) | None => json!("x"),
    }
}

/// Rules have no cost limit; instead a large body may cost this much, whatever is large in it.
#[test]
fn large_bodies_are_judged_in_bounded_time() {
    const BODY: usize = 1024 * 1024;
    const LONGEST: Duration = Duration::from_secs(10);
    let catalog = Catalog::new(&metalman_api::crd::all()).unwrap();
    let mut count = 0;
    for resource in catalog.all() {
        let schema = &resource.schema;
        for mut value in grown(schema, BODY) {
            count += 1;
            let begun = Instant::now();
            apply_defaults(schema, &mut value);
            let mut errors = Vec::new();
            validate(schema, &value, Some(&value), &mut errors);
            let spent = begun.elapsed();
            let start: String = value.to_string().chars().take(300).collect();
            assert!(spent < LONGEST, "{} {spent:?}: {start}", resource.plural);
        }
    }
    assert!(count > 50, "{count} bodies");
}
