//! `<words>` of the tree that are facts of a single BMC, filled in when a resource is read.

use serde_json::{Value, json};

use crate::bmc::{Bmc, Power, State};

/// Fills in every string below `value`; a string that is one word becomes what the word stands for.
pub(super) fn fill(value: &mut Value, bmc: &Bmc, state: &State, number: usize) {
    match value {
        Value::String(text) if text.contains('<') => {
            if let Some(word) = text
                .strip_prefix('<')
                .and_then(|text| text.strip_suffix('>'))
                && let Some(fact) = fact(word, bmc, state, number)
            {
                *value = fact;
                return;
            }
            *text = replaced(text, bmc, state, number);
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| fill(item, bmc, state, number)),
        Value::Object(properties) => {
            properties
                .values_mut()
                .for_each(|value| fill(value, bmc, state, number));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replaced(text: &str, bmc: &Bmc, state: &State, number: usize) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        filled.push_str(before);
        let Some((word, after)) = after.split_once('>') else {
            filled.push('<');
            rest = after;
            continue;
        };
        match fact(word, bmc, state, number) {
            Some(Value::String(fact)) => filled.push_str(&fact),
            Some(fact) => filled.push_str(&fact.to_string()),
            None => filled.push_str(word),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn fact(word: &str, bmc: &Bmc, state: &State, number: usize) -> Option<Value> {
    let identity = &bmc.identity;
    let is_on = matches!(state.power, Power::On | Power::PoweringOn);
    let when_on = |on: u32, off: u32| json!(if is_on { on } else { off });
    let mac = || identity.macs.get(number.checked_sub(1)?);
    let drive = || identity.drives.get(number.checked_sub(1)?);
    Some(match word {
        "name" | "serial" => json!(identity.name),
        "uuid" => json!(identity.uuid),
        "address" => json!(identity.address),
        "bmc-mac" => json!(identity.bmc_mac),
        "mac" => json!(mac()?),
        "mac-plain" => json!(mac()?.replace(':', "")),
        "link" => json!(if number == 1 { "LinkUp" } else { "LinkDown" }),
        "drive-serial" => json!(drive()?.serial),
        "drive-bytes" => json!(drive()?.bytes),
        "celsius" => when_on(46, 24),
        "rpm" => when_on(7200, 0),
        "fan-percent" => when_on(45, 0),
        "watts" => when_on(320, 18),
        "half-watts" => when_on(160, 9),
        _ => return None,
    })
}
