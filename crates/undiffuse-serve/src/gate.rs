//! Who may come in: the token, the cookie made of it, and a pause for whoever guesses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::extract::{Peer, single};
use crate::problem::Problem;

/// The name of the session's cookie.
pub const COOKIE: &str = "undiffuse_session";

/// So many wrong tokens in a row are answered at once; after them one a second.
const GUESSES: f64 = 10.0;
/// Addresses that are remembered for their guesses.
const REMEMBERED: usize = 4096;

type Hash = [u8; 32];

/// The door: open without a token.
#[derive(Debug)]
pub struct Gate {
    /// Of the token: hash and the session's cookie.
    lock: Option<Lock>,
    /// Wrong tokens of an address that count still, and when they were counted.
    guesses: Mutex<HashMap<Peer, (f64, Instant)>>,
}

struct Lock {
    /// New with every start: neither hash below says anything about the token to who does not know it.
    key: Hash,
    token: Hash,
    session: String,
}

// A `{:?}` of the options or the server is no place for a secret.
impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

fn hash(key: &Hash, purpose: &str, token: &str) -> Hash {
    Sha256::new().chain_update(key).chain_update(purpose).chain_update([0]).chain_update(token).finalize().into()
}

impl Gate {
    /// A gate for this token.
    ///
    /// # Errors
    /// A system without random numbers.
    pub fn new(token: Option<&str>) -> Result<Self, getrandom::Error> {
        let lock = token.map(|token| {
            let mut key = [0; 32];
            getrandom::fill(&mut key)?;
            let session = hash(&key, "session", token).iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Lock { key, token: hash(&key, "token", token), session })
        });
        Ok(Self { lock: lock.transpose()?, guesses: Mutex::default() })
    }

    /// Whether a token is needed.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Lets a request with these headers in.
    ///
    /// # Errors
    /// 401 without a token or with a wrong one, 429 after many wrong ones.
    pub fn check(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Problem> {
        let Some(lock) = &self.lock else { return Ok(()) };
        // The session's value cannot be guessed, and one of a former start is no guess: no pause for it.
        if cookies(headers).any(|value| bool::from(value.as_bytes().ct_eq(lock.session.as_bytes()))) {
            return Ok(());
        }
        let given = single(headers, &header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match given {
            Some(token) => self.token(lock, token, peer),
            None => Err(unauthorized(
                "this service needs a token: send `Authorization: Bearer TOKEN`, or open the studio's page and type it there",
            )),
        }
    }

    /// The session's cookie for a token; `None` where no token is needed.
    ///
    /// # Errors
    /// 401 for a wrong token, 429 after many of them.
    pub fn session(&self, token: &str, peer: Peer) -> Result<Option<&str>, Problem> {
        let Some(lock) = &self.lock else { return Ok(None) };
        self.token(lock, token, peer).map(|()| Some(&*lock.session))
    }

    /// A name for the session whose cookie is among these headers, if it opens; it says nothing of the cookie's value.
    pub fn session_of(&self, headers: &HeaderMap) -> Option<String> {
        let lock = self.lock.as_ref()?;
        let opens = |value: &&str| bool::from(value.as_bytes().ct_eq(lock.session.as_bytes()));
        let name = hash(&lock.key, "client", cookies(headers).find(opens)?);
        Some(name[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn token(&self, lock: &Lock, given: &str, peer: Peer) -> Result<(), Problem> {
        let right = bool::from(hash(&lock.key, "token", given).ct_eq(&lock.token));
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let still = |&(count, since): &(f64, Instant)| f64::max(0.0, count - now.duration_since(since).as_secs_f64());
        let count = guesses.get(&peer).map_or(0.0, still);
        if count >= GUESSES {
            let detail = "too many wrong tokens came from this address; wait a moment and try the right one";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_guesses", detail);
            return Err(Problem { retry_after: Some((count - GUESSES).ceil().max(1.0) as u64), ..problem });
        }
        if right {
            guesses.remove(&peer);
            return Ok(());
        }
        if guesses.len() >= REMEMBERED {
            guesses.retain(|_, guess| still(guess) > 0.0);
        }
        if guesses.len() < REMEMBERED {
            guesses.insert(peer, (count + 1.0, now));
        }
        Err(unauthorized(
            "the token is wrong; it is the one that the service was started with, by `--token` or UNDIFFUSE_TOKEN",
        ))
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

/// Values of the session's cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const HERE: Peer = Peer(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_token_or_its_session_opens() {
        let gate = Gate::new(Some("secret")).unwrap();
        let session = gate.session("secret", HERE).unwrap().unwrap();
        assert!(!session.contains("secret"));
        assert_ne!(session, Gate::new(Some("secret")).unwrap().session("secret", HERE).unwrap().unwrap());
        for (name, value, opens) in [
            (header::AUTHORIZATION, "Bearer secret".to_owned(), true),
            (header::AUTHORIZATION, "bearer secret".to_owned(), true),
            (header::AUTHORIZATION, "Bearer secre".to_owned(), false),
            (header::AUTHORIZATION, "Basic secret".to_owned(), false),
            (header::AUTHORIZATION, "secret".to_owned(), false),
            (header::COOKIE, format!("a=b; {COOKIE}={session}; c=d"), true),
            (header::COOKIE, format!("{COOKIE}=secret"), false),
            (header::COOKIE, format!("x{COOKIE}={session}"), false),
        ] {
            let result = gate.check(&with(name, &value), HERE).map_err(|p| p.status);
            assert_eq!(result, if opens { Ok(()) } else { Err(401) }, "{value}");
        }
        assert!(Gate::new(None).unwrap().check(&HeaderMap::new(), HERE).is_ok());
    }

    #[test]
    fn guessing_has_to_pause() {
        let gate = Gate::new(Some("secret")).unwrap();
        let statuses: Vec<u16> = (0..12).map(|_| gate.session("guess", HERE).unwrap_err().status).collect();
        assert!(statuses[..10].iter().all(|&s| s == 401) && statuses[11] == 429, "{statuses:?}");
        assert_eq!(gate.session("secret", HERE).unwrap_err().status, 429);
        let other = Peer("10.0.0.1".parse().unwrap());
        assert!(gate.session("secret", other).is_ok());
    }
}
