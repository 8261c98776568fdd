//! Answers on their way: what a client has not taken yet is memory that it makes the service hold, and counts in
//! [`Engine::budget`](crate::engine::Engine::budget) until the last byte is written or given up.

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, TryStreamExt};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::App;
use super::extract::client_of;
use crate::budget::Permit;
use crate::guard::is_public;
use crate::peer::Peer;
use crate::problem::Problem;

/// Answers below this are not counted: there is one a connection, and the connections are counted.
const SMALL: u64 = 16 << 10;
/// Answers that are made at the same time.
const TURNS: u32 = 4;

/// Turns at making answers: what is being made takes memory before it can be counted.
pub(crate) fn turns() -> Semaphore {
    Semaphore::new(TURNS as usize)
}

impl App {
    /// A turn at making an answer, as long as it is held.
    ///
    /// # Errors
    /// 503 when others take too long.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.turns_of(1).await
    }

    /// All turns: for an answer that takes much memory to make.
    ///
    /// # Errors
    /// As for [`turn`](Self::turn).
    pub(crate) async fn every_turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.turns_of(TURNS).await
    }

    async fn turns_of(&self, count: u32) -> Result<OwnedSemaphorePermit, Problem> {
        let turns = self.turns.clone().acquire_many_owned(count);
        timeout(self.options.waits.pause, turns).await.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = "many answers are being made; try again in a moment";
            Problem::unavailable("busy", detail, 1)
        })
    }
}

/// Bytes with their place in the budget.
struct Counted {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The layer: an answer that is there as a whole counts in the budget until it is written. Streams count by themselves.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let client = client_of(&app.gate, request.headers(), Peer::of(request.extensions()));
    let free = is_public(request.uri().path());
    let response = next.run(request).await;
    let whole = response.body().size_hint().exact().filter(|bytes| !free && *bytes > SMALL);
    let Some(bytes) = whole else { return response };
    let permit = match app.engine.budget().take(&client, bytes) {
        Ok(permit) => permit,
        Err(problem) => return problem.into_response(),
    };
    let (parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted { bytes, _permit: permit }))),
        Err(e) => Problem::internal(format!("an answer broke off: {e}")).into_response(),
    }
}

/// An answer that is made while it is sent; `permit` covers what of it is in memory. One that fails in between breaks off,
/// so that nobody takes it for whole.
pub(crate) fn streamed<E>(
    kind: &'static str,
    permit: Permit,
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Response
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let held = pieces.inspect_ok(move |_| {
        let _held_to_the_end = &permit;
    });
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], Body::from_stream(held)).into_response()
}

/// `answer` as JSON in two parts, between which the items of its list `field` go; the list must be empty.
///
/// # Errors
/// An answer without such a list.
pub(crate) fn around(answer: &impl Serialize, field: &str) -> Result<[String; 2], Problem> {
    let broken = || Problem::internal("an answer could not be written");
    let text = serde_json::to_string(answer).map_err(|_| broken())?;
    // A quote within a text is written `\"`, so this is the field itself.
    let (before, after) = text.split_once(&format!("\"{field}\":[]")).ok_or_else(broken)?;
    Ok([format!("{before}\"{field}\":["), format!("]{after}")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn items_go_between_whatever_a_client_wrote() {
        #[derive(Serialize)]
        struct Answer {
            said: &'static str,
            images: Vec<u8>,
            more: Value,
        }
        let answer = Answer { said: "\"images\":[]", images: Vec::new(), more: json!({"images": []}) };
        let [before, after] = around(&answer, "images").unwrap();
        let whole: Value = serde_json::from_str(&format!("{before}1,2{after}")).unwrap();
        assert_eq!(whole, json!({"said": "\"images\":[]", "images": [1, 2], "more": {"images": []}}));
        assert_eq!(around(&answer, "data").unwrap_err().status, 500);
    }
}
