//! Facts of real BMCs, and that nothing a BMC sends makes a parser panic.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::boot::{BootSourceOverrideEnabled, BootSourceOverrideTarget};
use crate::power::{PowerState, ResetType};

#[test]
fn system_with_inline_reset_types_is_read() {
    let body = json!({
        "@odata.id": "/redfish/v1/Systems/System.Embedded.1",
        "PowerState": "On",
        "SerialNumber": " CN1 ",
        "UUID": null,
        "Boot": {
            "BootSourceOverrideEnabled": "Disabled",
            "BootSourceOverrideMode": "UEFI",
            "BootSourceOverrideTarget": "None",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "NewThing", "UefiHttp"],
        },
        "Actions": {"#ComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/System.Embedded.1/Actions/ComputerSystem.Reset",
            "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "SomethingNew", "PowerCycle"],
        }},
    });
    let system = System::parse(&body, Some("W/\"7\"".to_owned())).unwrap();
    assert_eq!(system.id, "System.Embedded.1");
    assert_eq!(system.power_state, PowerState::On);
    assert_eq!(system.serial_number.as_deref(), Some("CN1"));
    assert_eq!(system.uuid, None);
    assert_eq!(system.etag.as_deref(), Some("W/\"7\""));
    assert_eq!(
        system.reset_types,
        [ResetType::On, ResetType::ForceOff, ResetType::PowerCycle]
    );
    assert!(system.is_bootable());
    let boot = system.boot.unwrap();
    assert_eq!(boot.current.enabled, BootSourceOverrideEnabled::Disabled);
    assert_eq!(
        boot.allowed_targets,
        [
            BootSourceOverrideTarget::None,
            BootSourceOverrideTarget::Pxe,
            BootSourceOverrideTarget::UefiHttp
        ]
    );
    assert!(boot.reports_mode);
}

#[test]
fn a_system_without_a_name_is_none() {
    for odata_id in ["/", "//", "/ /"] {
        assert_eq!(System::parse(&json!({ "@odata.id": odata_id }), None), None);
    }
}

#[test]
fn settings_object_and_action_info_are_found() {
    let body = json!({
        "@odata.id": "/redfish/v1/Systems/DGX", "Id": "DGX", "@odata.etag": "\"17\"",
        "Boot": {"BootSourceOverrideTarget": "None", "BootSourceOverrideMode": null},
        "@Redfish.Settings": {"SettingsObject": {"@odata.id": "/redfish/v1/Systems/DGX/SD"}},
        "Actions": {"#ComputerSystem.Reset": {
            "@Redfish.ActionInfo": "/redfish/v1/Systems/DGX/ResetActionInfo",
            "target": "/redfish/v1/Systems/DGX/Actions/ComputerSystem.Reset",
        }},
    });
    let system = System::parse(&body, None).unwrap();
    assert_eq!(
        system.settings.as_deref(),
        Some("/redfish/v1/Systems/DGX/SD")
    );
    assert_eq!(
        system.reset_action_info.as_deref(),
        Some("/redfish/v1/Systems/DGX/ResetActionInfo")
    );
    assert_eq!(system.etag.as_deref(), Some("\"17\""));
    assert!(!system.boot.unwrap().reports_mode);
}

#[test]
fn system_without_boot_is_not_bootable() {
    let body = json!({"@odata.id": "/redfish/v1/Systems/HGX_Baseboard_0", "PowerState": "On"});
    assert!(!System::parse(&body, None).unwrap().is_bootable());
}

#[test]
fn action_info_lists_reset_types() {
    let body = json!({"Parameters": [
        {"Name": "Other", "AllowableValues": ["Nmi"]},
        {"Name": "ResetType", "AllowableValues": ["ForceOff", "On"]},
    ]});
    assert_eq!(
        action_parameter(&body, "ResetType", ResetType::parse),
        [ResetType::ForceOff, ResetType::On]
    );
}

#[test]
fn extended_info_becomes_one_readable_line() {
    let body = json!({"error": {
        "code": "Base.1.8.GeneralError", "message": "see ExtendedInfo",
        "@Message.ExtendedInfo": [
            {"MessageId": "IDRAC.2.8.RAC0218", "Message": "The maximum number of\nuser sessions is reached.",
             "Resolution": "Close unused sessions."},
            {"MessageId": "Base.1.8.SessionLimitExceeded"},
        ],
    }});
    let messages = Messages::parse(&body);
    assert_eq!(
        messages.text,
        "The maximum number of user sessions is reached. (Close unused sessions.) Base.1.8.SessionLimitExceeded"
    );
    assert!(messages.has("SessionLimitExceeded") && messages.has("RAC0218"));
}

#[test]
fn good_status_with_an_error_body_is_an_error() {
    assert_eq!(error_in_success(&json!({"Id": "1"})), None);
    let success =
        json!({"error": {"code": "Base.1.0.Success", "message": "Successfully Completed"}});
    assert_eq!(error_in_success(&success), None);
    let failure = json!({"error": {"code": "Base.1.0.GeneralError", "message": "it broke"}});
    assert_eq!(error_in_success(&failure), Some("it broke".to_owned()));
}

#[test]
fn tasks_are_judged_by_state_then_by_status() {
    assert_eq!(task_outcome(204, &json!(null)), TaskOutcome::Done);
    assert_eq!(task_outcome(404, &json!(null)), TaskOutcome::Done);
    assert!(matches!(
        task_outcome(202, &json!({})),
        TaskOutcome::Running { .. }
    ));
    assert!(matches!(
        task_outcome(200, &json!({"TaskState": "Running"})),
        TaskOutcome::Running { .. }
    ));
    assert_eq!(
        task_outcome(200, &json!({"TaskState": "Completed", "TaskStatus": "OK"})),
        TaskOutcome::Done
    );
    assert_eq!(
        task_outcome(
            200,
            &json!({"TaskState": "Exception", "Messages": [{"Message": "no power"}]})
        ),
        TaskOutcome::Failed {
            state: "Exception".into(),
            message: "no power".into()
        }
    );
}

proptest! {
    #[test]
    fn no_json_makes_a_parser_panic(body in arbitrary::json(), status in 200_u16..600) {
        ServiceRoot::parse(&body);
        System::parse(&body, None);
        Boot::parse(&body);
        action_parameter(&body, "ResetType", ResetType::parse);
        action_parameters(&body);
        Processor::parse(&body);
        MemoryModule::parse(&body);
        Drive::parse(&body);
        Interface::parse(&body);
        Firmware::parse(&body);
        Manager::parse(&body);
        Chassis::parse(&body);
        VirtualMedia::parse(&body, None);
        Account::parse(&body, None);
        LockoutPolicy::parse(&body);
        BootOption::parse(&body).is_network();
        LogEntry::parse(&body).age_key();
        log_rank(&body);
        sensors::old_temperatures(&body);
        sensors::old_fans(&body);
        sensors::old_power_watts(&body);
        sensors::old_supplies(&body);
        sensors::metric_temperatures(&body);
        sensors::new_fan(&body);
        sensors::sensor(&body);
        task_outcome(status, &body);
        error_in_success(&body);
        members(&body);
        let text = Messages::parse(&body).text;
        prop_assert!(text.chars().count() <= 400 && !text.chars().any(char::is_control));
    }
}
