//! What is known of each client between its calls: the model it has chosen, and its pictures in the making.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::budget::Client;
use crate::job::JobProgress;

/// Clients that are remembered.
const MANY: usize = 1024;

/// All clients.
#[derive(Debug, Default)]
pub struct Desk(Mutex<HashMap<Client, Seat>>);

/// One client.
#[derive(Debug)]
struct Seat {
    checkpoint: Option<String>,
    work: Vec<Work>,
    used: Instant,
}

/// A call that makes pictures.
#[derive(Clone, Debug)]
pub struct Work {
    /// The job's id.
    pub job: String,
    /// When the call came.
    pub began: Instant,
    /// How many pictures.
    pub n: usize,
    /// Steps, as the client counts them.
    pub steps: usize,
    /// The last that was heard.
    pub progress: Option<JobProgress>,
    /// Whether the client has interrupted it.
    pub interrupted: bool,
}

impl Desk {
    fn seats(&self) -> MutexGuard<'_, HashMap<Client, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, client: &Client, act: impl FnOnce(&mut Seat) -> T) -> T {
        let mut seats = self.seats();
        if seats.len() >= MANY && !seats.contains_key(client) {
            let idle = seats.iter().filter(|(_, seat)| seat.work.is_empty());
            if let Some(oldest) = idle.min_by_key(|(_, seat)| seat.used).map(|(client, _)| client.clone()) {
                seats.remove(&oldest);
            }
        }
        let fresh = || Seat { checkpoint: None, work: Vec::new(), used: Instant::now() };
        let seat = seats.entry(client.clone()).or_insert_with(fresh);
        seat.used = Instant::now();
        act(seat)
    }

    /// The model that a client has chosen.
    pub fn checkpoint(&self, client: &Client) -> Option<String> {
        self.seats().get(client)?.checkpoint.clone()
    }

    /// A client chooses a model.
    pub fn choose(&self, client: &Client, model: String) {
        self.with(client, |seat| seat.checkpoint = Some(model));
    }

    /// Notes a client's work until the guard is dropped.
    pub fn begin<'a>(&'a self, client: &'a Client, work: Work) -> Busy<'a> {
        let job = work.job.clone();
        self.with(client, |seat| seat.work.push(work));
        Busy { desk: self, client, job }
    }

    /// The oldest work of a client that is under way.
    pub fn current(&self, client: &Client) -> Option<Work> {
        self.seats().get(client)?.work.first().cloned()
    }

    /// Marks all work of a client as interrupted; the jobs.
    pub fn interrupt(&self, client: &Client) -> Vec<String> {
        let mut seats = self.seats();
        let work = seats.get_mut(client).map(|seat| &mut seat.work);
        let mark = |work: &mut Work| {
            work.interrupted = true;
            work.job.clone()
        };
        work.into_iter().flatten().map(mark).collect()
    }
}

/// Work that is under way.
pub struct Busy<'a> {
    desk: &'a Desk,
    client: &'a Client,
    job: String,
}

impl Busy<'_> {
    /// Notes how far it is.
    pub fn at(&self, progress: &JobProgress) {
        let mut seats = self.desk.seats();
        let work = seats.get_mut(self.client).and_then(|seat| seat.work.iter_mut().find(|work| work.job == self.job));
        if let Some(work) = work {
            // Progress comes more often than pictures of it.
            let preview = progress.preview.clone().or_else(|| work.progress.take()?.preview);
            work.progress = Some(JobProgress { preview, ..progress.clone() });
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut seats = self.desk.seats();
        if let Some(seat) = seats.get_mut(self.client) {
            seat.work.retain(|work| work.job != self.job);
        }
    }
}

impl Work {
    /// The share that is done, of which pictures in the making count by their steps.
    pub fn share(&self) -> f64 {
        let Some(p) = &self.progress else { return 0.0 };
        let (done, n) = (p.done as f64, p.n.max(1) as f64);
        let making = (n - done) * p.row as f64 / p.rows.max(1) as f64;
        ((done + making) / n).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(job: &str) -> Work {
        Work { job: job.into(), began: Instant::now(), n: 4, steps: 20, progress: None, interrupted: false }
    }

    #[test]
    fn clients_do_not_see_each_other() {
        let desk = Desk::default();
        let (a, b) = (Client::from("a"), Client::from("b"));
        desk.choose(&a, "m".into());
        let busy = desk.begin(&a, work("1"));
        busy.at(&JobProgress { done: 2, n: 4, row: 5, rows: 10, preview: Some("p".into()) });
        busy.at(&JobProgress { done: 3, n: 4, row: 0, rows: 10, preview: None });
        let now = desk.current(&a).unwrap();
        assert_eq!((now.share(), now.progress.unwrap().preview.as_deref()), (0.75, Some("p")));
        assert!(desk.current(&b).is_none() && desk.checkpoint(&b).is_none() && desk.interrupt(&b).is_empty());
        assert_eq!(desk.interrupt(&a), ["1"]);
        drop(busy);
        assert!(desk.current(&a).is_none());
        assert_eq!(desk.checkpoint(&a).as_deref(), Some("m"));
    }

    #[test]
    fn the_desk_does_not_grow_without_end() {
        let desk = Desk::default();
        for i in 0..5000 {
            desk.choose(&Client::from(i.to_string()), "m".into());
        }
        assert!(desk.seats().len() <= MANY);
    }
}
