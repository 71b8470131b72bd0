//! The lamp that tells a machine from its neighbours.

use serde_json::{Value, json};

use super::Client;
use crate::error::Error;
use crate::model::Indicator;
use crate::operation::Operation;
use crate::quirks::{self, Platform};
use crate::wire::Response;

const OPERATION: Operation = Operation::SetIndicator;

impl Client {
    /// Whether the machine's locating lamp is on; `None` if the BMC shows no lamp.
    pub async fn indicator(&self) -> Result<Option<bool>, Error> {
        let platform = self.platform().await?;
        Ok(self
            .indicator_place()
            .await?
            .and_then(|place| place.is_on(platform)))
    }

    /// Turns the locating lamp on or off and reads it back.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when neither system nor chassis has one.
    pub async fn set_indicator(&self, on: bool) -> Result<(), Error> {
        let platform = self.platform().await?;
        let place = self
            .indicator_place()
            .await?
            .ok_or_else(|| Error::Unsupported {
                operation: OPERATION,
                status: 200,
                message: "neither system nor chassis shows an indicator".to_owned(),
            })?;
        if place.is_on(platform) == Some(on) {
            return Ok(());
        }
        let mut last = None;
        for body in place.bodies(platform, on) {
            match self
                .patch(OPERATION, &place.path, place.etag.as_deref(), &body)
                .await
            {
                Ok(()) => return self.confirm_indicator(&place.path, platform, on).await,
                Err(error @ (Error::Rejected { .. } | Error::Unsupported { .. })) => {
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    async fn confirm_indicator(
        &self,
        path: &str,
        platform: Platform,
        on: bool,
    ) -> Result<(), Error> {
        let word = |on| if on { "on" } else { "off" };
        self.confirm(OPERATION, path, "indicator", word(on), |body| {
            match is_on(&Indicator::parse(body), platform) {
                // Some lamps can be set and not be read.
                None => Ok(()),
                Some(found) if found == on => Ok(()),
                Some(found) => Err(word(found).to_owned()),
            }
        })
        .await
    }

    /// The system if it has a lamp, else its chassis.
    async fn indicator_place(&self) -> Result<Option<Place>, Error> {
        let system = self.system_response().await?;
        if let Some(place) = Place::of(&system, &self.system_path().await?) {
            return Ok(Some(place));
        }
        let Some(chassis) = self.chassis().await? else {
            return Ok(None);
        };
        let response = self.get(OPERATION, &chassis.path).await?;
        Ok(Place::of(&response, &chassis.path))
    }
}

struct Place {
    path: String,
    etag: Option<String>,
    indicator: Indicator,
}

impl Place {
    fn of(response: &Response, path: &str) -> Option<Self> {
        let indicator = Indicator::parse(&response.body);
        let in_body = crate::model::text(&response.body, "@odata.etag");
        (indicator.active.is_some() || indicator.led.is_some()).then(|| Self {
            path: path.to_owned(),
            etag: response.etag().or(in_body),
            indicator,
        })
    }

    fn is_on(&self, platform: Platform) -> Option<bool> {
        is_on(&self.indicator, platform)
    }

    fn bodies(&self, platform: Platform, on: bool) -> Vec<Value> {
        let mut bodies = Vec::new();
        if self.indicator.active.is_some() {
            bodies.push(json!({ "LocationIndicatorActive": on }));
        }
        if self.indicator.led.is_some() {
            let idle_is_lit = quirks::idle_indicator_is_lit(platform);
            let words: &[&str] = match (on, idle_is_lit) {
                (true, true) => &["Blinking"],
                (true, false) => &["Blinking", "Lit"],
                (false, true) => &["Lit", "Off"],
                (false, false) => &["Off"],
            };
            let offered = &self.indicator.led_values;
            bodies.extend(
                words
                    .iter()
                    .filter(|word| {
                        offered.is_empty() || offered.iter().any(|offer| offer == **word)
                    })
                    .map(|word| json!({ "IndicatorLED": word })),
            );
        }
        bodies
    }
}

fn is_on(indicator: &Indicator, platform: Platform) -> Option<bool> {
    if let Some(active) = indicator.active {
        return Some(active);
    }
    match indicator.led.as_deref()? {
        "Off" => Some(false),
        "Lit" => Some(!quirks::idle_indicator_is_lit(platform)),
        "Blinking" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(body: &Value) -> Place {
        Place {
            path: String::new(),
            etag: None,
            indicator: Indicator::parse(body),
        }
    }

    #[test]
    fn new_property_wins_and_the_old_one_follows() {
        let both = place(&json!({"LocationIndicatorActive": false, "IndicatorLED": "Off"}));
        assert_eq!(both.is_on(Platform::Generic), Some(false));
        assert_eq!(
            both.bodies(Platform::Generic, true),
            [
                json!({"LocationIndicatorActive": true}),
                json!({"IndicatorLED": "Blinking"}),
                json!({"IndicatorLED": "Lit"})
            ]
        );
    }

    #[test]
    fn dell_is_lit_when_nobody_looks_for_it() {
        let idle = place(&json!({"IndicatorLED": "Lit"}));
        assert_eq!(idle.is_on(Platform::Dell), Some(false));
        assert_eq!(idle.is_on(Platform::Generic), Some(true));
        assert_eq!(
            idle.bodies(Platform::Dell, true),
            [json!({"IndicatorLED": "Blinking"})]
        );
        let listed = place(&json!({
            "IndicatorLED": "Off", "IndicatorLED@Redfish.AllowableValues": ["Lit", "Off"],
        }));
        assert_eq!(
            listed.bodies(Platform::Generic, true),
            [json!({"IndicatorLED": "Lit"})]
        );
    }
}
