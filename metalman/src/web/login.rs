//! The log-in form: trades a token for a cookie that scripts cannot read.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::{Deserialize, Serialize};

use super::Ui;
use super::auth::{COOKIE, Right, TokenVerdict};

/// How long a browser keeps the token, in seconds.
const COOKIE_SECONDS: u32 = 12 * 3600;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Submission {
    token: String,
    #[serde(default)]
    next: String,
}

/// Context of `login.html.j2`.
#[derive(Debug, Serialize)]
struct LoginPage<'a> {
    site: String,
    revision: u64,
    /// Where to go after.
    next: &'a str,
    refusal: Option<&'a str>,
}

pub(super) async fn form(State(ui): State<Ui>, Query(wanted): Query<Wanted>) -> Response {
    page(&ui, StatusCode::OK, &wanted.next, None)
}

pub(super) async fn submit(State(ui): State<Ui>, Form(submission): Form<Submission>) -> Response {
    let token = submission.token.trim();
    // A token with other characters could not be a cookie, nor a bearer token (RFC 6750).
    let is_speakable = token
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b));
    let verdict = if is_speakable {
        ui.token.check(token, Right::Read).await
    } else {
        TokenVerdict::Refused
    };
    match verdict {
        TokenVerdict::Accepted { .. } => {
            let cookie = format!(
                "{COOKIE}={token}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; Secure; SameSite=Strict"
            );
            let target = local_path(&submission.next);
            ([(header::SET_COOKIE, cookie)], Redirect::to(target)).into_response()
        }
        TokenVerdict::Refused => {
            let text = "That token is not valid here.";
            page(&ui, StatusCode::FORBIDDEN, &submission.next, Some(text))
        }
        TokenVerdict::Unavailable => {
            let text = "The token cannot be checked now. Try again in a moment.";
            page(
                &ui,
                StatusCode::SERVICE_UNAVAILABLE,
                &submission.next,
                Some(text),
            )
        }
    }
}

pub(super) async fn logout() -> Response {
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

fn page(ui: &Ui, status: StatusCode, next: &str, refusal: Option<&str>) -> Response {
    let site = ui.view.site();
    let context = LoginPage {
        site,
        revision: 0,
        next: local_path(next),
        refusal,
    };
    ui.renderer.respond(status, "login.html.j2", &context)
}

/// A path of this site, or `/`: the form must not send anybody elsewhere.
fn local_path(path: &str) -> &str {
    let is_local = path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if is_local { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn only_paths_of_this_site_are_followed() {
        for path in ["/", "/machines/node-1?before=7"] {
            assert_eq!(local_path(path), path);
        }
        for path in [
            "",
            "//evil",
            "/\\evil",
            "https://evil",
            "/a\r\nSet-Cookie: x",
            "evil",
        ] {
            assert_eq!(local_path(path), "/", "{path:?}");
        }
    }
}
