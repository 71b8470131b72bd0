//! The lamp that tells a machine from its neighbours.

use serde_json::{Value, json};

use super::Client;
use crate::error::Error;
use crate::model::Indicator;
use crate::operation::Operation;
use crate::quirks::{self, Platform};
use crate::wire::Response;
use crate::words::redfish_words;

const OPERATION: Operation = Operation::SetIndicator;

redfish_words! {
    /// `IndicatorLED`. A lamp that is only on or off takes `Lit` and `Blinking` as on.
    IndicatorState {
        Off = "Off",
        Lit = "Lit",
        Blinking = "Blinking",
    }
}

impl Client {
    /// Whether the machine's locating lamp is on; `None` if the BMC shows no lamp.
    pub async fn indicator(&self) -> Result<Option<bool>, Error> {
        let platform = self.platform().await?;
        Ok(self
            .indicator_place()
            .await?
            .and_then(|place| place.is_on(platform)))
    }

    /// Sets the locating lamp and reads back that it is on or off.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when neither system nor chassis has one.
    pub async fn set_indicator(&self, wanted: IndicatorState) -> Result<(), Error> {
        let on = wanted != IndicatorState::Off;
        let platform = self.platform().await?;
        let place = self
            .indicator_place()
            .await?
            .ok_or_else(|| Error::Unsupported {
                operation: OPERATION,
                status: 200,
                message: "neither system nor chassis shows an indicator".to_owned(),
            })?;
        if place.shows(platform, wanted) {
            return Ok(());
        }
        let mut last = None;
        for body in place.bodies(platform, wanted) {
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

    /// Whether there is nothing left to do.
    fn shows(&self, platform: Platform, wanted: IndicatorState) -> bool {
        let on = wanted != IndicatorState::Off;
        let is_word = self
            .indicator
            .led
            .as_ref()
            .is_none_or(|led| !on || led == wanted.as_str());
        self.is_on(platform) == Some(on) && is_word
    }

    fn bodies(&self, platform: Platform, wanted: IndicatorState) -> Vec<Value> {
        let mut bodies = Vec::new();
        let on = wanted != IndicatorState::Off;
        if self.indicator.active.is_some() {
            bodies.push(json!({ "LocationIndicatorActive": on }));
        }
        if self.indicator.led.is_some() {
            let idle_is_lit = quirks::idle_indicator_is_lit(platform);
            let words: &[&str] = match (wanted, idle_is_lit) {
                (IndicatorState::Lit | IndicatorState::Blinking, true) => &["Blinking"],
                (IndicatorState::Blinking, false) => &["Blinking", "Lit"],
                (IndicatorState::Lit, false) => &["Lit", "Blinking"],
                (IndicatorState::Off, true) => &["Lit", "Off"],
                (IndicatorState::Off, false) => &["Off"],
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
            both.bodies(Platform::Generic, IndicatorState::Blinking),
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
            idle.bodies(Platform::Dell, IndicatorState::Blinking),
            [json!({"IndicatorLED": "Blinking"})]
        );
        assert!(idle.shows(Platform::Dell, IndicatorState::Off));
        assert!(!idle.shows(Platform::Generic, IndicatorState::Blinking));
        assert_eq!(
            idle.bodies(Platform::Generic, IndicatorState::Lit),
            [
                json!({"IndicatorLED": "Lit"}),
                json!({"IndicatorLED": "Blinking"})
            ]
        );
        let listed = place(&json!({
            "IndicatorLED": "Off", "IndicatorLED@Redfish.AllowableValues": ["Lit", "Off"],
        }));
        assert_eq!(
            listed.bodies(Platform::Generic, IndicatorState::Blinking),
            [json!({"IndicatorLED": "Lit"})]
        );
    }
}
