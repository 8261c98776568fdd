//! Places for connections: so many in all, so many of one address. A newcomer for whom there is none takes that of the
//! connection that has asked for nothing for the longest time, so that heads which never end shut nobody out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A connection that has asked for nothing for so long may lose its place.
const IDLE: Duration = Duration::from_secs(1);

/// All places.
#[derive(Debug)]
pub(crate) struct Slots {
    all: usize,
    each: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    network: IpAddr,
    /// Requests whose answers are not written yet.
    busy: usize,
    /// When it was last busy.
    since: Instant,
    leave: Arc<Notify>,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    leave: Arc<Notify>,
}

/// Keeps a connection's place while this is held.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Slot>);

impl Slots {
    /// So many in all, and of one network. From this machine come proxies, which speak for many: all but an eighth.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn most(&self, network: IpAddr) -> usize {
        if network.is_loopback() { self.all - self.all / 8 } else { self.each.min(self.all) }
    }

    /// A place for a connection from this network; none where all are taken by connections that are at something.
    pub fn take(self: &Arc<Self>, network: IpAddr) -> Option<Arc<Slot>> {
        let mut open = self.open();
        let own = open.by_id.values().filter(|taken| taken.network == network).count();
        let too_many = own >= self.most(network);
        if too_many || open.by_id.len() >= self.all {
            let idle = open.by_id.iter().filter(|(_, taken)| {
                taken.busy == 0 && taken.since.elapsed() >= IDLE && (!too_many || taken.network == network)
            });
            let oldest = *idle.min_by_key(|(_, taken)| taken.since)?.0;
            open.by_id.remove(&oldest)?.leave.notify_one();
        }
        let (id, leave) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        open.by_id.insert(id, Taken { network, busy: 0, since: Instant::now(), leave: Arc::clone(&leave) });
        Some(Arc::new(Slot { slots: Arc::clone(self), id, leave }))
    }
}

impl Slot {
    /// Ready when somebody else has been given the place.
    pub async fn lost(&self) {
        self.leave.notified().await;
    }

    /// Keeps the place.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.change(1);
        Busy(Arc::clone(self))
    }

    fn change(&self, by: isize) {
        if let Some(taken) = self.slots.open().by_id.get_mut(&self.id) {
            taken.busy = taken.busy.saturating_add_signed(by);
            taken.since = Instant::now();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(-1);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until what is open counts as idle.
    fn later(slots: &Slots) {
        for taken in slots.open().by_id.values_mut() {
            taken.since -= IDLE;
        }
    }

    #[test]
    fn an_address_has_its_share_and_others_find_room() {
        let [a, b, here]: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let slots = Slots::new(8, 2);
        let mine: Vec<_> = (0..2).map(|_| slots.take(a).unwrap()).collect();
        let at_work: Vec<_> = mine.iter().map(Slot::busy).collect();
        later(&slots);
        assert!(slots.take(a).is_none(), "its share is taken, and all of it is busy");
        let _other = slots.take(b).unwrap();
        drop(at_work);
        assert!(slots.take(a).is_none(), "it was busy just now");
        drop(mine);
        // A proxy has all but an eighth.
        let proxied: Vec<_> = std::iter::from_fn(|| slots.take(here)).collect();
        assert_eq!(proxied.len(), 7);
    }

    #[tokio::test]
    async fn who_asks_for_nothing_makes_room() {
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let slots = Slots::new(2, 2);
        let (first, second) = (slots.take(a).unwrap(), slots.take(a).unwrap());
        let at_work = first.busy();
        later(&slots);
        let third = slots.take(a).unwrap();
        tokio::time::timeout(Duration::from_secs(5), second.lost()).await.unwrap();
        // Its end frees nothing that is not its own any more.
        drop(second);
        assert!(slots.take(a).is_none());
        drop((third, at_work));
        assert!(slots.take(a).is_some());
    }
}
