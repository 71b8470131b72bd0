//! Static files, compiled in. Their addresses carry a hash of the content, so browsers keep them
//! until they change.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

macro_rules! asset {
    ($name:literal, $media_type:literal) => {
        Asset {
            name: $name,
            media_type: $media_type,
            content: include_str!(concat!("../../../templates/ui/static/", $name)),
        }
    };
}

const ASSETS: [Asset; 4] = [
    asset!("app.css", "text/css; charset=utf-8"),
    asset!("live.js", "text/javascript; charset=utf-8"),
    asset!("htmx.min.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
];

/// Address of a file by its name; unknown names keep their plain address and are not found.
pub(super) fn address(name: &str) -> String {
    let hash = ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .and_then(|asset| Sha256::digest(asset.content).first_chunk().copied());
    match hash {
        Some(hash) => format!("/static/{name}?v={:016x}", u64::from_be_bytes(hash)),
        None => format!("/static/{name}"),
    }
}

pub(super) async fn serve(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => (
            [
                (header::CONTENT_TYPE, asset.media_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            asset.content,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
