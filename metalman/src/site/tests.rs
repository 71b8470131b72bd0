use metalman_api::operation::OperationKind;
use serde_json::{Value, json};

use super::*;
use crate::{
    bmc::Seen,
    domain::facts::{BootOverride, Power, Trouble},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What a reader is told of what `write` does.
fn told(site: &Site, write: impl FnOnce(&Site)) -> Changed {
    let inbox = site.subscribe();
    inbox.take();
    write(site);
    inbox.take()
}

fn seen(power: Power) -> BmcReading {
    BmcReading::Seen(Seen {
        power,
        boot_override: BootOverride::None,
        fingerprint: None,
    })
}

#[test]
fn a_reading_is_told_when_it_brings_something_new() {
    let site = Site::new("lab");
    let of_n1 = Changed {
        machines: ["n1".to_owned()].into(),
        ..Changed::default()
    };
    let trouble = || {
        BmcReading::Trouble(Trouble {
            reason: "TimedOut".into(),
            message: "no answer".into(),
            transient: true,
            at: at(5),
        })
    };
    for (second, reading, is_news) in [
        (1, seen(Power::On), true),
        (2, seen(Power::On), false),
        (3, seen(Power::Off), true),
        (4, seen(Power::Off), false),
        (5, trouble(), true),
        (6, seen(Power::Off), true),
        (7, seen(Power::Off), false),
    ] {
        let changed = told(&site, |site| site.remember("n1", reading, at(second)));
        let wanted = if is_news { &of_n1 } else { &Changed::default() };
        assert_eq!(&changed, wanted, "second {second}");
    }
    // It is remembered all the same.
    let power = site.memory("n1").power.unwrap();
    assert_eq!((power.value, power.at), (Power::Off, at(7)));
}

#[test]
fn a_status_concerns_those_who_show_it_alone() {
    let site = Site::new("lab");
    let machine = |change: Value| {
        let mut machine = json!({
            "metadata": { "name": "n1", "uid": "u", "generation": 1 }, "spec": {},
        });
        json_patch::merge(&mut machine, &change);
        serde_json::from_value::<Machine>(machine).unwrap()
    };
    let first = told(&site, |site| site.apply_machine(&machine(json!({}))));
    assert!(first.objects && first.has_machine("n1"));
    let status = machine(json!({ "status": { "message": "m" } }));
    let second = told(&site, |site| site.apply_machine(&status));
    assert!(!second.objects && !second.has_machine("n1"));
    assert!(second.shown.machines.contains("n1"));
    let spec = machine(json!({ "spec": { "pxe": { "image": "i", "dhcpLeases": [] } } }));
    assert!(told(&site, |site| site.apply_machine(&spec)).objects);

    let operation = |generation: i64, uid: &str| {
        serde_json::from_value::<MachineOperation>(json!({
            "metadata": { "name": "o", "uid": uid, "generation": generation },
            "spec": { "machineRef": "n1", "operationKind": OperationKind::HostReboot },
        }))
        .unwrap()
    };
    for (generation, uid, is_whole) in [
        (1, "u", true),
        (1, "u", false),
        (2, "u", true),
        (2, "v", true),
    ] {
        let operation = operation(generation, uid);
        let changed = told(&site, |site| site.apply_operation(operation));
        assert_eq!(changed.has_operation("o"), is_whole, "{generation} {uid}");
        assert_eq!(changed.shown.operations.contains("o"), !is_whole);
    }
}
