//! The studio's files: compiled in, or read from the folder that `UNDIFFUSE_STUDIO` names, for people who work on the pages.

use std::path::{Component, Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use undiffuse::data::text::hex;

use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "studio"]
struct Embedded;

/// The types of files that the studio may have.
const TYPES: [(&str, &str); 9] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("webmanifest", "application/manifest+json"),
    ("woff2", "font/woff2"),
    ("txt", "text/plain; charset=utf-8"),
];

/// `GET /` and `GET /studio/…`. `folder` takes the place of the files that are compiled in.
pub fn routes<S: Clone + Send + Sync + 'static>(folder: Option<PathBuf>) -> Router<S> {
    Router::new().route("/", get(file)).route("/studio/{*path}", get(file)).with_state(folder)
}

async fn file(State(folder): State<Option<PathBuf>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let path = uri.path().strip_prefix("/studio/").unwrap_or("index.html");
    let unknown = || Problem::not_found("the studio has no such file; `/` is its page");
    // Names of ours need no percent-encoding, so none is undone and `..` in any disguise is a name that nothing has.
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    let kind = TYPES.iter().find(|(known, _)| Some(*known) == extension).map(|(_, kind)| *kind);
    let (true, Some(kind)) = (plain, kind) else { return Err(unknown()) };
    let (bytes, hash) = match folder {
        None => Embedded::get(path).map(|file| (file.data, file.metadata.sha256_hash())),
        Some(folder) => tokio::fs::read(folder.join(path)).await.ok().map(|bytes| {
            let hash = Sha256::digest(&bytes).into();
            (bytes.into(), hash)
        }),
    }
    .ok_or_else(unknown)?;
    let tag =
        HeaderValue::try_from(format!("\"{}\"", hex(&hash[..16]))).map_err(|e| Problem::internal(e.to_string()))?;
    // `no-cache` is "ask each time": with the tag the answer is 304 until the program is another.
    let cache = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| is_match(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, cache).into_response());
    }
    Ok((cache, [(header::CONTENT_TYPE, kind)], bytes.into_owned()).into_response())
}

/// Whether `If-None-Match` names this tag; compression makes tags weak.
pub(crate) fn is_match(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    known.split(',').map(|k| k.trim().trim_start_matches("W/")).any(|k| k == "*" || k == tag)
}
