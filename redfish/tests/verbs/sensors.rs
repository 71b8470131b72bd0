//! Sensors in the old and the new schema.

use serde_json::json;

use crate::fixture::{Service, collection};

#[tokio::test]
async fn sensors_come_from_the_new_schema_where_the_old_is_missing() {
    let chassis = "/redfish/v1/Chassis/1";
    let to = |name: &str| json!({"@odata.id": format!("{chassis}/{name}")});
    let service = Service::machine(
        json!({}),
        vec![
            json!({"@odata.id": chassis, "ThermalSubsystem": to("ThermalSubsystem"),
                   "PowerSubsystem": to("PowerSubsystem"), "Sensors": to("Sensors"),
                   "EnvironmentMetrics": to("EnvironmentMetrics")}),
            json!({"@odata.id": format!("{chassis}/ThermalSubsystem"), "Fans": to("Fans")}),
            collection(&format!("{chassis}/Fans"), &["/redfish/v1/Chassis/1/Fans/1"]),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Fans/1", "Name": "Fan 1",
                   "SpeedPercent": {"Reading": 30, "SpeedRPM": 6000}}),
            json!({"@odata.id": format!("{chassis}/PowerSubsystem"), "PowerSupplies": to("Supplies")}),
            collection(&format!("{chassis}/Supplies"), &["/redfish/v1/Chassis/1/Supplies/0"]),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Supplies/0", "Name": "PSU0",
                   "Metrics": to("Supplies/0/Metrics")}),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Supplies/0/Metrics",
                   "InputPowerWatts": {"Reading": 250.5}}),
            json!({"@odata.id": "/redfish/v1/Chassis/1/EnvironmentMetrics",
                   "PowerWatts": {"Reading": 480}}),
            collection(&format!("{chassis}/Sensors"), &["/redfish/v1/Chassis/1/Sensors/t"]),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Sensors/t", "Name": "Inlet",
                   "ReadingType": "Temperature", "Reading": 22, "ReadingUnits": "Cel"}),
        ],
    )
    .await;
    let sensors = service.client().sensors().await.unwrap();
    assert_eq!(sensors.fans[0].value, Some(6000.0));
    assert_eq!(sensors.supplies[0].input_watts, Some(250.5));
    assert_eq!(sensors.power_watts, Some(480.0));
    assert_eq!(sensors.temperatures[0].name, "Inlet");
    assert!(sensors.gaps.is_empty());
}
