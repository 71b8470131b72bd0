//! Names inside an archive: which are acceptable, and what they mean.
//!
//! Pure. Invariant: the components of an [`EntryPath`] are plain names, so joining them to a
//! directory stays below it.

use std::path::{Path, PathBuf};

/// Marks that remove what a lower layer brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whiteout {
    /// Remove this sibling.
    One(String),
    /// Remove everything lower layers put into the directory.
    Opaque,
}

const MAX_DEPTH: usize = 32;
const MAX_NAME_BYTES: usize = 255;
const MAX_PATH_BYTES: usize = 1024;

/// A checked path of an archive entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EntryPath(Vec<String>);

impl EntryPath {
    /// Accepts relative UTF-8 paths of plain names. The error completes "entry … ".
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "has a name that is not UTF-8")?;
        if text.len() > MAX_PATH_BYTES {
            return Err("has a path that is too long");
        }
        if text.starts_with('/') {
            return Err("has an absolute path");
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err("has control characters or backslashes in its name");
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err("has .. in its path"),
                name if name.len() > MAX_NAME_BYTES => return Err("has a name that is too long"),
                name => parts.push(name.to_owned()),
            }
        }
        if parts.len() > MAX_DEPTH {
            return Err("is nested too deeply");
        }
        Ok(Self(parts))
    }

    /// True when the path is exactly the top-level name.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self.0.as_slice(), [only] if only == name)
    }

    /// The path relative to the top-level directory `top`, when it lies below it.
    pub(crate) fn below(&self, top: &str) -> Option<PathBuf> {
        match self.0.split_first() {
            Some((first, rest)) if first == top && !rest.is_empty() => Some(rest.iter().collect()),
            Some(_) | None => None,
        }
    }

    /// What the last name removes, if it is a whiteout.
    pub(crate) fn whiteout(&self) -> Option<Whiteout> {
        match self.0.last()?.strip_prefix(".wh.")? {
            ".wh..opq" => Some(Whiteout::Opaque),
            // Not names: removing them would remove the directory itself or its parent.
            "" | "." | ".." => None,
            name => Some(Whiteout::One(name.to_owned())),
        }
    }
}

/// Accepts the target of a symbolic link that lies `depth` directories below the top: relative,
/// `..` only at the start and not above the top. Later `..` are refused because they could climb
/// out of a directory that is itself a link.
pub(crate) fn check_link_target(bytes: &[u8], depth: usize) -> Result<PathBuf, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "links to a name that is not UTF-8")?;
    if text.is_empty() || text.len() > MAX_PATH_BYTES {
        return Err("links to a name that is empty or too long");
    }
    if text.starts_with('/') {
        return Err("links to an absolute path");
    }
    if text.chars().any(char::is_control) {
        return Err("links to a name with control characters");
    }
    let (mut climbed, mut descended) = (0, false);
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if descended => return Err("links through .. after a name"),
            ".." => climbed += 1,
            _ => descended = true,
        }
    }
    if climbed > depth {
        return Err("links out of the disk directory");
    }
    Ok(Path::new(text).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_are_accepted_and_dots_dropped() {
        let path = EntryPath::parse(b"./disk//grub/./grub.cfg.j2").unwrap();
        assert_eq!(path.below("disk").unwrap(), Path::new("grub/grub.cfg.j2"));
        assert_eq!(path.below("other"), None);
        assert!(EntryPath::parse(b"./disk/").unwrap().is("disk"));
    }

    #[test]
    fn whiteouts_are_recognised() {
        let whiteout = |name: &str| EntryPath::parse(name.as_bytes()).unwrap().whiteout();
        assert_eq!(
            whiteout("disk/.wh.old"),
            Some(Whiteout::One("old".to_owned()))
        );
        assert_eq!(whiteout("disk/.wh..wh..opq"), Some(Whiteout::Opaque));
        assert_eq!(whiteout("disk/wh.txt"), None);
    }

    #[test]
    fn a_whiteout_cannot_name_a_parent() {
        // The name after the mark must be plain as well.
        let path = EntryPath::parse(b"disk/.wh...").unwrap();
        assert_eq!(path.whiteout(), None);
    }

    #[test]
    fn link_targets_stay_inside() {
        assert!(check_link_target(b"vmlinuz-6.1", 0).is_ok());
        assert!(check_link_target(b"../boot/vmlinuz", 1).is_ok());
        for (target, depth) in [
            ("../x", 0),
            ("a/../../x", 1),
            ("/etc/passwd", 3),
            ("", 1),
            ("a/..", 2),
            ("..", 0),
        ] {
            assert!(
                check_link_target(target.as_bytes(), depth).is_err(),
                "{target} at {depth}"
            );
        }
    }

    proptest! {
        #[test]
        fn accepted_paths_stay_below_the_directory(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(path) = EntryPath::parse(&bytes)
                && let Some(relative) = path.below("disk")
            {
                let normal = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
                prop_assert!(normal && relative.components().count() > 0);
            }
        }

        #[test]
        fn slashes_and_dots_never_escape(text in "[./a]{1,24}") {
            if let Ok(path) = EntryPath::parse(format!("disk/{text}").as_bytes())
                && let Some(relative) = path.below("disk")
            {
                prop_assert!(!relative.to_string_lossy().split('/').any(|part| part == ".."));
            }
        }
    }
}
