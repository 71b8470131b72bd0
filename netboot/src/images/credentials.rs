//! Registry credentials out of Kubernetes pull secrets.
//!
//! Pure: takes the bytes of a Secret, returns the entry for one registry. Invariant: a password
//! never leaves `SecretString` and never appears in an error.

use std::collections::BTreeMap;

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

/// User and password for one registry.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: SecretString,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Deserialize)]
struct AuthEntry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

/// Finds the entry for `host` (with port, as in the reference) and `repository` in a pull secret.
/// The entry with the longest matching repository prefix wins; none means anonymous access.
pub fn parse_pull_secret(
    kind: PullSecretKind,
    bytes: &[u8],
    host: &str,
    repository: &str,
) -> Result<Option<RegistryCredentials>, ImageError> {
    let invalid = |problem: String| ImageError::InvalidCredentials {
        kind: kind.label(),
        problem,
    };
    // A serde error names a position; its text could quote the value, so it is not passed on.
    let broken = |error: serde_json::Error| {
        invalid(format!(
            "JSON error at line {} column {}",
            error.line(),
            error.column()
        ))
    };
    let auths = match kind {
        PullSecretKind::DockerConfigJson => {
            serde_json::from_slice::<ConfigFile>(bytes)
                .map_err(broken)?
                .auths
        }
        PullSecretKind::DockerCfg => serde_json::from_slice(bytes).map_err(broken)?,
    };
    let best = auths
        .into_iter()
        .filter_map(|(key, entry)| Some((match_length(&key, host, repository)?, key, entry)))
        .max_by_key(|(length, _, _)| *length);
    let Some((_, key, entry)) = best else {
        return Ok(None);
    };
    if let (Some(username), Some(password)) = (entry.username, entry.password)
        && !username.is_empty()
    {
        return Ok(Some(RegistryCredentials {
            username,
            password: password.into(),
        }));
    }
    let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) else {
        return Err(invalid(format!(
            "entry {key:?} has neither auth nor username and password"
        )));
    };
    let decoded = STANDARD
        .decode(auth.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| invalid(format!("auth of entry {key:?} is not base64 of text")))?;
    let (username, password) = decoded
        .split_once(':')
        .ok_or_else(|| invalid(format!("auth of entry {key:?} has no colon")))?;
    Ok(Some(RegistryCredentials {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned().into(),
    }))
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
        .map(|found| (found.username, found.password.expose_secret().to_owned()))
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
        assert_eq!(found.unwrap().unwrap().username, "u");
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
