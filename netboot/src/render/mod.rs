//! Renders boot files and cloud-init seeds from MiniJinja templates.
//!
//! Pure but for reading an image's templates once. It decides nothing about a machine: the context
//! says whether to install. Invariant: a template never renders with an undefined value, and no
//! value that went through a quoting filter adds a word or a line.

mod check;
mod context;
mod error;
mod fallback;
mod filters;
mod placed;
mod quote;
mod quoted;
mod reference;
mod set;

pub use check::{CheckedTemplate, check_for_machine, check_templates};
pub use context::{
    BootContext, InstallContext, InterfaceContext, MachineContext, SeedContext, SeedInputs,
    ServerContext,
};
pub use error::RenderError;
pub(crate) use fallback::fallback;
pub use reference::reference;
#[cfg(any(test, fuzzing))]
pub(crate) use set::Marks;
pub use set::{
    PreparedContext, Rendered, Renderer, SeedFiles, TemplateSet, render_boot, render_prepared,
    render_seed,
};
