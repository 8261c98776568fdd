//! One purse of bytes for all that clients can make the service hold: bodies, pictures that wait, answers on their way.
//!
//! A client may hold as much as would stay free beside it: one alone half of everything, two a third each, and whoever
//! comes next always finds something. So nobody's share has to be set, and none can be shut out by another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::problem::Problem;

/// Who asks: whose turn it is, and whose share.
pub type Client = String;

/// The purse. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Budget {
    purse: Arc<Purse>,
}

#[derive(Debug)]
struct Purse {
    bytes: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: u64,
    by: HashMap<Client, u64>,
}

impl Budget {
    /// A purse of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { purse: Arc::new(Purse { bytes, held: Mutex::default() }) }
    }

    /// Takes bytes for a client; they come back when the permit is dropped.
    ///
    /// # Errors
    /// 503 `busy` when there are too few, or this client would hold more than its share.
    pub fn take(&self, client: &str, bytes: u64) -> Result<Permit, Problem> {
        let mut permit = Permit { purse: Arc::clone(&self.purse), client: client.to_owned(), bytes: 0 };
        permit.grow(bytes)?;
        Ok(permit)
    }

    /// Bytes in it when nobody holds any.
    pub fn bytes(&self) -> u64 {
        self.purse.bytes
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        self.purse.lock().all
    }
}

impl Purse {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that a client holds until this is dropped.
#[derive(Debug)]
pub struct Permit {
    purse: Arc<Purse>,
    client: Client,
    bytes: u64,
}

impl Permit {
    /// Takes more.
    ///
    /// # Errors
    /// As [`Budget::take`]; what is held already stays so.
    pub fn grow(&mut self, more: u64) -> Result<(), Problem> {
        let total = self.purse.bytes;
        let mut held = self.purse.lock();
        let own = held.by.get(&self.client).copied().unwrap_or(0).saturating_add(more);
        let all = held.all.saturating_add(more);
        if own > total.saturating_sub(all) {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let detail = format!(
                "the service holds {} of the {} MiB that it keeps for requests and answers, {} of them for this client; \
                 try again when some are done",
                mib(held.all),
                mib(total),
                mib(own - more)
            );
            return Err(Problem::unavailable("busy", detail, 1));
        }
        held.all = all;
        if more > 0 {
            held.by.insert(self.client.clone(), own);
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives back all but so many.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        let mut held = self.purse.lock();
        held.all -= less;
        if let Some(own) = held.by.get_mut(&self.client) {
            *own -= less;
            if *own == 0 {
                held.by.remove(&self.client);
            }
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What a request holds of a [`Budget`] for its body: from its first byte to the handler's
/// end, as pictures in it stay in memory so long. The guard puts it into the request's extensions and drops it last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Share(Arc<Mutex<Option<Permit>>>);

impl Share {
    /// Takes more of the budget.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub(crate) fn grow(&self, budget: &Budget, client: &str, bytes: usize) -> Result<(), Problem> {
        let mut permit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *permit {
            Some(permit) => permit.grow(bytes as u64),
            none => {
                *none = Some(budget.take(client, bytes as u64)?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_hold_what_stays_free_beside_it() {
        let budget = Budget::new(120);
        let mut a = budget.take("a", 60).unwrap();
        assert_eq!(a.grow(1).unwrap_err().code, "busy", "half is what one alone may hold");
        let b = budget.take("b", 30).unwrap();
        assert_eq!(budget.take("a", 1).unwrap_err().status, 503);
        assert!(budget.take("b", 1).is_err());
        let c = budget.take("c", 15).unwrap();
        assert_eq!((a.bytes(), budget.held()), (60, 105));
        drop((b, c));
        a.shrink_to(20);
        assert_eq!(budget.held(), 20);
        drop(a);
        assert!(budget.held() == 0 && budget.purse.lock().by.is_empty());
        assert!(budget.take("a", u64::MAX).is_err());
    }
}
