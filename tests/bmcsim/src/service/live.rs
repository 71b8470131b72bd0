//! What the simulator adds to a resource: the parts that change, and those that depend on the profile.

use serde_json::{Map, Value, json};

use super::view::Thing;
use crate::bmc::{Bmc, Power, State};
use crate::boot::BootOverride;
use crate::clock;
use crate::faults::merge;
use crate::profile::{BootPlace, ResetTypes};
use crate::sel::stamp;
use crate::tls;
use crate::tree::{Live, address};

/// Adds to `body` what its kind calls for.
pub(super) fn add(body: &mut Value, bmc: &Bmc, state: &State, path: &str, live: Live) {
    let here = address(path);
    let action = |name: &str| json!({"target": format!("{here}/Actions/{name}")});
    let added = match live {
        Live::Nothing => return,
        Live::Root => {
            if bmc.profile.vendor.is_none() {
                merge(body, &json!({"Vendor": null}));
            }
            return;
        }
        Live::SessionService => json!({"SessionTimeout": bmc.profile.session_timeout_s}),
        Live::AccountService => {
            let lockout = bmc.profile.lockout;
            json!({
                "AccountLockoutThreshold": lockout.map_or(0, |lockout| lockout.strikes),
                "AccountLockoutDuration": lockout.map_or(0, |lockout| lockout.seconds),
                "AccountLockoutCounterResetAfter": lockout.map_or(0, |lockout| lockout.seconds),
            })
        }
        Live::System => system(body, bmc, state, path),
        Live::Settings => {
            let waiting = state.pending_boot.as_ref().unwrap_or(&state.boot);
            let mut boot = boot(bmc, waiting, true, true);
            set(
                &mut boot,
                "BootOrder",
                json!(boot_order(bmc, state, path.trim_end_matches("/SD"))),
            );
            json!({"Boot": boot})
        }
        Live::ActionInfo => json!({"Parameters": [{
            "Name": "ResetType",
            "Required": true,
            "DataType": "String",
            "AllowableValues": bmc.profile.resets,
        }]}),
        Live::Bios => json!({"Actions": {"#Bios.ResetBios": action("Bios.ResetBios")}}),
        Live::Chassis => json!({"PowerState": shown_power(state)}),
        Live::Manager => json!({"Actions": {"#Manager.Reset": {
            "target": format!("{here}/Actions/Manager.Reset"),
            "ResetType@Redfish.AllowableValues": ["GracefulRestart", "ForceRestart"],
        }}}),
        Live::Certificate => json!({
            "CertificateString": bmc.line.certificate().pem,
            "ValidNotBefore": tls::VALID.0,
            "ValidNotAfter": tls::VALID.1,
            "Issuer": {"CommonName": "rcgen self signed cert"},
            "Subject": {"CommonName": "rcgen self signed cert"},
        }),
        Live::CertificateService => json!({"Actions": {
            "#CertificateService.ReplaceCertificate": action("CertificateService.ReplaceCertificate"),
        }}),
        Live::Log => json!({"Actions": {"#LogService.ClearLog": action("LogService.ClearLog")}}),
        Live::Media => {
            let is_inserted = state
                .written
                .get(path)
                .and_then(|written| written.get("Inserted"));
            let is_inserted = is_inserted == Some(&json!(true));
            let mut actions = json!({});
            if !bmc.profile.hides_media_actions || !is_inserted {
                set(
                    &mut actions,
                    "#VirtualMedia.InsertMedia",
                    action("VirtualMedia.InsertMedia"),
                );
            }
            if !bmc.profile.hides_media_actions || is_inserted {
                set(
                    &mut actions,
                    "#VirtualMedia.EjectMedia",
                    action("VirtualMedia.EjectMedia"),
                );
            }
            json!({"Actions": actions})
        }
    };
    merge(body, &added);
}

/// The time, which is no part of a resource's version.
pub(super) fn add_clock(body: &mut Value, thing: &Thing) {
    let Thing::Resource {
        live: Live::Manager | Live::Log,
        ..
    } = thing
    else {
        return;
    };
    if let Some(properties) = body.as_object_mut() {
        properties.insert("DateTime".to_owned(), json!(stamp(clock::now())));
    }
}

fn shown_power(state: &State) -> Value {
    match &state.habits.shows_power {
        Some(power) => json!(power),
        None => json!(state.power),
    }
}

fn system(body: &Value, bmc: &Bmc, state: &State, path: &str) -> Value {
    let here = address(path);
    let mut reset = json!({"target": format!("{here}/Actions/ComputerSystem.Reset")});
    let listed = match bmc.profile.reset_types {
        ResetTypes::Inline => Some((
            "ResetType@Redfish.AllowableValues",
            json!(bmc.profile.resets),
        )),
        ResetTypes::ActionInfo => Some((
            "@Redfish.ActionInfo",
            json!(format!("{here}/ResetActionInfo")),
        )),
        ResetTypes::Unlisted => None,
    };
    if let Some((property, value)) = listed {
        set(&mut reset, property, value);
    }
    let mut own = boot(
        bmc,
        &state.boot,
        bmc.profile.lists_boot_targets,
        bmc.profile.lists_boot_enabled,
    );
    if bmc.tree.get(&format!("{path}/BootOptions")).is_some() {
        let options = format!("{path}/BootOptions");
        set(
            &mut own,
            "BootOptions",
            json!({"@odata.id": address(&options)}),
        );
        set(&mut own, "BootOrder", json!(boot_order(bmc, state, path)));
    }
    let progress = match state.power {
        Power::On => "OSRunning",
        Power::PoweringOn => "SystemHardwareInitializationComplete",
        Power::Off | Power::PoweringOff => "None",
    };
    let mut added = json!({
        "PowerState": shown_power(state),
        "BootProgress": {"LastState": progress},
        "Actions": {"#ComputerSystem.Reset": reset},
        "Boot": own,
    });
    if let Some(more) = body.get("Boot") {
        merge(&mut added, &json!({"Boot": more}));
    }
    if bmc.profile.boot_place == BootPlace::SettingsObject {
        set(
            &mut added,
            "@Redfish.Settings",
            json!({
                "@odata.type": "#Settings.v1_3_5.Settings",
                "SettingsObject": {"@odata.id": format!("{here}/SD")},
            }),
        );
    }
    added
}

/// References of all boot options in the order they are tried.
pub(super) fn boot_order(bmc: &Bmc, state: &State, system: &str) -> Vec<String> {
    state.boot_order.clone().unwrap_or_else(|| {
        let options = bmc.tree.below(&format!("{system}/BootOptions"));
        options
            .iter()
            .filter(|(_, node)| node.needs.is_none() || node.number <= bmc.identity.macs.len())
            .filter_map(|(_, node)| {
                Some(node.body.get("BootOptionReference")?.as_str()?.to_owned())
            })
            .collect()
    })
}

fn boot(bmc: &Bmc, current: &BootOverride, lists_targets: bool, lists_enabled: bool) -> Value {
    let mut boot = json!({
        "BootSourceOverrideEnabled": current.enabled,
        "BootSourceOverrideTarget": current.target,
        "BootSourceOverrideMode": current.mode,
    });
    if let Some(uri) = &current.http_boot_uri {
        set(&mut boot, "HttpBootUri", json!(uri));
    }
    if lists_targets {
        set(
            &mut boot,
            "BootSourceOverrideTarget@Redfish.AllowableValues",
            json!(bmc.profile.boot_targets),
        );
    }
    if lists_enabled {
        set(
            &mut boot,
            "BootSourceOverrideEnabled@Redfish.AllowableValues",
            json!(bmc.profile.boot_enabled),
        );
    }
    boot
}

fn set(resource: &mut Value, property: &str, value: Value) {
    if let Some(properties) = resource.as_object_mut() {
        let properties: &mut Map<String, Value> = properties;
        properties.insert(property.to_owned(), value);
    }
}
