//! Sensor readings out of the old schema (Thermal, Power) and the new one (ThermalSubsystem,
//! PowerSubsystem, Sensors).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{health, id, is_absent, items, number, text, text_in};

/// What the sensors of a machine show.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensors {
    /// In degrees Celsius.
    pub temperatures: Vec<Reading>,
    /// In RPM or percent, see [`Reading::unit`].
    pub fans: Vec<Reading>,
    /// What the machine draws now, in watts.
    pub power_watts: Option<f64>,
    pub supplies: Vec<PowerSupply>,
    /// Resources that are linked and could not be read.
    pub gaps: Vec<String>,
}

/// One sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub name: String,
    pub value: Option<f64>,
    /// `Cel`, `RPM`, `%`.
    pub unit: String,
    /// `CPU`, `Intake`, …
    pub context: Option<String>,
    pub health: Option<String>,
    /// At or above this it is critical.
    pub upper_critical: Option<f64>,
    /// At or below this it is critical.
    pub lower_critical: Option<f64>,
}

/// A power supply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerSupply {
    pub name: String,
    /// `Enabled`, `UnavailableOffline`, …
    pub state: Option<String>,
    pub health: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub firmware_version: Option<String>,
    pub capacity_watts: Option<f64>,
    pub input_watts: Option<f64>,
    pub output_watts: Option<f64>,
}

fn name_of(body: &Value) -> String {
    text(body, "Name")
        .or_else(|| text(body, "FanName"))
        .or_else(|| text(body, "DeviceName"))
        .unwrap_or_else(|| id(body))
}

/// `Thermal.Temperatures`.
pub(crate) fn old_temperatures(thermal: &Value) -> Vec<Reading> {
    items(thermal, "Temperatures")
        .filter(|body| !is_absent(body))
        .map(|body| Reading {
            name: name_of(body),
            value: number(body, "ReadingCelsius"),
            unit: "Cel".to_owned(),
            context: text(body, "PhysicalContext"),
            health: health(body),
            upper_critical: number(body, "UpperThresholdCritical"),
            lower_critical: number(body, "LowerThresholdCritical"),
        })
        .collect()
}

/// `Thermal.Fans`.
pub(crate) fn old_fans(thermal: &Value) -> Vec<Reading> {
    items(thermal, "Fans")
        .filter(|body| !is_absent(body))
        .map(|body| {
            let unit = text(body, "ReadingUnits").unwrap_or_else(|| "RPM".to_owned());
            Reading {
                name: name_of(body),
                value: number(body, "Reading").or_else(|| number(body, "ReadingRPM")),
                unit: if unit == "Percent" {
                    "%".to_owned()
                } else {
                    unit
                },
                context: text(body, "PhysicalContext"),
                health: health(body),
                upper_critical: number(body, "UpperThresholdCritical"),
                lower_critical: number(body, "LowerThresholdCritical"),
            }
        })
        .collect()
}

/// `Power.PowerControl`: the sum over all controls that tell a draw.
pub(crate) fn old_power_watts(power: &Value) -> Option<f64> {
    items(power, "PowerControl")
        .filter_map(|control| number(control, "PowerConsumedWatts"))
        .reduce(|sum, watts| sum + watts)
}

/// `Power.PowerSupplies`.
pub(crate) fn old_supplies(power: &Value) -> Vec<PowerSupply> {
    items(power, "PowerSupplies")
        .filter(|body| !is_absent(body))
        .map(|body| PowerSupply {
            capacity_watts: number(body, "PowerCapacityWatts"),
            input_watts: number(body, "PowerInputWatts"),
            output_watts: number(body, "PowerOutputWatts")
                .or_else(|| number(body, "LastPowerOutputWatts")),
            ..supply(body)
        })
        .collect()
}

/// A `PowerSupply` resource.
pub(crate) fn supply(body: &Value) -> PowerSupply {
    PowerSupply {
        name: name_of(body),
        state: text_in(body, "Status", "State"),
        health: health(body),
        model: text(body, "Model"),
        serial_number: text(body, "SerialNumber"),
        firmware_version: text(body, "FirmwareVersion"),
        capacity_watts: number(body, "PowerCapacityWatts"),
        input_watts: None,
        output_watts: None,
    }
}

/// Adds the readings of a `PowerSupplyMetrics` resource.
pub(crate) fn add_metrics(supply: &mut PowerSupply, metrics: &Value) {
    let watts = |key| {
        metrics
            .get(key)
            .and_then(|sensor| number(sensor, "Reading"))
    };
    supply.input_watts = watts("InputPowerWatts");
    supply.output_watts = watts("OutputPowerWatts");
}

/// A `Fan` resource.
pub(crate) fn new_fan(body: &Value) -> Option<Reading> {
    if is_absent(body) {
        return None;
    }
    let speed = body.get("SpeedPercent").unwrap_or(&Value::Null);
    let (value, unit) = match number(speed, "SpeedRPM") {
        Some(rpm) => (Some(rpm), "RPM"),
        None => (number(speed, "Reading"), "%"),
    };
    Some(Reading {
        name: name_of(body),
        value,
        unit: unit.to_owned(),
        context: text(body, "PhysicalContext"),
        health: health(body),
        upper_critical: None,
        lower_critical: None,
    })
}

/// `ThermalMetrics.TemperatureReadingsCelsius`.
pub(crate) fn metric_temperatures(metrics: &Value) -> Vec<Reading> {
    items(metrics, "TemperatureReadingsCelsius")
        .map(|body| Reading {
            name: text(body, "DeviceName").unwrap_or_else(|| name_of(body)),
            value: number(body, "Reading"),
            unit: "Cel".to_owned(),
            context: text(body, "PhysicalContext"),
            ..Reading::default()
        })
        .collect()
}

/// What a `Sensor` resource measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SensorKind {
    Temperature,
    Fan,
    Power,
    Other,
}

/// A `Sensor` resource.
pub(crate) fn sensor(body: &Value) -> (SensorKind, Reading) {
    let kind = match text(body, "ReadingType").unwrap_or_default().as_str() {
        "Temperature" => SensorKind::Temperature,
        "Rotational" => SensorKind::Fan,
        "Power" => SensorKind::Power,
        _ => SensorKind::Other,
    };
    let threshold = |key| {
        let thresholds = body.get("Thresholds")?;
        number(thresholds.get(key)?, "Reading")
    };
    let reading = Reading {
        name: name_of(body),
        value: number(body, "Reading"),
        unit: text(body, "ReadingUnits").unwrap_or_default(),
        context: text(body, "PhysicalContext"),
        health: health(body),
        upper_critical: threshold("UpperCritical"),
        lower_critical: threshold("LowerCritical"),
    };
    (kind, reading)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_schema_is_read() {
        let thermal = json!({
            "Temperatures": [
                {"Name": "CPU1 Temp", "ReadingCelsius": 29, "PhysicalContext": "CPU",
                 "UpperThresholdCritical": 99, "Status": {"State": "Enabled", "Health": "OK"}},
                {"Name": "CPU9 Temp", "ReadingCelsius": null, "Status": {"State": "Absent"}},
            ],
            "Fans": [{"FanName": "FAN9", "Reading": 2240, "ReadingUnits": "RPM"},
                     {"Name": "Fan 1", "Reading": 20, "ReadingUnits": "Percent"}],
        });
        let temperatures = old_temperatures(&thermal);
        assert_eq!(temperatures.len(), 1);
        assert_eq!(temperatures[0].value, Some(29.0));
        assert_eq!(temperatures[0].upper_critical, Some(99.0));
        let fans = old_fans(&thermal);
        assert_eq!(
            (fans[0].name.as_str(), fans[0].unit.as_str()),
            ("FAN9", "RPM")
        );
        assert_eq!(fans[1].unit, "%");
        let power = json!({
            "PowerControl": [{"PowerConsumedWatts": 614}, {"Name": "no draw"}],
            "PowerSupplies": [{"Name": "PS1", "PowerOutputWatts": 273.0, "PowerInputWatts": 303.0,
                               "Status": {"State": "Enabled", "Health": "OK"}}],
        });
        assert_eq!(old_power_watts(&power), Some(614.0));
        assert_eq!(old_supplies(&power)[0].input_watts, Some(303.0));
        assert_eq!(old_power_watts(&json!({"PowerControl": [{}]})), None);
    }

    #[test]
    fn new_schema_is_read() {
        let fan = new_fan(&json!({"Name": "F", "SpeedPercent": {"Reading": 45, "SpeedRPM": 9000}}));
        assert_eq!(fan.unwrap().value, Some(9000.0));
        let (kind, reading) = sensor(&json!({
            "Id": "t", "ReadingType": "Temperature", "Reading": 23.5, "ReadingUnits": "Cel",
            "Thresholds": {"UpperCritical": {"Reading": 42}},
        }));
        assert_eq!(kind, SensorKind::Temperature);
        assert_eq!(
            (reading.name.as_str(), reading.upper_critical),
            ("t", Some(42.0))
        );
        let mut supply = supply(&json!({"Id": "0", "PowerCapacityWatts": 1600}));
        add_metrics(&mut supply, &json!({"InputPowerWatts": {"Reading": 200.5}}));
        assert_eq!(supply.input_watts, Some(200.5));
    }
}
