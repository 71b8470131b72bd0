//! Registry credentials out of Kubernetes pull secrets.
//!
//! Takes the bytes of Secrets, returns the entry for one registry. Invariant: a password
//! never leaves `SecretString` and never appears in an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;

use super::error::ImageError;

/// Kind of pull secret, after the type of the Kubernetes Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullSecretKind {
    /// `kubernetes.io/dockerconfigjson`, key `.dockerconfigjson`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`, key `.dockercfg`.
    DockerCfg,
}

impl PullSecretKind {
    fn label(self) -> &'static str {
        match self {
            Self::DockerConfigJson => "dockerconfigjson",
            Self::DockerCfg => "dockercfg",
        }
    }
}

/// What one registry is answered with when it asks.
#[derive(Debug, Clone)]
pub enum RegistryCredentials {
    /// User name, and password or access token.
    Password {
        /// User name.
        username: String,
        /// Password or access token.
        password: SecretString,
    },
    /// `identitytoken`: an OAuth2 refresh token for the registry's token service.
    IdentityToken(SecretString),
    /// `registrytoken`: a bearer token, sent as it is.
    RegistryToken(SecretString),
}

/// Credentials for several registries: the content of pull secrets. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keyring {
    secrets: Vec<Arc<Auths>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.secrets.iter().flat_map(|auths| auths.1.keys());
        f.debug_list().entries(hosts).finish()
    }
}

struct Auths(PullSecretKind, BTreeMap<String, AuthEntry>);

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Keyring {
    /// No credentials: anonymous access everywhere.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The content of one pull secret.
    pub fn parse(kind: PullSecretKind, bytes: &[u8]) -> Result<Self, ImageError> {
        // A serde error names a position; its text could quote the value, so it is not passed on.
        let broken = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            invalid(kind, format!("JSON error at line {line} column {column}"))
        };
        let auths = match kind {
            PullSecretKind::DockerConfigJson => {
                serde_json::from_slice::<ConfigFile>(bytes)
                    .map_err(broken)?
                    .auths
            }
            PullSecretKind::DockerCfg => serde_json::from_slice(bytes).map_err(broken)?,
        };
        Ok(Self {
            secrets: vec![Arc::new(Auths(kind, auths))],
        })
    }

    /// The content of a `config.json` file as `docker login` writes it. Blocks on local disk.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let bytes = std::fs::read(path).map_err(|source| ImageError::Cache {
            operation: "read the pull secret file",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(PullSecretKind::DockerConfigJson, &bytes)
    }

    /// These credentials, and for registries they say nothing about, those of `other`.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.secrets.extend(other.secrets.iter().cloned());
        self
    }

    /// The entry for `host` (with port, as in the reference) and `repository`. The one with the
    /// longest matching repository prefix wins; none means anonymous access.
    pub fn find(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<RegistryCredentials>, ImageError> {
        for auths in &self.secrets {
            let Auths(kind, entries) = auths.as_ref();
            let best = entries
                .iter()
                .filter_map(|(key, entry)| Some((match_length(key, host, repository)?, key, entry)))
                .max_by_key(|(length, _, _)| *length);
            if let Some((_, key, entry)) = best {
                return credentials_of(*kind, key, entry.clone()).map(Some);
            }
        }
        Ok(None)
    }
}

/// Finds the entry for one image in a pull secret; see [`Keyring::find`].
pub fn parse_pull_secret(
    kind: PullSecretKind,
    bytes: &[u8],
    host: &str,
    repository: &str,
) -> Result<Option<RegistryCredentials>, ImageError> {
    Keyring::parse(kind, bytes)?.find(host, repository)
}

fn invalid(kind: PullSecretKind, problem: String) -> ImageError {
    ImageError::InvalidCredentials {
        kind: kind.label(),
        problem,
    }
}

fn credentials_of(
    kind: PullSecretKind,
    key: &str,
    entry: AuthEntry,
) -> Result<RegistryCredentials, ImageError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(entry.identitytoken) {
        return Ok(RegistryCredentials::IdentityToken(token.into()));
    }
    if let Some(token) = given(entry.registrytoken) {
        return Ok(RegistryCredentials::RegistryToken(token.into()));
    }
    if let (Some(username), Some(password)) = (given(entry.username), entry.password) {
        return Ok(RegistryCredentials::Password {
            username,
            password: password.into(),
        });
    }
    let Some(auth) = given(entry.auth) else {
        return Err(invalid(
            kind,
            format!("entry {key:?} has neither auth nor username and password"),
        ));
    };
    let decoded = STANDARD
        .decode(auth.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| invalid(kind, format!("auth of entry {key:?} is not base64 of text")))?;
    let (username, password) = decoded
        .split_once(':')
        .ok_or_else(|| invalid(kind, format!("auth of entry {key:?} has no colon")))?;
    Ok(RegistryCredentials::Password {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned().into(),
    })
}

/// Length of the repository prefix when `key` covers the image, else none.
fn match_length(key: &str, host: &str, repository: &str) -> Option<usize> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (key_host, path) = bare.split_once('/').unwrap_or((bare, ""));
    if canonical_host(key_host) != canonical_host(host) {
        return None;
    }
    // Docker writes API paths such as /v1/ for whole registries.
    let path = path.trim_matches('/');
    if matches!(path, "" | "v1" | "v2") {
        return Some(0);
    }
    let rest = repository.strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
}

fn canonical_host(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn find(json: &str, host: &str, repository: &str) -> Option<(String, String)> {
        parse_pull_secret(
            PullSecretKind::DockerConfigJson,
            json.as_bytes(),
            host,
            repository,
        )
        .unwrap()
        .map(pair)
    }

    fn pair(found: RegistryCredentials) -> (String, String) {
        match found {
            RegistryCredentials::Password { username, password } => {
                (username, password.expose_secret().to_owned())
            }
            RegistryCredentials::IdentityToken(token) => {
                ("<identity>".to_owned(), token.expose_secret().to_owned())
            }
            RegistryCredentials::RegistryToken(token) => {
                ("<bearer>".to_owned(), token.expose_secret().to_owned())
            }
        }
    }

    #[test]
    fn tokens_are_told_from_passwords() {
        // `docker login` writes the user <token> beside an identity token.
        let json = r#"{"auths":{"a.example":{"auth":"PHRva2VuPjo=","identitytoken":"refresh"},
            "b.example":{"registrytoken":"bearer"}}}"#;
        assert_eq!(
            find(json, "a.example", "x").unwrap(),
            ("<identity>".to_owned(), "refresh".to_owned())
        );
        assert_eq!(
            find(json, "b.example", "x").unwrap(),
            ("<bearer>".to_owned(), "bearer".to_owned())
        );
    }

    #[test]
    fn a_second_keyring_answers_where_the_first_is_silent() {
        let kind = PullSecretKind::DockerConfigJson;
        let parse = |json: &str| Keyring::parse(kind, json.as_bytes()).unwrap();
        let first = parse(r#"{"auths":{"a.example":{"username":"first","password":"1"}}}"#);
        let second = parse(
            r#"{"auths":{"a.example":{"username":"second","password":"2"},
                "m.example":{"username":"mirror","password":"3"}}}"#,
        );
        let both = first.or(&second);
        let name = |host| both.find(host, "x").unwrap().map(|found| pair(found).0);
        assert_eq!(name("a.example").as_deref(), Some("first"));
        assert_eq!(name("m.example").as_deref(), Some("mirror"));
        assert_eq!(name("c.example"), None);
        assert!(!format!("{both:?}").contains('3'));
    }

    #[test]
    fn auth_field_and_plain_fields_are_equal() {
        let pair = Some(("u".to_owned(), "p:q".to_owned()));
        let auth = r#"{"auths":{"r.example:5000":{"auth":"dTpwOnE="}}}"#;
        let plain = r#"{"auths":{"r.example:5000":{"username":"u","password":"p:q"}}}"#;
        assert_eq!(find(auth, "r.example:5000", "a/b"), pair);
        assert_eq!(find(plain, "r.example:5000", "a/b"), pair);
        assert_eq!(find(plain, "r.example", "a/b"), None, "the port counts");
    }

    #[test]
    fn docker_hub_spellings_are_one_registry() {
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#;
        assert_eq!(
            find(json, "docker.io", "library/x"),
            Some(("u".to_owned(), "p".to_owned()))
        );
    }

    #[test]
    fn longest_repository_prefix_wins_at_a_boundary() {
        let json = r#"{"auths":{
            "r.example":{"username":"all","password":"1"},
            "r.example/team":{"username":"team","password":"2"}}}"#;
        assert_eq!(find(json, "r.example", "team/img").unwrap().0, "team");
        assert_eq!(find(json, "r.example", "teams/img").unwrap().0, "all");
    }

    #[test]
    fn old_form_has_no_auths_level() {
        let found = parse_pull_secret(
            PullSecretKind::DockerCfg,
            br#"{"r.example":{"username":"u","password":"p","email":"x"}}"#,
            "r.example",
            "img",
        );
        assert_eq!(pair(found.unwrap().unwrap()).0, "u");
    }

    #[test]
    fn errors_do_not_quote_secrets() {
        for json in [
            r#"{"auths":{"r":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"r":{"username":"hunter2"}}}"#,
            r#"{"auths":{"r":{"auth":["hunter2"]}}}"#,
            "hunter2",
        ] {
            let kind = PullSecretKind::DockerConfigJson;
            let error = parse_pull_secret(kind, json.as_bytes(), "r", "x").unwrap_err();
            assert_eq!(error.reason(), "InvalidPullSecret");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
