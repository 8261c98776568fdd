//! Who may come in: the token, the cookie made of it, and a pause for whoever guesses.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use undiffuse::data::text::hex;

use crate::peer::{Peer, single};
use crate::problem::Problem;

/// So many wrong tokens in a row are answered at once; after them one a second.
const GUESSES: f64 = 10.0;
/// Networks that are remembered for their guesses.
const REMEMBERED: usize = 4096;
/// Sessions at a time; the oldest ends when there are more.
const SESSIONS: usize = 1024;

type Hash = [u8; 32];

/// The door: open without a token.
#[derive(Debug)]
pub struct Gate {
    lock: Option<Lock>,
    cookie: String,
    /// Hashes of the values of cookies that are good.
    sessions: Mutex<VecDeque<Hash>>,
    /// Wrong tokens of a network that count still, and when they were counted.
    guesses: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

struct Lock {
    /// New with every start: no hash below says anything about the token to who does not know it.
    key: Hash,
    token: Hash,
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
    /// A gate for this token. Browsers send a cookie to every port of a machine, so it is named by the port.
    ///
    /// # Errors
    /// A system without random numbers.
    pub fn new(token: Option<&str>, port: u16) -> Result<Self, getrandom::Error> {
        let lock = token.map(|token| {
            let key = random()?;
            Ok(Lock { key, token: hash(&key, "token", token) })
        });
        let cookie = format!("undiffuse_session_{port}");
        Ok(Self { lock: lock.transpose()?, cookie, sessions: Mutex::default(), guesses: Mutex::default() })
    }

    /// Whether a token is needed.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// The name of the session's cookie.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Lets a request with these headers in.
    ///
    /// # Errors
    /// 401 without a token or with a wrong one, 429 after many wrong ones.
    pub fn check(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Problem> {
        let Some(lock) = &self.lock else { return Ok(()) };
        // The session's value cannot be guessed, and one of a former start is no guess: no pause for it.
        if self.open_session(lock, headers).is_some() {
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

    /// A new session for a token, as `name=value` of its cookie; `None` where no token is needed.
    ///
    /// # Errors
    /// 401 for a wrong token, 429 after many of them.
    pub fn session(&self, token: &str, peer: Peer) -> Result<Option<String>, Problem> {
        let Some(lock) = &self.lock else { return Ok(None) };
        self.token(lock, token, peer)?;
        let value = random().map_err(|e| Problem::internal(format!("there are no random numbers: {e}")))?;
        let value = hex(&value);
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(hash(&lock.key, "session", &value));
        Ok(Some(format!("{}={value}", self.cookie)))
    }

    /// Ends the session of these headers' cookie, wherever else the cookie may have got.
    pub fn end_session(&self, headers: &HeaderMap) {
        let Some(lock) = &self.lock else { return };
        let ended: Vec<Hash> = self.cookies(headers).map(|value| hash(&lock.key, "session", value)).collect();
        self.sessions().retain(|session| !ended.contains(session));
    }

    fn sessions(&self) -> MutexGuard<'_, VecDeque<Hash>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Values of the session's cookie.
    fn cookies<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }

    /// A name for the session whose cookie is among these headers, if it opens; it says nothing of the cookie's value.
    pub fn session_of(&self, headers: &HeaderMap) -> Option<String> {
        let session = self.open_session(self.lock.as_ref()?, headers)?;
        Some(hex(&session[..8]))
    }

    fn open_session(&self, lock: &Lock, headers: &HeaderMap) -> Option<Hash> {
        let sessions = self.sessions();
        self.cookies(headers).map(|value| hash(&lock.key, "session", value)).find(|session| sessions.contains(session))
    }

    fn token(&self, lock: &Lock, given: &str, peer: Peer) -> Result<(), Problem> {
        let right = bool::from(hash(&lock.key, "token", given).ct_eq(&lock.token));
        let network = peer.network();
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let still = |&(count, since): &(f64, Instant)| f64::max(0.0, count - now.duration_since(since).as_secs_f64());
        let count = guesses.get(&network).map_or(0.0, still);
        if count >= GUESSES {
            let detail = "too many wrong tokens came from this address; wait a moment and try the right one";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_guesses", detail);
            return Err(Problem { retry_after: Some((count - GUESSES).ceil().max(1.0) as u64), ..problem });
        }
        if right {
            guesses.remove(&network);
            return Ok(());
        }
        if guesses.len() >= REMEMBERED && !guesses.contains_key(&network) {
            guesses.retain(|_, guess| still(guess) > 0.0);
        }
        if guesses.len() >= REMEMBERED && !guesses.contains_key(&network) {
            // The one that would be forgotten first makes room: who comes last is counted like any other.
            let least = guesses.iter().min_by(|(_, a), (_, b)| still(a).total_cmp(&still(b))).map(|(ip, _)| *ip);
            least.map(|ip| guesses.remove(&ip));
        }
        guesses.insert(network, (count + 1.0, now));
        Err(unauthorized(
            "the token is wrong; it is the one that the service was started with, by `--token` or UNDIFFUSE_TOKEN",
        ))
    }
}

fn random() -> Result<Hash, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map(|()| bytes)
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const HERE: Peer = Peer(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn peer(ip: &str) -> Peer {
        Peer(ip.parse().unwrap())
    }

    #[test]
    fn the_token_or_its_session_opens() {
        let gate = Gate::new(Some("secret"), 8484).unwrap();
        let session = gate.session("secret", HERE).unwrap().unwrap();
        let value = session.strip_prefix("undiffuse_session_8484=").unwrap();
        assert!(!value.contains("secret"));
        assert_ne!(session, gate.session("secret", HERE).unwrap().unwrap());
        for (name, value, opens) in [
            (header::AUTHORIZATION, "Bearer secret".to_owned(), true),
            (header::AUTHORIZATION, "bearer secret".to_owned(), true),
            (header::AUTHORIZATION, "Bearer secre".to_owned(), false),
            (header::AUTHORIZATION, "Basic secret".to_owned(), false),
            (header::AUTHORIZATION, "secret".to_owned(), false),
            (header::COOKIE, format!("a=b; {session}; c=d"), true),
            (header::COOKIE, "undiffuse_session_8484=secret".to_owned(), false),
            // The cookie of a service on another port of this machine.
            (header::COOKIE, format!("undiffuse_session_8485={value}"), false),
            (header::COOKIE, format!("x{session}"), false),
        ] {
            let result = gate.check(&with(name, &value), HERE).map_err(|p| p.status);
            assert_eq!(result, if opens { Ok(()) } else { Err(401) }, "{value}");
        }
        assert!(Gate::new(None, 1).unwrap().check(&HeaderMap::new(), HERE).is_ok());
    }

    #[test]
    fn a_session_that_was_ended_opens_no_more_and_others_do() {
        let gate = Gate::new(Some("secret"), 1).unwrap();
        let [mine, other] = [0, 1].map(|_| with(header::COOKIE, &gate.session("secret", HERE).unwrap().unwrap()));
        gate.end_session(&mine);
        assert_eq!(gate.check(&mine, HERE).unwrap_err().status, 401);
        gate.check(&other, HERE).unwrap();
        (0..SESSIONS).for_each(|_| drop(gate.session("secret", HERE).unwrap()));
        assert!(
            gate.check(&other, HERE).is_err() && gate.sessions().len() == SESSIONS,
            "they are not kept without end"
        );
    }

    #[test]
    fn guessing_has_to_pause() {
        let gate = Gate::new(Some("secret"), 1).unwrap();
        let statuses: Vec<u16> = (0..12).map(|_| gate.session("guess", HERE).unwrap_err().status).collect();
        assert!(statuses[..10].iter().all(|&s| s == 401) && statuses[11] == 429, "{statuses:?}");
        assert_eq!(gate.session("secret", HERE).unwrap_err().status, 429);
        assert!(gate.session("secret", peer("10.0.0.1")).is_ok());
    }

    /// Whoever has one address of IPv6 has 2⁶⁴ of them.
    #[test]
    fn a_network_guesses_as_one_and_nobody_guesses_uncounted() {
        let gate = Gate::new(Some("secret"), 1).unwrap();
        let guess = |ip: &str| gate.session("guess", peer(ip)).unwrap_err().status;
        (0..10).for_each(|k| assert_eq!(guess(&format!("2001:db8:1:2::{k}")), 401));
        // The clock may have forgiven a part of one.
        guess("2001:db8:1:2::a");
        assert_eq!(guess("2001:db8:1:2:ffff::1"), 429);
        assert_eq!(guess("2001:db8:1:3::1"), 401);
        (0..REMEMBERED).for_each(|k| assert_eq!(guess(&format!("10.1.{}.{}", k / 256, k % 256)), 401));
        assert!(gate.guesses.lock().unwrap().len() <= REMEMBERED);
        (0..10).for_each(|_| assert_eq!(guess("10.0.0.2"), 401));
        guess("10.0.0.2");
        assert_eq!(guess("10.0.0.2"), 429, "one more address than are remembered is counted, too");
    }
}
