//! Turns templates and contexts into pages. Strict: a name a template does not get is an error,
//! and every value is escaped.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use serde::Serialize;
use tracing::error;

use super::assets;

/// Steps a page may take to render; a list of ten thousand machines needs about two million.
const FUEL: u64 = 20_000_000;

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../templates/ui/", $name)))),+]
    };
}

const TEMPLATES: [(&str, &str); 7] = templates![
    "base.html.j2",
    "parts.html.j2",
    "machines.html.j2",
    "machine.html.j2",
    "discovered.html.j2",
    "login.html.j2",
    "message.html.j2",
];

/// The compiled templates.
#[derive(Debug)]
pub(super) struct Renderer {
    environment: Environment<'static>,
}

impl Renderer {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_fuel(Some(FUEL));
        // Ours and made of safe characters: not escaped, so that it reads in the source of a page.
        environment.add_function("asset", |name: &str| {
            Value::from_safe_string(assets::address(name))
        });
        for (name, source) in TEMPLATES {
            if let Err(error) = environment.add_template(name, source) {
                // Compiled in and rendered by a test, so only an edit in progress comes here.
                error!(template = name, %error, "a page template does not parse");
            }
        }
        Self { environment }
    }

    /// The page, or a plain apology; the cause goes to the log only.
    pub(super) fn respond(
        &self,
        status: StatusCode,
        template: &str,
        context: &impl Serialize,
    ) -> Response {
        let page = self
            .environment
            .get_template(template)
            .and_then(|template| template.render(Serde(context)));
        match page {
            Ok(page) => (status, Html(page)).into_response(),
            Err(error) => {
                error!(
                    template,
                    error = format!("{error:#}"),
                    "a page could not be rendered"
                );
                let text = "This page could not be rendered; metalman's log says why.\n";
                let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
                (StatusCode::INTERNAL_SERVER_ERROR, plain, text).into_response()
            }
        }
    }
}
