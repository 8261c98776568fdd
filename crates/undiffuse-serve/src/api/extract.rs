//! What handlers read from a request and write into an answer. Every refusal is a [`Problem`], so handlers use these and not
//! axum's own.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::{Instant, timeout, timeout_at};

use super::App;
use crate::budget::{Client, Share};
use crate::gate::Gate;
use crate::guard::{most, too_large};
use crate::options::Waits;
use crate::peer::Peer;
use crate::problem::Problem;

/// Bytes of a body that holds some words.
const SMALL: usize = 64 << 10;

/// Bytes of a body that are not within texts.
const STRUCTURE: usize = 3 << 20;
/// What each of these takes in memory, at most, when it is read: `"",` becomes a text, `0,` a number or a value, for a while twice.
const GROWS: usize = 32;

/// A JSON body, in or out.
///
/// In: 400 for text that is no JSON, 408 for a body that does not arrive, 413 for one above [`RequestLimits::body`], 422 for values of
/// the wrong kind.
///
/// [`RequestLimits::body`]: crate::options::RequestLimits::body
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = large(request, app).await?;
        parse(&bytes).map(Json)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON body of some words, which arrives within seconds: 413 for one above 64 KiB, 4 KiB where anybody may ask; everything
/// else is as for [`Json`]. It counts in no budget, so that it is read whatever else the service holds.
#[derive(Clone, Copy, Debug)]
pub struct Small<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Small<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        parse(&small(request, app).await?).map(Small)
    }
}

impl<T: DeserializeOwned> OptionalFromRequest<App> for Small<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Option<Self>, Problem> {
        let bytes = small(request, app).await?;
        if bytes.is_empty() { Ok(None) } else { parse(&bytes).map(|value| Some(Small(value))) }
    }
}

/// The whole of a body up to [`RequestLimits::body`](crate::options::RequestLimits::body), counted as it grows.
async fn large(request: Request, app: &App) -> Result<Bytes, Problem> {
    let share = request.extensions().get::<Share>().cloned().unwrap_or_default();
    let client = client_of(&app.gate, request.headers(), Peer::of(request.extensions()));
    let waits = app.options.waits;
    let grow = |more| share.grow(app.engine.budget(), &client, more);
    let bytes = body(request, app.options.limits.body, waits.body, waits, grow).await?;
    let structure = structure(&bytes);
    if structure > STRUCTURE {
        return Err(too_large(STRUCTURE));
    }
    grow(structure * GROWS).map(|()| bytes)
}

/// Bytes of JSON that are not within texts: a text takes as much memory as it is long, a list of short ones far more.
fn structure(json: &[u8]) -> usize {
    let (mut count, mut within, mut escaped) = (0, false, false);
    for &byte in json {
        match (within, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => within = false,
            (true, _) => {}
            (false, b' ' | b'\n' | b'\r' | b'\t') => {}
            (false, _) => {
                count += 1;
                within = byte == b'"';
            }
        }
    }
    count
}

async fn small(request: Request, app: &App) -> Result<Bytes, Problem> {
    let limit = most(request.uri().path(), SMALL);
    body(request, limit, app.options.waits.pause, app.options.waits, |_| Ok(())).await
}

/// The whole body; `counted` is told of every piece before it is kept.
async fn body(
    request: Request,
    limit: usize,
    whole: Duration,
    waits: Waits,
    counted: impl Fn(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let mut body = request.into_body();
    let late = |_| {
        let detail = "the request's body did not arrive in time; send it without pauses";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
    };
    let deadline = Instant::now() + whole;
    let mut bytes = Vec::new();
    loop {
        let frame = timeout_at(deadline, timeout(waits.pause, body.frame())).await.map_err(late)?.map_err(late)?;
        let Some(frame) = frame else { return Ok(bytes.into()) };
        let frame = frame.map_err(|e| {
            let detail = format!("the request's body broke off ({e}); send it again");
            Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
        })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            counted(data.len())?;
            bytes.extend_from_slice(&data);
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |detail| Problem::new(StatusCode::BAD_REQUEST, "malformed", detail);
    let not_json = |e| malformed(format!("the body is not JSON: {e}"));
    if bytes.is_empty() {
        return Err(malformed("the request has no body; send JSON, `{}` at least".into()));
    }
    // serde would read a list as an object's values in order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(not_json)?;
        return Err(named(".", "the body must be a JSON object".into()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let e = e.into_inner();
        match e.classify() {
            serde_json::error::Category::Data => named(&path, e.to_string()),
            _ => not_json(e),
        }
    })?;
    reader.end().map_err(not_json)?;
    Ok(value)
}

/// 422 for the part of a request at this path; serde calls the whole of it `.`, also where a field is missing, or not known.
fn named(path: &str, detail: String) -> Problem {
    let meant = detail.split_once("field `").and_then(|(_, rest)| rest.split('`').next());
    let field = if path == "." { meant } else { Some(path) }.map(str::to_owned);
    Problem { field, ..Problem::invalid("", detail) }
}

/// What stands after the `?`: 422 for values of the wrong kind.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Query).map_err(|e| {
            let path = e.path().to_string();
            named(&path, format!("in the address after `?`: {}", e.into_inner()))
        })
    }
}

/// The variable parts of a path: 404 for what cannot be one, such as a word in the place of a number.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Path(value))
            .map_err(|e| Problem::not_found(format!("there is nothing at this address: {}", e.body_text())))
    }
}

/// Who asks: whose turn it is, whose keys, progress and interruptions these are. The session of a browser that signed in, so that
/// people behind one proxy are several; otherwise the address, as one token may be everybody's.
pub fn client_of(gate: &Gate, headers: &HeaderMap, peer: Peer) -> Client {
    gate.session_of(headers).map_or_else(|| peer.client(), |session| format!("session {session}"))
}

/// [`client_of`] the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Client);

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self(client_of(&app.gate, &parts.headers, Peer::of(&parts.extensions))))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;
    use crate::job::Generate;

    #[test]
    fn what_is_not_text_is_counted() {
        for (json, count) in [("", 0), ("{}", 2), (r#"{"a": "bcd"}"#, 5), (r#"["\\", "\""]"#, 5), ("[1, 2,\n3]", 7)] {
            assert_eq!(structure(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn a_client_is_its_session_or_its_address() {
        let gate = Gate::new(Some("secret"), 1).unwrap();
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|ip| Peer(ip.parse().unwrap()));
        let cookie = |value: &str| HeaderMap::from_iter([(header::COOKIE, value.parse().unwrap())]);
        let session = gate.session("secret", here).unwrap().unwrap();
        let client = client_of(&gate, &cookie(&session), here);
        let value = session.split_once('=').unwrap().1;
        assert!(client.starts_with("session ") && !client.contains(value), "{client}");
        let other = gate.session("secret", here).unwrap().unwrap();
        assert_ne!(client_of(&gate, &cookie(&other), here), client, "two behind one proxy are two");
        assert_eq!(client_of(&gate, &cookie(&session), there), client, "a session may move");
        assert_eq!(client_of(&gate, &HeaderMap::new(), there), "10.0.0.2");
        // A cookie of one's own making is no session, with a token or without.
        assert_eq!(client_of(&gate, &cookie("undiffuse_session_1=0123"), here), "10.0.0.1");
        assert_eq!(client_of(&Gate::new(None, 1).unwrap(), &cookie(&session), here), "10.0.0.1");
    }

    #[test]
    fn a_body_is_refused_by_the_field_that_is_wrong() {
        for (body, status, field) in [
            ("", 400, None),
            ("{", 400, None),
            ("{} {}", 400, None),
            ("\u{0}", 400, None),
            (&"[".repeat(10_000), 400, None),
            (&"{\"n\":".repeat(10_000), 422, Some("n")),
            ("[]", 422, None),
            ("null", 422, None),
            (r#"{"n": -1}"#, 422, Some("n")),
            (r#"{"n": 1e400}"#, 400, None),
            (r#"{"seeds": [1, "two"]}"#, 422, Some("seeds[1]")),
            (r#"{"sneaky": 1}"#, 422, Some("sneaky")),
        ] {
            let problem = parse::<Generate>(body.as_bytes()).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (status, field), "{body:.40}: {}", problem.detail);
        }
        let problem = parse::<crate::runs::Start>(br#"{"name": "x"}"#).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("dataset"));
        assert_eq!(parse::<Generate>(br#"{"n": 2}"#).unwrap().n, Some(2));
    }
}
