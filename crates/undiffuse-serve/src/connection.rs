//! One connection from its first byte to its last, and what is said to one too many.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::options::Waits;
use crate::peer::Peer;
use crate::problem::Problem;
use crate::slots::{Busy, Slot, Slots};
use crate::stall::Stall;

/// Connections above the limit that are told so at a time; others are closed without a word.
const TURNED_AWAY: usize = 64;
/// They have so long to ask and to hear.
const BRIEFLY: Duration = Duration::from_secs(1);
/// Who has lost its place to somebody else may finish what it has just begun.
const GRACE: Duration = Duration::from_millis(250);

/// Where connections come in.
pub(crate) struct Door {
    router: Router,
    slots: Arc<Slots>,
    turned_away: Arc<Semaphore>,
    waits: Waits,
    leaving: watch::Receiver<bool>,
}

impl Door {
    /// To this router; `leaving` becomes true when connections are to end.
    pub fn new(router: Router, slots: Arc<Slots>, waits: Waits, leaving: watch::Receiver<bool>) -> Self {
        Self { router, slots, turned_away: Arc::new(Semaphore::new(TURNED_AWAY)), waits, leaving }
    }

    /// Serves a connection in a task of its own.
    pub fn open(&self, connections: &mut JoinSet<()>, stream: TcpStream, peer: Peer) {
        // Events are small and are wanted at once.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        if let Some(slot) = self.slots.take(peer.network()) {
            connections.spawn(serve(stream, peer, router, self.waits, self.leaving.clone(), slot));
        } else if let Ok(slot) = self.turned_away.clone().try_acquire_owned() {
            connections.spawn(turn_away(stream, peer, router, self.waits, slot));
        }
    }
}

/// The router's answer to a request of this peer.
async fn answer(router: Router, peer: Peer, request: hyper::Request<Incoming>) -> Response {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Serves a connection until it ends, or until `leaving` and its answer is written.
async fn serve(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    waits: Waits,
    mut leaving: watch::Receiver<bool>,
    slot: Arc<Slot>,
) {
    let own = Arc::clone(&slot);
    let service = hyper::service::service_fn(move |request| {
        let (busy, router) = (own.busy(), router.clone());
        async move {
            let response = answer(router, peer, request).await;
            Ok::<_, Infallible>(response.map(|body| Body::new(Held { body, _busy: busy })))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(waits.head)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Stall::new(stream, waits.stall, waits.rate)), service);
    let mut connection = std::pin::pin!(connection);
    // Errors here are the peer's: it hung up, or it spoke no HTTP and has been told so.
    let lost = tokio::select! {
        _ = connection.as_mut() => return,
        () = slot.lost() => true,
        _ = leaving.wait_for(|leaving| *leaving) => false,
    };
    connection.as_mut().graceful_shutdown();
    let _ = match lost {
        true => timeout(GRACE, connection).await.unwrap_or(Ok(())),
        false => connection.await,
    };
}

/// Says 503 to a connection for which there is no room, and how it is to whoever asks just that.
async fn turn_away(stream: TcpStream, peer: Peer, router: Router, waits: Waits, _slot: OwnedSemaphorePermit) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = match request.uri().path() {
                "/healthz" | "/readyz" => answer(router, peer, request).await,
                _ => {
                    let detail = "as many connections as this service takes are open; try again in a moment";
                    Problem::unavailable("busy", detail, 1).into_response()
                }
            };
            Ok::<_, Infallible>(([(header::CONNECTION, "close")], response).into_response())
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(BRIEFLY)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Stall::new(stream, waits.stall, waits.rate)), service);
    let _ = timeout(2 * BRIEFLY, connection).await;
}

/// An answer's body, whose connection is at work until it is written.
struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
