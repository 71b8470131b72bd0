//! The router as a whole, over the made-up site.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::sample::{SampleSite, now};
use super::{Right, TokenCheck, TokenVerdict, router_with_clock};

const TOKEN: &str = "correct-horse";

/// Knows one token.
struct OneToken;

#[async_trait]
impl TokenCheck for OneToken {
    async fn check(&self, token: &str, _every: Right) -> TokenVerdict {
        if token == TOKEN {
            let user = "admin".to_owned();
            return TokenVerdict::Accepted { user };
        }
        TokenVerdict::Refused
    }
}

fn site() -> (Router, Arc<SampleSite>) {
    let site = Arc::new(SampleSite::new());
    (
        router_with_clock(site.clone(), Arc::new(OneToken), Router::new(), now),
        site,
    )
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("text");
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

fn get(path: &str) -> axum::http::request::Builder {
    Request::get(path).header(header::ACCEPT, "text/html,*/*")
}

async fn page(path: &str) -> Answer {
    let (router, _) = site();
    let request = get(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    ask(&router, request.body(Body::empty()).expect("a request")).await
}

fn form(path: &str, body: &'static str) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("a request")
}

#[tokio::test]
async fn the_list_shows_what_each_machine_does() {
    let answer = page("/").await;
    assert_eq!(answer.status, StatusCode::OK);
    let order: Vec<_> = ["node-1", "node-2", "node-3", "node-4", "node-10"]
        .iter()
        .map(|name| {
            answer
                .body
                .find(&format!(">{name}</a>"))
                .expect("is listed")
        })
        .collect();
    assert!(order.is_sorted(), "by name, numbers by value");
    for text in [
        "value=\"42\"",
        "Writing the image",
        "waits for a new boot id from the host",
        "correct key password of Secret",
        "needs attention",
        "12 s ago",
    ] {
        assert!(answer.body.contains(text), "{text}\n{}", answer.body);
    }
}

#[tokio::test]
async fn cards_that_nobody_owns_are_listed_with_how_to_enrol_them() {
    let answer = page("/discovered").await;
    assert_eq!(answer.status, StatusCode::OK);
    for text in [
        "52:54:00:77:00:99",
        "2 h ago",
        "12 s ago",
        "asked 31 times",
        "x86-64 UEFI PXE",
        "10.1.0.1",
        "Eth1&#x2f;7",
        "PXEClient:Arch:00007&lt;script&gt;alert(1)",
        "name: node-770099",
    ] {
        assert!(answer.body.contains(text), "{text}\n{}", answer.body);
    }
    assert!(!answer.body.contains("<script>alert("));
    assert!(page("/").await.body.contains("href=\"/discovered\""));
    let list = page("/api/v1/discovered").await.json();
    assert_eq!(list["items"][0]["mac"], "52:54:00:77:00:99");
    assert_eq!(list["items"][0]["circuit_id"], "Eth1/7");

    let (mut none, mut away) = (SampleSite::new(), SampleSite::new());
    (none.cards, away.cards) = (Some(Vec::new()), None);
    for (site, path, status, says) in [
        (
            &none,
            "/discovered",
            StatusCode::OK,
            "No network card that belongs to no Machine",
        ),
        (
            &away,
            "/discovered",
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot be read now",
        ),
        (
            &away,
            "/api/v1/discovered",
            StatusCode::SERVICE_UNAVAILABLE,
            "StoreUnavailable",
        ),
    ] {
        let site = Arc::new(SampleSite {
            cards: site.cards.clone(),
            ..SampleSite::new()
        });
        let router = router_with_clock(site, Arc::new(OneToken), Router::new(), now);
        let request = get(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        let answer = ask(&router, request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains(says), "{says}: {}", answer.body);
    }
    let (router, _) = site();
    let closed = get("/discovered").body(Body::empty()).expect("a request");
    assert_ne!(
        ask(&router, closed).await.status,
        StatusCode::OK,
        "not without a token"
    );
}

#[tokio::test]
async fn the_page_of_a_machine_shows_its_story_escaped() {
    let answer = page("/machines/node-1").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer
            .body
            .contains("HTTP vmlinuz 14.2 MB in 0.9 s, 15.8 MB")
    );
    assert!(answer.body.contains("&lt;script&gt;alert("));
    assert!(!answer.body.contains("<script>alert("));
    let missing = page("/machines/%3Cb%3E").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.body.contains("&lt;b&gt;"));
    assert_eq!(page("/nothing/here").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_bring_no_inline_code_and_say_so() {
    for path in ["/", "/machines/node-1", "/login", "/nothing"] {
        let answer = page(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        for inline in ["<style", " style=", " onclick=", "<script>", "javascript:"] {
            assert!(!answer.body.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn nothing_is_shown_without_the_token() {
    let (router, _) = site();
    for path in [
        "/",
        "/machines/node-1",
        "/events",
        "/api/v1/machines",
        "/nothing",
    ] {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some("Basic eA=="),
        ] {
            let mut request = Request::get(path);
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let answer = ask(&router, request.body(Body::empty()).expect("a request")).await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{path} {authorization:?}"
            );
            assert_eq!(answer.json()["reason"], "TokenRequired");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    let browser = get("/machines/node-1?before=3")
        .body(Body::empty())
        .expect("a request");
    let answer = ask(&router, browser).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(
        answer.header("location"),
        "/login?next=%2Fmachines%2Fnode-1%3Fbefore%3D3"
    );
    let fragment = get("/")
        .header("hx-request", "true")
        .body(Body::empty())
        .expect("a request");
    let answer = ask(&router, fragment).await;
    assert_eq!(answer.header("hx-redirect"), "/login?next=%2F");
}

#[tokio::test]
async fn a_token_becomes_a_cookie_that_opens_the_site() {
    let (router, _) = site();
    let wrong = ask(&router, form("/login", "token=wrong&next=/")).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    assert!(wrong.body.contains("not valid here"));
    assert!(!wrong.headers.contains_key(header::SET_COOKIE));

    let right = ask(
        &router,
        form("/login", "token=correct-horse&next=/machines/node-1"),
    )
    .await;
    assert_eq!(
        (right.status, right.header("location")),
        (StatusCode::SEE_OTHER, "/machines/node-1")
    );
    let cookie = right.header("set-cookie").to_owned();
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let pair = cookie.split(';').next().expect("a pair");
    let request = get("/").header(header::COOKIE, format!("other=1; {pair}"));
    let answer = ask(&router, request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::OK);

    let away = ask(
        &router,
        form("/login", "token=correct-horse&next=//evil.example"),
    )
    .await;
    assert_eq!(away.header("location"), "/");
    let out = ask(&router, form("/logout", "")).await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn programs_get_json_in_pages() {
    let answer = page("/api/v1/machines").await;
    let first = &answer.json()["items"][0];
    assert_eq!(first["name"], "node-1");
    assert_eq!(first["power"], "on");
    assert_eq!(first["phase"], "Provisioning");
    assert_eq!(first["operation"]["percent"], 42);

    let answer = page("/api/v1/machines/node-1/timeline?limit=2").await;
    let list = answer.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(list["items"][0]["source"], "installer");
    let before = list["next_before"].as_i64().expect("there is more");
    let rest = page(&format!("/api/v1/machines/node-1/timeline?before={before}"))
        .await
        .json();
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(17));
    assert_eq!(rest.get("next_before"), None);

    let answer = page("/api/v1/machines/nobody/timeline").await;
    assert_eq!(
        (answer.status, &answer.json()["reason"]),
        (StatusCode::NOT_FOUND, &"MachineNotFound".into())
    );
}

#[tokio::test]
async fn a_change_is_told_and_the_stream_ends_with_the_site() {
    let (router, site) = site();
    let request = get("/events").header(header::AUTHORIZATION, format!("bearer {TOKEN}"));
    let request = request.body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("infallible");
    drop(router);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut next = async || match stream.next().await {
        Some(Ok(bytes)) => Some(String::from_utf8(bytes.to_vec()).expect("text")),
        Some(Err(_)) | None => None,
    };
    assert_eq!(
        next().await.as_deref(),
        Some("event: site\ndata: {\"revision\":7}\n\n")
    );
    site.changes.send_replace(8);
    site.changes.send_replace(9);
    assert_eq!(
        next().await.as_deref(),
        Some("event: site\ndata: {\"revision\":9}\n\n")
    );
    drop(site);
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn static_files_are_open_and_kept_by_browsers() {
    let (router, _) = site();
    let list = page("/").await.body;
    for (name, media_type) in [
        ("app.css", "text/css"),
        ("live.js", "text/javascript"),
        ("htmx.min.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let start = list.find(&format!("/static/{name}?v=")).expect("is used");
        let path: String = list[start..].chars().take_while(|c| *c != '"').collect();
        let answer = ask(&router, get(&path).body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.header("content-type").starts_with(media_type));
        assert!(answer.header("cache-control").contains("immutable"));
    }
    let missing = get("/static/..%2fapp.css")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(ask(&router, missing).await.status, StatusCode::NOT_FOUND);
}
