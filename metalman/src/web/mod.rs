//! The web page and JSON of one site: server-rendered, live by server-sent events; and BMCs as JSON
//! for `metalman bmc`.
//!
//! The pages know neither store nor Kubernetes: what they show comes through [`SiteView`], and who may
//! see it is decided by [`TokenCheck`]. Invariant: every path but `/login` and `/static/` answers only
//! with an accepted token; pages and GET requests change nothing, and whatever else is asked needs the
//! token in the header, never the cookie, and the right to operate machines.

mod assets;
mod auth;
pub(crate) mod bmc;
mod events;
mod json;
mod login;
mod pages;
mod problem;
mod render;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use jiff::Timestamp;

pub use auth::{Right, TokenCheck, TokenVerdict};
pub use bmc::routes as bmc_routes;
pub use view::{
    Card, Fact, MachineFacts, MachineRow, PastOperation, Power, RunningOperation, SiteView,
    ViewError,
};

/// Bytes of a request body at most.
const BODY_LIMIT: usize = 8 * 1024;

/// What every handler needs.
#[derive(Clone)]
struct Ui {
    view: Arc<dyn SiteView>,
    token: Arc<dyn TokenCheck>,
    renderer: Arc<render::Renderer>,
    clock: fn() -> Timestamp,
}

/// The pages, the event stream, the JSON and the static files, and `more` routes that need a token as
/// well. To be served over TLS only: the log-in cookie is `Secure`.
pub fn router(view: Arc<dyn SiteView>, token: Arc<dyn TokenCheck>, more: Router) -> Router {
    router_with_clock(view, token, more, crate::clock::now)
}

fn router_with_clock(
    view: Arc<dyn SiteView>,
    token: Arc<dyn TokenCheck>,
    more: Router,
    clock: fn() -> Timestamp,
) -> Router {
    let ui = Ui {
        view,
        token,
        renderer: Arc::new(render::Renderer::new()),
        clock,
    };
    let closed = Router::new()
        .route("/", get(pages::machines))
        .route("/machines/{name}", get(pages::machine))
        .route("/discovered", get(pages::discovered))
        .route("/events", get(events::stream))
        .route("/api/v1/discovered", get(json::discovered))
        .route("/api/v1/machines", get(json::machines))
        .route("/api/v1/machines/{name}", get(json::machine))
        .route("/api/v1/machines/{name}/timeline", get(json::timeline))
        .fallback(pages::not_found)
        .with_state(ui.clone())
        .merge(more)
        .layer(from_fn_with_state(ui.clone(), auth::require));
    let open = Router::new()
        .route("/login", get(login::form).post(login::submit))
        .route("/logout", post(login::logout))
        .route("/static/{name}", get(assets::serve))
        .with_state(ui);
    open.merge(closed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(auth::harden))
}
