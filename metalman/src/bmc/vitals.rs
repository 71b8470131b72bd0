//! What is read of every BMC now and then, without being asked: health, a summary of the sensors,
//! firmware versions, the newest log entry, sessions, the certificate.

use redfish::{Client, Error, Sensors};
use serde::{Deserialize, Serialize};

use super::{CertificateFacts, errand::Errand, questions::if_offered};
use crate::domain::health::Health;

/// Sensors that are named when they are not well.
const NAMED: usize = 8;
/// A move of the hottest sensor that is worth keeping, in degrees Celsius.
const WARMER: f64 = 5.0;
/// A move of the power draw that is worth keeping, in watts.
const THIRSTIER: f64 = 50.0;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    /// `Status.Health` of the system.
    pub system_health: Option<String>,
    /// `Status.Health` of the manager.
    pub manager_health: Option<String>,
    /// Version of the system firmware.
    pub bios_version: Option<String>,
    /// Version of the BMC's firmware.
    pub firmware_version: Option<String>,
    /// The sensors in short.
    pub sensors: SensorSummary,
    /// The newest entry of the event log.
    pub log_head: Option<redfish::LogEntry>,
    /// Entries of the event log, if the BMC counts them.
    pub log_total: Option<u64>,
    /// Open sessions, ours included; `None` if the BMC has none.
    pub sessions: Option<usize>,
    /// `None` in plaintext.
    pub certificate: Option<CertificateFacts>,
}

/// The sensors in short.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SensorSummary {
    /// Sensor that is nearest to its critical value, or the hottest where none says that value.
    pub hottest: Option<Hottest>,
    /// What the machine draws, in watts.
    pub watts: Option<f64>,
    /// Sensors, fans and supplies that are not OK, a few of them, with their health.
    pub unwell: Vec<String>,
}

/// A temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hottest {
    /// Of the sensor.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: f64,
    /// Degrees Celsius, if the BMC says it.
    pub critical_at: Option<f64>,
}

impl Vitals {
    /// The worse of system and BMC. Single sensors are not asked: they waver.
    pub fn health(&self) -> Option<Health> {
        let told = [&self.system_health, &self.manager_health];
        let known = told.into_iter().flatten();
        known.filter_map(|word| Health::parse(word)).max()
    }

    /// Whether this is worth keeping after `old`: anything but sessions and small moves of sensors.
    pub fn is_news_after(&self, old: &Self) -> bool {
        let moved = |a: Option<f64>, b: Option<f64>, by: f64| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() >= by,
            (a, b) => a.is_some() != b.is_some(),
        };
        let celsius = |vitals: &Self| Some(vitals.sensors.hottest.as_ref()?.celsius);
        let still = |vitals: &Self| Self {
            sessions: None,
            sensors: SensorSummary {
                unwell: vitals.sensors.unwell.clone(),
                ..SensorSummary::default()
            },
            ..vitals.clone()
        };
        still(self) != still(old)
            || moved(celsius(self), celsius(old), WARMER)
            || moved(self.sensors.watts, old.sensors.watts, THIRSTIER)
    }
}

impl SensorSummary {
    fn of(sensors: &Sensors) -> Self {
        let readings = sensors.temperatures.iter();
        let hottest = readings
            .filter_map(|reading| {
                let celsius = reading.value?;
                // Without a critical value a sensor counts as if that were 100 °C.
                let room = reading.upper_critical.unwrap_or(100.0) - celsius;
                Some((room, celsius, reading))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, celsius, reading)| Hottest {
                name: reading.name.clone(),
                celsius,
                critical_at: reading.upper_critical,
            });
        let single = sensors.temperatures.iter().chain(&sensors.fans);
        let single = single.map(|reading| (&reading.name, &reading.health));
        let supplies = sensors.supplies.iter();
        let supplies = supplies.map(|supply| (&supply.name, &supply.health));
        let unwell = single.chain(supplies).filter_map(|(name, health)| {
            let health = Health::parse(health.as_deref()?)?;
            (health > Health::Ok).then(|| format!("{name}: {}", health.as_str()))
        });
        Self {
            hottest,
            watts: sensors.power_watts,
            unwell: unwell.take(NAMED).collect(),
        }
    }
}

/// Reads the [`Vitals`].
#[derive(Debug, Clone, Copy)]
pub struct ReadVitals;

impl Errand for ReadVitals {
    type Answer = Vitals;

    async fn run(&self, client: &Client) -> Result<Vitals, Error> {
        let system = client.system().await?;
        let manager = if_offered(client.manager().await)?;
        let sensors = if_offered(client.sensors().await)?.unwrap_or_default();
        let log = if_offered(client.event_log(1).await)?.unwrap_or_default();
        Ok(Vitals {
            system_health: system.health,
            bios_version: system.bios_version,
            manager_health: manager.as_ref().and_then(|found| found.health.clone()),
            firmware_version: manager.and_then(|found| found.firmware_version),
            sensors: SensorSummary::of(&sensors),
            log_head: log.entries.into_iter().next(),
            log_total: log.total,
            sessions: if_offered(client.session_count().await)?.flatten(),
            certificate: client.observed_certificate().map(CertificateFacts::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use redfish::Reading;

    use super::*;

    fn temperature(name: &str, celsius: f64, critical: Option<f64>) -> Reading {
        Reading {
            name: name.into(),
            value: Some(celsius),
            upper_critical: critical,
            ..Reading::default()
        }
    }

    #[test]
    fn the_summary_names_what_is_nearest_to_its_limit_and_what_is_unwell() {
        let mut fan = temperature("Fan 1", 0.0, None);
        fan.health = Some("Critical".into());
        let summary = SensorSummary::of(&Sensors {
            temperatures: vec![
                temperature("CPU", 70.0, Some(105.0)),
                temperature("Inlet", 44.0, Some(47.0)),
            ],
            fans: vec![fan],
            power_watts: Some(312.0),
            ..Sensors::default()
        });
        assert_eq!(summary.hottest.unwrap().name, "Inlet");
        assert_eq!(summary.unwell, ["Fan 1: Critical"]);
    }

    #[test]
    fn a_machine_that_works_is_no_news() {
        let at = |celsius: f64| Vitals {
            system_health: Some("OK".into()),
            sensors: SensorSummary {
                hottest: Some(Hottest {
                    name: "CPU".into(),
                    celsius,
                    critical_at: None,
                }),
                watts: Some(300.0),
                unwell: Vec::new(),
            },
            sessions: Some(1),
            ..Vitals::default()
        };
        let old = at(60.0);
        let mut new = at(63.0);
        new.sessions = Some(3);
        assert!(!new.is_news_after(&old));
        assert!(at(66.0).is_news_after(&old));
        new.manager_health = Some("Warning".into());
        assert!(new.is_news_after(&old));
        assert_eq!(new.health(), Some(Health::Warning));
        assert_eq!(Vitals::default().health(), None);
    }
}
