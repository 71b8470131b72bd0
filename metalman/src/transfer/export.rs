//! Reads an API and writes what can be applied to another.

use anyhow::{Context as _, Result};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, Error};

use super::clean::{Options, portable};
use super::kinds::{KINDS, Kind};
use super::yaml::document;

/// Objects of one page.
const PAGE: u32 = 500;

/// All objects of the API behind `client`, as YAML.
///
/// # Errors
/// The API refuses a list, with the kind.
pub async fn export(client: &Client, options: Options) -> Result<String> {
    let mut text = String::new();
    for kind in KINDS {
        if kind.kind == "Secret" && !options.secrets {
            continue;
        }
        let found = all(client, kind)
            .await
            .with_context(|| format!("list {}", kind.plural))?;
        for object in &found {
            let value = serde_json::to_value(object)?;
            if let Some(moved) = portable(kind, &value, options) {
                text.push_str(&document(&moved));
            }
        }
    }
    Ok(text)
}

async fn all(client: &Client, kind: Kind) -> Result<Vec<DynamicObject>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match api.list(&page).await {
            Ok(list) => list,
            // A cluster without our definitions has none of our objects.
            Err(Error::Api(status)) if status.code == 404 => return Ok(found),
            Err(error) => return Err(error.into()),
        };
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}
