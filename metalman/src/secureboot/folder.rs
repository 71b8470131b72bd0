//! The files of `metalman secureboot init`, and writing them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

use super::auth::{self, Variable};
use super::certificate::{Identity, KeyError};
use super::{guide, signature_list};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There are keys already; machines may trust them.
    #[error(
        "{} is there already: keys that machines may trust are not overwritten; name another folder",
        .0.display()
    )]
    Exists(PathBuf),
    /// The folder cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// All files, in memory. Its Debug form has names only.
pub struct Folder {
    files: Vec<File>,
}

struct File {
    name: String,
    content: Vec<u8>,
    is_secret: bool,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Makes three keys (PK, KEK, db) and every form of them that firmware asks for. `owner` marks our
/// entries among those of others.
///
/// # Errors
/// A key cannot be made.
pub fn make(site: &str, owner: Uuid, now: Timestamp) -> Result<Folder, KeyError> {
    let mut identities = Vec::new();
    for variable in [Variable::Pk, Variable::Kek, Variable::Db] {
        let name = format!("{site} Secure Boot {}", variable.name());
        identities.push((variable, Identity::new(&name, now)?));
    }
    let mut files = vec![
        File::public("owner.guid", format!("{owner}\n")),
        File::public("README.txt", guide::text(site, owner)),
    ];
    // The platform key signs itself; each of the others is signed by the one before it.
    let mut signer = identities.first().map(|(_, identity)| identity);
    for (variable, identity) in &identities {
        let name = variable.name();
        let list = signature_list::of_certificate(owner, identity.der())
            .ok_or_else(|| KeyError::Malformed(identity.name.clone()))?;
        if let Some(signer) = signer {
            let update = auth::update(*variable, &list, signer, now)?;
            files.push(File::public(&format!("{name}.auth"), update));
        }
        signer = Some(identity);
        files.push(File {
            name: format!("{name}.key"),
            content: identity.private_pem().into_bytes(),
            is_secret: true,
        });
        files.push(File::public(&format!("{name}.pem"), identity.pem()));
        files.push(File::public(&format!("{name}.crt"), identity.der()));
        files.push(File::public(&format!("{name}.esl"), list));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Folder { files })
}

impl File {
    fn public(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.to_owned(),
            content: content.into(),
            is_secret: false,
        }
    }
}

impl Folder {
    /// Names of the files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Writes all files into `dir`, which is made if need be; keys are for the owner alone.
    ///
    /// # Errors
    /// One of the files is there already, or the folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), FolderError> {
        let failed = |path: &Path, source| FolderError::Write {
            path: path.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| failed(dir, source))?;
        if let Some(there) = self
            .files
            .iter()
            .map(|file| dir.join(&file.name))
            .find(|path| path.exists())
        {
            return Err(FolderError::Exists(there));
        }
        for file in &self.files {
            let path = dir.join(&file.name);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(if file.is_secret { 0o600 } else { 0o644 })
                .open(&path)
                .and_then(|mut out| out.write_all(&file.content))
                .map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_private_and_never_overwritten() {
        let now = "2026-11-20T10:30:00Z".parse().expect("a time");
        let folder = make("rack-a", Uuid::from_u128(7), now).expect("makes keys");
        let parent = tempfile::tempdir().expect("a folder");
        let dir = parent.path().join("keys");
        folder.write(&dir).expect("writes");
        let mode = |name: &str| {
            let found = fs::metadata(dir.join(name)).expect("is there");
            found.permissions().mode() & 0o777
        };
        assert_eq!(mode("db.key"), 0o600);
        assert_eq!(mode("db.crt") & 0o600, 0o600);
        let key = fs::read(dir.join("db.key")).expect("reads");
        let again = make("rack-a", Uuid::from_u128(8), now).expect("makes keys");
        assert!(matches!(again.write(&dir), Err(FolderError::Exists(_))));
        assert_eq!(fs::read(dir.join("db.key")).expect("reads"), key);
    }

    #[test]
    fn every_variable_has_every_form() {
        let now = "2026-11-20T10:30:00Z".parse().expect("a time");
        let folder = make("rack-a", Uuid::from_u128(7), now).expect("makes keys");
        let names: Vec<&str> = folder.names().collect();
        for variable in ["PK", "KEK", "db"] {
            for form in ["key", "pem", "crt", "esl", "auth"] {
                assert!(names.contains(&format!("{variable}.{form}").as_str()));
            }
        }
        assert!(!format!("{folder:?}").contains("PRIVATE"));
    }
}
