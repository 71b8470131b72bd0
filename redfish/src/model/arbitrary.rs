//! Arbitrary JSON around the member names that the parsers look for.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

const NAMES: &[&str] = &[
    "@odata.id",
    "@odata.etag",
    "@Redfish.Settings",
    "SettingsObject",
    "Id",
    "Boot",
    "BootSourceOverrideTarget",
    "BootSourceOverrideTarget@Redfish.AllowableValues",
    "BootSourceOverrideEnabled",
    "Actions",
    "#ComputerSystem.Reset",
    "ResetType@Redfish.AllowableValues",
    "target",
    "error",
    "code",
    "message",
    "@Message.ExtendedInfo",
    "Message",
    "MessageId",
    "Severity",
    "Resolution",
    "TaskState",
    "TaskStatus",
    "Messages",
    "Members",
    "Parameters",
    "Name",
    "Links",
    "Sessions",
    "Oem",
    "PowerState",
    "Status",
    "State",
    "Health",
    "MessageArgs",
    "PasswordChangeRequired",
    "Boot@Message.ExtendedInfo",
    "Temperatures",
    "Fans",
    "PowerControl",
    "PowerSupplies",
    "PowerConsumedWatts",
    "Reading",
    "SpeedPercent",
    "Thresholds",
    "UpperCritical",
    "Identifiers",
    "DurableName",
    "Created",
    "MACAddress",
    "DisplayName",
    "UefiDevicePath",
    "MediaTypes",
    "SSH",
    "Attributes",
];

/// JSON of any shape, depth and content.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        select(
            &[
                "On",
                "Pxe",
                "Once",
                "ResetType",
                "Completed",
                "/redfish/v1/Systems/1",
                "/",
                ""
            ][..]
        )
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((select(NAMES), inner), 0..8).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}
