//! Streams of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde::Serialize;

use super::App;

/// Comments keep a silent stream open for proxies, and find clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A server-sent event: what stands behind `event:` and `data:`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ServerSentEvent)]
pub struct Sent {
    /// Its name.
    pub event: String,
    /// JSON as text.
    pub data: String,
}

/// An event of this name with this as its JSON.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // Our own types have no maps with keys that JSON cannot write; if one ever does, the stream goes on.
    event.json_data(data).unwrap_or_else(|_| Event::default().comment("an event that could not be written"))
}

/// The events as `text/event-stream`, until they end or the service does.
pub fn stream(app: &App, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.take_until(app.closed()).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back until a buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
