//! Renders every template with every sample, to find mistakes before a machine does.
//!
//! Samples are complete contexts in `templates/samples`. Invariant: a template that passes here
//! uses no name that a real context lacks.

use std::path::Path;

use serde::Deserialize;

use super::context::{BootContext, SeedContext};
use super::error::RenderError;
use super::set::TemplateSet;

const SAMPLES: [(&str, &str); 6] = [
    (
        "boot-install",
        include_str!("../../../templates/samples/boot-install.json"),
    ),
    (
        "boot-install-isolated",
        include_str!("../../../templates/samples/boot-install-isolated.json"),
    ),
    (
        "boot-local-disk",
        include_str!("../../../templates/samples/boot-local-disk.json"),
    ),
    (
        "boot-local-disk-arm64",
        include_str!("../../../templates/samples/boot-local-disk-arm64.json"),
    ),
    (
        "seed-plain",
        include_str!("../../../templates/samples/seed-plain.json"),
    ),
    (
        "seed-user-data",
        include_str!("../../../templates/samples/seed-user-data.json"),
    ),
];

/// A sample, typed by what it is for.
#[derive(Debug, Deserialize)]
#[serde(
    tag = "kind",
    content = "context",
    rename_all = "lowercase",
    deny_unknown_fields
)]
enum Sample {
    Boot(BootContext),
    Seed(SeedContext),
}

/// Result of one template with one sample.
#[derive(Debug)]
pub struct CheckedTemplate {
    /// Path below the root, with `.j2`.
    pub template: String,
    /// Name of the sample.
    pub sample: &'static str,
    /// Rendered text or what is wrong.
    pub outcome: Result<String, RenderError>,
}

/// Renders the built-in templates, covered by those below `root` if given, with every sample of
/// their kind. The list is sorted by template, then in the order of the samples.
pub fn check_templates(root: Option<&Path>) -> Result<Vec<CheckedTemplate>, RenderError> {
    let templates = match root {
        Some(root) => TemplateSet::load(root)?,
        None => TemplateSet::built_in(),
    };
    let mut checked = Vec::new();
    for template in templates.names() {
        let is_seed = template.starts_with("cloud-init/");
        for (name, text) in SAMPLES {
            let sample: Sample =
                serde_json::from_str(text).map_err(|error| RenderError::Unreadable {
                    root: Path::new("templates/samples").join(name),
                    problem: error.to_string(),
                })?;
            let outcome = match (&sample, is_seed) {
                (Sample::Boot(context), false) => templates.render(&template, context),
                (Sample::Seed(context), true) => templates.render(&template, context),
                (Sample::Boot(_), true) | (Sample::Seed(_), false) => continue,
            };
            checked.push(CheckedTemplate {
                template: template.clone(),
                sample: name,
                outcome,
            });
        }
    }
    Ok(checked)
}
