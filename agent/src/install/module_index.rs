//! Which kernel modules a device needs and in which order they load. Pure.
//!
//! Reads `modules.alias` and `modules.dep` (kmod, `modules.dep(5)`). Invariant: a load order
//! holds every module once, after everything it depends on.

use std::collections::HashMap;

/// The parsed index of one kernel release.
#[derive(Debug, Clone, Default)]
pub struct ModuleIndex {
    aliases: Vec<(String, String)>,
    dependencies: HashMap<String, Module>,
}

#[derive(Debug, Clone)]
struct Module {
    path: String,
    /// As `modules.dep` lists them: the last one loads first.
    needs: Vec<String>,
}

impl ModuleIndex {
    /// Reads the two files; lines that are not understood are skipped.
    pub fn parse(alias_file: &str, dep_file: &str) -> Self {
        let aliases = alias_file
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                match (words.next(), words.next(), words.next()) {
                    (Some("alias"), Some(pattern), Some(module)) => {
                        Some((pattern.to_owned(), module_name(module)))
                    }
                    _ => None,
                }
            })
            .collect();
        let dependencies = dep_file
            .lines()
            .filter_map(|line| {
                let (path, needs) = line.split_once(':')?;
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                Some((
                    module_name(path),
                    Module {
                        path: path.to_owned(),
                        needs,
                    },
                ))
            })
            .collect();
        Self {
            aliases,
            dependencies,
        }
    }

    /// Names of the modules whose alias matches `modalias`.
    pub fn modules_for(&self, modalias: &str) -> Vec<&str> {
        self.aliases
            .iter()
            .filter(|(pattern, _)| is_match(pattern.as_bytes(), modalias.as_bytes()))
            .map(|(_, module)| module.as_str())
            .collect()
    }

    /// Files to load for a module, dependencies first, relative to the release folder; empty
    /// when the index does not know the module (built in, or not shipped).
    pub fn load_order(&self, module: &str) -> Vec<&str> {
        self.dependencies
            .get(&module_name(module))
            .map_or_else(Vec::new, |found| {
                found
                    .needs
                    .iter()
                    .rev()
                    .chain([&found.path])
                    .map(String::as_str)
                    .collect()
            })
    }
}

/// Module name of a file or a spelled name: no folder, no suffix, underscores.
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

/// Shell pattern match with `*`, `?` and `[…]`; kernel aliases use no escapes.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    // Position to return to when a literal fails after the last `*`.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            (None, None) => return true,
            (Some(b'?'), Some(_)) => Some(1),
            (Some(b'['), Some(c)) => match_class(pattern.get(p..).unwrap_or_default(), *c),
            (Some(a), Some(b)) if a == b => Some(1),
            (Some(_) | None, Some(_) | None) => None,
        };
        if let Some(width) = step {
            p += width;
            t += 1;
        } else if let Some((after_star, from)) = star
            && from < text.len()
        {
            star = Some((after_star, from + 1));
            p = after_star;
            t = from + 1;
        } else {
            return false;
        }
    }
}

/// Width of the class at the start of `pattern` when `c` is in it.
fn match_class(pattern: &[u8], c: u8) -> Option<usize> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let mut set = pattern.get(1..end)?;
    while let Some((&low, rest)) = set.split_first() {
        if let [b'-', high, tail @ ..] = rest {
            if (low..=*high).contains(&c) {
                return Some(end + 1);
            }
            set = tail;
        } else {
            if low == c {
                return Some(end + 1);
            }
            set = rest;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALIASES: &str = "# Aliases extracted from modules themselves.\n\
        alias virtio:d00000002v* virtio_blk\n\
        alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n\
        alias fs-ext4 ext4\n";
    const DEPS: &str = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n\
        kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\n\
        kernel/drivers/block/virtio-blk.ko.xz:\n";

    #[test]
    fn a_modalias_finds_its_module() {
        let index = ModuleIndex::parse(ALIASES, DEPS);
        assert_eq!(
            index.modules_for("virtio:d00000002v00001AF4"),
            ["virtio_blk"]
        );
        assert_eq!(
            index.modules_for("pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00"),
            ["virtio_pci"]
        );
        assert!(index.modules_for("usb:v1D6B").is_empty());
    }

    #[test]
    fn dependencies_load_first_and_names_are_normal() {
        let index = ModuleIndex::parse(ALIASES, DEPS);
        assert_eq!(
            index.load_order("ext4"),
            [
                "kernel/lib/crc16.ko",
                "kernel/fs/jbd2/jbd2.ko",
                "kernel/fs/ext4/ext4.ko"
            ]
        );
        assert_eq!(
            index.load_order("virtio_blk"),
            ["kernel/drivers/block/virtio-blk.ko.xz"]
        );
        assert!(index.load_order("absent").is_empty());
    }

    #[test]
    fn patterns_follow_the_shell() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a?c", "abc", true),
            ("a[0-9b]c", "abc", true),
            ("a[0-9]c", "abc", false),
            ("*bc*i*", "xbcybc01i00", true),
            ("a", "ab", false),
            ("a[", "a[", false),
        ] {
            assert_eq!(
                is_match(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn matching_ends_for_any_input(pattern in "[ab*?\\[\\]-]{0,20}", text in "[ab]{0,20}") {
            is_match(pattern.as_bytes(), text.as_bytes());
        }

        #[test]
        fn a_text_matches_itself(text in "[a-z0-9:]{0,30}") {
            prop_assert!(is_match(text.as_bytes(), text.as_bytes()));
        }
    }
}
