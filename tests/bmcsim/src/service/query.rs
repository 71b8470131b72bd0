//! Query parameters this service understands: `$skip`, `$top`, `$select`, `$expand`.

use http::StatusCode;
use serde_json::Value;

use super::message::Refusal;

#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) skip: usize,
    pub(super) top: Option<usize>,
    pub(super) expand: bool,
    select: Vec<String>,
}

impl Query {
    /// # Errors
    /// A `$` parameter that is not known is 501, a value that is none is 400; other words are ignored.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.replace("%24", "$");
            let number = || {
                value.parse().map_err(|_| {
                    Refusal::bad(
                        "QueryParameterValueFormatError",
                        format!("The value {value} of the query parameter {name} is not a number."),
                    )
                })
            };
            match name.as_str() {
                "$skip" => parsed.skip = number()?,
                "$top" => parsed.top = Some(number()?),
                "$expand" => parsed.expand = true,
                "$select" => parsed.select = value.split(',').map(ToOwned::to_owned).collect(),
                _ if name.starts_with('$') => {
                    return Err(Refusal::new(
                        StatusCode::NOT_IMPLEMENTED,
                        "QueryParameterUnsupported",
                        format!("The query parameter {name} is not supported."),
                    ));
                }
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// Leaves only what was selected, and annotations of the resource.
    pub(super) fn narrow(&self, body: &mut Value) {
        if self.select.is_empty() {
            return;
        }
        if let Some(properties) = body.as_object_mut() {
            properties.retain(|name, _| {
                name.starts_with("@odata.") || self.select.iter().any(|chosen| chosen == name)
            });
        }
    }
}
