//! SBAT: which generation of shim and GRUB a boot loader is, and whether that generation has been
//! revoked (shim's SBAT.md).
//!
//! Not a signature check: firmware and shim do that. Pure but for reading files. Invariant: what
//! is read of a file is bounded, whatever its headers say.

mod folder;
mod level;
mod section;

pub use folder::Loaders;
pub use level::{Level, LevelError, Revoked};
pub use section::{Loader, read};

/// One line of an `.sbat` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Such as `shim`, `grub` or `grub.debian`.
    pub name: String,
    /// Raised with every security fix that revokes what came before.
    pub generation: u32,
    /// Version of the package, for people.
    pub version: String,
}

/// Components from lines `name,generation,vendor,package,version,url`; lines that are none are left
/// out, as shim does.
pub(crate) fn components(text: &str) -> Vec<Component> {
    let component = |line: &str| {
        let mut fields = line.split(',');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let generation = fields.next()?.trim().parse().ok()?;
        let version = fields.nth(2).unwrap_or_default().to_owned();
        Some(Component {
            name,
            generation,
            version,
        })
    };
    text.lines().filter_map(component).collect()
}
