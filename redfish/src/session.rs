//! Authentication: one session, reused; basic where a service has none; a refused password once.
//!
//! It does not judge answers other than 401. Invariants: after a 401 to user and password this
//! object sends them no more; a login that was begun is finished and remembered even when whoever
//! asked for it went away, so that no session is lost on the BMC.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use crate::call::check;
use crate::config::ClientConfig;
use crate::error::Error;
use crate::model::{Messages, link};
use crate::operation::Operation;
use crate::quirks;
use crate::wire::{Request, Response, Transport, secret_header};

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// What is asked of a BMC once somebody is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a Value>,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) timeout: Option<Duration>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(operation: Operation, path: &'a str) -> Self {
        Self {
            operation,
            method: Method::GET,
            path,
            body: None,
            if_match: None,
            timeout: None,
        }
    }

    pub(crate) fn write(
        operation: Operation,
        method: Method,
        path: &'a str,
        body: &'a Value,
    ) -> Self {
        Self {
            method,
            body: Some(body),
            ..Self::get(operation, path)
        }
    }
}

/// A created session: its token and where it is deleted. `None`: the service has no sessions.
type Login = Result<Option<(HeaderValue, Option<String>)>, Error>;

enum State {
    LoggedOut,
    LoggingIn(Pin<Box<dyn Future<Output = Login> + Send>>),
    Session {
        token: HeaderValue,
        location: Option<String>,
    },
    Basic,
    /// User and password were refused.
    Refused,
}

struct Inner {
    username: String,
    password: SecretString,
    state: State,
    /// Counts logins, so that a caller knows whether the pass it held is still the latest.
    generation: u64,
}

/// The credentials of one BMC and what became of them.
pub(crate) struct Session {
    inner: Mutex<Inner>,
    logout: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What goes into a request, and the login it came from.
struct Pass {
    name: HeaderName,
    value: HeaderValue,
    /// `None` for basic.
    generation: Option<u64>,
}

impl Session {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        Self {
            inner: Mutex::new(Inner {
                username: config.username.clone(),
                password: config.password.clone(),
                state: State::LoggedOut,
                generation: 0,
            }),
            logout: config.timeouts.logout,
        }
    }

    /// Sends a request as the logged-in user and gives back any answer but a 401 that says that
    /// the session is gone: then it logs in once more and asks once more.
    pub(crate) async fn send(
        &self,
        transport: &Arc<Transport>,
        sessions_path: Option<&str>,
        ask: &Ask<'_>,
    ) -> Result<Response, Error> {
        let pass = self.pass(transport, sessions_path, None).await?;
        let response = transport.send(request(ask, &pass)).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(generation) = pass.generation else {
            return self.refuse(transport, response).await;
        };
        debug!(
            bmc.addr = transport.bmc(),
            "session is gone, logging in again"
        );
        let pass = self
            .pass(transport, sessions_path, Some(generation))
            .await?;
        let response = transport.send(request(ask, &pass)).await?;
        if response.status == StatusCode::UNAUTHORIZED && pass.generation.is_none() {
            return self.refuse(transport, response).await;
        }
        Ok(response)
    }

    /// Deletes the session, if there is one. The next request logs in anew.
    pub(crate) async fn close(&self, transport: &Transport) -> Result<(), Error> {
        let mut inner = self.inner.lock().await;
        if let State::LoggingIn(login) = &mut inner.state {
            // Somebody went away in the middle of a login, which may have made a session.
            inner.state = match timeout(self.logout, login.as_mut()).await {
                Ok(Ok(Some((token, location)))) => State::Session { token, location },
                Ok(Err(Error::Unauthorized { .. })) => State::Refused,
                Ok(Ok(None) | Err(_)) | Err(_) => State::LoggedOut,
            };
        }
        let (token, location) = match &inner.state {
            State::Session {
                token,
                location: Some(location),
            } => (token.clone(), location.clone()),
            State::Refused => return Ok(()),
            State::Session { location: None, .. }
            | State::LoggedOut
            | State::LoggingIn(_)
            | State::Basic => {
                inner.state = State::LoggedOut;
                return Ok(());
            }
        };
        inner.state = State::LoggedOut;
        let mut headers = HeaderMap::new();
        headers.insert(X_AUTH_TOKEN, token);
        let response = transport
            .send(Request {
                operation: Operation::Logout,
                method: Method::DELETE,
                path: &location,
                headers,
                body: None,
                timeout: Some(self.logout),
            })
            .await?;
        // Gone already is as good as deleted.
        if matches!(response.status.as_u16(), 401 | 404 | 410) {
            return Ok(());
        }
        check(Operation::Logout, &Method::DELETE, &location, response).map(drop)
    }

    /// Drops the session without a word to the BMC. A refused password stays refused.
    pub(crate) async fn forget(&self) {
        let mut inner = self.inner.lock().await;
        if !matches!(inner.state, State::Refused) {
            inner.state = State::LoggedOut;
        }
    }

    /// Logs in with another password from now on. A session of the old one is given up.
    pub(crate) async fn replace_password(&self, password: SecretString) {
        let mut inner = self.inner.lock().await;
        inner.password = password;
        inner.state = State::LoggedOut;
    }

    pub(crate) async fn username(&self) -> String {
        self.inner.lock().await.username.clone()
    }

    async fn refuse(&self, transport: &Transport, response: Response) -> Result<Response, Error> {
        if quirks::is_refused_login(401, &Messages::parse(&response.body)) {
            self.inner.lock().await.state = State::Refused;
            return Err(refused(transport));
        }
        Ok(response)
    }

    /// The pass to use; logs in when there is none, or when the one of `spent` was refused.
    async fn pass(
        &self,
        transport: &Arc<Transport>,
        sessions_path: Option<&str>,
        spent: Option<u64>,
    ) -> Result<Pass, Error> {
        let mut guard = self.inner.lock().await;
        let inner = &mut *guard;
        let mut abandoned = matches!(inner.state, State::LoggingIn(_));
        loop {
            match &mut inner.state {
                State::Session { .. } if spent == Some(inner.generation) => {
                    inner.state = State::LoggedOut;
                }
                State::Session { token, .. } => {
                    return Ok(Pass {
                        name: X_AUTH_TOKEN,
                        value: token.clone(),
                        generation: Some(inner.generation),
                    });
                }
                State::Basic => return inner.basic(),
                State::Refused => return Err(refused(transport)),
                State::LoggedOut => {
                    inner.state = match sessions_path {
                        Some(path) => State::LoggingIn(Box::pin(login(
                            Arc::clone(transport),
                            path.to_owned(),
                            inner.username.clone(),
                            inner.password.clone(),
                        ))),
                        // A service that announces no sessions may answer 401 to the attempt,
                        // which would look like a wrong password.
                        None => State::Basic,
                    };
                }
                State::LoggingIn(login) => {
                    let outcome = login.as_mut().await;
                    let began_elsewhere = std::mem::take(&mut abandoned);
                    if let Some(error) = inner.settle(outcome)
                        && !(began_elsewhere && error.is_transient())
                    {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl Inner {
    /// Takes in how a login ended; gives back its error.
    fn settle(&mut self, outcome: Login) -> Option<Error> {
        let (state, error) = match outcome {
            Ok(Some((token, location))) => {
                self.generation = self.generation.wrapping_add(1);
                (State::Session { token, location }, None)
            }
            Ok(None) => (State::Basic, None),
            Err(error @ Error::Unauthorized { .. }) => (State::Refused, Some(error)),
            // The account may change its password and nothing else, if needed without a session.
            Err(error @ Error::PasswordChangeRequired { .. }) => (State::Basic, Some(error)),
            Err(error) => (State::LoggedOut, Some(error)),
        };
        self.state = state;
        error
    }

    fn basic(&self) -> Result<Pass, Error> {
        let pair = format!("{}:{}", self.username, self.password.expose_secret());
        let value = secret_header(&format!("Basic {}", STANDARD.encode(pair)));
        let value = value.ok_or_else(|| Error::InvalidConfig {
            what: "user and password do not fit into a header".to_owned(),
        })?;
        Ok(Pass {
            name: AUTHORIZATION,
            value,
            generation: None,
        })
    }
}

/// Creates a session.
async fn login(
    transport: Arc<Transport>,
    path: String,
    username: String,
    password: SecretString,
) -> Login {
    let operation = Operation::Login;
    let body = json!({"UserName": username, "Password": password.expose_secret()});
    let response = transport
        .send(Request {
            operation,
            method: Method::POST,
            path: &path,
            headers: HeaderMap::new(),
            body: Some(&body),
            timeout: None,
        })
        .await?;
    let status = response.status.as_u16();
    if !response.status.is_success()
        && quirks::is_refused_login(status, &Messages::parse(&response.body))
    {
        return Err(refused(&transport));
    }
    if matches!(status, 404 | 405 | 501) {
        debug!(
            bmc.addr = transport.bmc(),
            "service has no sessions, using basic"
        );
        return Ok(None);
    }
    let response = check(operation, &Method::POST, &path, response)?;
    let Some(token) = response.header("x-auth-token").and_then(secret_header) else {
        return Err(Error::InvalidResponse {
            operation,
            what: "session without X-Auth-Token".to_owned(),
        });
    };
    let location = response
        .header("location")
        .map(ToOwned::to_owned)
        .or_else(|| {
            let id = response.body.get("@odata.id")?.as_str()?;
            Some(id.to_owned())
        });
    Ok(Some((
        token,
        location.or_else(|| link(&response.body, "Session")),
    )))
}

fn refused(transport: &Transport) -> Error {
    Error::Unauthorized {
        bmc: transport.bmc().to_owned(),
    }
}

fn request<'a>(ask: &Ask<'a>, pass: &Pass) -> Request<'a> {
    let mut headers = HeaderMap::new();
    headers.insert(pass.name.clone(), pass.value.clone());
    if let Some(value) = ask.if_match.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        headers.insert(http::header::IF_MATCH, value);
    }
    Request {
        operation: ask.operation,
        method: ask.method.clone(),
        path: ask.path,
        headers,
        body: ask.body,
        timeout: ask.timeout,
    }
}
