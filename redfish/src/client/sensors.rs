//! Reading the sensors, in the old schema where it is offered and in the new one otherwise.
//!
//! The old schema comes first although it is deprecated: two requests give everything, where the
//! new one takes one per fan and supply.

use super::Client;
use crate::error::Error;
use crate::model::sensors::{
    SensorKind, add_metrics, metric_temperatures, new_fan, old_fans, old_power_watts, old_supplies,
    old_temperatures, sensor, supply,
};
use crate::model::{Chassis, Sensors, link, number};
use crate::operation::Operation;

const OPERATION: Operation = Operation::ReadSensors;
/// Members read of each collection.
const MEMBER_LIMIT: usize = 256;

impl Client {
    /// Reads all sensors of the machine's chassis. What fails by itself is left out and named in
    /// [`Sensors::gaps`]; a BMC without sensors gives an empty reading.
    pub async fn sensors(&self) -> Result<Sensors, Error> {
        let mut read = Sensors::default();
        let Some(chassis) = self.chassis().await? else {
            return Ok(read);
        };
        self.read_old(&chassis, &mut read).await?;
        self.read_thermal_subsystem(&chassis, &mut read).await?;
        self.read_power_subsystem(&chassis, &mut read).await?;
        if read.temperatures.is_empty() || read.fans.is_empty() || read.power_watts.is_none() {
            self.read_single_sensors(&chassis, &mut read).await?;
        }
        Ok(read)
    }

    async fn read_old(&self, chassis: &Chassis, read: &mut Sensors) -> Result<(), Error> {
        if let Some(path) = &chassis.thermal
            && let Some(thermal) = self.get_or_note(OPERATION, path, &mut read.gaps).await?
        {
            read.temperatures = old_temperatures(&thermal.body);
            read.fans = old_fans(&thermal.body);
        }
        if let Some(path) = &chassis.power
            && let Some(power) = self.get_or_note(OPERATION, path, &mut read.gaps).await?
        {
            read.power_watts = old_power_watts(&power.body);
            read.supplies = old_supplies(&power.body);
        }
        Ok(())
    }

    async fn read_thermal_subsystem(
        &self,
        chassis: &Chassis,
        read: &mut Sensors,
    ) -> Result<(), Error> {
        let Some(path) = &chassis.thermal_subsystem else {
            return Ok(());
        };
        if !read.temperatures.is_empty() && !read.fans.is_empty() {
            return Ok(());
        }
        let Some(thermal) = self.get_or_note(OPERATION, path, &mut read.gaps).await? else {
            return Ok(());
        };
        if read.fans.is_empty()
            && let Some(path) = link(&thermal.body, "Fans")
        {
            let fans = self.collect(OPERATION, &path, MEMBER_LIMIT).await?;
            read.gaps.extend(fans.gaps);
            read.fans = fans.members.iter().filter_map(new_fan).collect();
        }
        if read.temperatures.is_empty()
            && let Some(path) = link(&thermal.body, "ThermalMetrics")
            && let Some(metrics) = self.get_or_note(OPERATION, &path, &mut read.gaps).await?
        {
            read.temperatures = metric_temperatures(&metrics.body);
        }
        Ok(())
    }

    async fn read_power_subsystem(
        &self,
        chassis: &Chassis,
        read: &mut Sensors,
    ) -> Result<(), Error> {
        if read.supplies.is_empty()
            && let Some(path) = &chassis.power_subsystem
            && let Some(power) = self.get_or_note(OPERATION, path, &mut read.gaps).await?
            && let Some(path) = link(&power.body, "PowerSupplies")
        {
            let supplies = self.collect(OPERATION, &path, MEMBER_LIMIT).await?;
            read.gaps.extend(supplies.gaps);
            for body in &supplies.members {
                let mut supply = supply(body);
                if let Some(path) = link(body, "Metrics")
                    && let Some(metrics) =
                        self.get_or_note(OPERATION, &path, &mut read.gaps).await?
                {
                    add_metrics(&mut supply, &metrics.body);
                }
                read.supplies.push(supply);
            }
        }
        if read.power_watts.is_none()
            && let Some(path) = &chassis.environment
            && let Some(environment) = self.get_or_note(OPERATION, path, &mut read.gaps).await?
        {
            read.power_watts = environment
                .body
                .get("PowerWatts")
                .and_then(|sensor| number(sensor, "Reading"));
        }
        if read.power_watts.is_none() {
            let drawn = read.supplies.iter().filter_map(|supply| supply.input_watts);
            read.power_watts = drawn.reduce(|sum, watts| sum + watts);
        }
        Ok(())
    }

    async fn read_single_sensors(
        &self,
        chassis: &Chassis,
        read: &mut Sensors,
    ) -> Result<(), Error> {
        let Some(path) = &chassis.sensors else {
            return Ok(());
        };
        let sensors = self.collect(OPERATION, path, MEMBER_LIMIT).await?;
        read.gaps.extend(sensors.gaps);
        let (no_temperatures, no_fans) = (read.temperatures.is_empty(), read.fans.is_empty());
        for body in &sensors.members {
            match sensor(body) {
                (SensorKind::Temperature, reading) if no_temperatures => {
                    read.temperatures.push(reading);
                }
                (SensorKind::Fan, reading) if no_fans => read.fans.push(reading),
                (SensorKind::Power, reading)
                    if read.power_watts.is_none()
                        && reading.context.as_deref() == Some("Chassis") =>
                {
                    read.power_watts = reading.value;
                }
                (
                    SensorKind::Temperature
                    | SensorKind::Fan
                    | SensorKind::Power
                    | SensorKind::Other,
                    _,
                ) => {}
            }
        }
        Ok(())
    }
}
