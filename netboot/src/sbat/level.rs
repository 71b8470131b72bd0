//! The revocation level: the lowest generation of each component that firmware should still start.

use std::fmt;

use super::{Component, components};

/// The newest list this version knows, of 2025-05-10: what shim 16.1 carries as `latest` in its
/// `.sbatlevel` section (Debian's shim-signed 1.51, read from the binary); its history is in shim's
/// SbatLevel_Variable.txt. It revokes shim before 15.8 (CVE-2023-40547), GRUB before the fixes of
/// February 2025, and Proxmox's first GRUB with these.
const KNOWN: &str = "sbat,1,2025051000\nshim,4\ngrub,5\ngrub.proxmox,2\n";

/// A list of minimum generations with its date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    date: String,
    minimum: Vec<(String, u32)>,
}

/// The text is no revocation list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an SBAT level: {0}; it looks like \"sbat,1,2025051000 shim,4 grub,5\"")]
pub struct LevelError(&'static str);

/// A component below the level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Name of the component.
    pub component: String,
    /// Its generation.
    pub generation: u32,
    /// The lowest that is not revoked.
    pub minimum: u32,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} generation {} is revoked, {} is the lowest that is not",
            self.component, self.generation, self.minimum
        )
    }
}

impl Default for Level {
    fn default() -> Self {
        // The constant is tested to parse.
        Self::parse(KNOWN).unwrap_or(Self {
            date: String::new(),
            minimum: Vec::new(),
        })
    }
}

impl Level {
    /// Reads the content of shim's variable `SbatLevel`; its lines may also be parted by spaces.
    pub fn parse(text: &str) -> Result<Self, LevelError> {
        let mut lines = text.split_ascii_whitespace();
        let date = lines
            .next()
            .and_then(|line| line.strip_prefix("sbat,1,"))
            .filter(|date| date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or(LevelError(
                "the first line is not sbat,1,DATE with ten digits",
            ))?;
        let minimum = lines
            .map(|line| {
                let (name, generation) = line.split_once(',')?;
                let generation = generation.parse().ok()?;
                (!name.is_empty()).then(|| (name.to_owned(), generation))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(LevelError("a line is not NAME,GENERATION"))?;
        Ok(Self {
            date: date.to_owned(),
            minimum,
        })
    }

    /// Year, month, day and a counter, ten digits; later lists are greater.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// The later of two lists.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if other.date > self.date { other } else { self }
    }

    /// The components that are below this level.
    pub fn revoked(&self, components: &[Component]) -> Vec<Revoked> {
        let below = |component: &Component| {
            let (_, minimum) = self
                .minimum
                .iter()
                .find(|(name, _)| *name == component.name)?;
            (component.generation < *minimum).then(|| Revoked {
                component: component.name.clone(),
                generation: component.generation,
                minimum: *minimum,
            })
        };
        components.iter().filter_map(below).collect()
    }
}

/// The `latest` list inside shim's `.sbatlevel` section: a version, then two offsets counted from
/// behind it.
pub(super) fn of_section(section: &[u8]) -> Option<Level> {
    let word = |at: usize| {
        let bytes = section.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if word(0)? != 0 {
        return None;
    }
    let latest = usize::try_from(word(8)?).ok()?.checked_add(4)?;
    let text = section.get(latest..)?;
    let text = text.split(|byte| *byte == 0).next()?;
    Level::parse(std::str::from_utf8(text).ok()?).ok()
}

/// Whether text names components at all; a section of zeros does not.
pub(super) fn parse_components(section: &[u8]) -> Vec<Component> {
    let text = section.split(|byte| *byte == 0).next().unwrap_or_default();
    components(&String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, generation: u32) -> Component {
        Component {
            name: name.into(),
            generation,
            version: String::new(),
        }
    }

    #[test]
    fn the_known_level_is_the_constant() {
        let level = Level::default();
        assert_eq!(level.date(), "2025051000");
        assert_eq!(level.minimum.len(), 3);
    }

    #[test]
    fn what_is_below_is_named_and_what_is_unknown_is_let_pass() {
        let level = Level::default();
        let good = [component("shim", 4), component("shim.debian", 1)];
        assert_eq!(level.revoked(&good), []);
        let old = [component("grub", 3), component("grub.debian", 4)];
        let told: Vec<_> = level
            .revoked(&old)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            ["grub generation 3 is revoked, 5 is the lowest that is not"]
        );
    }

    #[test]
    fn a_setting_may_be_written_in_one_line() {
        let raised = Level::parse("sbat,1,2026010100 shim,5 grub,6").expect("parses");
        assert_eq!(raised.revoked(&[component("shim", 4)]).len(), 1);
        assert_eq!(Level::default().later(raised.clone()), raised);
        assert_eq!(raised.clone().later(Level::default()), raised);
        for wrong in ["", "shim,4", "sbat,1,20250510", "sbat,1,2025051000 shim"] {
            assert!(Level::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_inside_shim_is_found() {
        let (previous, latest) = ("sbat,1,2025021800\nshim,4\n", "sbat,1,2025051000\nshim,4\n");
        let mut section = vec![0; 4];
        section.extend(8_u32.to_le_bytes());
        let offset = u32::try_from(8 + previous.len() + 1).expect("small");
        section.extend(offset.to_le_bytes());
        section.extend(previous.as_bytes());
        section.push(0);
        section.extend(latest.as_bytes());
        section.push(0);
        assert_eq!(of_section(&section).expect("is there").date(), "2025051000");
        assert_eq!(of_section(&[]), None);
        assert_eq!(
            of_section(&[0, 0, 0, 0, 8, 0, 0, 0, 255, 255, 255, 255]),
            None
        );
    }
}
