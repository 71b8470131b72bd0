//! What GRUB gets when the template of its configuration fails: the reason on the console, and the
//! local disk.
//!
//! Without it a machine that happens to netboot stops at GRUB's prompt and stays down until
//! somebody mends the template. Not an earlier rendering, and nothing of the image. Invariant: it
//! never offers the installer, whatever the context says.

use std::sync::OnceLock;

use serde_json::json;

use super::context::BootContext;
use super::error::RenderError;
use super::set::{Marks, Rendered, TemplateSet, render_boot};

/// The one file that has a fallback.
const FILE: &str = "grub/grub.cfg";
const TEMPLATE: (&str, &str) = (
    "grub/fallback.cfg.j2",
    include_str!("../../../templates/fallback/grub.cfg.j2"),
);

/// The file to serve instead of `path`, whose rendering failed; none when there is no safe one.
pub(crate) fn fallback(path: &str, context: &BootContext, error: &RenderError) -> Option<Rendered> {
    static TEMPLATES: OnceLock<TemplateSet> = OnceLock::new();
    if path != FILE {
        return None;
    }
    let (name, source) = TEMPLATE;
    let templates = TEMPLATES.get_or_init(|| {
        let own = vec![(name.to_owned(), source.to_owned())];
        TemplateSet::compile(own, Marks::Absent)
    });
    let problem = error.to_string().replace(char::is_control, " ");
    let context = BootContext {
        install: None,
        extra: json!({ "problem": problem }),
        ..context.clone()
    };
    render_boot(templates, "grub/fallback.cfg", &context).ok()
}
