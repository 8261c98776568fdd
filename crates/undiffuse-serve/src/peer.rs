//! Who is at the other end, and what it says in its headers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::budget::Client;

/// The address of whoever asks. Headers of proxies are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The address as [`Engine::submit`](crate::engine::Engine::submit) wants it.
    pub fn client(self) -> Client {
        self.0.to_string()
    }

    /// The network that it belongs to: whoever has one address of IPv6 has 2⁶⁴ of them.
    pub fn network(self) -> IpAddr {
        match self.0 {
            ip if ip.is_loopback() => ip,
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        }
    }

    /// The server puts it there; where it did not, in a test of a router alone, the peer is this machine.
    pub(crate) fn of(extensions: &axum::http::Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(Ipv4Addr::LOCALHOST.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// A header as text, if it is there once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
