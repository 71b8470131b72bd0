//! The NoCloud seed of an installation, rendered from the netboot image's templates.

use netboot::{
    directory::BootMachine,
    render::{Renderer, SeedContext, SeedInputs, TemplateSet, render_seed},
};

use super::plan::trouble;
use crate::{domain::facts::Trouble, supervisor::chain};

/// File name below the seed folder, and content.
pub(super) type SeedFile = (&'static str, String);

/// Renders the four files of a seed.
///
/// # Errors
/// When the machine has no lease, or a template fails: with file, line and variable.
pub(super) fn render(
    renderer: &Renderer,
    machine: &BootMachine,
    inputs: SeedInputs,
) -> Result<Vec<SeedFile>, Trouble> {
    let failed = |what: String| trouble(format!("Machine {}: {what}", machine.name));
    let context = SeedContext::new(machine, inputs)
        .ok_or_else(|| failed("it has no lease in spec.pxe.dhcpLeases".into()))?;
    let templates = match &machine.netboot {
        Some(image) => renderer
            .templates(image)
            .map_err(|error| failed(chain(&error)))?,
        None => std::sync::Arc::new(TemplateSet::built_in()),
    };
    let seed = render_seed(&templates, &context).map_err(|error| failed(chain(&error)))?;
    Ok(vec![
        ("meta-data", seed.meta_data),
        ("user-data", seed.user_data),
        ("vendor-data", seed.vendor_data),
        ("network-config", seed.network_config),
    ])
}
