//! The loop around the router: connections, their limits, and an orderly end.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::api::{self, App};
use crate::engine::Engine;
use crate::gate::Gate;
use crate::options::Options;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::stall::Stall;

/// A request's head has to arrive within this; a connection that is kept open may be silent as long.
const HEAD: Duration = Duration::from_secs(10);
/// A peer that takes no byte for so long is gone.
const STALL: Duration = Duration::from_secs(30);
/// What is being made when the service is asked to end may take so long; the rest is taken up at the next start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers under way when all work has ended may take so long.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Connections above the limit that are told so at a time; others are closed without a word.
const TURNED_AWAY: usize = 64;

/// Why the service does not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anybody who reaches the address could use the service.
    #[error(
        "{0} can be reached from other machines: set a token with `--token` or UNDIFFUSE_TOKEN, or say `--insecure` if that is what you want"
    )]
    Open(SocketAddr),
    /// A token that cannot be sent, or is none.
    #[error("the token must be of visible ASCII characters, at least one: {0}")]
    Token(&'static str),
    /// The address cannot be had.
    #[error("cannot listen on {addr}: {source}{hint}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The store or the models.
    #[error("{0}")]
    Engine(String),
    /// The system.
    #[error("the system refuses what a server needs: {0}")]
    System(#[from] io::Error),
}

/// The service, listening but not answering yet.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    addr: SocketAddr,
    app: App,
    closing: watch::Sender<bool>,
    router: Router,
}

impl Server {
    /// Listens, opens the store, and finds the models.
    ///
    /// # Errors
    /// An address beyond this machine without a token, an address that cannot be had, a store or models that cannot be used.
    pub fn bind(options: Options) -> Result<Self, ServeError> {
        Self::bind_with(options, Engine::open)
    }

    /// [`Server::bind`] with an engine that is opened in another way.
    ///
    /// # Errors
    /// As there.
    pub fn bind_with(
        options: Options,
        open: impl FnOnce(&Options) -> Result<Engine, String>,
    ) -> Result<Self, ServeError> {
        let addr = options.addr;
        if !addr.ip().to_canonical().is_loopback() && options.token.is_none() && !options.insecure {
            return Err(ServeError::Open(addr));
        }
        if let Some(token) = &options.token
            && (token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(ServeError::Token(if token.is_empty() { "it is empty" } else { "it has others" }));
        }
        let listen = |source: io::Error| {
            let hint = match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "; another program, maybe another `undiffuse serve`, has it: choose a port with `--addr`"
                }
                io::ErrorKind::PermissionDenied => {
                    "; ports below 1024 are for the system: choose a higher one with `--addr`"
                }
                io::ErrorKind::AddrNotAvailable => "; this machine has no such address: choose one with `--addr`",
                _ => "",
            };
            ServeError::Listen { addr, source, hint }
        };
        let listener = std::net::TcpListener::bind(addr).map_err(listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let gate = Gate::new(options.token.as_deref()).map_err(io::Error::from)?;
        let engine = open(&options).map_err(ServeError::Engine)?;
        let (closing, closed) = watch::channel(false);
        let app = App::new(engine, options, gate, closed);
        let studio = std::env::var_os("UNDIFFUSE_STUDIO").map(PathBuf::from);
        let router = api::router(app.clone(), studio);
        Ok(Self { listener, addr, app, closing, router })
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The ids of the models there are now.
    pub fn models(&self) -> Vec<String> {
        self.app.engine.models().into_iter().map(|model| model.id).collect()
    }

    /// Answers until `shutdown` is ready. Then no more jobs are taken, pictures that are being made are finished within seconds or
    /// handed back to the store, answers under way are written, and streams of events end.
    ///
    /// # Errors
    /// What the system says about the socket.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let listener = TcpListener::from_std(self.listener)?;
        let slots = Arc::new(Semaphore::new(self.app.options.limits.connections.min(Semaphore::MAX_PERMITS)));
        let told = Arc::new(Semaphore::new(TURNED_AWAY));
        let (leave, leaving) = watch::channel(false);
        let mut connections = JoinSet::new();
        // While it closes it goes on answering: that it takes no more jobs, and whoever asks for pictures made in time.
        let end = async {
            shutdown.await;
            tokio::join!(self.app.engine.close(PATIENCE), self.app.runs.close(PATIENCE));
        };
        let mut end = std::pin::pin!(end);
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut end => break,
                // Ends are collected as they come, so that the set does not grow.
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(e) => {
                        // A peer that hung up at once is no matter; when files run out, closing connections will free some.
                        if !matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                            sleep(Duration::from_millis(100)).await;
                        }
                        continue;
                    }
                },
            };
            if let Ok(slot) = slots.clone().try_acquire_owned() {
                connections.spawn(connection(stream, peer.ip(), self.router.clone(), leaving.clone(), slot));
            } else if let Ok(slot) = told.clone().try_acquire_owned() {
                connections.spawn(turn_away(stream, slot));
            }
        }
        drop(listener);
        leave.send_replace(true);
        // Streams of events end.
        self.closing.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        // Dropping the set ends the connections that are left.
        let _ = timeout(LAST_WORDS, all).await;
        Ok(())
    }
}

/// Serves one connection until it ends, or until `leaving` and its answer is written.
async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    mut leaving: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    // Events are small and are wanted at once.
    let _ = stream.set_nodelay(true);
    let peer = api::extract::Peer(peer.to_canonical());
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Stall::new(stream, STALL)), service);
    let mut connection = std::pin::pin!(connection);
    // Errors here are the peer's: it hung up, or it spoke no HTTP and has been told so.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Says 503 to a connection for which there is no room.
async fn turn_away(mut stream: TcpStream, _slot: OwnedSemaphorePermit) {
    let detail = "as many connections as this service takes are open; try again in a moment";
    let body = serde_json::to_string(&Problem::unavailable("busy", detail, 1)).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len(),
    );
    let words = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing with the request unread would reset the connection and take the answer along.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(Duration::from_secs(1), words).await;
}

/// Serves until `stopped` says so, on threads of its own; `ready` is called once it listens.
///
/// # Errors
/// Those of [`Server::bind`] and [`Server::run`].
pub fn serve(
    options: Options,
    ready: impl FnOnce(&Server),
    stopped: impl Fn() -> bool + Send + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::bind(options)?;
        ready(&server);
        let shutdown = async {
            while !stopped() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        server.run(shutdown).await
    })
}
