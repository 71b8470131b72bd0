//! Requests to registries and to where they send us.
//!
//! Follows redirects itself, because each hop has to be admitted. Invariant: credentials go to the
//! origin they were asked for by and to no other, and names are checked by the addresses they have
//! when the connection is made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use http::{Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, redirect};
use url::Url;

use super::policy::{Forbidden, Policy, Reach, is_public};

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;

/// Looks a name up; a value, so that tests can answer for the DNS.
pub(crate) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The rules of the site do not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Nothing answered, or not in time.
    #[error("the request failed")]
    Network(#[source] reqwest::Error),
    /// A redirect that leads nowhere.
    #[error("{0}")]
    Redirect(String),
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            if let Some(forbidden) = found.downcast_ref::<Forbidden>() {
                return Self::Forbidden(forbidden.clone());
            }
            cause = found.source();
        }
        // The URL of a redirect target can be signed.
        Self::Network(error.without_url())
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: Option<HeaderValue>,
    /// For the origin of `url` only.
    pub(crate) authorization: Option<HeaderValue>,
    /// First byte wanted.
    pub(crate) from_byte: u64,
    /// Body of a POST.
    pub(crate) form: Option<Vec<(&'static str, String)>>,
}

impl Ask {
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            accept: None,
            authorization: None,
            from_byte: 0,
            form: None,
        }
    }
}

/// The clients of an image store, one for each [`Reach`].
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    policy: Policy,
    anywhere: Client,
    site: Client,
    public: Client,
}

/// Time limits of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) read: Duration,
}

impl Transport {
    pub(crate) fn new(
        policy: Policy,
        patience: Patience,
        roots: &[reqwest::Certificate],
        lookup: &Lookup,
    ) -> Result<Self, reqwest::Error> {
        let client = |reach| {
            Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .connect_timeout(patience.connect)
                .read_timeout(patience.read)
                .user_agent("metalman")
                .tls_certs_merge(roots.iter().cloned())
                .dns_resolver(Arc::new(Resolver {
                    reach,
                    lookup: Arc::clone(lookup),
                }))
                .build()
        };
        Ok(Self {
            policy,
            anywhere: client(Reach::Anywhere)?,
            site: client(Reach::Site)?,
            public: client(Reach::Public)?,
        })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends a request and follows its redirects; any other status is a response.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Response, TransportError> {
        let mut url = ask.url.clone();
        let mut same_origin = true;
        let mut from_public = false;
        for _ in 0..=MAX_REDIRECTS {
            let client = match self.policy.admit(&url, from_public)? {
                Reach::Anywhere => &self.anywhere,
                Reach::Site => &self.site,
                Reach::Public => &self.public,
            };
            let mut request = client.request(ask.method.clone(), url.clone());
            if let Some(accept) = &ask.accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(authorization) = ask.authorization.as_ref().filter(|_| same_origin) {
                request = request.header(AUTHORIZATION, authorization);
            }
            if ask.from_byte > 0 {
                request = request.header(RANGE, format!("bytes={}-", ask.from_byte));
            }
            if let Some(form) = &ask.form {
                request = request
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(encoded(form));
            }
            let response = request.send().await?;
            let Some(next) = redirect_of(&response, &url)? else {
                return Ok(response);
            };
            if ask.form.is_some() {
                return Err(TransportError::Redirect(
                    "the token service redirects, which is not followed with a token".to_owned(),
                ));
            }
            from_public |= response
                .remote_addr()
                .is_some_and(|address| is_public(address.ip()));
            same_origin &= next.origin() == url.origin();
            url = next;
        }
        Err(TransportError::Redirect(format!(
            "more than {MAX_REDIRECTS} redirects"
        )))
    }
}

fn redirect_of(response: &Response, url: &Url) -> Result<Option<Url>, TransportError> {
    let moved = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if !moved {
        return Ok(None);
    }
    response
        .headers()
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url.join(location).ok())
        .map(Some)
        .ok_or_else(|| TransportError::Redirect("a redirect without a usable target".to_owned()))
}

fn encoded(form: &[(&'static str, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish()
}

/// The DNS of this machine.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    })
}

/// Gives out only addresses that may be connected to.
struct Resolver {
    reach: Reach,
    lookup: Lookup,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, target) = (self.reach, name.as_str().to_owned());
        let found = (self.lookup)(target.clone());
        Box::pin(async move {
            let found = found.await?;
            let mut problem = None;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| match reach.allows(address.ip()) {
                    Ok(()) => true,
                    Err(why) => {
                        problem = Some(why);
                        false
                    }
                })
                .collect();
            match problem {
                Some(problem) if allowed.is_empty() => Err(Forbidden { target, problem }.into()),
                Some(_) | None => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
