//! The loop around the router: connections, their limits, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::{self, App};
use crate::connection::Door;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::options::ServeOptions;
use crate::peer::Peer;
use crate::slots::Slots;

/// Bytes that the system keeps of an answer: what a peer has not taken yet is known to be so, and no more memory waits.
const BUFFER: usize = 256 << 10;

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
    pub fn bind(options: ServeOptions) -> Result<Self, ServeError> {
        Self::bind_with(options, Engine::open)
    }

    /// [`Server::bind`] with an engine that is opened in another way.
    ///
    /// # Errors
    /// As there.
    pub fn bind_with(
        options: ServeOptions,
        open: impl FnOnce(&ServeOptions) -> Result<Engine, String>,
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
        // Connections have what their listener has.
        socket2::SockRef::from(&listener).set_send_buffer_size(BUFFER)?;
        let addr = listener.local_addr()?;
        let gate = Gate::new(options.token.as_deref(), addr.port()).map_err(io::Error::from)?;
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
    /// handed back to the store, answers under way are written, and streams of events end. All of that also ends, whatever
    /// hangs ([`Waits::end`](crate::options::Waits::end)).
    ///
    /// # Errors
    /// What the system says about the socket.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let listener = TcpListener::from_std(self.listener)?;
        let (limits, waits) = (self.app.options.limits, self.app.options.waits);
        let (leave, leaving) = watch::channel(false);
        let door = Door::new(self.router, Slots::new(limits.connections, limits.connections_each), waits, leaving);
        let mut connections = JoinSet::new();
        // While it closes it goes on answering: that it takes no more jobs, and whoever asks for pictures made in time.
        let end = async {
            shutdown.await;
            let all = async { tokio::join!(self.app.engine.close(waits.finish), self.app.runs.close(waits.finish)) };
            // What hangs, a disk or a device, is not waited for: everything that was answered for is in the store.
            let _ = timeout(waits.end, all).await;
        };
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                // Ends are collected as they come, so that the set does not grow.
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => door.open(&mut connections, stream, Peer(peer.ip().to_canonical())),
                    // A peer that hung up at once is no matter; when files run out, closing connections will free some.
                    Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
            }
        }
        drop(listener);
        leave.send_replace(true);
        // Streams of events end.
        self.closing.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        // Dropping the set ends the connections that are left.
        let _ = timeout(waits.last_words, all).await;
        Ok(())
    }
}

/// Serves until `stopped` says so, on threads of its own; `ready` is called once it listens.
///
/// # Errors
/// Those of [`Server::bind`] and [`Server::run`].
pub fn serve(
    options: ServeOptions,
    ready: impl FnOnce(&Server),
    stopped: impl Fn() -> bool + Send + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let server = Server::bind(options)?;
        ready(&server);
        let shutdown = async {
            while !stopped() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        server.run(shutdown).await
    });
    // Work that hangs would be waited for without end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}
