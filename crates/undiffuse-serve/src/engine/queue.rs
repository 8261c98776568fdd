//! Whose pictures are next: clients take turns, each one's jobs are served in the order in which they came.

use std::collections::{HashMap, VecDeque};

use crate::budget::Client;

/// A job with pictures that nobody makes yet.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The job.
    pub id: String,
    /// The pictures, by their number in the job.
    pub todo: VecDeque<usize>,
    /// Places in a batch that a picture takes: two when it is guided.
    pub weight: usize,
    /// Evaluations for each picture.
    pub rows: usize,
    /// Whether all pictures are to be made together.
    pub whole: bool,
    /// Whether nothing else is begun between its beginning and its first evaluation.
    pub alone: bool,
    /// Whether some of its pictures have been begun.
    pub begun: bool,
}

/// Pictures of one job that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The job.
    pub id: String,
    /// Whose it is.
    pub client: Client,
    /// The pictures, by their number in the job.
    pub pictures: Vec<usize>,
    /// Places in a batch that they take together.
    pub places: usize,
}

/// The queue, and what of it is being made.
#[derive(Debug)]
pub struct Queue {
    /// Places in a batch.
    batch: usize,
    /// Clients that wait, the next one first.
    turns: VecDeque<Client>,
    lines: HashMap<Client, VecDeque<Waiting>>,
    /// Places taken by each client's chunks in work.
    taken: HashMap<Client, usize>,
    /// The job that was begun alone and has not been evaluated.
    alone: Option<String>,
}

impl Queue {
    /// An empty queue for batches of this size.
    pub fn new(batch: usize) -> Self {
        Self { batch: batch.max(1), turns: VecDeque::new(), lines: HashMap::new(), taken: HashMap::new(), alone: None }
    }

    /// Puts a job at the end of its client's line.
    pub fn push(&mut self, client: &Client, job: Waiting) {
        if !self.lines.contains_key(client) {
            self.turns.push_back(client.clone());
        }
        self.lines.entry(client.clone()).or_default().push_back(job);
    }

    /// Puts the pictures of a chunk that could not be begun back to the front.
    pub fn put_back(&mut self, chunk: Chunk, rows: usize, whole: bool) {
        self.release(&chunk);
        let Chunk { id, client, pictures, places } = chunk;
        if let Some(job) = self.lines.get_mut(&client).and_then(|line| line.iter_mut().find(|job| job.id == id)) {
            pictures.into_iter().rev().for_each(|k| job.todo.push_front(k));
            return;
        }
        let weight = places / pictures.len().max(1);
        let job = Waiting { id, todo: pictures.into(), weight, rows, whole, alone: false, begun: true };
        if !self.lines.contains_key(&client) {
            self.turns.push_front(client.clone());
        }
        self.lines.entry(client).or_default().push_front(job);
    }

    /// The places that a client may take now. One that has nothing in work gets a part of a batch beyond what is full, so
    /// that nobody waits for the end of another's long walk.
    fn room(&self, client: &Client) -> usize {
        let taken = self.in_work();
        match self.taken.get(client) {
            _ if taken < self.batch => self.batch - taken,
            None if taken < 2 * self.batch => (self.batch / 4).max(1),
            _ => 0,
        }
    }

    /// The next chunk, which counts as in work until it is [released](Self::release).
    pub fn next(&mut self) -> Option<Chunk> {
        if self.alone.is_some() {
            return None;
        }
        let idle = self.taken.is_empty();
        let front = |client| self.lines.get(client).and_then(|line| line.front());
        let fits = |client| front(client).is_some_and(|job| idle || self.room(client) >= job.weight);
        let turn = match self.turns.iter().position(|client| front(client).is_some_and(|job| job.alone)) {
            Some(alone) if fits(&self.turns[alone]) => alone,
            // Nothing else is begun until it can be.
            Some(_) => return None,
            None => self.turns.iter().position(fits)?,
        };
        let client = self.turns.remove(turn)?;
        let room = self.room(&client);
        let line = self.lines.get_mut(&client)?;
        let job = line.front_mut()?;
        let count = if job.whole { job.todo.len() } else { (room / job.weight.max(1)).clamp(1, job.todo.len().max(1)) };
        let pictures: Vec<usize> = job.todo.drain(..count.min(job.todo.len())).collect();
        let chunk = Chunk { id: job.id.clone(), places: pictures.len() * job.weight, client: client.clone(), pictures };
        job.begun = true;
        self.alone = job.alone.then(|| job.id.clone());
        if job.todo.is_empty() {
            line.pop_front();
        }
        match line.is_empty() {
            true => drop(self.lines.remove(&client)),
            false => self.turns.push_back(client.clone()),
        }
        *self.taken.entry(client).or_default() += chunk.places;
        Some(chunk)
    }

    /// A chunk is no longer in work.
    pub fn release(&mut self, chunk: &Chunk) {
        self.alone.take_if(|alone| *alone == chunk.id);
        if let Some(places) = self.taken.get_mut(&chunk.client) {
            *places = places.saturating_sub(chunk.places);
            if *places == 0 {
                self.taken.remove(&chunk.client);
            }
        }
    }

    /// Lets others be begun beside a job; says whether they could not.
    pub fn clear(&mut self, client: &Client, id: &str) -> bool {
        let line = self.lines.get_mut(client);
        line.into_iter().flatten().filter(|job| job.id == id).for_each(|job| job.alone = false);
        self.alone.take_if(|alone| alone == id).is_some()
    }

    /// Takes a job out.
    pub fn remove(&mut self, client: &Client, id: &str) {
        let Some(line) = self.lines.get_mut(client) else { return };
        line.retain(|job| job.id != id);
        if line.is_empty() {
            self.lines.remove(client);
            self.turns.retain(|turn| turn != client);
        }
    }

    /// Places in work.
    pub fn in_work(&self) -> usize {
        self.taken.values().sum()
    }

    /// Jobs of which no picture has been begun.
    pub fn waiting(&self) -> usize {
        self.lines.values().flatten().filter(|job| !job.begun).count()
    }

    /// Evaluations of single pictures that are still to be begun.
    pub fn backlog(&self) -> usize {
        self.lines.values().flatten().map(|job| job.todo.len() * job.weight * job.rows).sum()
    }

    /// Jobs that will be begun before this one, as things stand.
    pub fn position(&self, client: &Client, id: &str) -> Option<usize> {
        let place = self.lines.get(client)?.iter().filter(|job| !job.begun).position(|job| job.id == id)?;
        let turn = self.turns.iter().position(|c| c == client)?;
        let before = |(at, other): (usize, &Client)| {
            let begun = |job: &&Waiting| !job.begun;
            let line = self.lines.get(other).map_or(0, |line| line.iter().filter(begun).count());
            line.min(place + usize::from(at < turn))
        };
        Some(place + self.turns.iter().enumerate().filter(|(at, _)| *at != turn).map(before).sum::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, pictures: usize, weight: usize) -> Waiting {
        Waiting {
            id: id.into(),
            todo: (0..pictures).collect(),
            weight,
            rows: 10,
            whole: false,
            alone: false,
            begun: false,
        }
    }

    fn chunks(queue: &mut Queue) -> Vec<(String, usize)> {
        std::iter::from_fn(|| queue.next()).map(|chunk| (chunk.id, chunk.pictures.len())).collect()
    }

    #[test]
    fn a_small_job_overtakes_the_rest_of_a_large_one() {
        let mut queue = Queue::new(8);
        let (a, b) = ("a".to_string(), "b".to_string());
        queue.push(&a, job("large", 100, 1));
        let first = queue.next().unwrap();
        assert_eq!((first.id.as_str(), first.pictures.len()), ("large", 8));
        assert!(queue.next().is_none(), "the batch is full and the client has its share");
        queue.push(&b, job("small", 2, 1));
        assert_eq!(chunks(&mut queue), [("small".into(), 2)]);
        queue.release(&first);
        assert_eq!(chunks(&mut queue), [("large".into(), 6)]);
    }

    #[test]
    fn clients_take_turns_and_each_is_served_in_order() {
        let mut queue = Queue::new(1);
        let clients = ["a", "b", "c"].map(String::from);
        for (client, id) in [(0, "a1"), (0, "a2"), (0, "a3"), (1, "b1"), (2, "c1"), (1, "b2")] {
            queue.push(&clients[client], job(id, 1, 1));
        }
        let positions = ["a1", "a2", "a3", "b1", "c1", "b2"]
            .map(|id| queue.position(&clients[(id.as_bytes()[0] - b'a') as usize], id).unwrap());
        assert_eq!(positions, [0, 3, 5, 1, 2, 4]);
        let mut order = Vec::new();
        while let Some(chunk) = queue.next() {
            queue.release(&chunk);
            order.push(chunk.id);
        }
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn guided_pictures_take_two_places_and_one_always_fits() {
        let mut queue = Queue::new(8);
        queue.push(&"a".into(), job("guided", 9, 2));
        assert_eq!(chunks(&mut queue), [("guided".into(), 4)]);
        let mut narrow = Queue::new(1);
        narrow.push(&"a".into(), job("guided", 2, 2));
        assert_eq!(chunks(&mut narrow), [("guided".into(), 1)]);
    }

    #[test]
    fn removed_jobs_leave_nothing_and_pictures_can_come_back() {
        let mut queue = Queue::new(4);
        let a = "a".to_string();
        queue.push(&a, job("x", 6, 1));
        let chunk = queue.next().unwrap();
        queue.put_back(chunk.clone(), 10, false);
        assert_eq!((queue.in_work(), queue.backlog()), (0, 60));
        assert_eq!(queue.next(), Some(chunk.clone()));
        queue.remove(&a, "x");
        queue.release(&chunk);
        assert_eq!((queue.in_work(), queue.backlog(), queue.next()), (0, 0, None));
        assert!(queue.turns.is_empty() && queue.lines.is_empty());
    }

    #[test]
    fn a_job_that_must_be_alone_is() {
        let mut queue = Queue::new(8);
        let (a, b) = ("a".to_string(), "b".to_string());
        queue.push(&a, Waiting { alone: true, ..job("suspect", 4, 1) });
        queue.push(&a, Waiting { alone: true, ..job("another", 12, 1) });
        queue.push(&b, job("other", 2, 1));
        let suspect = queue.next().unwrap();
        assert_eq!((suspect.id.as_str(), suspect.pictures.len(), queue.next()), ("suspect", 4, None));
        assert!(queue.clear(&a, "suspect") && !queue.clear(&a, "suspect"));
        // It has been evaluated: the next is begun beside it, and again nothing else.
        let another = queue.next().unwrap();
        assert_eq!((another.id.as_str(), another.pictures.len(), queue.next()), ("another", 4, None));
        assert!(queue.clear(&a, "another"));
        assert_eq!(chunks(&mut queue), [("other".into(), 2)]);
        queue.release(&suspect);
        assert_eq!(chunks(&mut queue), [("another".into(), 2)]);
    }

    #[test]
    fn what_belongs_together_stays_together() {
        let mut queue = Queue::new(4);
        queue.push(&"a".into(), Waiting { whole: true, ..job("frames", 10, 1) });
        assert_eq!(chunks(&mut queue), [("frames".into(), 10)]);
    }
}
