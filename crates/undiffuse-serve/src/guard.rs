//! What stands before every handler: requests that a web page elsewhere could have made are refused, tokens are checked, and
//! every answer carries the headers that keep browsers strict. It trusts nothing but the socket.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::budget::Share;
use crate::gate::Gate;
use crate::options::ServeOptions;
use crate::peer::{Peer, single};
use crate::problem::Problem;

/// Bytes of a body that is read from whoever comes, before it is known who that is.
const PUBLIC: usize = 4 << 10;

/// Headers of every answer; a handler's own go before.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
         font-src 'self'; manifest-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Whether this path is for everyone: the studio's files, through which the token is given, and what asks whether we live.
pub(crate) fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/favicon.ico" | "/healthz" | "/readyz" | "/api/session") || path.starts_with("/studio/")
}

/// What the guard goes by. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Guard {
    gate: Arc<Gate>,
    options: Arc<ServeOptions>,
}

impl Guard {
    /// Who may come in by `gate`, by these options' names and limits.
    pub fn new(gate: Arc<Gate>, options: Arc<ServeOptions>) -> Self {
        Self { gate, options }
    }
}

/// The layer: refuses, or lets the handler answer; a handler that panics has answered 500.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let share = Share::default();
    request.extensions_mut().insert(share.clone());
    let mut response = match admit(&guard, &request) {
        Err(problem) => problem.into_response(),
        Ok(()) => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            let detail = "the service made a mistake and has noted it on its error output; other requests go on";
            Problem::internal(detail).into_response()
        }),
    };
    drop(share);
    let status = response.status();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"undiffuse\""));
    }
    response
}

fn admit(guard: &Guard, request: &Request) -> Result<(), Problem> {
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => single(headers, &header::HOST).and_then(|host| host.parse().ok()),
    };
    let host = known_host(host, &guard.options.hosts)?;
    same_origin(method, path, headers, &host)?;
    if !is_public(path) {
        guard.gate.check(headers, Peer::of(request.extensions()))?;
    }
    body_is_json(headers, most(path, guard.options.limits.body))
}

/// DNS rebinding makes a stranger's name point here; the browser then sends that name, which nobody has told us.
fn known_host(host: Option<Authority>, names: &[String]) -> Result<Authority, Problem> {
    let refusal = |detail| Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail));
    let Some(host) = host else {
        return refusal("the request names no host, or two; send one Host header".into());
    };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let known = name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|n| n.eq_ignore_ascii_case(name));
    if known && !host.as_str().contains('@') {
        return Ok(host);
    }
    refusal(format!("this service does not go by the name `{name}`; start it with `--host {name}`, or use its address"))
}

/// Requests that a page of another site made a browser send.
fn same_origin(method: &Method, path: &str, headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
    let refusal = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
    let safe = matches!(*method, Method::GET | Method::HEAD);
    // The only door that a link elsewhere may lead to.
    let front_door = safe && path == "/" && single(headers, &SEC_FETCH_MODE) == Some("navigate");
    if let (Some(site @ ("cross-site" | "same-site")), false) = (single(headers, &SEC_FETCH_SITE), front_door) {
        return refusal(format!(
            "a page of another origin asked ({SEC_FETCH_SITE}: {site}); only the service's own pages may"
        ));
    }
    if !safe && headers.contains_key(header::ORIGIN) {
        let origin = single(headers, &header::ORIGIN).unwrap_or("(no text)");
        if !is_origin_of(origin, host) {
            return refusal(format!(
                "a page of `{origin}` asked and this is `{host}`; only the service's own pages may"
            ));
        }
    }
    Ok(())
}

/// Whether the origin's host and port are this host's. Its scheme may be either: a proxy may speak TLS before us.
fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let (rest, default) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (_, Some(rest)) => (rest, 443),
        _ => return false,
    };
    let Ok(origin) = rest.parse::<Authority>() else { return false };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
}

/// Forms and plain text can be sent across sites without asking; JSON cannot.
fn body_is_json(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let length = single(headers, &header::CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    if length == 0 && !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let kind = single(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = format!("the body is of type `{essence}`; send JSON with `Content-Type: application/json`");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    if length > limit as u64 { Err(too_large(limit)) } else { Ok(()) }
}

/// Bytes of a body at this address, of which `known` clients may send so many.
pub(crate) fn most(path: &str, known: usize) -> usize {
    if is_public(path) { PUBLIC.min(known) } else { known }
}

/// 413.
pub(crate) fn too_large(limit: usize) -> Problem {
    let detail = format!(
        "the request's body is larger than the {limit} bytes that this service reads here; `--max-body` sets this for \
         requests with pictures"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_localhost_and_names_that_were_given() {
        let names = ["studio.example".to_owned()];
        for (host, known) in [
            ("127.0.0.1:8484", true),
            ("[::1]:8484", true),
            ("192.168.1.7", true),
            ("localhost", true),
            ("LocalHost:80", true),
            ("Studio.Example:8484", true),
            ("evil.example:8484", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("x@localhost", false),
            ("0x7f000001", false),
        ] {
            let result = known_host(host.parse().ok(), &names);
            assert_eq!(result.map(|_| ()).map_err(|p| p.status), if known { Ok(()) } else { Err(421) }, "{host}");
        }
        assert_eq!(known_host(None, &names).unwrap_err().status, 421);
    }

    #[test]
    fn an_origin_is_host_and_port() {
        for (origin, host, same) in [
            ("http://localhost:8484", "localhost:8484", true),
            ("http://LOCALHOST:8484", "localhost:8484", true),
            ("http://name", "name:80", true),
            ("https://name", "name", true),
            ("https://name:443", "name", true),
            ("http://[::1]:8484", "[::1]:8484", true),
            ("http://localhost:3000", "localhost:8484", false),
            ("http://127.0.0.1:8484", "localhost:8484", false),
            ("https://evil.example", "localhost:8484", false),
            ("null", "localhost:8484", false),
            ("file://", "localhost:8484", false),
            ("http://localhost:8484.evil.example", "localhost:8484", false),
        ] {
            assert_eq!(is_origin_of(origin, &host.parse().unwrap()), same, "{origin} {host}");
        }
    }
}
