//! What a registry's 401 asks for, and how it is answered (distribution token authentication).
//!
//! Credentials are sent only when a registry asks. Invariant: no token or password is in an error
//! or in Debug output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use url::Url;

use super::transport::{Ask, Transport, TransportError};
use crate::images::credentials::RegistryCredentials;

/// Largest answer of a token service, in bytes.
const MAX_TOKEN_BYTES: usize = 256 << 10;

/// A challenge we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Why a challenge was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// There is nothing to answer with, or it was not taken.
    #[error("credentials are missing or refused")]
    Denied,
    /// The token service is away or answers nonsense.
    #[error("the token service {0}")]
    Service(String),
    /// It could not be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// The challenge of a 401: a token is preferred to a password.
pub(crate) fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let all: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| parse(value.to_str().ok()?))
        .collect();
    let bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
    all.iter().find(bearer).or(all.first()).cloned()
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    let mut rest = rest;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, remainder) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            "scope" => scope = Some(value.to_owned()),
            _ => {}
        }
        rest = remainder;
    }
    Some(Challenge::Bearer {
        realm: realm?,
        service,
        scope,
    })
}

/// The Authorization header that answers `challenge`.
pub(crate) async fn answer(
    transport: &Transport,
    challenge: &Challenge,
    repository: &str,
    credentials: Option<&RegistryCredentials>,
) -> Result<HeaderValue, AuthError> {
    match (challenge, credentials) {
        (_, Some(RegistryCredentials::RegistryToken(token))) => {
            header(&format!("Bearer {}", token.expose_secret()))
        }
        (Challenge::Basic, Some(RegistryCredentials::Password { username, password })) => {
            basic(username, password.expose_secret())
        }
        (Challenge::Basic, Some(RegistryCredentials::IdentityToken(_)) | None) => {
            Err(AuthError::Denied)
        }
        (
            Challenge::Bearer {
                realm,
                service,
                scope,
            },
            credentials,
        ) => {
            let scope = scope
                .clone()
                .unwrap_or_else(|| format!("repository:{repository}:pull"));
            let ask = token_request(realm, service.as_deref(), scope, credentials)?;
            let token = fetch_token(transport, &ask).await?;
            header(&format!("Bearer {token}"))
        }
    }
}

fn token_request(
    realm: &str,
    service: Option<&str>,
    scope: String,
    credentials: Option<&RegistryCredentials>,
) -> Result<Ask, AuthError> {
    let url = Url::parse(realm)
        .map_err(|_| AuthError::Service("has an address that is no URL".to_owned()))?;
    let mut ask = Ask::get(url);
    match credentials {
        Some(RegistryCredentials::IdentityToken(token)) => {
            ask.method = http::Method::POST;
            ask.form = Some(vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", "metalman".to_owned()),
                ("service", service.unwrap_or_default().to_owned()),
                ("scope", scope),
                ("refresh_token", token.expose_secret().to_owned()),
            ]);
        }
        Some(RegistryCredentials::Password { username, password }) => {
            ask.authorization = Some(basic(username, password.expose_secret())?);
            query(&mut ask.url, service, &scope);
        }
        Some(RegistryCredentials::RegistryToken(_)) | None => query(&mut ask.url, service, &scope),
    }
    Ok(ask)
}

fn query(url: &mut Url, service: Option<&str>, scope: &str) {
    let mut pairs = url.query_pairs_mut();
    if let Some(service) = service {
        pairs.append_pair("service", service);
    }
    pairs.append_pair("scope", scope);
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

async fn fetch_token(transport: &Transport, ask: &Ask) -> Result<String, AuthError> {
    let mut response = transport.send(ask).await?;
    let status = response.status();
    if matches!(status.as_u16(), 400 | 401 | 403) {
        return Err(AuthError::Denied);
    }
    if !status.is_success() {
        return Err(AuthError::Service(format!("answers {status}")));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(TransportError::from)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Service("answers far too much".to_owned()));
        }
    }
    // The error of the parser could quote the token.
    serde_json::from_slice::<TokenAnswer>(&body)
        .ok()
        .and_then(|answer| answer.token.or(answer.access_token))
        .filter(|token| !token.is_empty())
        .ok_or_else(|| AuthError::Service("gives no token".to_owned()))
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, AuthError> {
    header(&format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    ))
}

fn header(text: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| AuthError::Denied)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        for (text, wanted) in [
            ("Basic realm=\"Registry\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"repository:a/b:pull,push\"",
                Some(bearer(
                    "https://auth.example/token",
                    Some("registry.example"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            (
                "bearer realm=https://r.example/token, service=r",
                Some(bearer("https://r.example/token", Some("r"), None)),
            ),
            ("Bearer service=\"no realm\"", None),
            ("Bearer realm=\"unclosed", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"https://r/\""),
        );
        assert_eq!(
            challenge_of(&headers),
            Some(bearer("https://r/", None, None))
        );
    }
}
