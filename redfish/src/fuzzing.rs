//! Hostile answers of a BMC, with what must hold whatever they are.
//!
//! Called by cargo-fuzz (`tests/fuzz`) and by ordinary tests; compiled for these two only.
//! Invariant: a model is read from any JSON without a panic, and what it holds is fit for use.

use serde_json::Value;

use crate::{
    boot::{BootOverride, BootSourceOverrideTarget},
    discovery::choose_system,
    model::{
        Interface, LogEntry, Messages, ServiceRoot, System, TaskOutcome, action_parameter,
        error_in_success, link, members, sensors, task_outcome,
    },
    power::{ResetPlan, ResetType, choose_reset},
};

/// A status, and a body that may be any resource.
pub fn models(data: &[u8]) {
    let Some((status, body)) = data.split_first() else {
        return;
    };
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let root = ServiceRoot::parse(&body);
    for text in [&root.vendor, &root.product, &root.systems, &root.sessions] {
        fit(text.as_deref());
    }
    fit(link(&body, "Systems").as_deref());
    for member in members(&body) {
        fit(Some(&member));
    }
    let words = action_parameter(&body, "ResetType", ResetType::parse);
    let status = 200 + u16::from(*status);
    match task_outcome(status, &body) {
        TaskOutcome::Running { state } | TaskOutcome::Waiting { state } => {
            assert!(!state.is_empty(), "runs in no state");
        }
        TaskOutcome::Failed { state, .. } => assert!(!state.is_empty(), "failed in no state"),
        TaskOutcome::Done => {}
    }
    if let Some(error) = error_in_success(&body) {
        assert!(error.len() < 64 << 10, "an error of {} bytes", error.len());
    }
    let messages = Messages::parse(&body);
    assert!(
        messages.text.len() < 64 << 10,
        "{} bytes",
        messages.text.len()
    );
    parts_hold(&body);
    if let Some(system) = System::parse(&body, None) {
        system_holds(&system, &words);
    }
}

fn parts_hold(body: &Value) {
    let readings = [
        sensors::old_temperatures(body),
        sensors::old_fans(body),
        sensors::metric_temperatures(body),
    ];
    for reading in readings.iter().flatten() {
        assert!(reading.value.is_none_or(f64::is_finite), "{reading:?}");
    }
    let interface = Interface::parse(body);
    for mac in [&interface.mac, &interface.permanent_mac]
        .into_iter()
        .flatten()
    {
        assert!(mac.len() == 17 && interface.has_mac(mac), "{mac}");
    }
    let entry = LogEntry::parse(body);
    assert!(!entry.message.chars().any(char::is_control), "{entry:?}");
}

fn system_holds(system: &System, words: &[ResetType]) {
    fit(Some(&system.id));
    for text in [&system.serial_number, &system.uuid, &system.reset_target] {
        fit(text.as_deref());
    }
    let one = std::slice::from_ref(system);
    let chosen = choose_system(Some(&system.id), one);
    assert!(
        chosen.is_ok_and(|found| found.id == system.id),
        "is not found by its id"
    );
    for offered in [&system.reset_types, words] {
        if let Some(ResetPlan::Send(kind)) = choose_reset(ResetType::On, offered) {
            assert!(
                offered.is_empty() || offered.contains(&kind),
                "{kind:?} is not offered"
            );
        }
    }
    if let Some(boot) = &system.boot {
        let wanted = BootOverride::once(BootSourceOverrideTarget::Pxe);
        if let Ok(fitted) = crate::boot::fit(&wanted, boot) {
            let offered = &boot.allowed_targets;
            assert!(
                offered.is_empty() || offered.contains(&fitted.target),
                "{fitted:?}"
            );
        }
    }
}

/// A text is there, or it has something to say.
fn fit(text: Option<&str>) {
    assert!(
        text.is_none_or(|text| !text.trim().is_empty()),
        "a blank text"
    );
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::models;
    use crate::model::arbitrary::json;

    #[test]
    fn the_kept_corpus_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/redfish");
        let mut inputs = 0;
        for entry in fs::read_dir(folder).expect("the corpus is in the repository") {
            let path = entry.expect("lists").path();
            println!("{}", path.display());
            models(&fs::read(path).expect("reads"));
            inputs += 1;
        }
        assert!(inputs > 10, "{inputs} inputs");
    }

    proptest! {
        #[test]
        fn random_json_holds(status: u8, body in json()) {
            let mut bytes = vec![status];
            bytes.extend(body.to_string().bytes());
            models(&bytes);
        }
    }
}
