//! What a server said, without what may differ: uids, versions, times, random names. Pure.
//!
//! Values are numbered in the order they come, so that "the same version as before" stays visible.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::session::Answer;

/// Lines of one case on one server.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    lines: Vec<String>,
    seen: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Transcript {
    pub(crate) fn answer(&mut self, answer: &Answer) {
        let body = self.value("", &answer.body);
        let line = self.text(&answer.line);
        self.lines.push(format!("{line} -> {}", answer.code));
        for warning in &answer.warnings {
            self.lines.push(format!("  warning: {warning}"));
        }
        self.pretty(&body);
    }

    pub(crate) fn note(&mut self, what: &str, value: &Value) {
        let value = self.value("", value);
        let what = self.text(what);
        self.lines.push(what);
        if !value.is_null() {
            self.pretty(&value);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    fn pretty(&mut self, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.lines
            .extend(text.lines().map(|line| format!("  {line}")));
    }

    fn token(&mut self, kind: &'static str, text: &str) -> String {
        if let Some(known) = self.seen.get(text) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let token = format!("<{kind}{count}>");
        self.seen.insert(text.to_owned(), token.clone());
        token
    }

    fn value(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.named(key, text)),
            Value::Array(items) => {
                let mut items = items.clone();
                if key == "managedFields" {
                    // Their order depends on whether a second passed between two writes.
                    items.sort_by_key(|item| {
                        [&item["operation"], &item["manager"], &item["subresource"]]
                            .map(ToString::to_string)
                    });
                }
                items
                    .iter()
                    .map(|item| self.value(if key == "cells" { key } else { "" }, item))
                    .collect()
            }
            Value::Object(map) => {
                // Names made by the server are known before anything speaks of them.
                if let Some(Value::String(name)) = map.get("name")
                    && let Some(Value::String(prefix)) = map.get("generateName")
                    && name.starts_with(prefix.get(..58).unwrap_or(prefix))
                {
                    self.token("name", name);
                }
                let mut map = map.clone();
                if map.get("kind").is_some_and(|kind| kind == "Status") {
                    sort_causes(&mut map);
                }
                // An empty token says as little as none; the real server writes one now and then.
                map.retain(|key, value| key != "continue" || *value != "");
                // The version of a list or of a bookmark depends on what other cases do.
                let whole = map.contains_key("uid") || !map.contains_key("resourceVersion");
                if !whole {
                    map.insert("resourceVersion".to_owned(), Value::from(""));
                }
                let fields = map
                    .iter()
                    .map(|(name, child)| (name.clone(), self.value(name, child)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn named(&mut self, key: &str, text: &str) -> String {
        match key {
            "uid" if text.len() == 36 => self.token("uid", text),
            "resourceVersion" if !text.is_empty() => self.token("version", text),
            "continue" if !text.is_empty() => self.token("continue", text),
            "cells" if is_age(text) => "<age>".to_owned(),
            "creationTimestamp" | "deletionTimestamp" | "time" => "<time>".to_owned(),
            _ => self.text(text),
        }
    }

    /// Replaces what is known inside of a longer text.
    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, token) in self.seen.iter().filter(|(known, _)| known.len() > 8) {
            text = text.replace(known, token);
        }
        for (known, token) in &self.seen {
            if text == *known {
                text.clone_from(token);
            }
        }
        // A version that was only asked for.
        let mut parts = text.split("resourceVersion=");
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            shown.push_str("resourceVersion=");
            shown.push_str(if rest == part { "" } else { "<version>" });
            shown.push_str(rest);
        }
        shown
    }
}

/// The real server walks maps in any order and finds some faults twice: neither is compared.
fn sort_causes(status: &mut Map<String, Value>) {
    let Some(causes) = status
        .get_mut("details")
        .and_then(|details| details.get_mut("causes"))
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    causes.sort_by_key(ToString::to_string);
    causes.dedup();
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
    let mut list: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", text(cause, "field"), text(cause, "message")))
        .collect();
    list.sort();
    let Some(message) = status.get("message").and_then(Value::as_str) else {
        return;
    };
    let Some((start, rest)) = message.split_once(" is invalid: ") else {
        return;
    };
    if list.iter().all(|cause| rest.contains(cause.as_str())) {
        let message = format!("{start} is invalid: {}", list.join(", "));
        status.insert("message".to_owned(), Value::from(message));
    }
}

fn is_age(text: &str) -> bool {
    let number = text.trim_end_matches('s');
    number.len() < text.len() && number.parse::<u32>().is_ok()
}
