//! Authentication: one session, reused; basic where a service has none; a refused password once.
//!
//! It does not judge answers other than 401. Invariant: after a 401 to user and password this
//! object sends them no more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tracing::debug;

use crate::call::check;
use crate::config::{ClientConfig, Timeouts};
use crate::error::Error;
use crate::model::{Messages, link};
use crate::operation::Operation;
use crate::transport::{Request, Response, Transport, secret_header};

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// What is asked of a BMC once somebody is logged in.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a Value>,
    pub(crate) if_match: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(operation: Operation, path: &'a str) -> Self {
        Self {
            operation,
            method: Method::GET,
            path,
            body: None,
            if_match: None,
        }
    }
}

#[derive(Debug)]
enum State {
    LoggedOut,
    Session {
        token: HeaderValue,
        location: Option<String>,
        generation: u64,
    },
    Basic,
    /// User and password were refused.
    Refused,
}

/// The credentials of one BMC and what became of them.
#[derive(Debug)]
pub(crate) struct Session {
    username: String,
    password: SecretString,
    timeouts: Timeouts,
    state: Mutex<State>,
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
            username: config.username.clone(),
            password: config.password.clone(),
            timeouts: config.timeouts,
            state: Mutex::new(State::LoggedOut),
        }
    }

    /// Sends a request as the logged-in user and gives back any answer but a 401 that says that
    /// the session is gone: then it logs in once more and asks once more.
    pub(crate) async fn send(
        &self,
        transport: &Transport,
        sessions_path: Option<&str>,
        ask: &Ask<'_>,
    ) -> Result<Response, Error> {
        let pass = self.pass(transport, sessions_path, None).await?;
        let response = transport.send(request(ask, &pass)).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(generation) = pass.generation else {
            *self.state.lock().await = State::Refused;
            return Err(refused(transport));
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
            *self.state.lock().await = State::Refused;
            return Err(refused(transport));
        }
        Ok(response)
    }

    /// Deletes the session, if there is one. The next request logs in anew.
    pub(crate) async fn close(&self, transport: &Transport) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let (token, location) = match &*state {
            State::Session {
                token,
                location: Some(location),
                ..
            } => (token.clone(), location.clone()),
            State::Session { location: None, .. } | State::LoggedOut | State::Basic => {
                *state = State::LoggedOut;
                return Ok(());
            }
            State::Refused => return Ok(()),
        };
        *state = State::LoggedOut;
        let mut headers = HeaderMap::new();
        headers.insert(X_AUTH_TOKEN, token);
        let response = transport
            .send(Request {
                operation: Operation::Logout,
                method: Method::DELETE,
                path: &location,
                headers,
                body: None,
                timeout: Some(self.timeouts.logout),
            })
            .await?;
        // Gone already is as good as deleted.
        if matches!(response.status.as_u16(), 401 | 404 | 410) {
            return Ok(());
        }
        check(Operation::Logout, &Method::DELETE, &location, response).map(drop)
    }

    /// The pass to use; logs in when there is none, or when the one of `spent` was refused.
    async fn pass(
        &self,
        transport: &Transport,
        sessions_path: Option<&str>,
        spent: Option<u64>,
    ) -> Result<Pass, Error> {
        let mut state = self.state.lock().await;
        let last = match &*state {
            State::Session {
                token, generation, ..
            } if Some(*generation) != spent => {
                return Ok(Pass {
                    name: X_AUTH_TOKEN,
                    value: token.clone(),
                    generation: Some(*generation),
                });
            }
            State::Session { generation, .. } => *generation,
            State::LoggedOut => spent.unwrap_or(0),
            State::Basic => return self.basic(),
            State::Refused => return Err(refused(transport)),
        };
        *state = State::LoggedOut;
        match self.login(transport, sessions_path).await {
            Ok(Some((token, location))) => {
                let generation = last.wrapping_add(1);
                *state = State::Session {
                    token: token.clone(),
                    location,
                    generation,
                };
                Ok(Pass {
                    name: X_AUTH_TOKEN,
                    value: token,
                    generation: Some(generation),
                })
            }
            Ok(None) => {
                debug!(
                    bmc.addr = transport.bmc(),
                    "service has no sessions, using basic"
                );
                *state = State::Basic;
                self.basic()
            }
            Err(error) => {
                if matches!(error, Error::Unauthorized { .. }) {
                    *state = State::Refused;
                }
                Err(error)
            }
        }
    }

    /// Creates a session. `None`: the service has no sessions.
    async fn login(
        &self,
        transport: &Transport,
        sessions_path: Option<&str>,
    ) -> Result<Option<(HeaderValue, Option<String>)>, Error> {
        let operation = Operation::Login;
        // A service that announces no sessions may answer 401 to the attempt, which would look
        // like a wrong password.
        let Some(path) = sessions_path else {
            return Ok(None);
        };
        let body = json!({"UserName": self.username, "Password": self.password.expose_secret()});
        let response = transport
            .send(Request {
                operation,
                method: Method::POST,
                path,
                headers: HeaderMap::new(),
                body: Some(&body),
                timeout: None,
            })
            .await?;
        match response.status.as_u16() {
            401 if !Messages::parse(&response.body).has("SessionLimitExceeded") => {
                return Err(refused(transport));
            }
            404 | 405 | 501 => return Ok(None),
            _ => {}
        }
        let response = check(operation, &Method::POST, path, response)?;
        let Some(token) = response.header("x-auth-token").and_then(secret_header) else {
            return Err(Error::InvalidResponse {
                operation,
                what: "session without X-Auth-Token".to_owned(),
            });
        };
        let location = response.header("location").map(ToOwned::to_owned);
        let location = location.or_else(|| {
            let id = response.body.get("@odata.id")?.as_str()?;
            Some(id.to_owned())
        });
        Ok(Some((
            token,
            location.or_else(|| link(&response.body, "Session")),
        )))
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
        timeout: None,
    }
}
