//! Renders templates to find mistakes before a machine does: every one with every sample, and those
//! of an image for one real machine.
//!
//! Samples are complete contexts in `templates/samples`. Invariant: a template that passes here
//! uses no name that a real context lacks, and quotes every value for the place where it stands.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::context::{
    BootContext, InstallContext, MachineContext, SeedContext, SeedInputs, ServerContext,
};
use super::error::RenderError;
use super::placed;
use super::set::{Marks, Renderer, TemplateSet};
use crate::directory::BootMachine;
use crate::images::UnpackedImage;

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
        Some(root) => TemplateSet::read(root, Marks::Present)?,
        None => TemplateSet::compile(Vec::new(), Marks::Present),
    };
    let mut checked = Vec::new();
    for template in templates.names() {
        for (name, text) in SAMPLES {
            let sample: Sample =
                serde_json::from_str(text).map_err(|error| RenderError::Unreadable {
                    root: Path::new("templates/samples").join(name),
                    problem: error.to_string(),
                })?;
            let outcome = match (&sample, is_seed(&template)) {
                (Sample::Boot(context), false) => check(&templates, &template, context),
                (Sample::Seed(context), true) => check(&templates, &template, context),
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

/// Renders every template that `image` would serve to `machine`, as it would: from each of its
/// addresses, with and without leave to install, and the seed. Returns what fails, each once.
///
/// Reads local disk at the first call for an image.
pub fn check_for_machine(
    renderer: &Renderer,
    image: &UnpackedImage,
    machine: &BootMachine,
    server: &ServerContext,
) -> Vec<RenderError> {
    let templates = match renderer.marked(image) {
        Ok(templates) => templates,
        Err(error) => return vec![error],
    };
    let grants = [None, Some(sample_token())];
    let extra = machine.context.value();
    let boot: Vec<BootContext> = machine
        .leases
        .iter()
        .flat_map(|lease| {
            grants.iter().map(|install| BootContext {
                machine: MachineContext::new(machine, lease),
                server: server.clone(),
                install: install.clone(),
                extra: extra.clone(),
            })
        })
        .collect();
    let seed = SeedContext::new(machine, sample_inputs(server));
    let mut failed: Vec<RenderError> = Vec::new();
    for template in templates.names() {
        let outcome = if is_seed(&template) {
            seed.iter()
                .try_for_each(|context| check(&templates, &template, context).map(drop))
        } else {
            boot.iter()
                .try_for_each(|context| check(&templates, &template, context).map(drop))
        };
        failed.extend(outcome.err().filter(|error| !failed.contains(error)));
    }
    failed
}

/// The samples as they are written.
#[cfg(test)]
pub(super) fn samples() -> impl Iterator<Item = serde_json::Value> {
    let read = |(name, text)| serde_json::from_str(text).expect(name);
    SAMPLES.into_iter().map(read)
}

fn is_seed(template: &str) -> bool {
    template.starts_with("cloud-init/")
}

fn sample_token() -> InstallContext {
    InstallContext {
        token: "A".repeat(43),
    }
}

fn sample_inputs(server: &ServerContext) -> SeedInputs {
    let url = |end: &str| format!("{}/boot/{}/{end}", server.http_url, "A".repeat(43));
    SeedInputs {
        instance_id: "check".to_owned(),
        boot_report_url: url("report"),
        cloud_init_url: url("cloud-init"),
        user_data: None,
    }
}

/// Renders, and looks whether every value stands where its filter quoted it for.
fn check(
    templates: &TemplateSet,
    template: &str,
    context: &impl Serialize,
) -> Result<String, RenderError> {
    let marked = templates.render(template, context)?;
    placed::check(template, &marked).map_err(|found| RenderError::Template {
        template: template.to_owned(),
        line: None,
        variable: None,
        problem: format!("{} (line {} of the result)", found.problem, found.line),
    })
}
