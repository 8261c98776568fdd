//! What clients do, well-behaved and not: one line a kind.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::http::{Answer, Service, base64};
use super::tally::Tally;

/// What all clients share.
pub struct World {
    /// The service.
    pub service: Service,
    /// When clients begin nothing more.
    pub end: Instant,
    /// Steps of every request.
    pub steps: usize,
    /// Classes of the model by name.
    pub classes: Vec<String>,
    /// Jobs that were accepted, and whether they have to be done at the end.
    pub accepted: Mutex<Vec<(String, bool)>>,
    /// The PNG of each seed and class, which never changes.
    pictures: Mutex<HashMap<(u64, String), Vec<u8>>>,
    /// What must not happen and did.
    pub faults: Mutex<Vec<String>>,
}

impl World {
    /// A service that nobody has asked yet.
    pub fn new(service: Service, end: Instant, steps: usize, classes: Vec<String>) -> Self {
        let (accepted, pictures, faults) = Default::default();
        Self { service, end, steps, classes, accepted, pictures, faults }
    }

    /// How many different pictures were made and compared.
    pub fn different(&self) -> usize {
        self.pictures.lock().map_or(0, |pictures| pictures.len())
    }

    fn same(&self, seed: u64, class: &str, png: Vec<u8>) -> anyhow::Result<()> {
        ensure!(png.starts_with(b"\x89PNG"), "a picture is no PNG");
        let mut pictures = self.pictures.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        let known = pictures.entry((seed, class.to_owned())).or_insert_with(|| png.clone());
        ensure!(*known == png, "two pictures of seed {seed} and class {class:?} differ");
        Ok(())
    }

    fn accept(&self, id: &str, must_be_done: bool) {
        if let Ok(mut accepted) = self.accepted.lock() {
            accepted.push((id.to_owned(), must_be_done));
        }
    }
}

/// A client: its own random numbers, and what it has counted.
struct Client<'a> {
    world: &'a World,
    random: u64,
    refused: usize,
}

type Act = fn(&mut Client) -> anyhow::Result<String>;

/// What clients do, and how often.
const KINDS: [(&str, u64, Act); 10] = [
    ("generate", 8, generate),
    ("job, its events, its pictures", 6, follow),
    ("job, asked for its state, its ZIP", 4, poll),
    ("OpenAI's images", 3, openai),
    ("job, cancelled", 2, cancel),
    ("generate, gone before the answer", 2, leave),
    ("job, gone from its events", 2, leave_events),
    ("malformed body", 2, malformed),
    ("not HTTP", 1, noise),
    ("models, jobs, figures", 2, look),
];

/// A client's whole life.
pub fn client(world: &World, number: u64) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client { world, random: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, refused: 0 };
    let all: u64 = KINDS.iter().map(|(_, weight, _)| weight).sum();
    while Instant::now() < world.end {
        let mut at = client.draw(all);
        let Some(&(kind, _, act)) = KINDS.iter().find(|&&(_, weight, _)| {
            let here = at < weight;
            at = at.wrapping_sub(weight);
            here
        }) else {
            continue;
        };
        client.refused = 0;
        let start = Instant::now();
        let outcome = act(&mut client).unwrap_or_else(|e| {
            if let Ok(mut faults) = world.faults.lock() {
                faults.push(format!("{kind}: {e:#}"));
            }
            "FAULT".into()
        });
        let outcome = if client.refused > 0 { format!("{outcome} after 429") } else { outcome };
        tally.add(kind, outcome, start.elapsed());
    }
    tally
}

impl Client<'_> {
    /// A number below this one (xorshift64).
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    /// A request for one to four pictures of one of a few classes; seeds and classes repeat, so pictures can be compared.
    fn request(&mut self) -> (Value, String) {
        let (n, seed) = (1 + self.draw(4), self.draw(24));
        let mut body = json!({"n": n, "seed": seed, "steps": self.world.steps});
        let mut class = String::new();
        if !self.world.classes.is_empty() {
            let k = self.draw(self.world.classes.len().min(3) as u64) as usize;
            class.clone_from(&self.world.classes[k]);
            body["class"] = json!([class]);
        }
        (body, class)
    }

    /// Posts until the queue has room, and says what the service said.
    fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        loop {
            let answer = self.world.service.ask("POST", path, Some(body))?;
            match (answer.status, answer.retry_after) {
                (429 | 503, Some(seconds)) => {
                    self.refused += 1;
                    ensure!(self.refused < 1000, "refused a thousand times");
                    thread::sleep(Duration::from_secs(seconds.clamp(1, 5)));
                }
                (429, None) => bail!("429 does not say when to try again"),
                (500.., _) => return answer.expect(200),
                _ => return Ok(answer),
            }
        }
    }

    /// Submits a job.
    fn submit(&mut self, must_be_done: bool) -> anyhow::Result<(String, String)> {
        let (body, class) = self.request();
        let answer = self.post("/api/v1/jobs", body.to_string().as_bytes())?;
        let job = answer.expect(202)?.json()?;
        let id = job["id"].as_str().context("a job has no id")?.to_owned();
        self.world.accept(&id, must_be_done);
        Ok((id, class))
    }

    /// Fetches and compares the pictures of a job that is done.
    fn fetch(&self, job: &Value, class: &str) -> anyhow::Result<()> {
        let images = job["images"].as_array().context("a job has no pictures")?;
        ensure!(Some(images.len() as u64) == job["n"].as_u64(), "a done job has {} pictures: {job}", images.len());
        for made in images {
            let answer = self.world.service.ask("GET", made["url"].as_str().context("no url")?, None)?;
            self.world.same(made["seed"].as_u64().context("no seed")?, class, answer.expect(200)?.bytes()?)?;
        }
        Ok(())
    }
}

fn generate(client: &mut Client) -> anyhow::Result<String> {
    let (body, class) = client.request();
    let answer = client.post("/api/v1/generate", body.to_string().as_bytes())?;
    let made = answer.expect(200)?.json()?;
    let images = made["images"].as_array().context("no images")?;
    ensure!(Some(images.len() as u64) == body["n"].as_u64(), "{} pictures", images.len());
    for image in images {
        let png = base64(image["png"].as_str().context("no png")?)?;
        client.world.same(image["seed"].as_u64().context("no seed")?, &class, png)?;
    }
    Ok("done".into())
}

fn follow(client: &mut Client) -> anyhow::Result<String> {
    let (id, class) = client.submit(true)?;
    let mut events = client.world.service.ask("GET", &format!("/api/v1/jobs/{id}/events"), None)?.expect(200)?;
    let (mut last, mut name, mut text) = (Value::Null, String::new(), Vec::new());
    while let Some(part) = events.line()? {
        text.extend(part);
        if !text.ends_with(b"\n") {
            continue;
        }
        let line = String::from_utf8(std::mem::take(&mut text))?;
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.trim_end().to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).with_context(|| format!("event {name}"))?;
            if name == "state" {
                last = data;
            }
        }
    }
    ensure!(last["state"] == "done", "events end with {last}");
    client.fetch(&last, &class)?;
    Ok("done".into())
}

fn poll(client: &mut Client) -> anyhow::Result<String> {
    let (id, class) = client.submit(true)?;
    let job = wait(&client.world.service, &id, Duration::from_secs(300))?;
    ensure!(job["state"] == "done", "the job ended as {job}");
    client.fetch(&job, &class)?;
    let zip = client.world.service.ask("GET", &format!("/api/v1/jobs/{id}/images.zip"), None)?;
    ensure!(zip.expect(200)?.bytes()?.starts_with(b"PK\x03\x04"), "the ZIP is none");
    Ok("done".into())
}

/// Asks for a job until it has ended.
pub fn wait(service: &Service, id: &str, patience: Duration) -> anyhow::Result<Value> {
    let start = Instant::now();
    loop {
        let job = service.json(&format!("/api/v1/jobs/{id}"))?;
        if ["done", "failed", "cancelled"].iter().any(|state| job["state"] == *state) {
            return Ok(job);
        }
        ensure!(start.elapsed() < patience, "job {id} never ends: {job}");
        thread::sleep(Duration::from_millis(300));
    }
}

fn openai(client: &mut Client) -> anyhow::Result<String> {
    let (body, class) = client.request();
    let prompt = if class.is_empty() { "a picture".into() } else { class };
    let body = json!({"prompt": prompt, "n": body["n"], "response_format": "b64_json"});
    let answer = client.post("/v1/images/generations", body.to_string().as_bytes())?;
    let made = answer.expect(200)?.json()?;
    let images = made["data"].as_array().context("no data")?;
    ensure!(Some(images.len() as u64) == body["n"].as_u64(), "{} pictures", images.len());
    for image in images {
        ensure!(base64(image["b64_json"].as_str().context("no b64_json")?)?.starts_with(b"\x89PNG"), "no PNG");
    }
    Ok("done".into())
}

fn cancel(client: &mut Client) -> anyhow::Result<String> {
    let (id, _) = client.submit(false)?;
    let pause = client.draw(1500);
    thread::sleep(Duration::from_millis(pause));
    let answer = client.post(&format!("/api/v1/jobs/{id}/cancel"), b"{}")?;
    let job = answer.expect(200)?.json()?;
    match job["state"].as_str() {
        Some(state @ ("done" | "cancelled")) => Ok(state.into()),
        _ => bail!("a cancelled job is {job}"),
    }
}

fn leave(client: &mut Client) -> anyhow::Result<String> {
    let (body, _) = client.request();
    let stream = client.world.service.send("POST", "/api/v1/generate", Some(body.to_string().as_bytes()))?;
    let pause = client.draw(800);
    thread::sleep(Duration::from_millis(pause));
    stream
        .shutdown(Shutdown::Both)
        .or_else(|e| if e.kind() == std::io::ErrorKind::NotConnected { Ok(()) } else { Err(e) })?;
    Ok("gone".into())
}

fn leave_events(client: &mut Client) -> anyhow::Result<String> {
    let (id, _) = client.submit(true)?;
    let stream = client.world.service.send("GET", &format!("/api/v1/jobs/{id}/events"), None)?;
    let pause = client.draw(500);
    thread::sleep(Duration::from_millis(pause));
    drop(stream);
    Ok("gone".into())
}

/// Bodies that are no request, and the statuses that they may get.
const MALFORMED: [(&[u8], u16); 8] = [
    (b"", 400),
    (b"{", 400),
    (b"\xff\xfe\x00", 400),
    (b"{\"n\": 1e999}", 400),
    (b"[]", 422),
    (b"{\"n\": -1}", 422),
    (b"{\"sneaky\": true}", 422),
    (b"{\"init_image\": \"iVBORw0KGgo=\"}", 422),
];

fn malformed(client: &mut Client) -> anyhow::Result<String> {
    let (body, expected) = MALFORMED[client.draw(MALFORMED.len() as u64) as usize];
    let path = ["/api/v1/jobs", "/api/v1/generate"][client.draw(2) as usize];
    // A full queue may be said first.
    let answer = client.world.service.ask("POST", path, Some(body))?;
    ensure!(
        answer.status == expected || answer.status == 429,
        "{} for {:?}",
        answer.status,
        String::from_utf8_lossy(body)
    );
    Ok(answer.status.to_string())
}

fn noise(client: &mut Client) -> anyhow::Result<String> {
    let half = [
        &b"\x16\x03\x01"[..],
        b"GET",
        b"POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    ];
    let mut stream = std::net::TcpStream::connect(&client.world.service.addr)?;
    std::io::Write::write_all(&mut stream, half[client.draw(3) as usize])?;
    Ok("hung up".into())
}

fn look(client: &mut Client) -> anyhow::Result<String> {
    let path =
        ["/api/v1/models", "/api/v1/jobs?limit=20", "/metrics", "/", "/api/openapi.json"][client.draw(5) as usize];
    let answer = client.world.service.ask("GET", path, None)?.expect(200)?;
    ensure!(!answer.bytes()?.is_empty(), "{path} is empty");
    Ok("200".into())
}
